//! Asking a registry without fetching: credentials, tags, and what a name leads to.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use serde_json::Value;
use spec::Digest;

use crate::content::digest_of;
use crate::manifest::{self, Descriptor, Document, MAX_CONFIG, OCI_MANIFEST};
use crate::pull::{Error, Failure};
use crate::registry::{self, Auth, Registries, Session};
use crate::{Platform, Reference};

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The type of what the name leads to.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What there is an image for.
    pub platforms: Vec<Platform>,
}

/// Asks the registry at `host` whether it takes the credentials. Gives an identity token, where it has such.
pub(crate) async fn log_in(
    registries: &Registries,
    host: &str,
    auth: Auth,
) -> Result<Option<String>, registry::Error> {
    let anything: Result<Reference, _> = format!("{host}/hull/login").parse();
    let anything = anything.map_err(|_| registry::Error::NotFound { host: host.to_owned() })?;
    let source = registries.own(anything.registry(), Some(auth));
    source.session(&anything).await?.log_in().await
}

/// What the first registry that knows the image says of it.
pub(crate) async fn look_up(
    registries: &Registries,
    reference: &Reference,
    auth: Option<Auth>,
) -> Result<Remote, Error> {
    let mut last = Failure::GivenUp;
    for source in registries.sources(reference, auth) {
        let asked = match source.session(reference).await {
            Ok(session) => ask(&session, reference).await,
            Err(error) => Err(error.into()),
        };
        match asked {
            Ok(remote) => return Ok(remote),
            Err(error) => last = error,
        }
    }
    Err(Error::of(reference, last))
}

/// The tags of the repository, from the first registry that knows it.
pub(crate) async fn tags(
    registries: &Registries,
    reference: &Reference,
    auth: Option<Auth>,
) -> Result<Vec<Reference>, Error> {
    let mut last = Failure::GivenUp;
    for source in registries.sources(reference, auth) {
        let asked = match source.session(reference).await {
            Ok(session) => session.tags().await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(tags) => return Ok(tags.iter().filter_map(|tag| reference.tagged(tag)).collect()),
            Err(error) => last = error.into(),
        }
    }
    Err(Error::of(reference, last))
}

/// The repositories whose names hold `term`, sorted: of the registry that it begins with, or of the mirrors
/// of Docker Hub. `None` when there is none to ask.
pub(crate) async fn search(
    registries: &Registries,
    term: &str,
) -> Result<Option<Vec<Reference>>, registry::Error> {
    let sources = registries.searched(term);
    if sources.is_empty() {
        return Ok(None);
    }
    let mut found = BTreeSet::new();
    for (source, registry, part) in sources {
        let any = format!("{registry}/any").parse::<Reference>();
        let any = any.map_err(|_| registry::Error::NotFound { host: source.host.clone() })?;
        let all = source.session(&any).await?.catalog().await?;
        let named = all.iter().filter(|name| name.contains(&part));
        found.extend(named.filter_map(|name| format!("{registry}/{name}").parse().ok()));
    }
    Ok(Some(found.into_iter().collect()))
}

async fn ask(session: &Session, reference: &Reference) -> Result<Remote, Failure> {
    let bytes = session.manifest(reference.digest()).await?;
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let (usual, platforms) = match manifest::parse(&bytes)? {
        Document::Manifest(manifest) => {
            (OCI_MANIFEST, vec![platform(session, &manifest.config).await?])
        }
        Document::Index(manifests) => {
            let platforms = manifests.iter().filter_map(|one| one.platform.as_ref());
            let platforms = platforms.map(|described| Platform {
                os: described.os.clone(),
                architecture: described.architecture.clone(),
                variant: described.variant.clone(),
            });
            ("application/vnd.oci.image.index.v1+json", platforms.collect())
        }
    };
    Ok(Remote {
        media_type: said["mediaType"].as_str().unwrap_or(usual).to_owned(),
        digest: digest_of(&bytes),
        size: bytes.len() as u64,
        platforms,
    })
}

/// The platform in a configuration.
async fn platform(session: &Session, config: &Descriptor) -> Result<Platform, Failure> {
    let mut stream = session.blob(config, 0).await?.stream;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| session.broken(&error))?);
        if bytes.len() as u64 > MAX_CONFIG {
            return Err(manifest::Error::Invalid("configuration larger than 8 MiB").into());
        }
    }
    let parse = |source| manifest::Error::Parse { what: "the image's configuration", source };
    let config: Value = serde_json::from_slice(&bytes).map_err(parse)?;
    let field = |name: &str| config[name].as_str().map(str::to_owned);
    Ok(Platform {
        os: field("os").unwrap_or_default(),
        architecture: field("architecture").unwrap_or_default(),
        variant: field("variant").filter(|variant| !variant.is_empty()),
    })
}
