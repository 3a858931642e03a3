//! A layer being made: a directory over an image's layers, written through overlayfs until it is sealed.
//!
//! ```text
//!   snapshots/*.tmp/fs     what is written: the layer to be
//!   snapshots/*.tmp/work   overlayfs's own
//!   snapshots/*.tmp/empty  what it stands on where there is no layer
//! ```

use std::ffi::OsStr;
use std::io::{self, BufWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use spec::{ContainerId, Digest};
use tree::changes::{self, Layers};
use tree::pack::{self, Marks, Packer};
use tree::view;

use crate::commit::Error;
use crate::content::Writer;
use crate::disk::{self, Context};
use crate::snapshot::{Temporary, Unpacked};
use crate::store::{Pin, Store};
use crate::unpack::copy_root_attributes;

/// Bytes written at a time.
const BUFFER: usize = 256 << 10;
/// The digest of an archive with nothing in it: two blocks of zeros.
const NOTHING: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// A layer being made. It goes when this is dropped.
#[derive(Debug)]
pub struct Draft {
    temporary: Temporary,
    lower: Vec<PathBuf>,
    /// Keep what it stands on.
    _pins: Vec<Arc<Pin>>,
}

/// A draft's files and the archive of them.
pub(crate) struct Sealed {
    pub(crate) blob: Writer,
    pub(crate) layer: Unpacked,
}

impl Draft {
    /// Begins a layer on `chain` (lowest first). Blocks.
    pub(crate) fn begin(store: &Store, chain: &[Digest]) -> Result<Self, disk::Error> {
        let pins = chain.iter().map(|layer| store.pin(layer)).collect();
        let temporary = store.snapshots.temporary();
        let (files, empty) = (temporary.path().join("fs"), temporary.path().join("empty"));
        for dir in [&files, &temporary.path().join("work"), &empty] {
            disk::make_dir(dir)?;
        }
        let mut lower = store.snapshots.stack(chain);
        match lower.first() {
            Some(top) => copy_root_attributes(top, &files)?,
            None => lower.push(empty),
        }
        Ok(Self { temporary, lower, _pins: pins })
    }

    /// The root of the layers with this one on top, which is written to. To be closed, with all that was
    /// opened beneath it, before the draft is sealed.
    pub fn root(&self) -> io::Result<OwnedFd> {
        view::layers(&self.lower, Some((&self.files(), &self.temporary.path().join("work"))))
    }

    /// Unpacks an archive with an image layer's marks. Blocks.
    pub(crate) fn fill(store: &Store, chain: &[Digest], archive: impl Read) -> Result<Self, Error> {
        let draft = Self::begin(store, chain)?;
        let found = tree::unpack::unpack(archive, &draft.files())
            .map_err(|error| Error::Unpack(error.into()))?;
        tree::unpack::settle(&draft.files(), &draft.lower, &found)
            .map_err(|error| Error::Unpack(error.into()))?;
        Ok(draft)
    }

    /// Takes what a container has written, without the places that were only made to mount something on.
    /// Blocks.
    pub(crate) fn take(store: &Store, container: &ContainerId) -> Result<Self, Error> {
        let snapshot = store.snapshot(container).map_err(Error::Container)?;
        let chain = store.state().holds.get(container).cloned().unwrap_or_default();
        let draft = Self::begin(store, &chain)?;
        let (files, upper) = (draft.files(), &snapshot.upper);
        disk::remove_tree(&files)?;
        disk::rename(upper, &files)?;
        disk::make_dir(upper)?;
        let layers = Layers {
            upper: view::open(&files).on("open", &files)?,
            lower: view::layers(&draft.lower, None).on("open", &draft.lower[0])?,
        };
        changes::strip(&layers).on("clear", &files)?;
        Ok(draft)
    }

    /// Takes away the places that were only made to mount something on: what stands empty at `targets`, and
    /// the directories above that no layer beneath has and nothing else is in. As BuildKit does it, so that a
    /// mount leaves no trace. Blocks.
    pub fn clear(&self, targets: &[String]) -> Result<(), disk::Error> {
        let files = self.files();
        let beneath = view::layers(&self.lower, None).on("open", &self.lower[0])?;
        let root = self.root().on("open", &files)?;
        changes::clear(&root, &beneath, targets).on("clear", &files)
    }

    /// Ends it: packs what was written. `None` if that is nothing. No file is younger than `epoch`, seconds
    /// since 1970, if there is one. Blocks.
    pub(crate) fn seal(self, store: &Store, epoch: Option<i64>) -> Result<Option<Sealed>, Error> {
        for spare in ["work", "empty"] {
            disk::remove_tree(&self.temporary.path().join(spare))?;
        }
        if let Some(epoch) = epoch {
            age_all(&self.files(), epoch)?;
        }
        let out = BufWriter::with_capacity(BUFFER, crate::commit::Blob(store.content.writer()?));
        let root = view::open(&self.files()).on("open", &self.files())?;
        let mut packer = Packer::new(out, root.as_fd(), Marks::Layer, &|_| false);
        packer.add(b".", b"")?;
        let size = packer.bytes();
        let out = packer.finish()?;
        let blob = out.into_inner().map_err(|error| pack::Error::Write(error.into_error()))?.0;
        let diff_id = blob.digest();
        if diff_id.to_string() == NOTHING {
            return Ok(None);
        }
        let layer = Unpacked::sealed(self.temporary, size, diff_id);
        Ok(Some(Sealed { blob, layer }))
    }

    fn files(&self) -> PathBuf {
        self.temporary.path().join("fs")
    }
}

/// Makes nothing in a directory that nobody else writes younger than `epoch`.
fn age_all(root: &Path, epoch: i64) -> Result<(), disk::Error> {
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if path.symlink_metadata().on("look at", &path)?.is_dir() {
            pending.extend(disk::list(&path)?);
        }
        age(&path, epoch)?;
    }
    Ok(())
}

/// Makes what is at `path` itself no younger than `epoch`.
fn age(path: &Path, epoch: i64) -> Result<(), disk::Error> {
    use std::os::unix::fs::MetadataExt;
    let found = path.symlink_metadata().on("look at", path)?;
    if (found.mtime(), found.mtime_nsec()) <= (epoch, 0) {
        return Ok(());
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: epoch, tv_nsec: 0 },
    };
    let name: &OsStr = path.as_ref();
    rustix::fs::utimensat(CWD, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(io::Error::from)
        .on("set the time of", path)
}
