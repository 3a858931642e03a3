//! Disks from layers: the read-only image, made once, and the writable layer's place.
//!
//! ```text
//!   lower layers ──overlay, read-only──▶ mkfs.erofs ──▶ <data_root>/vm/erofs/KEY.erofs
//! ```
//!
//! The key is the identity of the layers, so a layer that was removed and unpacked again gives another
//! image. Whoever comes first makes it, under a lock; the others wait and use it.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::mount::MountFlags;
use sha2::{Digest, Sha256};
use spec::Kind;
use spec::options::Options;
use vmm::disk::Look;

use super::host_disks;
use crate::Rootfs;

/// What the names of placeholders begin with; their maker's number follows.
const UNUSED: &str = ".unused-";

/// A container's disks.
#[derive(Debug)]
pub(super) struct Disks {
    /// The image.
    pub(super) root: PathBuf,
    /// The writable layer; it outlives the VM.
    pub(super) scratch: PathBuf,
    /// Whether `scratch` was made just now.
    pub(super) new: bool,
    /// Whether the guest finds its files elsewhere, and `scratch` need not outlive the VM's start.
    pub(super) unused: bool,
}

impl Disks {
    /// The disks for a machine that runs already: the image and the writable layer.
    pub(super) fn open(&self) -> Result<[vmm::Disk; 2], Error> {
        let disk = |path: &Path, writable| {
            let file = File::options().read(true).write(writable).open(path);
            let file = file.map_err(failed("open", path))?.into();
            Ok::<_, Error>(vmm::Disk { file, writable, serial: host_disks::serial() })
        };
        Ok([disk(&self.root, false)?, disk(&self.scratch, true)?])
    }

    /// Removes the writable layer of a container that never came to be, if it was made for it.
    pub(super) fn forget(&self) {
        if self.new {
            // Nothing of the container's was written to it; the error that counts is another.
            let _ = fs::remove_file(&self.scratch);
        }
    }
}

/// Why there are no disks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rootfs is a directory, and no container runs in it.
    #[error("rootfs {}: it is a directory of the host's, to be worked on there", .0.display())]
    Directory(PathBuf),
    /// A limit for a layer that there is not.
    #[error(
        "annotation {}: rootfs {} is a directory of the host's, whose size has no limit",
        spec::annotation::SCRATCH_MIB, .0.display()
    )]
    Limit(PathBuf),
    /// An overlay without layers.
    #[error("rootfs: no layers")]
    NoLayers,
    /// A file of the cache or a layer.
    #[error("{action} {}", path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The layers could not be laid over each other.
    #[error("mount the image's layers")]
    Merge(#[source] io::Error),
    /// A disk could not be made.
    #[error(transparent)]
    Disk(#[from] vmm::disk::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Directory(_) | Self::Limit(_) => Kind::Unsupported,
            Self::NoLayers => Kind::Invalid,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::File { .. } | Self::Merge(_) => Kind::Internal,
            Self::Disk(error) => error.kind(),
        }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File { action, path: path.to_owned(), source }
}

/// Makes the disks of `rootfs`, or finds them.
pub(super) fn disks(
    options: &Options,
    rootfs: &Rootfs,
    scratch_mib: Option<u32>,
) -> Result<Disks, Error> {
    let (lower, upper) = match rootfs {
        Rootfs::Directory(path) => return Err(Error::Directory(path.clone())),
        Rootfs::Overlay { lower, upper, .. } => (lower, upper),
    };
    let root = image(&options.data("vm/erofs"), lower)?;
    let scratch = upper.with_file_name("scratch.ext4");
    let new = !scratch.exists();
    if new {
        let cache = options.data("vm/scratch");
        let mib = scratch_mib.unwrap_or(options.vm.scratch_mib);
        vmm::disk::make_scratch(&scratch, mib, look(lower)?, &cache)?;
    }
    Ok(Disks { root, scratch, new, unused: false })
}

/// Disks for a VM that uses none: it must have what its template has, of the same sizes.
pub(super) fn placeholders(options: &Options) -> Result<Disks, Error> {
    let (images, cache) = (options.data("vm/erofs"), options.data("vm/scratch"));
    let empty = images.join("nothing");
    fs::create_dir_all(&empty).map_err(failed("make", &empty))?;
    fs::create_dir_all(&cache).map_err(failed("make", &cache))?;
    let root = image(&images, &[empty])?;
    forget(&cache);
    let thread = rustix::thread::gettid();
    let scratch = cache.join(format!("{UNUSED}{}-{thread}", std::process::id()));
    let bytes = u64::from(options.vm.scratch_mib) << 20;
    File::create(&scratch)
        .and_then(|file| file.set_len(bytes))
        .map_err(failed("make", &scratch))?;
    Ok(Disks { root, scratch, new: true, unused: true })
}

/// Removes the placeholders of programs that were killed before they could.
fn forget(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(UNUSED)?.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another may be faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How the root directory of the image looks: as the topmost layer's.
fn look(lower: &[PathBuf]) -> Result<Look, Error> {
    let top = lower.first().ok_or(Error::NoLayers)?;
    let of = fs::metadata(top).map_err(failed("read layer", top))?;
    Ok(Look { mode: of.mode() & 0o7777, uid: of.uid(), gid: of.gid() })
}

/// The image of `lower`, topmost first.
fn image(cache: &Path, lower: &[PathBuf]) -> Result<PathBuf, Error> {
    let key = key(lower)?;
    vmm::cache::make_directory(cache).map_err(failed("make", cache))?;
    let image = cache.join(format!("{key}.erofs"));
    if image.exists() {
        return Ok(image);
    }
    let lock = cache.join("lock");
    let held = File::create(&lock).map_err(failed("open", &lock))?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", &lock)(error.into()))?;
    if image.exists() {
        return Ok(image);
    }
    match lower {
        [] => return Err(Error::NoLayers),
        [only] => vmm::disk::make_erofs(only, &image)?,
        several => make_merged(&cache.join("merge"), several, &image)?,
    }
    Ok(image)
}

/// What the layers are: their paths, and what changes when one is replaced.
fn key(lower: &[PathBuf]) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for layer in lower {
        let of = fs::metadata(layer).map_err(failed("read layer", layer))?;
        hash.update(layer.as_os_str().as_bytes());
        hash.update([0]);
        for number in [of.dev(), of.ino()] {
            hash.update(number.to_le_bytes());
        }
        for number in [of.ctime(), of.ctime_nsec()] {
            hash.update(number.to_le_bytes());
        }
    }
    Ok(spec::Digest::from_sha256(hash.finalize().into()).hex().to_owned())
}

/// Makes an image of several layers, merged in a mount namespace that ends with this call. `at` is an
/// empty directory to mount on.
fn make_merged(at: &Path, lower: &[PathBuf], image: &Path) -> Result<(), Error> {
    fs::create_dir_all(at).map_err(failed("make", at))?;
    let merge_and_make = || {
        merge(at, lower)?;
        Ok(vmm::disk::make_erofs(&at.join("merged"), image))
    };
    Ok(sys::mntns::within_own(merge_and_make).map_err(Error::Merge)??)
}

/// Mounts the layers on `at/merged`. They are named by short links, for mount(2) takes a page of
/// options and commas and colons end a name.
fn merge(at: &Path, lower: &[PathBuf]) -> io::Result<()> {
    rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"mode=700")?;
    std::env::set_current_dir(at)?;
    for (n, layer) in lower.iter().enumerate() {
        symlink(fs::canonicalize(layer)?, n.to_string())?;
    }
    fs::create_dir("merged")?;
    let names: Vec<String> = (0..lower.len()).map(|n| n.to_string()).collect();
    let options = std::ffi::CString::new(format!("lowerdir={}", names.join(":")))?;
    let mounted = rustix::mount::mount(
        "overlay",
        "merged",
        "overlay",
        MountFlags::RDONLY,
        options.as_c_str(),
    );
    Ok(mounted?)
}
