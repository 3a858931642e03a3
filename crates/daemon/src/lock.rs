//! One daemon for an exec root: the lock is the pid file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;

/// The lock; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of `exec_root`, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Running`] when another daemon has it.
    pub(crate) fn take(exec_root: &Path) -> Result<Self, Error> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { doing, path, source }
        };
        let mut directory = std::fs::DirBuilder::new();
        directory.recursive(true).mode(0o711);
        directory.create(exec_root).map_err(failed("make", exec_root))?;
        let path = exec_root.join("hulld.pid");
        let mut options = OpenOptions::new();
        // Whoever can open it can lock it.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim().to_owned();
                return Err(Error::Running { root: exec_root.to_owned(), pid });
            }
            Err(error) => return Err(failed("lock", &path)(error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed("write", &path))?;
        Ok(Self { path, file })
    }

    /// Gives the lock back.
    pub(crate) fn release(self) {
        // While it is still held: else it could be the next one's file.
        let _ = std::fs::remove_file(&self.path);
        drop(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_of_the_first() {
        let root = tempfile::tempdir().expect("temporary directory");
        let lock = Lock::take(root.path()).expect("free");
        let error = Lock::take(root.path()).expect_err("taken").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        lock.release();
        Lock::take(root.path()).expect("free again");
    }
}
