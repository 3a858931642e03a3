//! From a create request to what the seam takes.
//!
//! Spec: OCI runtime-spec, bundle.md; containerd, runtime v2 "Root Filesystems".

use std::io;
use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use sandbox::{Bundle, Rootfs};
use spec::Kind;
use spec::oci::runtime as oci;
use spec::options::{self, Options};

/// Why the request describes no container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `config.json` cannot be read or is no configuration.
    #[error("read {}", path.display())]
    Config { path: PathBuf, source: io::Error },
    /// More than one mount, or a kind of mount that is none of ours.
    #[error("rootfs: {0}: want one mount of type overlay or bind, or none")]
    Mounts(String),
    /// An option of the overlay.
    #[error("rootfs: overlay option {0:?} is not supported")]
    Option(String),
    /// The overlay lacks one of its directories.
    #[error("rootfs: overlay without {0}")]
    Missing(&'static str),
    /// The options are of a type of another runtime.
    #[error("options: type {0:?} is not known: want {known}", known = options::TYPE_URL)]
    OptionsType(String),
    /// The options are not what their type says.
    #[error("options")]
    Options(#[source] serde_json::Error),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            // What cannot be parsed has no number of the system's.
            Self::Config { source, .. }
                if source.raw_os_error().is_some() && source.kind() != io::ErrorKind::NotFound =>
            {
                Kind::Internal
            }
            Self::Option(_) | Self::OptionsType(_) => Kind::Unsupported,
            Self::Config { .. } | Self::Mounts(_) | Self::Missing(_) | Self::Options(_) => {
                Kind::Invalid
            }
        }
    }
}

/// The options in a request; `default` when there are none.
pub(crate) fn options(type_url: &str, value: &[u8], default: Options) -> Result<Options, Error> {
    match type_url {
        options::TYPE_URL => serde_json::from_slice(value).map_err(Error::Options),
        _ if value.is_empty() => Ok(default),
        _ => Err(Error::OptionsType(type_url.to_owned())),
    }
}

/// Reads the bundle at `path`. `oom_score` is what processes get whose configuration says nothing:
/// the one this program had, before it lowered its own.
pub(crate) fn read(path: &Path, mounts: &[Mount], oom_score: i32) -> Result<Bundle, Error> {
    let config = path.join("config.json");
    let mut spec = std::fs::read(&config)
        .and_then(|bytes| Ok(spec::config::spec(&bytes)?.value))
        .map_err(|source| Error::Config { path: config, source })?;
    let rootfs = rootfs(path, mounts, &mut spec)?;
    if let Some(process) = spec.process_mut() {
        adjust_oom_score(process, oom_score);
    }
    Ok(Bundle { path: path.to_owned(), spec, rootfs })
}

/// See [`read`].
pub(crate) fn adjust_oom_score(process: &mut oci::Process, oom_score: i32) {
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(Some(oom_score));
    }
}

fn rootfs(bundle: &Path, mounts: &[Mount], spec: &mut oci::Spec) -> Result<Rootfs, Error> {
    let mount = match mounts {
        [] => {
            let path = spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path());
            return Ok(Rootfs::Directory(bundle.join(path)));
        }
        [mount] => mount,
        _ => return Err(Error::Mounts(format!("{} mounts", mounts.len()))),
    };
    match mount.type_.as_str() {
        "overlay" => overlay(&mount.options),
        "bind" => {
            if mount.options.iter().any(|option| option == "ro") {
                let mut root = spec.root().clone().unwrap_or_default();
                root.set_readonly(Some(true));
                spec.set_root(Some(root));
            }
            Ok(Rootfs::Directory(PathBuf::from(&mount.source)))
        }
        other => Err(Error::Mounts(format!("a mount of type {other:?}"))),
    }
}

fn overlay(options: &[String]) -> Result<Rootfs, Error> {
    let (mut lower, mut upper, mut work) = (Vec::new(), None, None);
    for option in options {
        match option.split_once('=') {
            Some(("lowerdir", value)) => lower = split_lower(value),
            Some(("upperdir", value)) => upper = Some(PathBuf::from(value)),
            Some(("workdir", value)) => work = Some(PathBuf::from(value)),
            // What we mount with anyway.
            _ if matches!(option.as_str(), "index=off" | "rw") => {}
            _ => return Err(Error::Option(option.clone())),
        }
    }
    if lower.is_empty() {
        return Err(Error::Missing("lowerdir"));
    }
    Ok(Rootfs::Overlay {
        lower,
        upper: upper.ok_or(Error::Missing("upperdir"))?,
        work: work.ok_or(Error::Missing("workdir"))?,
    })
}

/// The directories of `lowerdir=`: separated by colons, a backslash before a character means itself.
fn split_lower(value: &str) -> Vec<PathBuf> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("never empty");
        match char {
            ':' => parts.push(String::new()),
            '\\' => part.extend(chars.next()),
            _ => part.push(char),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.into_iter().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(type_: &str, options: &[&str]) -> Mount {
        let mut mount = Mount::new();
        mount.type_ = type_.into();
        mount.source = "/source".into();
        mount.options = options.iter().map(|option| (*option).to_owned()).collect();
        mount
    }

    fn translate(mounts: &[Mount]) -> (Result<Rootfs, Error>, bool) {
        let mut spec = oci::Spec::default();
        let rootfs = rootfs(Path::new("/b"), mounts, &mut spec);
        let readonly = spec.root().as_ref().and_then(oci::Root::readonly);
        (rootfs, readonly.unwrap_or(false))
    }

    #[test]
    fn an_overlay_is_taken_apart() {
        let options = [r"lowerdir=/a\:b:/c", "upperdir=/u,v", "workdir=/w", "index=off"];
        let (rootfs, _) = translate(&[mount("overlay", &options)]);
        let want = Rootfs::Overlay {
            lower: vec!["/a:b".into(), "/c".into()],
            upper: "/u,v".into(),
            work: "/w".into(),
        };
        assert_eq!(rootfs.ok(), Some(want));
    }

    #[test]
    fn a_read_only_bind_makes_a_read_only_root() {
        let source = || Some(Rootfs::Directory("/source".into()));
        let (rootfs, readonly) = translate(&[mount("bind", &["rbind", "ro"])]);
        assert_eq!((rootfs.ok(), readonly), (source(), true));
        let (rootfs, _) = translate(&[mount("bind", &["rbind", "rw"])]);
        assert_eq!(rootfs.ok(), source());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let whole = ["lowerdir=/l", "upperdir=/u", "workdir=/w"];
        let cases = [
            (vec![mount("erofs", &[])], "a mount of type \"erofs\""),
            (vec![mount("bind", &[]), mount("bind", &[])], "2 mounts"),
            (vec![mount("overlay", &[whole[0], whole[2]])], "upperdir"),
            (vec![mount("overlay", &[whole[0], whole[1], whole[2], "volatile"])], "volatile"),
        ];
        for (mounts, word) in cases {
            let error = translate(&mounts).0.expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn options_of_another_runtime_are_refused_unless_empty() {
        let default = Options { data_root: "/d".into(), ..Options::default() };
        let options = |type_url, value| options(type_url, value, default.clone());
        assert_eq!(options("", b"").ok(), Some(default.clone()));
        assert_eq!(options("containerd.runc.v1.Options", b"").ok(), Some(default.clone()));
        assert!(matches!(options("x.Options", b"\x08\x01"), Err(Error::OptionsType(_))));
        let json = br#"{"exec_root":"/elsewhere"}"#;
        let read = options(spec::options::TYPE_URL, json).expect("known");
        assert_eq!(read.exec_root, PathBuf::from("/elsewhere"));
    }
}
