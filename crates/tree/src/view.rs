//! Layers as one tree that is mounted nowhere.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_string, fsmount, fsopen,
};

/// The root of the layers taken together, topmost first. It is there as long as the descriptor, and
/// nobody else sees it. With `writable`, an upper and a work directory, it can be written.
pub fn layers(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    if let ([only], None) = (lower, writable) {
        return open(only);
    }
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&overlay, "source", "overlay")?;
    for layer in lower {
        set(&overlay, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = writable {
        set(&overlay, "upperdir", upper)?;
        set(&overlay, "workdir", work)?;
    }
    fsconfig_set_string(&overlay, "index", "off")?;
    fsconfig_create(&overlay)?;
    let flags = MountAttrFlags::empty();
    Ok(fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

fn set(overlay: &OwnedFd, key: &str, layer: &Path) -> io::Result<()> {
    let layer = open(layer)?;
    match fsconfig_set_fd(overlay, key, &layer) {
        // Before Linux 6.13 these take names only.
        Err(Errno::INVAL) => {
            let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
            Ok(fsconfig_set_string(overlay, key, name)?)
        }
        set => Ok(set?),
    }
}

/// A directory whose path is ours.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
