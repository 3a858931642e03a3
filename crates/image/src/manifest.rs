//! Manifests and indexes, OCI's and docker's, reduced to what a pull needs.
//!
//! Both formats differ in media types only, and registries are known to leave those out; so the fields
//! tell what a document is.
//!
//! Spec: OCI image-spec, manifest.md, image-index.md; docker "Image Manifest V 2, Schema 2".

use serde::{Deserialize, Serialize};
use spec::{Digest, Kind};

use crate::Platform;

/// Overlayfs stacks at most this many.
const MAX_LAYERS: usize = 500;
/// The largest manifest that registries take.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// The largest configuration taken.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// What an image manifest without a media type is.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media types asked for.
pub(crate) const ACCEPTED: [&str; 4] = [
    OCI_MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// What a layer may be.
const LAYERS: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];
/// What a configuration may be.
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON it should be.
    #[error("parse {what}")]
    Parse {
        /// The document.
        what: &'static str,
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// Of a kind that Hull cannot run: schema 1, an artifact, a layer of another kind.
    #[error("unsupported {what} {found:?}")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        found: String,
    },
    /// The index has nothing for the platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(Platform),
    /// Too large, or parts that do not fit together.
    #[error("invalid manifest: {0}")]
    Invalid(&'static str),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Parse { .. } | Self::Invalid(_) => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::NoPlatform(_) => Kind::NotFound,
        }
    }
}

/// What a manifest or index came as.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

/// One image of one platform.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    /// Lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

/// A blob that is spoken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescribedPlatform>,
}

/// What an index says of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DescribedPlatform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

/// The fields of both documents.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Schema 1 has other fields altogether, so the version is looked at first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    schema_version: u32,
}

/// Parses what a registry gave for a manifest.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, Error> {
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(Error::Invalid("larger than 4 MiB"));
    }
    let parse = |source| Error::Parse { what: "the manifest", source };
    let version: Version = serde_json::from_slice(bytes).map_err(parse)?;
    if version.schema_version != 2 {
        let found = version.schema_version.to_string();
        return Err(Error::Unsupported { what: "manifest schema version", found });
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(parse)?;
    match (raw.config, raw.layers, raw.manifests) {
        (None, None, Some(manifests)) => Ok(Document::Index(manifests)),
        (Some(config), Some(layers), None) => {
            let media_type =
                if raw.media_type.is_empty() { OCI_MANIFEST.to_owned() } else { raw.media_type };
            Manifest { media_type, config, layers }.checked().map(Document::Manifest)
        }
        _ => Err(Error::Invalid("neither an image nor an index")),
    }
}

impl Manifest {
    fn checked(self) -> Result<Self, Error> {
        if !CONFIGS.contains(&self.config.media_type.as_str()) {
            let found = self.config.media_type;
            return Err(Error::Unsupported { what: "image configuration type", found });
        }
        if let Some(layer) = self.layers.iter().find(|l| !LAYERS.contains(&l.media_type.as_str())) {
            let found = layer.media_type.clone();
            return Err(Error::Unsupported { what: "layer type", found });
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(Error::Invalid("more than 500 layers"));
        }
        if self.config.size > MAX_CONFIG {
            return Err(Error::Invalid("configuration larger than 8 MiB"));
        }
        Ok(self)
    }
}

/// The manifest in an index that is for `platform`: the first that says so, or the only one if it says
/// nothing.
pub(crate) fn choose<'a>(
    manifests: &'a [Descriptor],
    platform: &Platform,
) -> Result<&'a Descriptor, Error> {
    let fits = |manifest: &&Descriptor| {
        manifest.platform.as_ref().is_some_and(|described| {
            let variant = described.variant.as_deref();
            platform.accepts(&described.os, &described.architecture, variant)
        })
    };
    let only = match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    let chosen = manifests.iter().find(fits).or(only);
    chosen.ok_or_else(|| Error::NoPlatform(platform.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[(&str, &str)]) -> Vec<Descriptor> {
        let describe = |(i, (os, architecture)): (usize, &(&str, &str))| Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::from_sha256([u8::try_from(i).expect("few"); 32]),
            size: 2,
            platform: Some(DescribedPlatform {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: None,
            }),
        };
        platforms.iter().enumerate().map(describe).collect()
    }

    #[test]
    fn an_index_gives_the_manifest_of_the_platform() {
        let manifests = index(&[("unknown", "unknown"), ("linux", "arm64"), ("linux", "amd64")]);
        let chosen = |text: &str| {
            let platform: Platform = text.parse().expect("a platform");
            choose(&manifests, &platform).map(|chosen| chosen.digest.clone()).ok()
        };
        assert_eq!(chosen("linux/amd64"), Some(Digest::from_sha256([2; 32])));
        assert_eq!(chosen("linux/arm64/v8"), Some(Digest::from_sha256([1; 32])));
        assert_eq!(chosen("linux/s390x"), None);
    }

    #[test]
    fn only_images_are_taken() {
        let blob = |kind: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"sha256:{}","size":1}}"#, "0".repeat(64))
        };
        let config = blob(CONFIGS[0]);
        let image = |layer: &str| {
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, blob(layer))
        };
        let helm = config.replace("oci.image.config.v1", "cncf.helm.config.v1");
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        let cases = [
            ("an image", image(LAYERS[1]), None),
            ("a strange layer", image("application/x-tar"), Some(Kind::Unsupported)),
            ("an artifact", image(LAYERS[0]).replace(&config, &helm), Some(Kind::Unsupported)),
            (
                "schema 1",
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                Some(Kind::Unsupported),
            ),
            ("both at once", both, Some(Kind::Invalid)),
            ("nothing", "{}".to_owned(), Some(Kind::Invalid)),
        ];
        for (name, text, want) in cases {
            assert_eq!(parse(text.as_bytes()).err().map(|e| e.kind()), want, "{name}");
        }
    }
}
