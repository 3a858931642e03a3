//! Operating system and processor of an image.

use std::fmt;
use std::str::FromStr;

use spec::Kind;

/// What an image runs on, written `os/architecture[/variant]` in the words of Go's GOOS and GOARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`; `None` takes any.
    pub variant: Option<String>,
}

/// The text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {0:?}: want os/architecture or os/architecture/variant")]
pub struct InvalidPlatform(pub String);

impl InvalidPlatform {
    /// Always [`Kind::Invalid`].
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Platform {
    /// The platform of this host.
    pub fn host() -> Self {
        Self { os: "linux".into(), architecture: normal(std::env::consts::ARCH), variant: None }
    }

    /// Whether an image for `os/architecture/variant` is an image for this platform.
    pub fn accepts(&self, os: &str, architecture: &str, variant: Option<&str>) -> bool {
        let wanted = self.variant.as_deref();
        let default = (self.architecture == "arm64").then_some("v8");
        self.os == os
            && self.architecture == normal(architecture)
            && (wanted.is_none() || wanted == variant.or(default))
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    /// An architecture alone means that of Linux.
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let legal = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(legal) {
            return Err(InvalidPlatform(text.to_owned()));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            ["linux"] => return Ok(Self::host()),
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => return Err(InvalidPlatform(text.to_owned())),
        };
        Ok(Self { os: os.to_owned(), architecture: normal(architecture), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// Go's word for what `uname -m` and others call differently.
fn normal(architecture: &str) -> String {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" | "x86" => "386",
        "armhf" | "armel" => "arm",
        "powerpc64le" => "ppc64le",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_accepts_its_variants() {
        let cases = [
            ("linux/amd64", ("linux", "amd64", None), true),
            ("linux/x86_64", ("linux", "amd64", None), true),
            ("amd64", ("linux", "amd64", Some("v1")), true),
            ("linux/amd64", ("windows", "amd64", None), false),
            ("linux/arm64/v8", ("linux", "arm64", None), true),
            ("linux/arm/v7", ("linux", "arm", Some("v6")), false),
            ("linux/arm", ("linux", "arm", Some("v6")), true),
        ];
        for (text, (os, architecture, variant), want) in cases {
            let platform: Platform = text.parse().expect(text);
            assert_eq!(platform.accepts(os, architecture, variant), want, "{text}");
        }
        for text in ["", "/", "linux/", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
