//! Reading a file of an image before it is mounted, through the overlay's layers.
//!
//! ```text
//!   upper  ->  topmost layer  ->  …  ->  lowest layer      the first that has the file, or hides it
//! ```
//!
//! Invariant: the path is resolved *inside* a layer's directory (openat2 `RESOLVE_IN_ROOT`), and only
//! a regular file is opened for reading, so neither a symlink nor a device or FIFO planted by an
//! image is followed to the host. A symlink that leads to another layer is not followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// Longest file that is read: a password file of a million users.
const LIMIT: u64 = 64 << 20;

/// The text of the file `path`, relative to the root of `layers` (topmost first); `None` when there
/// is none, or something else is in its place.
pub(super) fn read(layers: &[PathBuf], path: &str) -> io::Result<Option<String>> {
    for layer in layers {
        match look(layer, path)? {
            Found::File(file) => return text(&file).map(Some),
            Found::Hidden => return Ok(None),
            Found::Nothing => {}
        }
    }
    Ok(None)
}

enum Found {
    File(OwnedFd),
    Hidden,
    Nothing,
}

fn look(layer: &Path, path: &str) -> io::Result<Found> {
    let root = match rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
        root => root?,
    };
    if let Some(file) = within(&root, path, OFlags::empty())? {
        let stat = rustix::fs::fstat(&file)?;
        return Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Found::File(file),
            _ => Found::Hidden,
        });
    }
    // The file is not here; a directory on its way may still hide those of lower layers.
    let ancestors = Path::new(path).ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    for ancestor in ancestors {
        let Some(dir) = within(&root, ancestor, OFlags::NOFOLLOW)? else { continue };
        let stat = rustix::fs::fstat(&dir)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || is_opaque(&dir) {
            return Ok(Found::Hidden);
        }
    }
    Ok(Found::Nothing)
}

/// What is at `path` beneath `root`, not opened for anything yet.
fn within(
    root: &OwnedFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> rustix::io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match sys::resolve::open(root, path.as_ref(), flags, how) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether overlayfs looks no further down than this directory.
fn is_opaque(dir: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let mut value = [0_u8; 1];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value)
        .is_ok_and(|len| value.get(..len) == Some(b"y"))
}

fn text(file: &OwnedFd) -> io::Result<String> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_topmost_layer_wins_and_no_symlink_leads_out() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let layers = [temp.path().join("top"), temp.path().join("bottom")];
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).expect("layer");
        }
        std::fs::write(temp.path().join("secret"), "host").expect("write");
        std::fs::write(layers[1].join("etc/passwd"), "bottom").expect("write");
        let read = |path| read(&layers, path).expect("readable");
        assert_eq!(read("etc/passwd").as_deref(), Some("bottom"));
        std::fs::write(layers[0].join("etc/real"), "top").expect("write");
        symlink("/etc/real", layers[0].join("etc/passwd")).expect("symlink");
        assert_eq!(read("etc/passwd").as_deref(), Some("top"));
        symlink("../../secret", layers[0].join("etc/group")).expect("symlink");
        assert_eq!(read("etc/group"), None);
        std::fs::create_dir(layers[0].join("etc/dir")).expect("directory");
        assert_eq!(read("etc/dir"), None);
    }
}
