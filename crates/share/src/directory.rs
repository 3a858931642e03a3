//! Reading directories.
//!
//! Spec: linux/fuse.h `fuse_dirent`.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, SeekFrom};
use rustix::io::Errno;

use crate::request::{Fields, MAX_DATA, Reply};

/// Bytes read from the kernel at a time. Less than the smallest page that the guest asks for: what was
/// read but does not fit is read again, from the place that its entry names.
const BUFFER: usize = 4096;
/// A name's part of an entry that is not the name.
const ENTRY: usize = 24;

pub(crate) fn read(directory: &OwnedFd, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (offset, size) = (fields.long()?, fields.word()?);
    let room = size.min(MAX_DATA) as usize;
    rustix::fs::seek(directory, SeekFrom::Start(offset))?;
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut bytes = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let length = (ENTRY + name.len()).next_multiple_of(8);
        if bytes.len() + length > room {
            break;
        }
        bytes.extend(entry.ino().to_ne_bytes());
        bytes.extend(entry.next_entry_cookie().to_ne_bytes());
        bytes.extend(u32::try_from(name.len()).expect("a name").to_ne_bytes());
        bytes.extend(kind(entry.file_type()).to_ne_bytes());
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(Reply(bytes))
}

/// The kind of a file as directories have it: the upper bits of its mode. What a FIFO is to the guest is told
/// when it is looked up.
fn kind(of: FileType) -> u32 {
    if of == FileType::Fifo { 0 } else { of.as_raw_mode() >> 12 }
}
