//! Extended BPF: instructions, and attaching a device program to a cgroup.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// One instruction of extended BPF, as in linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source in the high.
    pub registers: u8,
    /// Offset of a jump or of memory.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

/// `to = *(u32 *)(from + offset)`
pub fn load_word(to: u8, from: u8, offset: i16) -> Instruction {
    instruction(0x61, to, from, offset, 0)
}

/// `to &= mask`, 32 bits
pub fn and(to: u8, mask: i32) -> Instruction {
    instruction(0x54, to, 0, 0, mask)
}

/// `to >>= bits`, 32 bits
pub fn shift_right(to: u8, bits: i32) -> Instruction {
    instruction(0x74, to, 0, 0, bits)
}

/// `to = from`, 32 bits
pub fn move_register(to: u8, from: u8) -> Instruction {
    instruction(0xbc, to, from, 0, 0)
}

/// `to = number`
pub fn move_number(to: u8, number: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, number)
}

/// Skips `count` instructions when the register holds `number`.
pub fn jump_if_equal(register: u8, number: i32, count: i16) -> Instruction {
    instruction(0x15, register, 0, count, number)
}

/// Skips `count` instructions unless the register holds `number`.
pub fn jump_unless_equal(register: u8, number: i32, count: i16) -> Instruction {
    instruction(0x55, register, 0, count, number)
}

/// Skips `count` instructions unless both registers hold the same.
pub fn jump_unless_same(left: u8, right: u8, count: i16) -> Instruction {
    instruction(0x5d, left, right, count, 0)
}

/// Returns register 0.
pub fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0, 0)
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`, up to `expected_attach_type`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `BPF_PROG_ATTACH`'s part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// `BPF_PROG_QUERY`'s part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    kind: u32,
    flags: u32,
    attached_with: u32,
    ids: u64,
    count: u32,
}

/// `BPF_PROG_GET_FD_BY_ID`'s part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;
/// The kernel attaches no more than these to one cgroup.
const MOST: usize = 64;

/// Lets `program` decide which devices the members of `cgroup` may use, in place of the programs that
/// are attached to this cgroup already. A single one is replaced in one step, of more none is detached
/// before the new one is there.
///
/// # Errors
///
/// As bpf(2): `EACCES` or `EINVAL` when the verifier refuses the program, `EPERM` without
/// `CAP_BPF`/`CAP_SYS_ADMIN`.
pub fn set_device_program(cgroup: &impl AsRawFd, program: &[Instruction]) -> io::Result<()> {
    let mut load = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    let loaded = descriptor(PROG_LOAD, &mut load)?;
    let old = attached(cgroup)?;
    let mut attach = Attach {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        replaced: 0,
    };
    if let [only] = old.as_slice() {
        attach.flags |= REPLACE;
        attach.replaced = only.as_raw_fd().cast_unsigned();
        match call(PROG_ATTACH, &mut attach) {
            // Before Linux 5.6 there is no replacing, and one attached alone cannot be replaced.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                (attach.flags, attach.replaced) = (ALLOW_MULTI, 0);
            }
            done => return done.map(drop),
        }
    }
    call(PROG_ATTACH, &mut attach)?;
    for program in &old {
        let mut detach = Attach {
            target_fd: attach.target_fd,
            program: program.as_raw_fd().cast_unsigned(),
            kind: ATTACH_CGROUP_DEVICE,
            ..Attach::default()
        };
        call(PROG_DETACH, &mut detach)?;
    }
    Ok(())
}

/// The device programs of the cgroup itself, not those of cgroups above.
fn attached(cgroup: &impl AsRawFd) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        ..Query::default()
    };
    call(PROG_QUERY, &mut query)?;
    // An id is never zero.
    let ids = ids.into_iter().take_while(|id| *id != 0);
    ids.map(|id| descriptor(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })).collect()
}

fn descriptor<T>(command: u32, attributes: &mut T) -> io::Result<OwnedFd> {
    let number = call(command, attributes)?;
    // SAFETY: these commands return a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn call<T>(command: u32, attributes: &mut T) -> io::Result<i32> {
    let size = std::mem::size_of::<T>();
    // SAFETY: `attributes` has the layout of `command`'s part of bpf_attr, of `size` bytes, and what it
    // points to outlives the call; shorter than the union is allowed and means zeroes.
    let ret =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    match i32::try_from(ret) {
        Ok(ret) if ret >= 0 => Ok(ret),
        _ => Err(io::Error::last_os_error()),
    }
}
