//! Versions of the API: which a request speaks, and whether Hull speaks it too.
//!
//! A path may begin with `/v1.43`; without a version it means the newest. Clients read the version of
//! the server from the `Api-Version` header of `/_ping` and parse the texts of the two refusals, so
//! their wording is fixed.

use std::fmt;

use crate::error::Error;

/// A version of the Docker Engine API. Only the second number has ever changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// What is served without a version in the path. The next one drops fields of `inspect` that
    /// scripts still read.
    pub(crate) const NEWEST: Self = Self::new(1, 51);
    /// Docker's own lower bound; compose files of the first generation pin versions near it.
    pub(crate) const OLDEST: Self = Self::new(1, 24);

    /// The version `major.minor`.
    pub(crate) const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// True from `1.minor` on.
    pub(crate) fn since_minor(self, minor: u16) -> bool {
        self >= Self::new(1, minor)
    }

    /// Splits a leading version off `path`.
    ///
    /// # Errors
    ///
    /// 400 for a version that is not between [`Self::OLDEST`] and [`Self::NEWEST`], in the words that
    /// clients look for.
    pub(crate) fn split(path: &str) -> Result<(Self, &str), Error> {
        let Some((text, rest)) = prefix(path) else {
            return Ok((Self::NEWEST, path));
        };
        let version = Self::parse(text)
            .ok_or_else(|| Error::invalid(format!("invalid API version {text:?}")))?;
        if version < Self::OLDEST {
            return Err(Error::invalid(format!(
                "client version {text} is too old. Minimum supported API version is {}, please \
                 upgrade your client to a newer version",
                Self::OLDEST
            )));
        }
        if version > Self::NEWEST {
            return Err(Error::invalid(format!(
                "client version {text} is too new. Maximum supported API version is {}",
                Self::NEWEST
            )));
        }
        Ok((version, rest))
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// The digits and dots behind `/v`, and the path behind them.
fn prefix(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/')?;
    let (text, rest) = rest.split_at(end);
    let numeric = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    numeric.then_some((text, rest))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_a_version_speaks_the_newest() {
        for path in ["/_ping", "/version", "/volumes", "/v/x", "/vx.y/info", "/"] {
            assert_eq!(Version::split(path).ok(), Some((Version::NEWEST, path)), "{path}");
        }
    }

    #[test]
    fn a_version_is_split_off_the_path() {
        let split = Version::split("/v1.43/containers/json").ok();
        assert_eq!(split, Some((Version::new(1, 43), "/containers/json")));
    }

    #[test]
    fn versions_out_of_range_are_refused_in_dockers_words() {
        let cases = [
            (
                "/v1.23/info",
                "client version 1.23 is too old. Minimum supported API version is 1.24, please \
                 upgrade your client to a newer version",
            ),
            (
                "/v1.52/info",
                "client version 1.52 is too new. Maximum supported API version is 1.51",
            ),
            ("/v2.0/info", "client version 2.0 is too new. Maximum supported API version is 1.51"),
            ("/v1/info", "invalid API version \"1\""),
            ("/v1.2.3/info", "invalid API version \"1.2.3\""),
            ("/v1.99999999/info", "invalid API version \"1.99999999\""),
        ];
        for (path, want) in cases {
            assert_eq!(Version::split(path).unwrap_err().message(), want, "{path}");
        }
    }
}
