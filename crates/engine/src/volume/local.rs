//! The local driver's options: `type`, `o` and `device`, as mount(8) takes them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use tree::image;

use super::Error;
use crate::size::bytes;

/// Options that are mount flags, and whether they set or clear them.
const FLAGS: [(&str, bool, MountFlags); 14] = [
    ("ro", true, MountFlags::RDONLY),
    ("rw", false, MountFlags::RDONLY),
    ("nosuid", true, MountFlags::NOSUID),
    ("suid", false, MountFlags::NOSUID),
    ("nodev", true, MountFlags::NODEV),
    ("dev", false, MountFlags::NODEV),
    ("noexec", true, MountFlags::NOEXEC),
    ("exec", false, MountFlags::NOEXEC),
    ("sync", true, MountFlags::SYNCHRONOUS),
    ("dirsync", true, MountFlags::DIRSYNC),
    ("noatime", true, MountFlags::NOATIME),
    ("nodiratime", true, MountFlags::NODIRATIME),
    ("relatime", true, MountFlags::RELATIME),
    ("strictatime", true, MountFlags::STRICTATIME),
];

/// Refuses options that cannot be honoured.
pub(super) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<(), Error> {
    let refuse = |problem: String| Err(Error::Options { name: name.to_owned(), problem });
    for key in options.keys() {
        match key.as_str() {
            "size" if options.len() > 1 => {
                let problem = "size limits a volume of files of its own: what type, o and device \
                               name has its limit in o, as its file system spells it";
                return refuse(problem.to_owned());
            }
            "type" | "o" | "device" | "size" => {}
            other => return refuse(format!("invalid option: {other:?}")),
        }
    }
    if let Some(size) = options.get("size") {
        return match bytes(size) {
            None => refuse(format!("invalid size: {size:?}")),
            Some(bytes) if bytes < image::LEAST => {
                refuse(format!("size {size:?} is less than {} MiB", image::LEAST >> 20))
            }
            Some(_) => Ok(()),
        };
    }
    if options.is_empty() {
        return Ok(());
    }
    for wanted in ["device", "type"] {
        if options.get(wanted).is_none_or(String::is_empty) && !is_bind(options, wanted) {
            return refuse(format!("missing required option: {wanted:?}"));
        }
    }
    Ok(())
}

/// `o=bind` needs no type, as in mount(8).
fn is_bind(options: &BTreeMap<String, String>, wanted: &str) -> bool {
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    wanted == "type" && words.split(',').any(|word| matches!(word, "bind" | "rbind"))
}

/// Mounts what `options` say on `at`; nothing when that was done already, by an engine before.
pub(super) fn mount(at: &Path, options: &BTreeMap<String, String>) -> Result<(), Error> {
    unmount(at)?;
    let text = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let (device, kind) = (text("device"), text("type"));
    let (mut flags, data) = parse(text("o"));
    let data = resolve(kind, &data);
    let failed = |source: std::io::Error| Error::Mount {
        at: at.to_owned(),
        device: device.to_owned(),
        data: data.clone(),
        source,
    };
    if matches!(kind, "bind" | "rbind") {
        flags |= MountFlags::BIND;
    }
    let words = CString::new(data.as_str()).map_err(|error| failed(error.into()))?;
    rustix::mount::mount(device, at, kind, flags, &*words).map_err(|e| failed(e.into()))?;
    if flags.contains(MountFlags::BIND) && flags.contains(MountFlags::RDONLY) {
        // The first call takes a bind's flags from its source.
        rustix::mount::mount_remount(at, flags, "").map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// Unmounts `at`; nothing when nothing is mounted there.
pub(super) fn unmount(at: &Path) -> Result<(), Error> {
    match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => {
            Err(Error::File { action: "unmount", path: at.to_owned(), source: error.into() })
        }
    }
}

/// Flags, and what is left for the file system.
fn parse(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "bind" => flags |= MountFlags::BIND,
            "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            "defaults" => {}
            option => match FLAGS.iter().find(|(name, ..)| *name == option) {
                Some((_, set, flag)) => flags.set(*flag, *set),
                None => data.push(option),
            },
        }
    }
    (flags, data.join(","))
}

/// The kernel wants a server's address, users give its name.
fn resolve(kind: &str, data: &str) -> String {
    if !matches!(kind, "nfs" | "nfs4" | "cifs") {
        return data.to_owned();
    }
    let words = data.split(',').map(|word| match word.strip_prefix("addr=") {
        Some(host) if host.parse::<IpAddr>().is_err() => {
            let found = (host, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
            found.map_or_else(|| word.to_owned(), |address| format!("addr={}", address.ip()))
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_kernels_and_the_rest_the_file_systems() {
        let (flags, data) = parse("size=1m,ro,nosuid,suid,uid=7");
        assert_eq!((flags, data.as_str()), (MountFlags::RDONLY, "size=1m,uid=7"));
        assert_eq!(parse("rbind").0, MountFlags::BIND | MountFlags::REC);
    }

    #[test]
    fn options_that_cannot_be_honoured_are_refused() {
        let options = |pairs: &[(&str, &str)]| {
            let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            check("v", &pairs.iter().map(pair).collect()).err().map(|error| error.to_string())
        };
        assert_eq!(options(&[]), None);
        assert_eq!(options(&[("type", "tmpfs"), ("device", "tmpfs")]), None);
        assert_eq!(options(&[("o", "bind"), ("device", "/a")]), None);
        assert_eq!(
            options(&[("type", "tmpfs")]).as_deref(),
            Some("create v: missing required option: \"device\"")
        );
        assert_eq!(options(&[("size", "1G")]), None);
        assert_eq!(
            options(&[("size", "1M")]).as_deref(),
            Some("create v: size \"1M\" is less than 16 MiB")
        );
        assert_eq!(
            options(&[("size", "many")]).as_deref(),
            Some("create v: invalid size: \"many\"")
        );
        assert!(options(&[("size", "1G"), ("type", "tmpfs")]).is_some());
        assert_eq!(options(&[("x", "y")]).as_deref(), Some("create v: invalid option: \"x\""));
    }
}
