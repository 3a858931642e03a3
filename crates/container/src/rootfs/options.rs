//! Mount options by name.
//!
//! Spec: OCI runtime-spec, config.md "Linux mount options"; mount(8).

use std::path::Path;

use sys::mount::Attributes;

use super::Error;

/// What a mount's options ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// A bind mount, and whether with all that is mounted beneath.
    pub(super) bind: Option<Recursive>,
    /// For this mount.
    pub(super) attributes: Attributes,
    /// For this mount and all beneath.
    pub(super) recursive: Attributes,
    /// Propagation types, in order.
    pub(super) propagation: Vec<(Recursive, u64)>,
    /// Flags and values for the filesystem itself.
    pub(super) data: Vec<String>,
    /// Changes what is mounted on the target already.
    pub(super) remount: bool,
    /// Fills a new tmpfs with what it covers.
    pub(super) copy_up: bool,
}

/// Whether all that is mounted beneath is meant too.
pub(super) type Recursive = bool;

const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Name, what it sets, what it clears.
const ATTRIBUTES: [(&str, u64, u64); 20] = [
    ("ro", libc::MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("noatime", libc::MOUNT_ATTR_NOATIME, ATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, ATIME),
    ("relatime", libc::MOUNT_ATTR_RELATIME, ATIME),
    ("atime", libc::MOUNT_ATTR_RELATIME, ATIME),
    ("norelatime", libc::MOUNT_ATTR_RELATIME, ATIME),
    ("nostrictatime", libc::MOUNT_ATTR_RELATIME, ATIME),
    ("defaults", 0, 0),
    ("silent", 0, 0),
];

/// Options of the filesystem as a whole: the name that fsconfig(2) knows, where it differs from none.
const FILESYSTEM: [(&str, Option<&str>); 10] = [
    ("sync", Some("sync")),
    ("async", None),
    ("dirsync", Some("dirsync")),
    ("mand", Some("mand")),
    ("nomand", None),
    ("lazytime", Some("lazytime")),
    ("nolazytime", None),
    ("loud", None),
    ("iversion", Some("iversion")),
    ("noiversion", None),
];

/// Known, and not done.
const REFUSED: [&str; 1] = ["copy-symlink"];

/// A propagation type by name: whether it is recursive, and its `MS_*` value.
pub(super) fn propagation(name: &str) -> Option<(Recursive, u64)> {
    let (recursive, name) = match name.strip_prefix('r') {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let flag = match name {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some((recursive, flag))
}

/// Every option that is known by name and done, in order. Those of filesystems are beyond it.
pub(super) fn known() -> Vec<&'static str> {
    const OTHERS: &str = "bind rbind shared rshared slave rslave private rprivate unbindable \
        runbindable remount tmpcopyup idmap ridmap rro rrw rnosuid rsuid rnodev rdev rnoexec rexec \
        rnosymfollow rsymfollow rnodiratime rdiratime rnoatime rstrictatime rrelatime ratime \
        rnorelatime rnostrictatime";
    let mut names: Vec<&str> = ATTRIBUTES.iter().map(|(name, ..)| *name).collect();
    names.extend(FILESYSTEM.iter().map(|(name, _)| *name));
    names.extend(OTHERS.split_whitespace());
    // A name that is passed on to the filesystem is not done here.
    names.retain(|name| {
        Options::parse(&[(*name).to_owned()], Path::new("/"))
            .is_ok_and(|options| !OTHERS.contains(name) || options.data.is_empty())
    });
    names.sort_unstable();
    names
}

impl Options {
    /// Reads the options of the mount on `target`.
    pub(super) fn parse(list: &[String], target: &Path) -> Result<Self, Error> {
        let mut options = Self::default();
        for option in list {
            options.add(option, target)?;
        }
        if options.copy_up && (options.bind.is_some() || options.remount) {
            let (option, reason) = ("tmpcopyup".to_owned(), "only a new tmpfs is filled");
            return Err(Error::Option { target: target.into(), option, reason });
        }
        Ok(options)
    }

    fn add(&mut self, option: &str, target: &Path) -> Result<(), Error> {
        let attribute = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        if let Some((_, set, clear)) = attribute(option) {
            merge(&mut self.attributes, *set, *clear);
        } else if let Some(propagation) = propagation(option) {
            self.propagation.push(propagation);
        } else if let Some((_, set, clear)) = option.strip_prefix('r').and_then(attribute) {
            merge(&mut self.recursive, *set, *clear);
        } else if let Some((_, name)) = FILESYSTEM.iter().find(|(known, _)| *known == option) {
            self.data.extend(name.map(str::to_owned));
        } else if REFUSED.contains(&option.split('=').next().unwrap_or_default()) {
            let reason = "not supported";
            return Err(Error::Option { target: target.into(), option: option.into(), reason });
        } else {
            match option {
                "bind" => self.bind = Some(self.bind.unwrap_or(false)),
                "rbind" => self.bind = Some(true),
                "remount" => self.remount = true,
                "tmpcopyup" => self.copy_up = true,
                // Done by the launcher, see source.rs.
                "idmap" | "ridmap" => {}
                _ => self.data.push(option.to_owned()),
            }
        }
        Ok(())
    }
}

/// Later options win over earlier ones.
fn merge(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
    // The kernel wants all bits of the access time cleared to set any of them.
    if clear == ATIME {
        attributes.clear |= ATIME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Result<Options, Error> {
        let list: Vec<String> = list.iter().map(|option| (*option).to_owned()).collect();
        Options::parse(&list, Path::new("/x"))
    }

    #[test]
    fn the_last_option_wins() {
        let (ro, nosuid) = (libc::MOUNT_ATTR_RDONLY, libc::MOUNT_ATTR_NOSUID);
        for (list, set, clear) in [
            (vec!["ro"], ro, 0),
            (vec!["ro", "rw"], 0, ro),
            (vec!["rw", "ro", "nosuid"], ro | nosuid, 0),
            (vec!["noatime", "relatime"], 0, ATIME),
            // Without another wish the kernel's own default holds, which is relatime.
            (vec!["noatime", "norelatime"], 0, ATIME),
            (vec!["strictatime", "noatime"], libc::MOUNT_ATTR_NOATIME, ATIME),
        ] {
            let got = parse(&list).expect("valid").attributes;
            assert_eq!((got.set, got.clear), (set, clear), "{list:?}");
        }
    }

    #[test]
    fn names_with_an_r_are_recursive_unless_they_are_names() {
        let options = parse(&["rro", "rprivate", "relatime", "rbind", "rnoexec"]).expect("valid");
        assert_eq!(options.recursive.set, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC);
        assert_eq!(options.propagation, [(true, libc::MS_PRIVATE)]);
        assert_eq!(options.attributes.clear, ATIME);
        assert_eq!(options.bind, Some(true));
    }

    #[test]
    fn what_is_not_known_is_the_filesystems() {
        assert_eq!(parse(&["mode=755", "size=1m"]).expect("valid").data, ["mode=755", "size=1m"]);
        assert_eq!(parse(&["bind", "mode=755"]).expect("valid").data, ["mode=755"]);
        assert!(parse(&["bind", "tmpcopyup"]).is_err());
    }
}
