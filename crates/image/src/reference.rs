//! Names of images, as people write them and as they are stored.
//!
//! ```text
//!   written                      canonical                                   familiar
//!   alpine                       docker.io/library/alpine:latest             alpine:latest
//!   me/app:1                     docker.io/me/app:1                          me/app:1
//!   localhost:5000/app           localhost:5000/app:latest                   localhost:5000/app:latest
//!   alpine@sha256:…              docker.io/library/alpine@sha256:…           alpine@sha256:…
//! ```
//!
//! The first component is a registry if it holds a dot or a colon, is `localhost`, or has an upper-case
//! letter; otherwise it belongs to a repository of docker.io.
//!
//! Spec: OCI distribution-spec, "Pulling manifests" (`<name>` and `<reference>`); the rest is
//! docker's convention (github.com/distribution/reference).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use spec::{Digest, Kind};

/// The registry that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";
/// The longest repository name, registry included.
const MAX_NAME: usize = 255;
/// The longest tag.
const MAX_TAG: usize = 128;

/// The name of an image: a repository in a registry, with a tag, a digest or both.
///
/// Prints as the familiar form, as docker shows it; [`Reference::canonical`] is the stored form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Something else than `[registry/]repository[:tag][@sha256:…]`.
    #[error("invalid reference format: {0:?}")]
    Format(String),
    /// The repository has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// Longer than 255 bytes.
    #[error("invalid reference format: repository name must not be more than 255 characters")]
    TooLong,
    /// 64 hex digits: that is an image id, not a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

impl InvalidReference {
    /// Always [`Kind::Invalid`].
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Reference {
    /// The registry's host and port, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry, `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` was filled in where neither tag nor digest were written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The stored form, with everything in it.
    pub fn canonical(&self) -> String {
        self.with_name(&format!("{}/{}", self.registry, self.repository))
    }

    /// The repository as docker shows it: without `docker.io/` and `library/`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER_HUB {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// The same repository by `digest` alone.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same repository with another tag; `None` if that can be none.
    pub(crate) fn tagged(&self, tag: &str) -> Option<Self> {
        let tag = is_tag(tag).then(|| tag.to_owned())?;
        Some(Self { tag: Some(tag), digest: None, ..self.clone() })
    }

    /// Whether both are of one repository.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }

    fn with_name(&self, name: &str) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        let digest = self.digest.iter().map(|digest| format!("@{digest}"));
        tag.chain(digest).fold(name.to_owned(), |text, part| text + &part)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_name(&self.familiar_name()))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let format = || InvalidReference::Format(text.to_owned());
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(InvalidReference::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| format())?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(format());
        }
        let (registry, repository) = split_registry(name);
        check_name(registry, &repository, name).map_err(|e| e.unwrap_or_else(format))?;
        let latest = || digest.is_none().then(|| "latest".to_owned());
        let tag = tag.map(str::to_owned).or_else(latest);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.canonical()
    }
}

/// The tag follows the last colon, unless a slash comes after it: then that was a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_registry(name: &str) -> (&str, String) {
    let is_registry = |first: &str| {
        first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    let official = registry == DOCKER_HUB && !rest.contains('/');
    (registry, if official { format!("library/{rest}") } else { rest.to_owned() })
}

/// `Err(None)` is the general "format".
fn check_name(
    registry: &str,
    repository: &str,
    written: &str,
) -> Result<(), Option<InvalidReference>> {
    if written.is_empty() || !is_host(registry) {
        return Err(None);
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = repository.to_ascii_lowercase();
        let valid = lower.split('/').all(is_component);
        let name = || InvalidReference::UpperCase(written.to_owned());
        return Err(valid.then(name));
    }
    if !repository.split('/').all(is_component) {
        return Err(None);
    }
    if registry.len() + 1 + repository.len() > MAX_NAME {
        return Err(Some(InvalidReference::TooLong));
    }
    Ok(())
}

/// Runs of letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().next_back().is_some_and(alphanumeric);
    ends && text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with a port or not.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port && match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    }
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_TAG).contains(&text.len())
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
        && text.bytes().next().is_some_and(word)
}

fn is_lower_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_means_docker_hub() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}");
        let cases = [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x"),
            ("[::1]:5000/app:1", "[::1]:5000/app:1", "[::1]:5000/app:1"),
            ("quay.io/a__b.c---d/e", "quay.io/a__b.c---d/e:latest", "quay.io/a__b.c---d/e:latest"),
        ];
        for (text, canonical, familiar) in cases {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.to_string(), familiar);
            assert_eq!(canonical.parse(), Ok(reference), "{text}");
        }
        for text in [format!("alpine@{digest}"), format!("alpine:3@{digest}")] {
            let reference: Reference = text.parse().expect("with a digest");
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.digest().map(Digest::hex), Some(hex.as_str()));
        }
    }

    #[test]
    fn what_could_escape_a_url_or_a_path_is_no_name() {
        let id = "a".repeat(64);
        let long = format!("a/{}", "b".repeat(260));
        for text in [
            "",
            ":",
            "@",
            "a:",
            "a@",
            "a@sha256:12",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a b",
            "a?b",
            "a#b",
            "a:b/c:d:e",
            "a:-x",
            "A",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "host:x/a",
            "host:99999/a",
            "ho$t.x/a",
            "[::1/a",
            "[zz]:1/a",
            "a\n",
            "ä",
            &id,
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
