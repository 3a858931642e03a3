//! Files with holes, of which an archive has the pieces between them.
//!
//! ```text
//!   GNU's type S    the first pieces in the header, more in blocks after it, then their bytes
//!   PAX, 1.0        a count and the pieces as decimal lines, up to a full block, then their bytes
//! ```
//!
//! The PAX versions 0.0 and 0.1, which no tar writes unless it is told to, are refused.
//!
//! Spec: GNU tar manual, "Sparse Formats".

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// Tar's unit.
const BLOCK: usize = 512;
/// The most pieces of one file.
const MAX_PIECES: u64 = 1 << 16;

/// Where the bytes that the archive has belong: offset and length of each piece, in order.
pub(super) type Map = Vec<(u64, u64)>;

/// What PAX records say of holes.
#[derive(Default)]
pub(super) struct Records {
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    version: [Option<u64>; 2],
    other: bool,
}

impl Records {
    /// Takes in the record `GNU.sparse.KEY`; `None` when it is damaged.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        match key {
            b"major" => self.version[0] = Some(number()?),
            b"minor" => self.version[1] = Some(number()?),
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" => self.size = Some(number()?),
            _ => self.other = true,
        }
        Some(())
    }

    /// Whether they are of a version that is not understood.
    pub(super) fn is_unknown(&self) -> bool {
        let some = self.size.is_some() || self.name.is_some();
        self.other || (some && self.version != [Some(1), Some(0)])
    }
}

/// The map of a member of type S, and the file's size; reads the blocks that follow the header.
/// `Ok(None)` when it is damaged.
pub(super) fn of_headers(header: &Header, input: &mut impl Read) -> io::Result<Option<(Map, u64)>> {
    let Some(gnu) = header.as_gnu() else { return Ok(None) };
    let Ok(size) = gnu.real_size() else { return Ok(None) };
    let mut map = Map::new();
    let mut whole = add(&mut map, &gnu.sparse);
    let mut more = gnu.is_extended();
    while more && whole.is_some() && (map.len() as u64) < MAX_PIECES {
        let mut block = GnuExtSparseHeader::new();
        input.read_exact(block.as_mut_bytes())?;
        whole = add(&mut map, block.sparse());
        more = block.is_extended();
    }
    Ok(whole.filter(|()| !more).map(|()| (map, size)))
}

fn add(map: &mut Map, headers: &[GnuSparseHeader]) -> Option<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        map.push((header.offset().ok()?, header.length().ok()?));
    }
    Some(())
}

/// The map at the beginning of a member's data. `Ok(None)` when it is damaged.
pub(super) fn of_data(data: impl Read) -> io::Result<Option<Map>> {
    let mut lines = Lines { data, block: [0; BLOCK], at: BLOCK };
    let Some(count) = lines.number()?.filter(|count| *count <= MAX_PIECES) else {
        return Ok(None);
    };
    let mut map = Map::new();
    for _ in 0..count {
        match (lines.number()?, lines.number()?) {
            (Some(offset), Some(length)) => map.push((offset, length)),
            _ => return Ok(None),
        }
    }
    Ok(Some(map))
}

/// Decimal lines in whole blocks.
struct Lines<R> {
    data: R,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Lines<R> {
    /// The next line; `Ok(None)` when it is no number.
    fn number(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0_u64;
        loop {
            if self.at == self.block.len() {
                self.data.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            let digit = match byte {
                b'\n' => return Ok(Some(value)),
                b'0'..=b'9' => u64::from(byte - b'0'),
                _ => return Ok(None),
            };
            match value.checked_mul(10).and_then(|tens| tens.checked_add(digit)) {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
    }
}

/// Whether the pieces lie one after the other in a file of `size` bytes, and are `packed` bytes together.
pub(super) fn fits(map: &[(u64, u64)], size: u64, packed: u64) -> bool {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for (offset, length) in map {
        let Some(next) = offset.checked_add(*length) else { return false };
        if *offset < end || next > size {
            return false;
        }
        end = next;
        sum += length;
    }
    sum == packed
}
