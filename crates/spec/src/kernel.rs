//! Which kernel a container asks for, and whether one is it.
//!
//! An image or a client asks by the labels [`KERNEL_MINIMUM`] and [`KERNEL`], an image also by the `os.version`
//! of its configuration; they reach the bundle as annotations. Whoever makes the container, on either side of the wall, holds them against its own kernel; a
//! VM is started with one that fits.

use std::collections::HashMap;

use crate::Kind;
use crate::annotation::{KERNEL, KERNEL_MINIMUM};

/// A version of Linux by its numbers: `6.1.0-56-cloud-amd64` is 6.1.0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// `None` where there is no number in front. Zeroes at the end mean nothing.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
        let parts: Option<Vec<u64>> =
            release[..end].split('.').map(|part| part.parse().ok()).collect();
        let mut parts = parts?;
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(Self(parts))
    }
}

/// The newest of what is asked for; what is no version goes before all, to be refused.
#[must_use]
pub fn newest<'a>(asked: impl IntoIterator<Item = Option<&'a String>>) -> Option<&'a str> {
    let asked = asked.into_iter().flatten();
    asked.map(String::as_str).max_by_key(|text| {
        let version = Version::parse(text);
        (version.is_none(), version)
    })
}

/// The kernel that a container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    least: Option<(Version, String)>,
    exactly: Option<String>,
}

/// A kernel is not what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The label's text.
    #[error("{KERNEL_MINIMUM}: {0:?} is no version: want numbers with dots, as 6.1")]
    Version(String),
    /// The kernel is too old.
    #[error(
        "the container asks for Linux {asked} or newer, and this kernel is {has}: \
         use hyperv isolation with a kernel that satisfies it"
    )]
    Older {
        /// The least that will do.
        asked: String,
        /// What there is.
        has: String,
    },
    /// The kernel is another.
    #[error("the container asks for Linux {asked}, and this kernel is {has}: use hyperv isolation")]
    Another {
        /// The release.
        asked: String,
        /// What there is.
        has: String,
    },
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Version(_) => Kind::Invalid,
            Self::Older { .. } | Self::Another { .. } => Kind::Unsupported,
        }
    }
}

impl Wish {
    /// Reads it from a configuration's annotations.
    pub fn of(annotations: Option<&HashMap<String, String>>) -> Result<Self, Error> {
        let get = |key| annotations.and_then(|all| all.get(key));
        let parse = |text: &String| {
            let version = Version::parse(text).ok_or_else(|| Error::Version(text.clone()))?;
            Ok((version, text.clone()))
        };
        let least = get(KERNEL_MINIMUM).map(parse).transpose()?;
        Ok(Self { least, exactly: get(KERNEL).cloned() })
    }

    /// Whether any kernel will do.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the kernel of this release will do.
    pub fn check(&self, release: &str) -> Result<(), Error> {
        let has = || release.to_owned();
        if let Some(asked) = self.exactly.as_ref().filter(|asked| *asked != release) {
            return Err(Error::Another { asked: asked.clone(), has: has() });
        }
        match &self.least {
            Some((least, asked)) if Version::parse(release).is_none_or(|is| is < *least) => {
                Err(Error::Older { asked: asked.clone(), has: has() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(key: &str, value: &str) -> Result<Wish, Error> {
        Wish::of(Some(&[(key.to_owned(), value.to_owned())].into()))
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (asked, has, will_do) in [
            ("6.1", "6.1.0-56-cloud-amd64", true),
            ("6.1.0", "6.1-rc3", true),
            ("6.9", "6.18.44", true),
            ("6.18.45", "6.18.44", false),
            ("7", "6.18.44", false),
            ("5.10", "unknown", false),
        ] {
            let checked = wish(KERNEL_MINIMUM, asked).expect("a version").check(has);
            assert_eq!(checked.is_ok(), will_do, "{asked} {has}");
        }
        for text in ["", "six", "6..1", "-1"] {
            assert_eq!(wish(KERNEL_MINIMUM, text), Err(Error::Version(text.to_owned())));
        }
    }

    #[test]
    fn of_two_wishes_the_newer_counts() {
        let text = |text: &str| Some(text.to_owned());
        for (one, other, want) in [
            (None, None, None),
            (text("6.1"), None, Some("6.1")),
            (text("6.9"), text("6.10"), Some("6.10")),
            (text("7"), text("6.10"), Some("7")),
            (text("soon"), text("6.10"), Some("soon")),
        ] {
            assert_eq!(newest([one.as_ref(), other.as_ref()]), want);
            assert_eq!(newest([other.as_ref(), one.as_ref()]), want);
        }
    }

    #[test]
    fn a_refusal_names_both_versions() {
        let error = wish(KERNEL_MINIMUM, "99.0").expect("a version").check("6.18.44");
        let said = error.expect_err("too old").to_string();
        assert!(said.contains("Linux 99.0 or newer") && said.contains("is 6.18.44"), "{said}");
        let exact = wish(KERNEL, "6.1.0-56-cloud-amd64").expect("a name");
        assert!(exact.check("6.1.0-56-cloud-amd64").is_ok());
        assert_eq!(exact.check("6.1.0").expect_err("another").kind(), Kind::Unsupported);
        assert!(Wish::of(None).expect("none").is_none());
    }
}
