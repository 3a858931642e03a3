//! Telling compressed archives from plain ones.
//!
//! By their first bytes, not by the media type: both name the same layers in practice, and what comes
//! out is checked against its own digest anyway.
//!
//! Archives of users may be compressed in more ways than layers of images, which have no media type for
//! them: `ADD`, contexts of builds, `load`, `import` and `cp` take what Docker does.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use spec::Kind;

/// KiB that a decoder of xz may take: `xz -9` asks for 64 MiB, the format allows for 4 GiB.
const XZ_MEMORY: u32 = 256 << 10;

/// The media type of a layer that is not compressed.
pub(crate) const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Of bzip2.
    Bzip2,
    /// The .xz File Format, 1.2.1.
    Xz,
}

/// Why the archive cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its beginning cannot be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// It is compressed in a way that image layers are not.
    #[error("unsupported compression {0} of a layer: want gzip, zstd or none")]
    Unsupported(&'static str),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read(_) => Kind::Invalid,
            Self::Unsupported(_) => Kind::Unsupported,
        }
    }
}

impl Compression {
    /// The compression of what begins with `start`; ten bytes are enough.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            // A tar archive begins with a file's name, which may be BZh: the first block's mark tells.
            [b'B', b'Z', b'h', b'1'..=b'9', mark @ ..]
                if mark.starts_with(b"1AY&SY") || mark.starts_with(b"\x17rE8P\x90") =>
            {
                Self::Bzip2
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    /// The media type of a layer that is compressed so.
    pub(crate) fn media_type(self) -> Result<&'static str, Error> {
        match self {
            Self::None => Ok(PLAIN_LAYER),
            Self::Gzip => Ok("application/vnd.oci.image.layer.v1.tar+gzip"),
            Self::Zstd => Ok("application/vnd.oci.image.layer.v1.tar+zstd"),
            Self::Bzip2 => Err(Error::Unsupported("bzip2")),
            Self::Xz => Err(Error::Unsupported("xz")),
        }
    }
}

/// How the file at `path` is compressed.
pub(crate) fn of_file(path: &Path) -> Result<Compression, Error> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::Read)?;
    file.take(10).read_to_end(&mut start).map_err(Error::Read)?;
    Ok(Compression::of(&start))
}

/// The archive in `input`, decompressed, and how it was compressed.
pub fn decompress<'a>(input: impl Read + 'a) -> Result<(Box<dyn Read + 'a>, Compression), Error> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    let compression = Compression::of(input.fill_buf().map_err(Error::Read)?);
    let output: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input).map_err(Error::Read)?),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Compression::Xz => Box::new(Xz(XzReader::new_mem_limit(input, true, XZ_MEMORY))),
    };
    Ok((output, compression))
}

/// A decoder that says in our words when its dictionary is too large.
struct Xz<R: Read>(XzReader<R>);

impl<R: Read> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => {
                let (what, most) = ("its xz dictionary takes more than", XZ_MEMORY >> 10);
                let text = format!("{what} {most} MiB: compress it by xz -9 at most");
                io::Error::new(io::ErrorKind::OutOfMemory, text)
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// `one ` by xz 5.4.
    const XZ_ONE: &[u8] = b"\
        \xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x03\
        one \x00Z\x8c\x83\xa315\xef~\x00\x01\x1c\x04o,\x9c\xc1\x1f\xb6\xf3}\x01\x00\x00\x00\
        \x00\x04YZ";
    /// `two`.
    const XZ_TWO: &[u8] = b"\
        \xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x02\
        two\x00\x00]\xd3y)u(R\x03\x00\x01\x1b\x03\x0b/\xb9\x10\x1f\xb6\xf3}\x01\x00\x00\x00\
        \x00\x04YZ";
    /// `one` by `xz --lzma2=dict=1GiB`.
    const XZ_LARGE: &[u8] = b"\
        \xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01$\x00\x00\x00^\x1f\xc7\xf9\x01\x00\x02\
        one\x00\x00~\xe5\x10\xc5\xd5jl\x9a\x00\x01\x1b\x03\x0b/\xb9\x10\x1f\xb6\xf3}\x01\x00\
        \x00\x00\x00\x04YZ";

    #[test]
    fn what_was_compressed_in_pieces_comes_out_whole() {
        let gzip = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("to memory");
            encoder.finish().expect("to memory")
        };
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).expect("to memory");
        let bzip2 = |text: &[u8]| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(text).expect("to memory");
            encoder.finish().expect("to memory")
        };
        let cases = [
            ("plain", b"one two".to_vec(), Compression::None),
            ("gzip", [gzip(b"one "), gzip(b"two")].concat(), Compression::Gzip),
            ("zstd", [zstd(b"one "), zstd(b"two")].concat(), Compression::Zstd),
            ("bzip2", [bzip2(b"one "), bzip2(b"two")].concat(), Compression::Bzip2),
            ("xz", [XZ_ONE, XZ_TWO].concat(), Compression::Xz),
        ];
        for (name, input, want) in cases {
            let (mut output, compression) = decompress(&input[..]).expect(name);
            let mut text = String::new();
            output.read_to_string(&mut text).expect(name);
            assert_eq!((text.as_str(), compression), ("one two", want), "{name}");
        }
    }

    #[test]
    fn a_dictionary_larger_than_anyone_needs_is_refused() {
        let (mut output, _) = decompress(XZ_LARGE).expect("it begins well");
        let error = output.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("more than 256 MiB"), "{error}");
    }
}
