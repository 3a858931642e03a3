//! The two kinds of wall.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What stands between a container and everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Isolation {
    /// Namespaces, cgroups and seccomp over the host's kernel.
    #[default]
    Process,
    /// A kernel of its own in a small virtual machine. The API's word is `hyperv`.
    Vm,
}

impl Isolation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Process, Self::Vm];

    /// Whether the container has the host's kernel, so that it can have namespaces together with the host
    /// and with others.
    #[must_use]
    pub fn shares_kernel(self) -> bool {
        match self {
            Self::Process => true,
            Self::Vm => false,
        }
    }

    /// Whether what a container writes lies in a directory of the host, which has no size of its own.
    #[must_use]
    pub fn files_on_host(self) -> bool {
        match self {
            Self::Process => true,
            Self::Vm => false,
        }
    }
}

/// The text names no isolation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid isolation {0:?}: want default, process or hyperv (also spelled vm)")]
pub struct InvalidIsolation(pub String);

impl FromStr for Isolation {
    type Err = InvalidIsolation;

    /// Letter case does not matter. `default` and the empty string are the caller's to resolve.
    fn from_str(text: &str) -> Result<Self, InvalidIsolation> {
        match text.to_ascii_lowercase().as_str() {
            "process" => Ok(Self::Process),
            "hyperv" | "vm" => Ok(Self::Vm),
            _ => Err(InvalidIsolation(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Isolation {
    type Error = InvalidIsolation;

    fn try_from(text: String) -> Result<Self, InvalidIsolation> {
        text.parse()
    }
}

impl From<Isolation> for String {
    fn from(isolation: Isolation) -> Self {
        isolation.to_string()
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Vm => "hyperv",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm_is_another_spelling_of_hyperv() {
        for (text, want) in [
            ("process", Ok(Isolation::Process)),
            ("hyperv", Ok(Isolation::Vm)),
            ("HyperV", Ok(Isolation::Vm)),
            ("vm", Ok(Isolation::Vm)),
            ("default", Err(InvalidIsolation("default".into()))),
            ("", Err(InvalidIsolation(String::new()))),
        ] {
            assert_eq!(text.parse(), want, "{text}");
        }
        assert_eq!(Isolation::Vm.to_string(), "hyperv");
    }
}
