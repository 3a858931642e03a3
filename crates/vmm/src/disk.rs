//! The files behind a machine's disks.
//!
//! A clone's disks stand in for its template's placeholders, so sizes are fixed: every root image is
//! padded to [`ROOT_BYTES`] with a hole, and a scratch disk's size is part of the template's key.
//! A file appears under its name complete or not at all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{MemfdFlags, SeekFrom};
use spec::Kind;

/// The size of every root disk in bytes, 64 GiB.
pub const ROOT_BYTES: u64 = 64 << 30;

/// Makes a read-only image of the tree at `source`, uncompressed, ownership and extended attributes
/// kept.
pub fn make_erofs(source: &Path, out: &Path) -> Result<(), Error> {
    place(out, |temporary| {
        let mut command = Command::new("mkfs.erofs");
        // The image is made once and kept: its id must not differ between two makings.
        command.args(["--quiet", "-U", "00000000-0000-0000-0000-000000000000"]);
        run(command.arg(temporary).arg(source), "erofs-utils")?;
        let padded = File::options().write(true).open(temporary).and_then(|image| {
            match image.metadata()?.len() {
                size if size > ROOT_BYTES => Err(io::ErrorKind::FileTooLarge.into()),
                _ => image.set_len(ROOT_BYTES),
            }
        });
        padded.map_err(file("pad", out))
    })
}

/// What a directory looks like from outside: permission bits, owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The twelve bits of chmod(2).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Makes an ext4 of `mib` MiB in a sparse file at `path`, with the empty directories that an overlay wants:
/// `upper`, which looks like the root directory `root` that it will stand for, and `work`. To make them in
/// an emulated guest takes longer than all else that is done with its disks. `cache` is a directory in which
/// one of each kind is kept to copy from.
pub fn make_scratch(path: &Path, mib: u32, root: Look, cache: &Path) -> Result<(), Error> {
    let Look { mode, uid, gid } = root;
    let empty = cache.join(format!("scratch-{mib}-{mode:o}-{uid}-{gid}.ext4"));
    if !empty.exists() {
        crate::cache::make_directory(cache).map_err(file("create", cache))?;
        place(&empty, |temporary| {
            let tree = temporary.with_extension("tree");
            let made = overlay_directories(&tree, root).map_err(file("create", &tree));
            let made = made.and_then(|()| make_ext4(temporary, mib, &tree));
            // What failed first is told.
            let removed = fs::remove_dir_all(&tree).map_err(file("remove", &tree));
            made.and(removed)
        })?;
    }
    place(path, |temporary| copy_sparse(&empty, temporary).map_err(file("write", path)))
}

fn overlay_directories(tree: &Path, root: Look) -> io::Result<()> {
    let upper = tree.join("upper");
    fs::create_dir_all(&upper)?;
    std::os::unix::fs::chown(&upper, Some(root.uid), Some(root.gid))?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(root.mode))?;
    fs::create_dir(tree.join("work"))
}

fn make_ext4(path: &Path, mib: u32, tree: &Path) -> Result<(), Error> {
    let made = File::create(path).and_then(|made| made.set_len(u64::from(mib) << 20));
    made.map_err(file("create", path))?;
    let mut command = Command::new("mkfs.ext4");
    // In a fresh file everything is zero: inode tables need no wiping, now or in the guest.
    // It does not grow: without room for that a fresh one is 4 MB less to copy.
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^resize_inode"]);
    command.args(["-E", "discard,root_owner=0:0", "-d"]);
    run(command.arg(tree).arg(path), "e2fsprogs")
}

/// A sparse file of `size` bytes without a name, once for reading and writing and once for reading.
pub(crate) fn nameless(size: u64) -> io::Result<(OwnedFd, OwnedFd)> {
    let file = rustix::fs::memfd_create("placeholder", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, size)?;
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok((file, read_only.into()))
}

/// Lets `make` write a file beside `out`, then renames it there.
fn place(out: &Path, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let name = out.file_name().unwrap_or(OsStr::new("disk")).to_string_lossy();
    let thread = rustix::thread::gettid();
    let temporary = out.with_file_name(format!(".{name}.{thread}.tmp"));
    drop(fs::remove_file(&temporary));
    make(&temporary)
        .and_then(|()| fs::rename(&temporary, out).map_err(file("rename to", out)))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}

fn run(command: &mut Command, package: &'static str) -> Result<(), Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoTool { tool, package });
        }
        Err(source) => return Err(Error::Tool { tool, said: String::new(), source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or_default().to_owned();
    Err(Error::Tool { tool, said, source: io::Error::other(output.status.to_string()) })
}

/// Copies what is not a hole.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create_new(to)?);
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(&from, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break, // only a hole is left
            Err(errno) => return Err(errno.into()),
        };
        at = rustix::fs::seek(&from, SeekFrom::Hole(data))?;
        copy_range(&from, &to, data, at)?;
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut input, mut output) = (start, start);
    while input < end {
        let length = usize::try_from(end - input).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut input), to, Some(&mut output), length)?;
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn file(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { step, path: path.to_owned(), source }
}

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool is not installed.
    #[error("no {tool} in PATH: install {package}")]
    NoTool {
        /// The tool.
        tool: String,
        /// The package it comes in.
        package: &'static str,
    },
    /// A tool failed.
    #[error("{tool}: {said}")]
    Tool {
        /// The tool.
        tool: String,
        /// Its last line.
        said: String,
        /// How it ended.
        source: io::Error,
    },
    /// A step with the file itself.
    #[error("{step} {}", path.display())]
    File {
        /// The step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoTool { .. } => Kind::Unsupported,
            Self::Tool { said, .. } if said.contains("No space left") => Kind::Exhausted,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::Tool { .. } | Self::File { .. } => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_scratch_disk_is_a_sparse_copy_of_the_empty_one() {
        let root = Look { mode: 0o1750, uid: 12, gid: 34 };
        let directory = tempfile::tempdir().unwrap();
        let (path, cache) = (directory.path().join("scratch"), directory.path().join("cache"));
        match make_scratch(&path, 1024, root, &cache) {
            Err(Error::NoTool { .. }) => return eprintln!("skipped: no mkfs.ext4"),
            made => made.unwrap(),
        }
        let (copy, empty) =
            (fs::metadata(&path).unwrap(), cache.join("scratch-1024-1750-12-34.ext4"));
        assert_eq!(copy.len(), 1 << 30);
        assert!(copy.blocks() * 512 < 64 << 20, "{} blocks", copy.blocks());
        let (ours, theirs) = (File::open(&path).unwrap(), File::open(&empty).unwrap());
        let head = |file: File| {
            let mut head = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, 1 << 20), &mut head).unwrap();
            head
        };
        assert!(head(ours) == head(theirs), "the copy differs");
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2, "a temporary file is left");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1, "a temporary file is left");
        let mut debugfs = Command::new("debugfs");
        let told = debugfs.args(["-R", "stat /upper"]).arg(&path).output().unwrap().stdout;
        let told: Vec<_> =
            String::from_utf8_lossy(&told).split_whitespace().map(str::to_owned).collect();
        let of = |name: &str| told.iter().position(|word| word == name).map(|at| &told[at + 1]);
        let look = ["Mode:", "User:", "Group:"].map(of);
        assert_eq!(
            look.map(|word| word.map(String::as_str)),
            [Some("01750"), Some("12"), Some("34")]
        );
    }

    #[test]
    fn a_root_image_is_padded_and_a_failed_one_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "content").unwrap();
        let out = directory.path().join("root.erofs");
        match make_erofs(&tree, &out) {
            Err(Error::NoTool { .. }) => return eprintln!("skipped: no mkfs.erofs"),
            made => made.unwrap(),
        }
        let made = fs::metadata(&out).unwrap();
        assert_eq!(made.len(), ROOT_BYTES);
        assert!(made.blocks() * 512 < 1 << 20);
        let failed = make_erofs(&directory.path().join("absent"), &directory.path().join("x"));
        assert!(failed.unwrap_err().to_string().starts_with("mkfs.erofs: "));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
