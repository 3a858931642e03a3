//! The files of an archive, as blobs.

use std::io::Read;
use std::sync::Arc;

use spec::Digest;

use super::{Error, Table};
use crate::archive::{self, Archive, Members as _, Type};
use crate::store::{Pin, Store};

/// The most files that an archive may have; ten images of 500 layers each have fewer.
const MAX_FILES: usize = 8192;
/// Links from file to file that are followed.
const MAX_LINKS: usize = 8;
/// Bytes copied at a time.
const BUFFER: usize = 256 << 10;

/// The files of an archive, as blobs.
pub(super) struct Files {
    blobs: Table<(Digest, u64)>,
    links: Table<Vec<u8>>,
    pins: Vec<Arc<Pin>>,
}

impl Files {
    /// Stores every file. Blocks.
    pub(super) fn take(store: &Store, input: impl Read) -> Result<Self, Error> {
        let mut files = Self { blobs: Table::new(), links: Table::new(), pins: Vec::new() };
        let mut archive = Archive::new(input);
        let mut buffer = vec![0; BUFFER];
        while let Some(member) = archive.next_member()? {
            if files.blobs.len() + files.links.len() == MAX_FILES {
                return Err(Error::Invalid("it holds more than 8192 files"));
            }
            let name = normal(&[], &member.name);
            match member.kind {
                Type::File if member.sparse.is_some() => {
                    return Err(Error::Invalid("a file in it has holes"));
                }
                Type::File => {
                    let mut writer = store.content.writer()?;
                    let mut left = member.size;
                    while left > 0 {
                        let read = archive.read(&mut buffer).map_err(archive::Error::Read)?;
                        writer.write(&buffer[..read])?;
                        left -= read as u64;
                    }
                    let digest = writer.digest();
                    files.pins.push(store.pin(&digest));
                    store.content.commit(writer)?;
                    files.blobs.insert(name, (digest, member.size));
                }
                Type::Symlink => {
                    let above = name.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash);
                    let target = normal(&name[..above], &member.link);
                    files.links.insert(name, target);
                }
                Type::HardLink => drop(files.links.insert(name, normal(&[], &member.link))),
                _ => {}
            }
        }
        Ok(files)
    }

    /// The file of this name, or that it links to.
    pub(super) fn get(&self, name: &str) -> Option<&(Digest, u64)> {
        let mut name = normal(&[], name.as_bytes());
        for _ in 0..MAX_LINKS {
            if let Some(found) = self.blobs.get(&name) {
                return Some(found);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }
}

/// `path` seen from `directory`, without dots; there is nothing above the archive's root.
fn normal(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let start: &[u8] = if path.starts_with(b"/") { &[] } else { directory };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in start.split(|b| *b == b'/').chain(path.split(|b| *b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
