//! Telling compressed archives from plain ones.
//!
//! By their first bytes, not by the media type: both name the same layers in practice, and what comes
//! out is checked against its own digest anyway.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use spec::Kind;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Why the archive cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its beginning cannot be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// It is compressed in a way that image layers are not.
    #[error("unsupported compression {0}: want gzip, zstd or none")]
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
    /// The compression of what begins with `start`; six bytes are enough.
    pub(crate) fn of(start: &[u8]) -> Result<Self, Error> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(Error::Unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(Error::Unsupported("xz")),
            _ => Ok(Self::None),
        }
    }

    /// The media type of a layer that is compressed so.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// How the file at `path` is compressed.
pub(crate) fn of_file(path: &Path) -> Result<Compression, Error> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::Read)?;
    file.take(6).read_to_end(&mut start).map_err(Error::Read)?;
    Compression::of(&start)
}

/// The archive in `input`, decompressed, and how it was compressed.
pub fn decompress<'a>(input: impl Read + 'a) -> Result<(Box<dyn Read + 'a>, Compression), Error> {
    let mut input = BufReader::with_capacity(128 << 10, input);
    let compression = Compression::of(input.fill_buf().map_err(Error::Read)?)?;
    let output: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input).map_err(Error::Read)?),
    };
    Ok((output, compression))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_compressed_in_pieces_comes_out_whole() {
        let gzip = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("to memory");
            encoder.finish().expect("to memory")
        };
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).expect("to memory");
        let cases = [
            ("plain", b"one two".to_vec(), Compression::None),
            ("gzip", [gzip(b"one "), gzip(b"two")].concat(), Compression::Gzip),
            ("zstd", [zstd(b"one "), zstd(b"two")].concat(), Compression::Zstd),
        ];
        for (name, input, want) in cases {
            let (mut output, compression) = decompress(&input[..]).expect(name);
            let mut text = String::new();
            output.read_to_string(&mut text).expect(name);
            assert_eq!((text.as_str(), compression), ("one two", want), "{name}");
        }
        assert!(matches!(decompress(&b"BZh9"[..]), Err(Error::Unsupported("bzip2"))));
    }
}
