//! Which image a word means.

use std::collections::BTreeMap;

use spec::{Digest, Kind};

use crate::image::Image;
use crate::reference::{InvalidReference, Reference};

/// Why a word means no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is called so.
    #[error("No such image: {0}")]
    NotFound(String),
    /// More than one id begins so.
    #[error("ambiguous image id {0:?}: {1} images begin with it")]
    Ambiguous(String, usize),
    /// It is neither name nor id.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Ambiguous(..) => Kind::Conflict,
            Self::Reference(e) => e.kind(),
        }
    }
}

/// In docker's order: a whole id, a name, the beginning of an id.
pub(crate) fn find<'a>(
    images: &'a BTreeMap<Digest, Image>,
    name: &str,
) -> Result<&'a Image, Error> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    if let Ok(id) = format!("sha256:{hex}").parse::<Digest>() {
        return images.get(&id).ok_or_else(|| Error::NotFound(name.to_owned()));
    }
    let reference = name.parse::<Reference>();
    let named = |reference: &Reference| images.values().find(|image| answers(image, reference));
    if let Some(image) = reference.as_ref().ok().and_then(named) {
        return Ok(image);
    }
    let is_hex = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let begins = |image: &&Image| is_hex && image.id.hex().starts_with(hex);
    let mut matches = images.values().filter(begins);
    match (matches.next(), matches.count()) {
        (Some(image), 0) => Ok(image),
        (Some(_), more) => Err(Error::Ambiguous(name.to_owned(), more + 1)),
        (None, _) => Err(Error::NotFound(reference?.to_string())),
    }
}

/// With a digest the tag says nothing.
fn answers(image: &Image, reference: &Reference) -> bool {
    match reference.digest() {
        Some(digest) => image.has_name(&reference.at(digest.clone())),
        None => image.has_name(reference),
    }
}

/// Whether `name` is the beginning of `id` rather than a name.
pub(crate) fn is_id(id: &Digest, name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    !hex.is_empty() && id.hex().starts_with(hex)
}
