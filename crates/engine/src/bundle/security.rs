//! Security options: what a program may ask of the kernel.

use serde_json::Value;

use super::{process, profile, seccomp};
use crate::config::HostConfig;
use crate::error::Error;

/// What a container's security options say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Seccomp,
    /// Whether `/sys/fs/cgroup` may be written.
    pub(crate) writable_cgroups: bool,
}

/// Which system calls are filtered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Seccomp {
    /// Those that the default filter does not allow.
    #[default]
    Default,
    /// None.
    Off,
    /// As the client's profile says, which is its text.
    Profile(String),
}

impl Security {
    /// Reads `HostConfig.SecurityOpt`.
    pub(crate) fn parse(options: &[String]) -> Result<Self, Error> {
        let mut security = Self::default();
        for option in options {
            // `:` is the old spelling of `=`.
            let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            let on = !matches!(value, "false" | "0");
            match (name, value) {
                ("no-new-privileges", "" | "true" | "1" | "false" | "0") => {
                    security.no_new_privileges = on;
                }
                ("writable-cgroups", "true" | "1" | "false" | "0") => {
                    security.writable_cgroups = on;
                }
                ("seccomp", "unconfined") => security.seccomp = Seccomp::Off,
                ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
                ("seccomp", profile) if !profile.is_empty() => {
                    security.seccomp = Seccomp::Profile(profile.to_owned());
                }
                // Without such a module in the kernel nobody is confined.
                ("apparmor", "unconfined") | ("label", "disable") => {}
                ("apparmor" | "label", _) => {
                    let problem = format!("{option}: this kernel has no such security module");
                    return Err(unsupported(problem));
                }
                _ => return Err(unsupported(format!("invalid --security-opt 2: {option:?}"))),
            }
        }
        Ok(security)
    }

    /// The options of a container, of which a privileged one has less.
    pub(crate) fn of(host: &HostConfig) -> Result<Self, Error> {
        let mut security = Self::parse(&host.security_opt)?;
        if host.openings.privileged {
            security.writable_cgroups = true;
            if security.seccomp == Seccomp::Default {
                security.seccomp = Seccomp::Off;
            }
        }
        Ok(security)
    }

    /// The filter, if there is one.
    pub(crate) fn filter(&self, host: &HostConfig) -> Result<Option<Value>, Error> {
        let capabilities = process::capabilities(host)?;
        match &self.seccomp {
            Seccomp::Off => Ok(None),
            Seccomp::Default => Ok(Some(seccomp::filter(&capabilities))),
            Seccomp::Profile(text) => profile::filter(text, &capabilities).map(Some),
        }
    }
}

fn unsupported(problem: String) -> Error {
    Error::Unsupported { field: "HostConfig.SecurityOpt", problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_understood_or_refused() {
        let parse = |option: &str| Security::parse(&[option.to_owned()]).ok();
        let on = Security { no_new_privileges: true, ..Security::default() };
        for option in ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"] {
            assert_eq!(parse(option), Some(on.clone()), "{option}");
        }
        let profile = Seccomp::Profile("{\"a\":1}".to_owned());
        assert_eq!(parse("seccomp={\"a\":1}").map(|security| security.seccomp), Some(profile));
        assert_eq!(parse("apparmor=unconfined"), Some(Security::default()));
        for option in ["apparmor=mine", "label=type:x", "seccomp=", "what=ever"] {
            assert_eq!(parse(option), None, "{option}");
        }
    }
}
