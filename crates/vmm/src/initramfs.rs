//! The guest's first root: the agent and the modules that its devices need. No shell, no script.
//!
//! ```text
//!   /init           the agent
//!   /modules        the modules' paths, one a line, in the order they are loaded
//!   /lib/modules/…  the modules, unpacked
//!   /dev/console    so that the kernel gives init a console
//!   /proc /sys /dev /run /tmp     mount points
//! ```
//!
//! Archives are kept beneath `<data_root>/vm/initramfs`, named by what went into them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use spec::Kind;
use spec::modules::{self, Tree};

use crate::Config;
use crate::cache;
use crate::cpio::Archive;
use crate::fingerprint::{self, Fingerprint};

/// Goes up when what is put into the archive changes.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Inputs<'a> {
    version: u32,
    agent: &'a Fingerprint,
    modules: &'a Fingerprint,
    needed: &'a [&'a str],
    wanted: &'a [&'a str],
}

/// How long an archive that is not wanted any more is kept: others may be about to boot from it.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the archive for this agent and these modules is, or will be.
pub(crate) fn path(config: &Config) -> Result<PathBuf, Error> {
    let taken = |path: PathBuf| {
        Fingerprint::of(&path).map_err(|source| Error::Read { path: path.clone(), source })
    };
    let inputs = Inputs {
        version: VERSION,
        agent: &taken(config.agent.clone())?,
        modules: &taken(config.modules.join("modules.dep"))?,
        needed: &modules::NEEDED,
        wanted: &modules::WANTED,
    };
    let name = format!("{}.cpio", fingerprint::key(&inputs));
    Ok(config.data_root.join("vm/initramfs").join(name))
}

/// The archive, made if it is not there yet.
pub(crate) fn ensure(config: &Config) -> Result<PathBuf, Error> {
    let path = path(config)?;
    if !path.exists() {
        let write = |source| Error::Write { path: path.clone(), source };
        let directory = path.parent().unwrap_or(&config.data_root);
        cache::make_directory(directory).map_err(write)?;
        let archive = build(config)?;
        let temporary = directory.join(format!(".{}.tmp", rustix::thread::gettid()));
        fs::write(&temporary, archive)
            .and_then(|()| fs::rename(&temporary, &path))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .map_err(write)?;
        remove_old(directory);
    }
    Ok(path)
}

/// Removes archives made longer than [`KEPT`] ago; one that is wanted again is made in a moment.
fn remove_old(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let made = entry.metadata().and_then(|found| found.modified()).ok();
        let age = made.and_then(|made| made.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// What the kernel whose modules are in `tree` lacks for disks that a machine gets while it runs.
pub(crate) fn lacks_for_disks(tree: &Path) -> Result<Option<&'static str>, Error> {
    let (dep, builtin) = lists(tree)?;
    Ok(Tree::parse(&dep, &builtin).lacks(&modules::LATER))
}

/// The texts of `modules.dep` and `modules.builtin`.
fn lists(tree: &Path) -> Result<(String, String), Error> {
    let dep = read_text(&tree.join("modules.dep"))?;
    Ok((dep, read_text(&tree.join("modules.builtin")).unwrap_or_default()))
}

fn build(config: &Config) -> Result<Vec<u8>, Error> {
    let (dep, builtin) = lists(&config.modules)?;
    let order = Tree::parse(&dep, &builtin)
        .order(&modules::NEEDED, &modules::WANTED)
        .map_err(|name| Error::NoModule { name: name.to_owned(), tree: config.modules.clone() })?;
    let agent = read(&config.agent)?;
    let loaded = order
        .iter()
        .map(|file| Ok((in_guest(file), unpacked(&config.modules.join(file))?)))
        .collect::<Result<Vec<_>, Error>>()?;
    archive(&agent, &loaded).map_err(|source| Error::Write { path: "initramfs".into(), source })
}

fn archive(agent: &[u8], modules: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    for directory in ["dev", "proc", "sys", "run", "tmp", "lib", "lib/modules"] {
        archive.directory(directory)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("init", 0o755, agent)?;
    for (path, content) in modules {
        archive.file(path.trim_start_matches('/'), 0o644, content)?;
    }
    let list: String = modules.iter().flat_map(|(path, _)| [path.as_str(), "\n"]).collect();
    archive.file("modules", 0o644, list.as_bytes())?;
    archive.finish()
}

/// `kernel/fs/fuse/fuse.ko.xz` becomes `/lib/modules/fuse.ko`; names are unique in a kernel.
fn in_guest(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    format!("/lib/modules/{}.ko", file.split(".ko").next().unwrap_or(file))
}

/// The module's object. Compressed ones are unpacked here, so that the agent need not: distributions
/// that compress modules have the tool, since kmod comes before it.
fn unpacked(path: &Path) -> Result<Vec<u8>, Error> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return read(path),
    };
    let failed = |source| Error::Unpack { tool, path: path.to_owned(), source };
    let output = Command::new(tool).arg("-dc").arg(path).output().map_err(failed)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(io::Error::other(said)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Why the initramfs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks something that every guest needs.
    #[error("guest kernel modules in {} lack {name}: set --vm-kernel to another kernel", tree.display())]
    NoModule {
        /// The module.
        name: String,
        /// The module tree.
        tree: PathBuf,
    },
    /// A part cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The part.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A compressed module cannot be unpacked.
    #[error("unpack {} with {tool}", path.display())]
    Unpack {
        /// The tool for it.
        tool: &'static str,
        /// The module.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoModule { .. } => Kind::Unsupported,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::Read { .. } | Self::Unpack { .. } | Self::Write { .. } => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_the_modules_as_the_guest_sees_them() {
        let modules = [("/lib/modules/virtio.ko".to_owned(), b"object".to_vec())];
        let made = archive(b"agent", &modules).unwrap();
        let text = String::from_utf8_lossy(&made);
        assert!(text.contains("lib/modules/virtio.ko\0"));
        assert!(text.contains("modules\0") && text.contains("/lib/modules/virtio.ko\n"));
        assert_eq!(
            in_guest("kernel/drivers/virtio/virtio_pci.ko.xz"),
            "/lib/modules/virtio_pci.ko"
        );
    }
}
