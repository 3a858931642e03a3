//! As much of FUSE's messages as the agent must understand of what passes through it.
//!
//! Spec: linux/fuse.h `fuse_in_header`, `fuse_out_header`, `fuse_entry_out`, `fuse_attr_out`.

use rustix::io::Errno;

/// What comes before a request, and before an answer.
pub(crate) const IN_HEADER: usize = 40;
pub(crate) const OUT_HEADER: usize = 16;
/// Where in an answer with an entry the mode is.
pub(crate) const ENTRY_MODE: usize = OUT_HEADER + 100;
/// The number of the root.
pub(crate) const ROOT: u64 = 1;

pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const BATCH_FORGET: u32 = 42;

/// How long the kernel may believe what it is told of a directory of the agent's, in seconds.
const BELIEVED: u64 = 1;

/// A request's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
}

impl Head {
    /// `None` where there is less than a header.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..IN_HEADER)?;
        Some(Self { opcode: word(bytes, 4), unique: long(bytes, 8), node: long(bytes, 16) })
    }
}

/// The number at an offset; 0 where there is none.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_ne_bytes)
}

/// As [`word`].
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
    eight.map_or(0, u64::from_ne_bytes)
}

/// The bytes before the first zero.
pub(crate) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A lookup of `name` in `parent` with the header of another request: of the same user, and answered as it.
pub(crate) fn look_up(request: &[u8], parent: u64, name: &[u8]) -> Vec<u8> {
    let length = u32::try_from(IN_HEADER + name.len() + 1).unwrap_or(u32::MAX);
    let mut bytes = request[..IN_HEADER].to_vec();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..8].copy_from_slice(&LOOKUP.to_ne_bytes());
    bytes[16..24].copy_from_slice(&parent.to_ne_bytes());
    bytes.extend(name);
    bytes.push(0);
    bytes
}

/// The answer that a request failed.
pub(crate) fn error(unique: u64, errno: Errno) -> Vec<u8> {
    answer(unique, -errno.raw_os_error(), &[])
}

/// The answer to a lookup that found a directory of root's alone.
pub(crate) fn entry_of_directory(unique: u64, node: u64) -> Vec<u8> {
    let mut body = longs(&[node, 0, BELIEVED, BELIEVED, 0]);
    body.extend(attributes(node));
    answer(unique, 0, &body)
}

/// The attributes of such a directory.
pub(crate) fn attributes_of_directory(unique: u64, node: u64) -> Vec<u8> {
    let mut body = longs(&[BELIEVED, 0]);
    body.extend(attributes(node));
    answer(unique, 0, &body)
}

fn attributes(node: u64) -> Vec<u8> {
    const MODE: u32 = 0o040_700;
    let mut bytes = longs(&[node, 0, 0, 0, 0, 0]);
    let links = 2;
    for word in [0, 0, 0, MODE, links, 0, 0, 0, 4096, 0_u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

fn answer(unique: u64, error: i32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(OUT_HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(error.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    bytes
}
