//! Names of containers and of the processes in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest id: it becomes a file name together with a suffix.
const MAX_LEN: usize = 200;

/// A container's name, unique for one state directory.
///
/// Letters, digits and `_ + - .`, as runc allows, but never `.` or `..`: an id is a path component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// The name of a process that was started by `exec` in a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecId(String);

/// The text cannot name a container or process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id {0:?}: want 1 to 200 letters, digits, '_', '+', '-' or '.', not '.' or '..'")]
pub struct InvalidId(pub String);

/// A process: a container's init, or one started in it by `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The container it runs in.
    pub container: ContainerId,
    /// `None` for the container's init.
    pub exec: Option<ExecId>,
}

fn checked(text: &str) -> Result<String, InvalidId> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    let valid = (1..=MAX_LEN).contains(&text.len())
        && text.bytes().all(legal)
        && text != "."
        && text != "..";
    valid.then(|| text.to_owned()).ok_or_else(|| InvalidId(text.to_owned()))
}

/// The conversions that both kinds of id share.
macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                checked(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                checked(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(ContainerId);
id!(ExecId);

impl ProcessId {
    /// The init process of `container`.
    pub fn init(container: ContainerId) -> Self {
        Self { container, exec: None }
    }

    /// The process that `exec` names in `container`.
    pub fn exec(container: ContainerId, exec: ExecId) -> Self {
        Self { container, exec: Some(exec) }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            None => write!(f, "{}", self.container),
            Some(exec) => write!(f, "{}/{exec}", self.container),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_harmless_path_component() {
        let longest = "x".repeat(MAX_LEN);
        for text in ["web", "web-1.2_3+x", ".hidden", "7", &longest] {
            assert_eq!(text.parse::<ContainerId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
        let too_long = "x".repeat(MAX_LEN + 1);
        for text in ["", ".", "..", "a/b", "../a", "a b", "a\0b", "ä", "a\n", &too_long] {
            assert!(text.parse::<ContainerId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_from_json_is_checked_too() {
        assert!(serde_json::from_str::<ContainerId>("\"../../etc\"").is_err());
        assert!(serde_json::from_str::<ContainerId>("\"web\"").is_ok());
    }
}
