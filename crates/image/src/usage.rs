//! What images take on disk.

use std::collections::BTreeMap;

use spec::Digest;

use crate::image::Image;
use crate::store::Store;

/// What images take on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the files in all layers of images.
    pub layers: u64,
    /// For each image, bytes of the layers that other images have too.
    pub shared: BTreeMap<Digest, u64>,
    /// For each image, bytes of its blobs.
    pub blobs: BTreeMap<Digest, u64>,
}

/// Adds up. A layer that is being removed meanwhile counts as empty.
pub(crate) fn usage(store: &Store) -> Usage {
    let images: Vec<Image> = store.state().images.values().cloned().collect();
    let mut layers: BTreeMap<&Digest, (u64, usize)> = BTreeMap::new();
    for layer in images.iter().flat_map(|image| &image.chain) {
        let size = || store.snapshots.size(layer).unwrap_or(0);
        layers.entry(layer).or_insert_with(|| (size(), 0)).1 += 1;
    }
    let shared = |image: &Image| {
        let sizes = image.chain.iter().map(|layer| layers[layer]);
        sizes.filter(|(_, images)| *images > 1).map(|(size, _)| size).sum()
    };
    let file =
        |blob: &Digest| std::fs::metadata(store.content.path(blob)).map_or(0, |file| file.len());
    let blobs = |image: &Image| image.blobs.iter().map(file).sum();
    Usage {
        layers: layers.values().map(|(size, _)| size).sum(),
        shared: images.iter().map(|image| (image.id.clone(), shared(image))).collect(),
        blobs: images.iter().map(|image| (image.id.clone(), blobs(image))).collect(),
    }
}
