//! Memory for what a command may see but no disk may hold: a file system of its own, gone with the command.

use std::ffi::CString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::agent::Agent;

/// Bytes that fit.
const SIZE: u64 = 16 << 20;

/// A directory in memory. It goes when this is dropped.
#[derive(Debug)]
struct Room(PathBuf);

impl Room {
    /// Makes one beneath `parent`.
    fn new(parent: &Path) -> io::Result<Self> {
        let at = image::disk::temporary(parent);
        DirBuilder::new().mode(0o700).create(&at)?;
        let room = Self(at);
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let mount = |options: String| {
            let options = CString::new(options).expect("no NUL in it");
            rustix::mount::mount("build", &room.0, "tmpfs", flags, &*options)
        };
        match mount(format!("mode=0700,size={SIZE},noswap")) {
            // Linux before 6.4 knows no noswap.
            Err(Errno::INVAL) => mount(format!("mode=0700,size={SIZE}"))?,
            mounted => mounted?,
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let unmounted =
            rustix::mount::unmount(&self.0, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        if let Err(error) = unmounted.map_err(io::Error::from).and(fs::remove_dir(&self.0)) {
            tracing::warn!(%error, path = %self.0.display(), "memory of a build not removed");
        }
    }
}

/// What a command gets that is nowhere on a disk: secrets, and sockets of agents.
pub struct Hidden {
    env: Vec<String>,
    files: usize,
    agents: Vec<Agent>,
    room: Room,
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hidden").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Hidden {
    /// Nothing yet; what comes lies beneath `memory`.
    pub(crate) fn new(memory: &Path) -> io::Result<Self> {
        let room = Room::new(memory)?;
        Ok(Self { env: Vec::new(), files: 0, agents: Vec::new(), room })
    }

    /// `NAME=value` of variables that are secrets.
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// A directory in memory, for whoever must write a variable down.
    pub fn dir(&self) -> &Path {
        &self.room.0
    }

    pub(crate) fn add_variable(&mut self, name: &str, value: &str) {
        self.env.push(format!("{name}={value}"));
    }

    /// Keeps a secret as a file; gives where it is.
    pub(crate) fn add_file(
        &mut self,
        content: &[u8],
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<PathBuf> {
        let path = self.fresh();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        fchown(&file, Some(owner.0), Some(owner.1))?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// Makes the socket of an agent by `listen`; gives where it is.
    pub(crate) fn add_agent(
        &mut self,
        listen: impl FnOnce(&Path) -> io::Result<Agent>,
    ) -> io::Result<PathBuf> {
        let path = self.fresh();
        self.agents.push(listen(&path)?);
        Ok(path)
    }

    fn fresh(&mut self) -> PathBuf {
        self.files += 1;
        self.room.0.join(self.files.to_string())
    }
}
