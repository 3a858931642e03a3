//! Opening what lies beneath a directory.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens what is at `path` already, on a way from `dir` that `how` allows.
///
/// Where the way leads up, by `..` or a symlink, and anything on the system is renamed or mounted
/// meanwhile, the kernel cannot tell whether it stayed inside: `EAGAIN`, and it is asked again.
///
/// # Errors
///
/// As openat2(2) gives them; `EXDEV` for a way that leads out.
pub fn open(
    dir: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    loop {
        match openat2(dir.as_fd(), path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn renames_elsewhere_do_not_keep_a_way_up_from_being_found() {
        let dir = std::env::temp_dir().join(format!("hull-resolve-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a/b/c")).expect("a directory");
        let root = rustix::fs::open(&dir, OFlags::PATH, Mode::empty()).expect("it is there");
        let over = AtomicBool::new(false);
        let restless = || {
            let names = [dir.join("one"), dir.join("two")];
            std::fs::create_dir(&names[0]).expect("a directory");
            for turn in 0.. {
                std::fs::rename(&names[turn % 2], &names[(turn + 1) % 2]).expect("renamed");
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(restless);
            for _ in 0..20_000 {
                let up = "a/b/c/../../../a/b/../b/c/../..";
                let found = open(&root, up, OFlags::PATH, ResolveFlags::IN_ROOT);
                if let Err(errno) = found {
                    over.store(true, Ordering::Relaxed);
                    panic!("{errno}");
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
