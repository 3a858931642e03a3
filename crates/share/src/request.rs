//! Requests as they come, and replies as they go. Numbers are the machine's own: guest and host are the
//! same architecture.
//!
//! Spec: linux/fuse.h `fuse_in_header`, `fuse_out_header`.

use std::ffi::CStr;
use std::io::{self, Read, Write};

use rustix::io::Errno;

/// Bytes of data in one request or reply, at most.
pub(crate) const MAX_DATA: u32 = 128 << 10;
/// The longest request: a write's headers are shorter than a page, and names and xattrs than the data.
const MAX_REQUEST: usize = MAX_DATA as usize + 4096;
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    body: Vec<u8>,
}

/// What a request holds after its header, from front to back. Too little of it is `EINVAL`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// What a request is answered with, after the header.
#[derive(Debug, Default)]
pub(crate) struct Reply(pub(crate) Vec<u8>);

impl Request {
    /// Reads the next one; `None` at the end. One of a length that cannot be is an error.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; IN_HEADER];
        let mut got = 0;
        while got < IN_HEADER {
            match from.read(&mut header[got..])? {
                0 if got == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => got += more,
            }
        }
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four"));
        let long = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight"));
        let length = word(0) as usize;
        if !(IN_HEADER..=MAX_REQUEST).contains(&length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a request of no possible length",
            ));
        }
        let mut body = vec![0; length - IN_HEADER];
        from.read_exact(&mut body)?;
        let (opcode, unique, node) = (word(4), long(8), long(16));
        Ok(Some(Self { opcode, unique, node, uid: word(24), gid: word(28), body }))
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }

    #[cfg(test)]
    pub(crate) fn new(opcode: u32, node: u64, body: Vec<u8>) -> Self {
        Self { opcode, unique: 1, node, uid: 0, gid: 0, body }
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn word(&mut self) -> Result<u32, Errno> {
        Ok(u32::from_ne_bytes(self.bytes(4)?.try_into().expect("four")))
    }

    pub(crate) fn long(&mut self) -> Result<u64, Errno> {
        Ok(u64::from_ne_bytes(self.bytes(8)?.try_into().expect("eight")))
    }

    /// A text that ends with a zero.
    pub(crate) fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.0 = &self.0[text.count_bytes() + 1..];
        Ok(text)
    }

    /// The name of something in a directory: one component, and no way up.
    pub(crate) fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.text()?;
        let bytes = name.to_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(Errno::INVAL);
        }
        Ok(name)
    }
}

impl Reply {
    pub(crate) fn words(mut self, words: &[u32]) -> Self {
        self.0.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        self
    }

    pub(crate) fn longs(mut self, longs: &[u64]) -> Self {
        self.0.extend(longs.iter().flat_map(|long| long.to_ne_bytes()));
        self
    }
}

/// The whole answer to the request `unique`.
pub(crate) fn encode(unique: u64, outcome: Result<Reply, Errno>) -> Vec<u8> {
    let (error, body) = match outcome {
        Ok(reply) => (0, reply.0),
        Err(errno) => (-errno.raw_os_error(), Vec::new()),
    };
    let length = u32::try_from(OUT_HEADER + body.len()).expect("replies are short");
    let mut bytes = Vec::with_capacity(OUT_HEADER + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(error.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// Writes an answer whole.
pub(crate) fn send(to: &mut impl Write, answer: &[u8]) -> io::Result<()> {
    to.write_all(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component() {
        for (text, fits) in [
            (&b"file\0"[..], true),
            (b"\0", false),
            (b".\0", false),
            (b"..\0", false),
            (b"a/b\0", false),
            (b"/\0", false),
            (b"unfinished", false),
        ] {
            assert_eq!(Fields(text).name().is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn a_request_of_no_possible_length_is_refused_before_it_is_read() {
        for length in [0_u32, 39, MAX_DATA + 4097, u32::MAX] {
            let mut bytes = vec![0; 40];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(Request::read(&mut bytes.as_slice()).is_err(), "{length}");
        }
        assert!(Request::read(&mut &b""[..]).expect("the end").is_none());
    }
}
