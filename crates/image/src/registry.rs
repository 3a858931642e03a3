//! Where images come from: which registries are asked in which way, and what their answers mean.
//!
//! Images of docker.io are asked for at the configured mirrors first, in order and without credentials.
//! TLS with a certificate that someone vouches for is a must, except for loopback addresses and hosts that
//! the configuration calls insecure: those are spoken to in whichever way they answer.
//!
//! Spec: OCI distribution-spec, "Pull"; "Error Codes".

mod certificates;
mod insecure;
mod upload;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Remote};
use spec::{Digest, Kind};

use crate::manifest::{ACCEPTED, Descriptor};
use crate::reference::{DOCKER_HUB, Reference};

/// How long a registry may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// How often a busy registry is asked for a manifest.
const ATTEMPTS: u32 = 4;
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
    /// Directories with a directory `HOST` or `HOST:PORT` for a registry, whose files `*.crt` are
    /// certificates of authorities (in PEM) that vouch for it.
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
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
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
    #[error("{host} does not speak as a registry does")]
    Protocol {
        /// Host and port.
        host: String,
        /// In which way.
        source: Box<OciDistributionError>,
    },
}

/// The deepest cause of a broken connection, without the layers of HTTP clients above it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

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
        let of_mirror = |mirror: &String| {
            let (scheme, host) = split_url(mirror)?;
            let speech = if scheme == "http" { Speech::Plain } else { Speech::Tls };
            Some(self.source(host, speech, RegistryAuth::Anonymous))
        };
        let of_hub = reference.registry() == DOCKER_HUB;
        let mirrors = self.mirrors.iter().filter(|_| of_hub).filter_map(of_mirror);
        mirrors.chain([self.own(reference.registry(), auth)]).collect()
    }

    /// The registry at `host` itself.
    pub(crate) fn own(&self, host: &str, auth: Option<Auth>) -> Source {
        let auth = match auth {
            None => RegistryAuth::Anonymous,
            Some(Auth::Basic { username, password }) => RegistryAuth::Basic(username, password),
            Some(Auth::Bearer(token)) => RegistryAuth::Bearer(token),
        };
        let any = insecure::is_insecure(&self.insecure, host);
        self.source(host, if any { Speech::Any } else { Speech::Tls }, auth)
    }

    fn source(&self, host: &str, speech: Speech, auth: RegistryAuth) -> Source {
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
    auth: RegistryAuth,
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

/// A connection to one registry for the pull of one image.
pub(crate) struct Session {
    client: Client,
    remote: Remote,
    auth: RegistryAuth,
    host: String,
}

/// Bytes of a blob.
pub(crate) struct Blob {
    /// Whether they begin at the offset that was asked for, or at 0.
    pub(crate) resumed: bool,
    pub(crate) stream: BoxStream<'static, io::Result<Bytes>>,
}

impl Source {
    /// Prepares to speak of `reference` here. Only who may be spoken to in any way is asked for it.
    pub(crate) async fn session(&self, reference: &Reference) -> Result<Session, Error> {
        let plain = match self.speech {
            Speech::Plain => true,
            Speech::Tls => false,
            Speech::Any => insecure::speaks_plainly(&self.host).await,
        };
        let config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            // Without TLS there is no certificate to check, nor a need for the host's list of them.
            accept_invalid_certificates: self.speech != Speech::Tls,
            extra_root_certificates: certificates::of(&self.certificates, &self.host)?,
            use_monolithic_push: true,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("hull/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|e| failure(&self.host, e))?;
        let (host, repository) = (self.host.clone(), reference.repository().to_owned());
        let remote = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Remote::with_digest(host, repository, digest.to_string()),
            (None, tag) => Remote::with_tag(host, repository, tag.unwrap_or("latest").to_owned()),
        };
        Ok(Session { client, remote, auth: self.auth.clone(), host: self.host.clone() })
    }
}

impl Session {
    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// What the name leads to, a manifest or index; with `digest`, that one in the same repository. A
    /// registry that is busy is asked again; one that does not answer at all is not.
    pub(crate) async fn manifest(&self, digest: Option<&Digest>) -> Result<Bytes, Error> {
        let remote = match digest {
            Some(digest) => self.remote.clone_with_digest(digest.to_string()),
            None => self.remote.clone(),
        };
        let mut pause = Duration::from_millis(500);
        for _ in 1..ATTEMPTS {
            match self.fetch(&remote).await {
                Err(e @ Error::Answer { .. }) if e.is_passing() => {
                    tracing::debug!(host = self.host, error = %e, "registry is busy");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        self.fetch(&remote).await
    }

    async fn fetch(&self, remote: &Remote) -> Result<Bytes, Error> {
        let pulled = self.client.pull_manifest_raw(remote, &self.auth, &ACCEPTED).await;
        pulled.map(|(bytes, _)| bytes).map_err(|e| failure(&self.host, e))
    }

    /// A blob's bytes, if possible from `offset` on. They are not verified.
    pub(crate) async fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Blob, Error> {
        let descriptor = OciDescriptor {
            digest: blob.digest.to_string(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        self.client.store_auth_if_needed(self.remote.resolve_registry(), &self.auth).await;
        let response =
            self.client.pull_blob_stream_partial(&self.remote, &descriptor, offset, None).await;
        match response.map_err(|e| failure(&self.host, e))? {
            BlobResponse::Full(full) => Ok(Blob { resumed: offset == 0, stream: full.stream }),
            BlobResponse::Partial(rest) => Ok(Blob { resumed: true, stream: rest.stream }),
        }
    }

    /// The tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        const PAGE: usize = 1000;
        let mut tags: Vec<String> = Vec::new();
        loop {
            let last = tags.last().cloned();
            let page = self.client.list_tags(&self.remote, &self.auth, Some(PAGE), last.as_deref());
            let page = page.await.map_err(|e| failure(&self.host, e))?.tags;
            let full = page.len() == PAGE;
            tags.extend(page);
            if !full {
                return Ok(tags);
            }
        }
    }

    /// A stream that broke off.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        Error::Unreachable { host: self.host.clone(), source: deepest(error) }
    }
}

/// What the client's error means.
fn failure(host: &str, error: OciDistributionError) -> Error {
    let host = host.to_owned();
    match error {
        OciDistributionError::RequestError(source) => match source.status() {
            Some(status) => answer(host, status.as_u16(), status.canonical_reason().unwrap_or("")),
            None => Error::Unreachable { host, source: deepest(&source) },
        },
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => Error::Denied { host },
        OciDistributionError::ImageManifestNotFoundError(_) => Error::NotFound { host },
        OciDistributionError::ServerError { code, message, .. } => answer(host, code, &message),
        OciDistributionError::RegistryError { envelope, .. } => {
            let code = envelope.errors.first().map(|error| &error.code);
            match code {
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestBlobUnknown,
                ) => Error::NotFound { host },
                Some(OciErrorCode::Denied | OciErrorCode::Unauthorized) => Error::Denied { host },
                Some(OciErrorCode::Toomanyrequests) => answer(host, 429, &envelope.to_string()),
                _ => answer(host, 400, &envelope.to_string()),
            }
        }
        other => Error::Protocol { host, source: Box::new(other) },
    }
}

fn answer(host: String, status: u16, message: &str) -> Error {
    match status {
        401 | 403 => Error::Denied { host },
        404 => Error::NotFound { host },
        _ => {
            let line = message.lines().next().unwrap_or_default();
            Error::Answer { host, status, message: line.chars().take(200).collect() }
        }
    }
}

fn deepest(error: &(dyn StdError + 'static)) -> Cause {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    Cause(deepest.to_string())
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
            let show = |s: Source| (s.host, s.speech, s.auth != RegistryAuth::Anonymous);
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
