//! Open files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::request::{Fields, MAX_DATA, Reply};

/// Of what the guest opens with, what means something here. It caches itself, so direct access would only
/// be in the way, and it waits itself.
pub(crate) fn flags(asked: u32) -> OFlags {
    let kept = OFlags::ACCMODE | OFlags::APPEND | OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC;
    OFlags::from_bits_retain(asked) & kept
}

pub(crate) fn read(file: &File, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (offset, size) = (fields.long()?, fields.word()?);
    let mut data = vec![0; size.min(MAX_DATA) as usize];
    let mut got = 0;
    while got < data.len() {
        match file.read_at(&mut data[got..], offset.saturating_add(got as u64)) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(&error)),
        }
    }
    data.truncate(got);
    Ok(Reply(data))
}

pub(crate) fn write(file: &File, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (offset, size) = (fields.long()?, fields.word()?);
    fields.bytes(20)?;
    let data = fields.bytes(size as usize)?;
    file.write_all_at(data, offset).map_err(|error| errno(&error))?;
    Ok(Reply::default().words(&[size, 0]))
}

/// `fields` begin behind the handle, as with the others.
pub(crate) fn sync(file: &File, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let only_data = fields.word()? & 1 != 0;
    if only_data {
        rustix::fs::fdatasync(file)?;
    } else {
        rustix::fs::fsync(file)?;
    }
    Ok(Reply::default())
}

pub(crate) fn allocate(file: &File, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (offset, length, mode) = (fields.long()?, fields.long()?, fields.word()?);
    let mode = FallocateFlags::from_bits_retain(mode);
    rustix::fs::fallocate(file, mode, offset, length)?;
    Ok(Reply::default())
}

/// Looks for data or a hole.
pub(crate) fn seek(file: &File, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (offset, whence) = (fields.long()?, fields.word()?);
    let to = match i32::try_from(whence).map_err(|_| Errno::INVAL)? {
        libc::SEEK_DATA => SeekFrom::Data(offset),
        libc::SEEK_HOLE => SeekFrom::Hole(offset),
        _ => return Err(Errno::INVAL),
    };
    Ok(Reply::default().longs(&[rustix::fs::seek(file, to)?]))
}

pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
