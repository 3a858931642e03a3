//! The client's mounts: `HostConfig.Binds` and `HostConfig.Tmpfs`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::Value;

use super::defaults;
use crate::error::Error;

/// A directory or file of the host, seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) options: Vec<String>,
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
/// Docker's hints to other systems; they change nothing on Linux without SELinux.
const HINTS: [&str; 5] = ["z", "Z", "consistent", "cached", "delegated"];

impl Bind {
    /// Reads `SOURCE:DESTINATION[:OPTION,…]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        const FIELD: &str = "HostConfig.Binds";
        let invalid = |problem: &str| Error::Invalid {
            field: FIELD,
            problem: format!("{text:?}: {problem}"),
        };
        let mut parts = text.split(':');
        let (Some(source), Some(destination)) = (parts.next(), parts.next()) else {
            return Err(invalid("want SOURCE:DESTINATION[:OPTIONS]"));
        };
        let options = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return Err(invalid("too many colons"));
        }
        if !source.starts_with('/') {
            let problem = format!("{text:?}: volumes with a name");
            return Err(Error::Unsupported { field: FIELD, problem });
        }
        let destination = clean(destination).ok_or_else(|| {
            invalid("the destination must be an absolute path other than / and without ..")
        })?;
        let mut bind = Self { source: source.to_owned(), destination, options: Vec::new() };
        let mut propagation = "rprivate";
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => bind.options.push("ro".to_owned()),
                "rw" => {}
                hint if HINTS.contains(&hint) => {}
                known if PROPAGATIONS.contains(&known) => propagation = known,
                unknown => return Err(invalid(&format!("unknown option {unknown:?}"))),
            }
        }
        bind.options.extend(["rbind".to_owned(), propagation.to_owned()]);
        Ok(bind)
    }

    /// Makes the source where it is missing, a directory as Docker's.
    pub(super) fn make_source(&self) -> Result<(), Error> {
        let path = Path::new(&self.source);
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        std::fs::create_dir_all(path).map_err(|source| Error::File {
            action: "make",
            path: path.to_owned(),
            source,
        })
    }

    pub(super) fn mount(&self) -> Value {
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        defaults::mount(&self.destination, "bind", &self.source, &options)
    }
}

/// The tmpfs mounts that `wanted` describes.
pub(crate) fn tmpfs(wanted: &BTreeMap<String, String>) -> Result<Vec<Value>, Error> {
    wanted
        .iter()
        .map(|(destination, options)| {
            let destination = clean(destination).ok_or_else(|| Error::Invalid {
                field: "HostConfig.Tmpfs",
                problem: format!("{destination:?}: want an absolute path other than /"),
            })?;
            let mut all = vec!["noexec", "nosuid", "nodev"];
            for option in options.split(',').filter(|option| !option.is_empty()) {
                let opposite =
                    option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
                all.retain(|known| *known != opposite && *known != option);
                all.push(option);
            }
            Ok(defaults::mount(&destination, "tmpfs", "tmpfs", &all))
        })
        .collect()
}

/// `path` without needless slashes and dots; `None` unless it is absolute, not `/`, without `..`.
fn clean(path: &str) -> Option<String> {
    let mut clean = String::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) if path.starts_with('/') => {
                clean.push('/');
                clean.push_str(name.to_str()?);
            }
            _ => return None,
        }
    }
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_two_absolute_paths_and_known_options() {
        let cases = [
            ("/a:/b", Some("/a /b rbind,rprivate")),
            ("/a:/b//./c/:ro,z", Some("/a /b/c ro,rbind,rprivate")),
            ("/a:/b:rshared", Some("/a /b rbind,rshared")),
            ("/a", None),
            ("/a:/", None),
            ("/a:b", None),
            ("/a:/b/../..", None),
            ("/a:/b:what", None),
            ("/a:/b:ro:x", None),
            ("volume:/b", None),
        ];
        for (text, want) in cases {
            let got = Bind::parse(text).ok().map(|bind| {
                format!("{} {} {}", bind.source, bind.destination, bind.options.join(","))
            });
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_tmpfs_is_safe_unless_asked_otherwise() {
        let wanted = [("/run".to_owned(), "exec,size=1m".to_owned())].into();
        let mounts = tmpfs(&wanted).expect("valid");
        assert_eq!(mounts[0]["options"], serde_json::json!(["nosuid", "nodev", "exec", "size=1m"]));
    }
}
