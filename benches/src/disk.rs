//! A file system for one contestant alone.
//!
//! On one that is shared each pays for the others' work: ext4 looks for a new file's inode among all that were
//! deleted in the last minutes, whoever deleted them.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::peers::finish;

/// Bytes that it may grow to; what is not written takes no room.
const SIZE: &str = "20G";

/// A new ext4 on a loop device, mounted until this is dropped.
pub(crate) struct Disk {
    dir: TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let disk = Self { dir: TempDir::with_prefix("hull-disk-").expect("a directory") };
        let (image, place) = (disk.dir.path().join("image"), disk.path());
        std::fs::create_dir(&place).expect("a directory");
        finish(command("truncate", &["--size", SIZE], &[&image]));
        // What mkfs leaves for later the kernel would write while others are timed.
        let whole = "lazy_itable_init=0,lazy_journal_init=0";
        finish(command("mkfs.ext4", &["-q", "-E", whole], &[&image]));
        finish(command("mount", &["-o", "loop,discard"], &[&image, &place]));
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = command("umount", &["--lazy"], &[&self.path()]).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

fn command(program: &str, arguments: &[&str], paths: &[&Path]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(paths);
    command
}
