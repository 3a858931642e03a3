//! Answering a program's open(2) with another descriptor than it asked for.
//!
//! A seccomp filter that sends one kind of open to whoever holds its listener, and the answer. Made for
//! programs that insist on opening a file for writing which they must only be able to read.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::seccomp::Instruction;

/// The other end of a filter that waits for answers.
#[derive(Debug)]
pub struct Broker(OwnedFd);

impl Broker {
    /// Puts the calling thread and everything it executes under a filter that sends each
    /// `openat(…, O_RDWR)` with exactly these flags to the broker, and allows all else. (Rust's standard
    /// library and most others add `O_CLOEXEC`.) Once the broker is dropped, such calls get `ENOSYS`.
    ///
    /// # Errors
    ///
    /// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`; `EBUSY` when a filter above has a listener.
    pub fn install() -> io::Result<Self> {
        let filter = filter();
        let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
        // SAFETY: `program` points to `len` instructions of the kernel's layout, borrowed for the call;
        // the kernel copies and checks them.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: with NEW_LISTENER the call gives a new descriptor that nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes the open that is waiting and lets it return a copy of `file`. Blocks until there is one:
    /// poll [`Broker::as_fd`] for reading first.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the caller died meanwhile; those of `SECCOMP_IOCTL_NOTIF_ADDFD`, Linux 5.14.
    pub fn answer(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        // The kernel wants the structure zeroed and may be newer than this one: take its size.
        let mut notification = MaybeUninit::<[libc::seccomp_notif; 2]>::zeroed();
        // SAFETY: NOTIF_RECV writes one seccomp_notif, for which there is twice the room; it is zeroed.
        let ret = unsafe {
            libc::ioctl(self.0.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, notification.as_mut_ptr())
        };
        if ret < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all zeroes is a valid value of these plain integers, and the kernel filled the first.
        let [notification, _] = unsafe { notification.assume_init() };
        let answer = libc::seccomp_notif_addfd {
            id: notification.id,
            flags: SECCOMP_ADDFD_FLAG_SEND,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        // SAFETY: NOTIF_ADDFD reads one seccomp_notif_addfd, borrowed for the call.
        let ret = unsafe {
            libc::ioctl(self.0.as_raw_fd(), SECCOMP_IOCTL_NOTIF_ADDFD, &raw const answer)
        };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// linux/seccomp.h: `SECCOMP_IOWR(0, struct seccomp_notif)`.
const SECCOMP_IOCTL_NOTIF_RECV: libc::Ioctl = 0xc050_2100;
/// linux/seccomp.h: `SECCOMP_IOW(3, struct seccomp_notif_addfd)`.
const SECCOMP_IOCTL_NOTIF_ADDFD: libc::Ioctl = 0x4018_2103;
/// linux/seccomp.h: the answer and the descriptor in one step, Linux 5.14.
const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;

/// `openat` whose third argument is `O_RDWR` alone: to the broker. The filter only redirects, so it need
/// not defend itself against other ABIs' call numbers.
fn filter() -> [Instruction; 6] {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NUMBER: u32 = 0; // offsetof(struct seccomp_data, nr)
    const FLAGS: u32 = 32; // offsetof(struct seccomp_data, args[2]), low half
    let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "257")]
    let openat = libc::SYS_openat as u32;
    [
        step(LOAD, 0, 0, NUMBER),
        step(EQUAL, 0, 3, openat),
        step(LOAD, 0, 0, FLAGS),
        step(EQUAL, 0, 1, libc::O_RDWR.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn an_open_for_writing_gives_what_the_broker_holds() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let path = std::env::temp_dir().join(format!("sys-broker-{}", std::process::id()));
        fs::write(&path, "from the broker").unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (send, receive) = mpsc::channel();
        let opener = thread::spawn(move || {
            send.send(Broker::install().unwrap()).unwrap();
            let got = File::from(open().unwrap());
            (io::read_to_string(got).unwrap(), open().map(drop).map_err(|e| e.raw_os_error()))
        });
        let broker = receive.recv().unwrap();
        broker.answer(file.as_fd()).unwrap();
        drop(broker);
        let (text, second) = opener.join().unwrap();
        assert_eq!(text, "from the broker");
        assert_eq!(second, Err(Some(libc::ENOSYS)));
    }

    /// As C programs do it; rustix adds `O_LARGEFILE`.
    fn open() -> io::Result<OwnedFd> {
        // SAFETY: the path is a literal C string.
        let fd = unsafe { libc::open(c"/nowhere".as_ptr(), libc::O_RDWR) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: open(2) gave a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
