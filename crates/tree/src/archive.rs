//! Reading tar archives as image layers have them.
//!
//! The `tar` crate decodes single headers; what belongs together is put together here, because its
//! reader splits PAX records at line ends, which tears binary xattrs such as `security.capability`, and
//! takes long names of any length into memory.
//!
//! Understood: ustar, GNU long names and base-256 numbers, PAX local headers (path, linkpath, size, uid,
//! gid, mtime, `SCHILY.xattr.*`), sparse files of GNU's and PAX's newest kind. Multi-volume archives are
//! refused.
//!
//! Spec: OCI image-spec, layer.md; POSIX pax, "pax Header Block".

mod sparse;

use std::borrow::Cow;
use std::io::{self, Read};

use spec::Kind;
use tar::{EntryType, Header};

/// Tar's unit.
const BLOCK: u64 = 512;
/// The longest header that is taken into memory: xattrs of 64 KiB each and long names fit.
const MAX_EXTENSION: u64 = 1 << 20;

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input ended too early, could not be decompressed or could not be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// A header is damaged.
    #[error("damaged header after {after:?}: {what}")]
    Damaged {
        /// The member before it.
        after: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A kind of member that Hull cannot unpack.
    #[error("{what} in an archive: {name:?}")]
    Unsupported {
        /// The kind.
        what: &'static str,
        /// The member.
        name: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read(_) | Self::Damaged { .. } => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
        }
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A regular file.
    File,
    /// Another name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// A character device.
    Character {
        /// Its driver.
        major: u32,
        /// Which of the driver's.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Its driver.
        major: u32,
        /// Which of the driver's.
        minor: u32,
    },
}

/// One member of an archive, all headers that describe it taken together.
#[derive(Debug, Clone)]
pub struct Member {
    /// As it was written, not checked.
    pub name: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Type,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Of the file, holes included.
    pub size: u64,
    /// Where the data belongs, for a file with holes.
    pub sparse: Option<Vec<(u64, u64)>>,
    /// Names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What files are made of: members one after the other, wherever they come from. Reading gives the data
/// of the member that came last.
pub trait Members: Read {
    /// The next member; `None` when there is no more.
    fn next_member(&mut self) -> Result<Option<Member>, Error>;
}

impl<M: Members + ?Sized> Members for Box<M> {
    fn next_member(&mut self) -> Result<Option<Member>, Error> {
        (**self).next_member()
    }
}

/// An archive being read. Reading from it gives the data of the member that [`Archive::next_member`] gave last.
pub struct Archive<R> {
    input: R,
    /// Bytes of the member's data that were not read.
    left: u64,
    /// Bytes after them up to a full block.
    padding: u64,
    last: Vec<u8>,
}

/// What headers before a member's own say about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: sparse::Records,
}

impl<R: Read> Archive<R> {
    /// Begins to read.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, last: Vec::new() }
    }

    /// What is behind the members.
    pub fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The next member; `None` at the end mark or the end of the input.
    fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| self.damaged("size"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    let parsed = extensions.pax(&records);
                    parsed.ok_or_else(|| self.damaged("PAX records"))?;
                }
                EntryType::GNULongName => extensions.name = Some(self.long_name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name(size)?),
                // Comments for the whole archive; git writes its commit there.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                kind => return self.member(&header, kind, extensions).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        mut extensions: Extensions,
    ) -> Result<Member, Error> {
        let name = extensions.sparse.name.take().or(extensions.name);
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let is_gnu = kind == EntryType::GNUSparse;
        let kind = kind_of(header, kind, &name).map_err(|what| match what {
            Some(what) => Error::Unsupported { what, name: text(&name) },
            None => self.damaged("device number"),
        })?;
        if extensions.sparse.is_unknown() {
            return Err(Error::Unsupported {
                what: "sparse file of an old kind",
                name: text(&name),
            });
        }
        let own_link = || header.link_name_bytes().map_or_else(Vec::new, Cow::into_owned);
        let header_size = header.entry_size().map_err(|_| self.damaged("size"))?;
        let size = match kind {
            Type::File => extensions.size.unwrap_or(header_size),
            _ => header_size,
        };
        let headers = is_gnu.then(|| sparse::of_headers(header, &mut self.input));
        let headers = headers.transpose().map_err(Error::Read)?;
        self.set_body(size)?;
        let (sparse, size) = match (headers, extensions.sparse.size) {
            (None, None) => (None, size),
            (Some(map), _) => self.holes(map)?,
            (None, Some(size)) => {
                let map = sparse::of_data(&mut *self).map_err(Error::Read)?;
                self.holes(map.map(|map| (map, size)))?
            }
        };
        let id = |own: io::Result<u64>, extended: Option<u64>, what| {
            let id = own.ok().or(extended).map(|own| extended.unwrap_or(own));
            // The last number means "leave as it is" to chown(2).
            let id = id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
            id.ok_or_else(|| self.damaged(what))
        };
        let old = header.as_old();
        let mode = blank_is_zero(header.mode(), &old.mode);
        let mtime = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
        let member = Member {
            link: extensions.link.unwrap_or_else(own_link),
            kind,
            mode: mode.map_err(|_| self.damaged("mode"))? & 0o7777,
            uid: id(blank_is_zero(header.uid(), &old.uid), extensions.uid, "uid")?,
            gid: id(blank_is_zero(header.gid(), &old.gid), extensions.gid, "gid")?,
            mtime: extensions.mtime.unwrap_or((mtime.unwrap_or(0), 0)),
            size,
            sparse,
            xattrs: extensions.xattrs,
            name,
        };
        self.last.clone_from(&member.name);
        Ok(member)
    }

    /// A map that fits the data that is left.
    fn holes(&self, map: Option<(sparse::Map, u64)>) -> Result<(Option<sparse::Map>, u64), Error> {
        let fits = map.filter(|(map, size)| sparse::fits(map, *size, self.left));
        let (map, size) = fits.ok_or_else(|| self.damaged("map of holes"))?;
        Ok((Some(map), size))
    }

    /// A header whose checksum is right; `None` for a block of zeros or the end.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        match self.input.read(&mut bytes[..1]).map_err(Error::Read)? {
            0 => return Ok(None),
            _ => self.input.read_exact(&mut bytes[1..]).map_err(Error::Read)?,
        }
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum = |range: &[u8]| range.iter().map(|b| u32::from(*b)).sum::<u32>();
        let computed = sum(&bytes[..148]) + sum(&bytes[156..]) + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(computed) {
            return Err(self.damaged("checksum"));
        }
        Ok(Some(header))
    }

    fn set_body(&mut self, size: u64) -> Result<(), Error> {
        if size > u64::MAX - BLOCK {
            return Err(self.damaged("size"));
        }
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(())
    }

    /// Goes on to the next header. The last member's padding may be missing: `umoci insert` leaves it out.
    fn skip_rest(&mut self) -> Result<(), Error> {
        let (left, rest) = (self.left, self.left + self.padding);
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink());
        match skipped.map_err(Error::Read)? {
            skipped if skipped >= left => Ok(()),
            _ => Err(Error::Read(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(self.damaged("extended header over 1 MiB"));
        }
        self.set_body(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(Error::Read)?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.extension(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { after: text(&self.last), what }
    }
}

impl<R: Read> Members for Archive<R> {
    fn next_member(&mut self) -> Result<Option<Member>, Error> {
        self.next()
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.input.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// A number that is not there is 0, as other readers have it.
fn blank_is_zero<T: From<u8>>(number: io::Result<T>, field: &[u8]) -> io::Result<T> {
    let is_blank = field.iter().all(|b| matches!(b, 0 | b' '));
    if is_blank { Ok(T::from(0)) } else { number }
}

/// `Err(Some)` names what is not supported, `Err(None)` is a damaged device number.
fn kind_of(header: &Header, kind: EntryType, name: &[u8]) -> Result<Type, Option<&'static str>> {
    let device = || {
        let (major, minor) = (header.device_major().ok()?, header.device_minor().ok()?);
        Some((major?, minor?))
    };
    Ok(match kind {
        // What archives older than POSIX say for a directory.
        EntryType::Regular if name.ends_with(b"/") => Type::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Type::File,
        EntryType::Link => Type::HardLink,
        EntryType::Symlink => Type::Symlink,
        EntryType::Directory => Type::Directory,
        EntryType::Fifo => Type::Fifo,
        EntryType::Char => {
            device().map(|(major, minor)| Type::Character { major, minor }).ok_or(None)?
        }
        EntryType::Block => {
            device().map(|(major, minor)| Type::Block { major, minor }).ok_or(None)?
        }
        _ => return Err(Some("member of an unknown type")),
    })
}

impl Extensions {
    /// Takes in `LENGTH KEY=VALUE\n` records; `None` when they are damaged.
    fn pax(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|b| *b == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|b| *b == b'=')?;
            self.record(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Some(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse().ok();
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(time(value)?),
            // Times of access and change, names of owners, comments: nothing to set from them.
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
            }
        }
        Some(())
    }
}

/// Decimal seconds with a fraction, possibly before 1970.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let value = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_value_may_hold_line_ends() {
        let mut extensions = Extensions::default();
        let records = b"27 SCHILY.xattr.user.x=a\nb\n18 mtime=-1.25000\n";
        assert_eq!(extensions.pax(records), Some(()));
        assert_eq!(extensions.xattrs, [(b"user.x".to_vec(), b"a\nb".to_vec())]);
        assert_eq!(extensions.mtime, Some((-2, 750_000_000)));
    }

    #[test]
    fn damaged_pax_records_are_refused() {
        for records in [
            &b"27"[..],
            b"x path=a\n",
            b"99 path=a\n",
            b"9 path=a\n1",
            b"0 \n",
            b"8 path=a",
            b"3 \n",
            b"9 size=x\n",
            b"18446744073709551616 a=b\n",
            b"11 mtime=1.x\n",
        ] {
            assert_eq!(Extensions::default().pax(records), None, "{records:?}");
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic() {
        for seed in 0..64_u8 {
            let noise: Vec<u8> = (0..2048_u32)
                .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2] ^ seed)
                .collect();
            assert!(Archive::new(&noise[..]).next_member().is_err(), "{seed}");
        }
    }
}
