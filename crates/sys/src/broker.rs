//! Answering a program's open(2) with another descriptor than it asked for.
//!
//! A seccomp filter that sends one kind of open to whoever holds its listener, and the answer. Made for
//! programs that insist on opening a file for writing which they must only be able to read.
//!
//! Such a program may also punch holes in the file before it tells the kernel that it needs its own copy of those
//! pages no more, see madvise(2). The hole cannot be made, and need not be: it is told that it was.
//!
//! See seccomp_unotify(2).

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::seccomp::{Instruction, listen};

/// The number of the descriptor that an opener gets: above all that it has.
const GIVEN: u32 = 1000;

/// The other end of a filter that waits for answers.
#[derive(Debug)]
pub struct Broker(OwnedFd);

impl Broker {
    /// Puts the calling thread and everything it executes under a filter that sends each
    /// `openat(…, O_RDWR)` with exactly these flags to the broker, and allows all else. (Rust's standard
    /// library and most others add `O_CLOEXEC`.) Once the broker is dropped, such calls get `ENOSYS`.
    /// fallocate(2) of the descriptor that such a call gave does nothing, with success.
    ///
    /// # Errors
    ///
    /// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`; `EBUSY` when a filter above has a listener.
    pub fn install() -> io::Result<Self> {
        // From Linux 5.19 on, an open that is being answered cannot be interrupted by a signal.
        match listen(&filter(), SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => listen(&filter(), 0),
            done => done,
        }
        .map(Self)
    }

    /// Takes the open that is waiting. If it is for `path`, it returns a copy of `file`, and this
    /// `true`; else the kernel goes on with it. Blocks until there is one: poll [`Broker::as_fd`] for
    /// reading first.
    ///
    /// The path is read from the opener's memory, which an opener with several threads could change
    /// afterwards: it chooses between the two answers, and must not be what protects anything.
    ///
    /// When the opener was interrupted or killed meanwhile there is nothing to answer: `false` too.
    ///
    /// # Errors
    ///
    /// Those of process_vm_readv(2) and of `SECCOMP_IOCTL_NOTIF_ADDFD`, Linux 5.14.
    pub fn answer(&self, path: &CStr, file: BorrowedFd<'_>) -> io::Result<bool> {
        match self.settle(path.to_bytes_with_nul(), file) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                Ok(false)
            }
            done => done,
        }
    }

    fn settle(&self, wanted: &[u8], file: BorrowedFd<'_>) -> io::Result<bool> {
        let open = self.receive()?;
        let given = read_memory(open.pid, open.data.args[1], wanted.len())? == wanted;
        if given { self.give(open.id, file) } else { self.allow(open.id) }.map(|()| given)
    }

    fn receive(&self) -> io::Result<libc::seccomp_notif> {
        // The kernel wants the structure zeroed.
        let mut open = MaybeUninit::<libc::seccomp_notif>::zeroed();
        // SAFETY: NOTIF_RECV writes one seccomp_notif (the command holds its size, so that a kernel
        // with another refuses), for which `open` has the room.
        let ret =
            unsafe { libc::ioctl(self.0.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, open.as_mut_ptr()) };
        check(ret)?;
        // SAFETY: plain integers, of which all were initialised with zero.
        Ok(unsafe { open.assume_init() })
    }

    fn give(&self, id: u64, file: BorrowedFd<'_>) -> io::Result<()> {
        let answer = libc::seccomp_notif_addfd {
            id,
            flags: SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: GIVEN,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        // SAFETY: NOTIF_ADDFD reads one seccomp_notif_addfd, borrowed for the call.
        check(unsafe {
            libc::ioctl(self.0.as_raw_fd(), SECCOMP_IOCTL_NOTIF_ADDFD, &raw const answer)
        })
    }

    fn allow(&self, id: u64) -> io::Result<()> {
        let flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
        // SAFETY: NOTIF_SEND reads one seccomp_notif_resp, borrowed for the call.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) })
    }
}

/// Up to `length` bytes at `address` in the memory of process `pid`; fewer where its memory ends.
fn read_memory(pid: u32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let mut buffer = vec![0; length];
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
    // SAFETY: writes at most `length` bytes to `buffer`, which is that long; the remote address is only
    // a number to this process, and the kernel checks it.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    buffer.truncate(read);
    Ok(buffer)
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl AsFd for Broker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// linux/seccomp.h, Linux 5.19.
const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;
/// linux/seccomp.h: `SECCOMP_IOWR(0, struct seccomp_notif)`.
const SECCOMP_IOCTL_NOTIF_RECV: libc::Ioctl = 0xc050_2100;
/// linux/seccomp.h: `SECCOMP_IOWR(1, struct seccomp_notif_resp)`.
const SECCOMP_IOCTL_NOTIF_SEND: libc::Ioctl = 0xc018_2101;
/// linux/seccomp.h: the call goes on as if there were no filter.
const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;
/// linux/seccomp.h: `SECCOMP_IOW(3, struct seccomp_notif_addfd)`.
const SECCOMP_IOCTL_NOTIF_ADDFD: libc::Ioctl = 0x4018_2103;
/// linux/seccomp.h: the descriptor gets the number `newfd`.
const SECCOMP_ADDFD_FLAG_SETFD: u32 = 1;
/// linux/seccomp.h: the answer and the descriptor in one step, Linux 5.14.
const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;

/// `openat` whose third argument is `O_RDWR` alone: to the broker; `fallocate` of what it gives: done. The
/// filter protects nothing, so it need not defend itself against other ABIs' call numbers.
#[expect(clippy::cast_possible_truncation, reason = "call numbers are small")]
fn filter() -> [Instruction; 10] {
    const OPENAT: u32 = libc::SYS_openat.cast_unsigned() as u32;
    const FALLOCATE: u32 = libc::SYS_fallocate.cast_unsigned() as u32;
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NUMBER: u32 = 0; // offsetof(struct seccomp_data, nr)
    const FILE: u32 = 16; // offsetof(struct seccomp_data, args[0]), low half
    const FLAGS: u32 = 32; // offsetof(struct seccomp_data, args[2]), low half
    const DONE: u32 = libc::SECCOMP_RET_ERRNO; // error 0
    let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
    [
        step(LOAD, 0, 0, NUMBER),
        step(EQUAL, 4, 0, FALLOCATE),
        step(EQUAL, 0, 6, OPENAT),
        step(LOAD, 0, 0, FLAGS),
        step(EQUAL, 0, 4, libc::O_RDWR.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(LOAD, 0, 0, FILE),
        step(EQUAL, 0, 1, GIVEN),
        step(RETURN, 0, 0, DONE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::FromRawFd;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn an_open_of_the_path_gives_what_the_broker_holds_and_others_go_on() {
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
            let missing = open(c"/nowhere").unwrap_err();
            let got = File::from(open(c"/wanted").unwrap());
            let punch =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&got, punch, 0, 4).expect("what cannot be done is done");
            let other = got.try_clone().expect("a descriptor");
            assert_eq!(rustix::fs::fallocate(&other, punch, 0, 4), Err(rustix::io::Errno::BADF));
            let late = open(c"/wanted").unwrap_err();
            let errors = [missing, late].map(|error| error.raw_os_error());
            (io::read_to_string(got).unwrap(), errors)
        });
        let broker = receive.recv().unwrap();
        assert!(!broker.answer(c"/wanted", file.as_fd()).unwrap(), "nobody wants it yet");
        assert!(broker.answer(c"/wanted", file.as_fd()).unwrap());
        drop(broker);
        let (text, errors) = opener.join().unwrap();
        assert_eq!(text, "from the broker");
        assert_eq!(errors, [Some(libc::ENOENT), Some(libc::ENOSYS)]);
    }

    /// As C programs do it; rustix adds `O_LARGEFILE`.
    fn open(path: &CStr) -> io::Result<OwnedFd> {
        // SAFETY: the path is a C string, borrowed for the call.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: open(2) gave a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
