//! Where images come from: which registries are asked in which way, and what their answers mean.
//!
//! Images of docker.io are asked for at the configured mirrors first, in order and without credentials.
//! TLS with a certificate that someone vouches for is a must, except for loopback addresses and hosts that
//! the configuration calls insecure: those are spoken to in whichever way they answer.
//!
//! Spec: OCI distribution-spec, "Pull"; "Error Codes".

mod door;
mod insecure;
mod session;
mod trust;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Url};
use spec::Kind;

use crate::reference::{DOCKER_HUB, Reference};
use door::Door;
pub(crate) use session::Session;

/// Where Docker Hub's registry is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// How long a registry may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// How long it may stay silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Which registries are asked, beside the one in an image's name.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Base URLs (`http://127.0.0.1:5000`) tried in order for images of docker.io, before docker.io.
    pub mirrors: Vec<String>,
    /// `HOST`, `HOST:PORT` or `ADDRESS/PREFIX` that may be spoken to without TLS, or with a certificate
    /// that nobody vouches for. Loopback addresses always may.
    pub insecure: Vec<String>,
    /// Directories with a directory `HOST` or `HOST:PORT` for a registry, whose files (in PEM) `*.crt` are
    /// certificates that vouch for it, and `NAME.cert` with `NAME.key` what is shown to it.
    pub certificates: Vec<PathBuf>,
}

/// A mirror or insecure registry that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistry {
    /// Not `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    #[error("invalid registry mirror {0:?}: want http://HOST[:PORT] or https://HOST[:PORT]")]
    Mirror(String),
    /// Not a host.
    #[error("invalid insecure registry {0:?}: want HOST, HOST:PORT or ADDRESS/PREFIX")]
    Insecure(String),
}

/// What opens a registry's door; never printed.
#[derive(Clone)]
pub enum Auth {
    /// User and password.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: String,
    },
    /// A registry token (`registrytoken` of docker's `X-Registry-Auth`).
    Bearer(String),
    /// What a registry gave at the login in the password's place (`identitytoken`).
    Identity(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Identity(_) => "Identity",
        })
    }
}

/// Why a registry did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke.
    #[error("connect to {host}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The deepest cause: the kernel's, the resolver's or TLS's.
        source: Cause,
    },
    /// A certificate for it cannot be used.
    #[error("certificate {}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It has no such thing.
    #[error("{host} has no such image")]
    NotFound {
        /// Host and port.
        host: String,
    },
    /// It wants other credentials, or none will do.
    #[error("{host} denies access")]
    Denied {
        /// Host and port.
        host: String,
    },
    /// It answers with an error of its own.
    #[error("{host} answers {status}: {message}")]
    Answer {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The beginning of what it says.
        message: String,
    },
    /// It breaks the protocol.
    #[error("{host} does not speak as a registry does: it gives {problem}")]
    Protocol {
        /// Host and port.
        host: String,
        /// In which way.
        problem: &'static str,
    },
}

/// The deepest cause of a broken connection, without the layers of HTTP clients above it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. } => Kind::Denied,
            Self::Certificate { .. } => Kind::Internal,
            Self::Unreachable { .. } | Self::Answer { .. } | Self::Protocol { .. } => {
                Kind::Unavailable
            }
        }
    }

    /// Whether the same question may get another answer soon.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

impl Registries {
    /// Checks the configuration once, when it is read.
    pub(crate) fn checked(self) -> Result<Self, InvalidRegistry> {
        if let Some(bad) = self.mirrors.iter().find(|mirror| split_url(mirror).is_none()) {
            return Err(InvalidRegistry::Mirror(bad.clone()));
        }
        if let Some(bad) = self.insecure.iter().find(|host| !insecure::is_valid(host)) {
            return Err(InvalidRegistry::Insecure(bad.clone()));
        }
        Ok(self)
    }

    /// Whom to ask for an image, in order. Credentials are for the image's own registry alone.
    pub(crate) fn sources(&self, reference: &Reference, auth: Option<Auth>) -> Vec<Source> {
        let of_hub = reference.registry() == DOCKER_HUB;
        let mirrors = self.mirrors.iter().filter(|_| of_hub).filter_map(|url| self.mirror(url));
        mirrors.chain([self.own(reference.registry(), auth)]).collect()
    }

    /// Whom to ask which repositories there are whose names hold `term`, and what the names look like then:
    /// the registry that the term begins with, or the mirrors of Docker Hub.
    pub(crate) fn searched(&self, term: &str) -> Vec<(Source, String, String)> {
        let own = format!("{term}x").parse::<Reference>().ok();
        if let Some(own) = own.filter(|own| own.registry() != DOCKER_HUB) {
            let host = own.registry().to_owned();
            let rest = term.split_once('/').map_or("", |(_, rest)| rest).to_owned();
            return vec![(self.own(&host, None), host, rest)];
        }
        let mirrors = self.mirrors.iter().filter_map(|mirror| self.mirror(mirror));
        let named = |mirror| (mirror, DOCKER_HUB.to_owned(), term.to_owned());
        mirrors.map(named).collect()
    }

    fn mirror(&self, url: &str) -> Option<Source> {
        let (scheme, host) = split_url(url)?;
        let speech = if scheme == "http" { Speech::Plain } else { Speech::Tls };
        Some(self.source(host, speech, None))
    }

    /// The registry at `host` itself.
    pub(crate) fn own(&self, host: &str, auth: Option<Auth>) -> Source {
        let any = insecure::is_insecure(&self.insecure, host);
        self.source(host, if any { Speech::Any } else { Speech::Tls }, auth)
    }

    fn source(&self, host: &str, speech: Speech, auth: Option<Auth>) -> Source {
        Source { host: host.to_owned(), speech, auth, certificates: self.certificates.clone() }
    }
}

/// Scheme and host of a mirror; a path, query or user in it is refused.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let (scheme, host) = url.split_once("://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_host = format!("{host}:1/x").parse::<Reference>().is_ok()
        || format!("{host}/x").parse::<Reference>().is_ok_and(|name| name.registry() == host);
    (matches!(scheme, "http" | "https") && is_host).then_some((scheme, host))
}

/// One registry to ask.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) host: String,
    speech: Speech,
    auth: Option<Auth>,
    certificates: Vec<PathBuf>,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// HTTP.
    Plain,
    /// HTTPS, with a certificate that is checked.
    Tls,
    /// Whatever it answers to.
    Any,
}

impl Source {
    /// Prepares to speak of `reference` here. Only who may be spoken to in any way is asked for it.
    pub(crate) async fn session(&self, reference: &Reference) -> Result<Session, Error> {
        let plain = match self.speech {
            Speech::Plain => true,
            Speech::Tls => false,
            Speech::Any => insecure::speaks_plainly(&self.host).await,
        };
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("hull/", env!("CARGO_PKG_VERSION")));
        // Without TLS there is no certificate to check, nor a need for the host's list of them.
        if !plain || self.speech == Speech::Any {
            let anyone = self.speech != Speech::Tls;
            let config = trust::config(&self.certificates, &self.host, anyone)?;
            client = client.tls_backend_preconfigured(config);
        }
        let unusable = |problem| Error::Protocol { host: self.host.clone(), problem };
        let client = client.build().map_err(|_| unusable("no client can be made for it"))?;
        let scheme = if plain { "http" } else { "https" };
        let address = if self.host == DOCKER_HUB { DOCKER_HUB_HOST } else { &self.host };
        let base = Url::parse(&format!("{scheme}://{address}/v2/"));
        let target = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        Ok(Session {
            client,
            host: self.host.clone(),
            base: base.map_err(|_| unusable("its address is none"))?,
            repository: reference.repository().to_owned(),
            target,
            door: Door::new(self.auth.clone(), self.speech != Speech::Tls),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_serve_docker_hub_alone_and_get_no_password() {
        let registries = Registries {
            mirrors: vec!["http://127.0.0.1:5000".into(), "https://mirror.example/".into()],
            insecure: vec!["lab.example:5000".into(), "10.0.0.1".into(), "10.9.0.0/16".into()],
            ..Registries::default()
        };
        let registries = registries.checked().expect("valid");
        let sources = |name: &str| {
            let auth = Auth::Basic { username: "me".into(), password: "secret".into() };
            let sources = registries.sources(&name.parse().expect("a name"), Some(auth));
            let show = |s: Source| (s.host, s.speech, s.auth.is_some());
            sources.into_iter().map(show).collect::<Vec<_>>()
        };
        let one = |host: &str, any| {
            let speech = if any { Speech::Any } else { Speech::Tls };
            vec![(host.to_owned(), speech, true)]
        };
        let hub = [
            ("127.0.0.1:5000".to_owned(), Speech::Plain, false),
            ("mirror.example".to_owned(), Speech::Tls, false),
            ("docker.io".to_owned(), Speech::Tls, true),
        ];
        assert_eq!(sources("alpine"), hub);
        assert_eq!(sources("quay.io/a"), one("quay.io", false));
        assert_eq!(sources("lab.example:5000/a"), one("lab.example:5000", true));
        assert_eq!(sources("lab.example:5001/a"), one("lab.example:5001", false));
        assert_eq!(sources("10.0.0.1:80/a"), one("10.0.0.1:80", true));
        assert_eq!(sources("10.9.8.7:80/a"), one("10.9.8.7:80", true));
        assert_eq!(sources("10.8.8.7:80/a"), one("10.8.8.7:80", false));
        assert_eq!(sources("127.9.9.9:1/a"), one("127.9.9.9:1", true));
        assert_eq!(sources("[::1]:5000/a"), one("[::1]:5000", true));
        assert_eq!(sources("localhost/a"), one("localhost", true));
        assert_eq!(sources("127.0.0.1.example/a"), one("127.0.0.1.example", false));
    }

    #[test]
    fn a_mirror_is_scheme_and_host() {
        for (url, valid) in [
            ("http://127.0.0.1:5000", true),
            ("https://mirror.example/", true),
            ("https://mirror", true),
            ("http://[::1]:5000", true),
            ("127.0.0.1:5000", false),
            ("ftp://mirror.example", false),
            ("http://me:pass@mirror.example", false),
            ("http://mirror.example/path", false),
            ("http://mirror.example?x", false),
            ("http://", false),
        ] {
            let registries = Registries { mirrors: vec![url.into()], ..Registries::default() };
            assert_eq!(registries.checked().is_ok(), valid, "{url}");
        }
    }
}
