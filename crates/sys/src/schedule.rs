//! How the kernel schedules this thread: policy, processors, disk.

use std::io;

/// What sched_setattr(2) takes, in its own numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the policies that share time.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds of each period, for the deadline policy.
    pub runtime: u64,
    /// Nanoseconds from a period's begin.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
    utilization: [u32; 2],
}

/// Sets this thread's policy and what belongs to it.
///
/// # Errors
///
/// As sched_setattr(2), Linux 3.14: `EINVAL` for a policy or value that the kernel does not know,
/// `EPERM` for one that the caller may not have, `EBUSY` when no processor has the time asked for.
pub fn set_attributes(attributes: &Attributes) -> io::Result<()> {
    let size = u32::try_from(std::mem::size_of::<Attributes>()).unwrap_or(0);
    let attributes = Attributes { size, ..*attributes };
    // SAFETY: the structure is as long as its `size` says, and only read.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(ret)
}

/// Lets this thread run on the processors whose bits are set, as far as its cpuset has them.
///
/// # Errors
///
/// As sched_setaffinity(2): `EINVAL` when none of them is left.
pub fn set_affinity(processors: &[u64]) -> io::Result<()> {
    let size = std::mem::size_of_val(processors);
    // SAFETY: the mask is `size` bytes long and only read; 0 means the calling thread.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size, processors.as_ptr()) };
    check(ret)
}

/// The processors that this thread may run on, a bit each.
///
/// # Errors
///
/// As sched_getaffinity(2).
pub fn affinity() -> io::Result<Vec<u64>> {
    // More than any kernel can be built for.
    let mut processors = vec![0_u64; 1024];
    let size = std::mem::size_of_val(processors.as_slice());
    // SAFETY: the mask is `size` bytes long and writable; 0 means the calling thread.
    let ret =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size, processors.as_mut_ptr()) };
    let bytes = usize::try_from(ret).map_err(|_| io::Error::last_os_error())?;
    processors.truncate(bytes.div_ceil(8));
    Ok(processors)
}

/// Sets the priority of the caller's process group towards disks: the class, shifted by 13, and the
/// level.
///
/// # Errors
///
/// As ioprio_set(2): `EPERM` for the real-time class without `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
pub fn set_group_io_priority(priority: u16) -> io::Result<()> {
    const IOPRIO_WHO_PGRP: libc::c_int = 2;
    // SAFETY: takes numbers; group 0 is the caller's.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PGRP,
            0,
            libc::c_int::from(priority.cast_signed()),
        )
    };
    check(ret)
}

fn check(ret: libc::c_long) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_confined_and_freed_again() {
        let thread = std::thread::spawn(|| {
            let all = affinity().expect("readable");
            let mut one = vec![0; all.len()];
            let word = all.iter().position(|word| *word != 0).expect("a processor");
            one[word] = 1 << all[word].trailing_zeros();
            set_affinity(&one).expect("confined");
            assert_eq!(affinity().expect("readable"), one);
            set_affinity(&vec![u64::MAX; 1024]).expect("freed");
            assert_eq!(affinity().expect("readable"), all);
            assert!(set_affinity(&[0; 16]).is_err());
        });
        thread.join().expect("no panic");
    }

    #[test]
    fn a_thread_can_be_made_less_important() {
        let thread = std::thread::spawn(|| {
            set_attributes(&Attributes { policy: 3, nice: 5, ..Attributes::default() })
                .expect("batch");
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc");
            let fields: Vec<&str> = stat.rsplit(") ").next().expect("a line").split(' ').collect();
            assert_eq!((fields[16], fields[38]), ("5", "3"), "{stat}");
            let unknown = Attributes { policy: 99, ..Attributes::default() };
            assert_eq!(set_attributes(&unknown).expect_err("unknown").raw_os_error(), Some(22));
        });
        thread.join().expect("no panic");
    }
}
