//! Filling a new volume with what the image has in its place.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use image::Snapshot;
use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::Errno;
use tree::pack::{Marks, Packer};
use tree::unpack::extract::{Extract, extract};
use tree::view;

use crate::error::Error;

/// Copies what the image has at `destination` into `to`, a directory of the volume at `volume`, with owners
/// and modes, if it is empty and the image has a directory there.
pub(crate) fn fill(
    snapshot: &Snapshot,
    destination: &str,
    volume: &Path,
    to: OwnedFd,
) -> Result<(), Error> {
    let failed = |action: &'static str| {
        let path = volume.to_owned();
        move |source: io::Error| Error::File { action, path, source }
    };
    let mut there = match std::fs::read_dir(format!("/proc/self/fd/{}", to.as_raw_fd())) {
        // A part of a volume that is a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        there => there.map_err(failed("list"))?,
    };
    if there.next().is_some() {
        return Ok(());
    }
    let root = view::layers(&snapshot.lower, None).map_err(failed("see the image for"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let from = match sys::resolve::open(&root, destination, flags, inside) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        from => from.map_err(|error| failed("open the image's files for")(error.into()))?,
    };
    let (reader, writer) = io::pipe().map_err(failed("fill"))?;
    let how = Extract { dress_base: true, ..Extract::default() };
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new().name("fill".into()).spawn_scoped(scope, || {
            use std::os::fd::AsFd;
            let mut packer = Packer::new(writer, from.as_fd(), Marks::Files, &|_| false);
            packer.add(b".", b".")?;
            packer.finish().map(drop)
        });
        let packing = packing.map_err(failed("fill"))?;
        let unpacked = extract(reader, to, &how);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Who packs sees only that nobody reads any more.
        unpacked?;
        Ok(packed?)
    })
}
