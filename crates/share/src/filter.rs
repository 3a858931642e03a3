//! The server's system calls: those that serving files takes, and no other. A server that a guest has taken
//! over can execute nothing, map no code, open no socket but to a listener that is among its files, and reach
//! no process.
//!
//! ```text
//!   another architecture          ─▶ killed
//!   a call of the list            ─▶ allowed
//!   one of a few, by an argument  ─▶ allowed, or as below
//!   everything else               ─▶ EPERM
//! ```
//!
//! Spec: seccomp(2); linux/filter.h, linux/seccomp.h `seccomp_data`.

use std::io;

use sys::seccomp::{Instruction, install};

/// Files and their names, memory, threads, time, and the connections that are there.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_setxattr,
    libc::SYS_getxattr,
    libc::SYS_listxattr,
    libc::SYS_removexattr,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Where in `seccomp_data` things are.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7; // AUDIT_ARCH_AARCH64

/// Operations of classic BPF: load a word, jump if equal, jump if bits are set, return.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

/// What an argument must be for a call to be allowed.
#[derive(Debug, Clone, Copy)]
enum Must {
    Be(u32),
    Have(u32),
    Lack(u32),
}

/// The rest of the calls, by the argument's place.
fn by_argument() -> [(libc::c_long, u32, Must); 5] {
    let bits = i32::cast_unsigned;
    [
        (libc::SYS_socket, 0, Must::Be(bits(libc::AF_UNIX))),
        (libc::SYS_clone, 0, Must::Have(bits(libc::CLONE_THREAD))),
        (libc::SYS_mmap, 2, Must::Lack(bits(libc::PROT_EXEC))),
        (libc::SYS_mprotect, 2, Must::Lack(bits(libc::PROT_EXEC))),
        (libc::SYS_prctl, 0, Must::Be(bits(libc::PR_SET_NAME))),
    ]
}

/// Puts the process, which has one thread, under the filter for good. It has given up privileges to come.
pub(crate) fn enter() -> io::Result<()> {
    install(&program(), 0)
}

fn program() -> Vec<Instruction> {
    let refused = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let mut all = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(IF_EQUAL, OURS, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(LOAD, NUMBER, 0, 0),
    ];
    for call in ALLOWED {
        all.push(step(IF_EQUAL, number(*call), 0, 1));
        all.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    }
    for (call, argument, must) in by_argument() {
        let (operation, bits, met) = match must {
            Must::Be(bits) => (IF_EQUAL, bits, true),
            Must::Have(bits) => (IF_SET, bits, true),
            Must::Lack(bits) => (IF_SET, bits, false),
        };
        let (yes, no) = if met { (0, 1) } else { (1, 0) };
        all.extend([
            step(IF_EQUAL, number(call), 0, 4),
            step(LOAD, ARGUMENTS + 8 * argument, 0, 0),
            step(operation, bits, yes, no),
            step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
            step(RETURN, refused(libc::EPERM), 0, 0),
        ]);
    }
    // Its flags are in memory, where no filter sees them; without it threads are made by the older call.
    all.push(step(IF_EQUAL, number(libc::SYS_clone3), 0, 1));
    all.push(step(RETURN, refused(libc::ENOSYS), 0, 0));
    all.push(step(RETURN, refused(libc::EPERM), 0, 0));
    all
}

fn step(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("numbers of system calls are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program returns for a call; a little machine for the operations that it uses.
    fn verdict(architecture: u32, call: u32, arguments: [u32; 3]) -> u32 {
        let program = program();
        let (mut at, mut word) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                RETURN => return k,
                LOAD => {
                    word = match k {
                        NUMBER => call,
                        ARCHITECTURE => architecture,
                        offset => arguments[((offset - ARGUMENTS) / 8) as usize],
                    }
                }
                _ => {
                    let holds = if code == IF_EQUAL { word == k } else { word & k != 0 };
                    at += usize::from(if holds { jt } else { jf });
                }
            }
        }
    }

    #[test]
    fn only_what_serving_files_takes_is_allowed() {
        let (allow, kill) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        let exec = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD).cast_unsigned();
        for (call, arguments, want) in [
            (libc::SYS_openat2, [0; 3], allow),
            (libc::SYS_exit_group, [0; 3], allow),
            (libc::SYS_execve, [0; 3], refused),
            (libc::SYS_execveat, [0; 3], refused),
            (libc::SYS_kill, [0; 3], refused),
            (libc::SYS_ptrace, [0; 3], refused),
            (libc::SYS_mount, [0; 3], refused),
            (libc::SYS_open_by_handle_at, [0; 3], refused),
            (libc::SYS_bpf, [0; 3], refused),
            (libc::SYS_socket, [libc::AF_UNIX.cast_unsigned(), 1, 0], allow),
            (libc::SYS_socket, [libc::AF_INET.cast_unsigned(), 1, 0], refused),
            (libc::SYS_clone, [thread, 0, 0], allow),
            (libc::SYS_clone, [17, 0, 0], refused),
            (libc::SYS_clone3, [0; 3], absent),
            (libc::SYS_mmap, [0, 0, 3], allow),
            (libc::SYS_mmap, [0, 0, exec], refused),
            (libc::SYS_mprotect, [0, 0, exec], refused),
            (libc::SYS_prctl, [libc::PR_SET_NAME.cast_unsigned(), 0, 0], allow),
            (libc::SYS_prctl, [libc::PR_SET_DUMPABLE.cast_unsigned(), 0, 0], refused),
        ] {
            assert_eq!(verdict(OURS, number(call), arguments), want, "{call} {arguments:?}");
        }
        assert_eq!(verdict(0x4000_0003, 4, [0; 3]), kill);
        assert_eq!(verdict(OURS, 0x4000_0000 | 1, [0; 3]), refused, "x32's calls are not ours");
    }
}
