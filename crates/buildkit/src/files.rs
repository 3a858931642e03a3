//! A client's files as it sends them: a list, and then what is asked for of it.
//!
//! ```text
//!   client                                     engine
//!     │── STAT of each file, in order ────────────▶│
//!     │── STAT without one: the end ──────────────▶│
//!     │◀─ REQUEST of a file by its place ──────────│   a few ahead, never more than fits the window
//!     │── DATA, DATA, DATA of nothing: its end ───▶│   of several files at once
//!     │◀─ FINISH ──────────────────────────────────│
//!     │── FINISH ─────────────────────────────────▶│
//! ```
//!
//! What comes is put back into the list's order, and so is kept as an archive's members are.
//!
//! Spec: github.com/tonistiigi/fsutil `receive.go`; `moby.filesync.v1.FileSync/DiffCopy`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use build::Context;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Status, Streaming};
use tree::archive::{self, Member, Members, Type};

use crate::error::status;
use crate::messages::session::{Packet, PacketType, Stat};
use crate::session::Session;

const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// The most files that a client may list, as many as a context may have, and bytes of the list.
const MAX_LIST: (usize, usize) = (1_000_000, 256 << 20);
/// Bytes of files that were asked for and have not come: one file that is larger is asked for alone.
const WINDOW: u64 = 8 << 20;
/// The most files of these.
const AHEAD: usize = 512;
/// Bytes, and pieces, that are handed on together.
const BATCH: (usize, usize) = (256 << 10, 256);
/// How many such wait at most.
const QUEUE: usize = 4;

/// Bits of Go's `os.FileMode`.
mod go {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const FIFO: u32 = 1 << 25;
    pub(super) const SETUID: u32 = 1 << 23;
    pub(super) const SETGID: u32 = 1 << 22;
    pub(super) const CHARACTER: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
    /// Whatever is no regular file.
    pub(super) const KINDS: u32 =
        DIRECTORY | SYMLINK | DEVICE | FIFO | 1 << 24 | CHARACTER | 1 << 19;
}

/// Which files of a client's.
pub(crate) struct Wanted<'a> {
    /// What the client calls the directory.
    pub(crate) dir: &'a str,
    /// Only these, and what they lead to; all where there is none.
    pub(crate) only: &'a [String],
    /// Patterns of what is not to come.
    pub(crate) but: &'a [String],
}

/// Takes in a client's files; they lie beneath `scratch` as long as what this gives lives. `progress` hears how many
/// bytes came.
pub(crate) async fn receive(
    session: &Session,
    wanted: &Wanted<'_>,
    scratch: &Path,
    progress: impl Fn(u64),
) -> Result<Context, Status> {
    let (say, said) = mpsc::channel(AHEAD);
    let packets = session.talk(METHOD, metadata(wanted), ReceiverStream::new(said)).await?;
    let (hand, pieces) = mpsc::channel(QUEUE);
    let scratch = scratch.to_owned();
    let keeping = tokio::task::spawn_blocking(move || {
        let members =
            Arrived { batches: pieces, batch: Vec::new().into_iter(), data: Bytes::new() };
        Context::of_members(members, &scratch)
    });
    let mut arriving = Arriving { packets, say, hand, batch: Vec::new(), bytes: 0, total: 0 };
    let arrived = arriving.all(&progress).await;
    drop(arriving);
    let kept = keeping.await.map_err(|_| Status::internal("the context was given up"))?;
    // Who keeps them ends first where they cannot be kept.
    match (arrived, kept) {
        (Err(error), _) if error.code() != tonic::Code::Aborted => Err(error),
        (_, Err(error)) => Err(status(error.kind(), &error)),
        (Err(error), _) => Err(error),
        (Ok(()), Ok(context)) => Ok(context),
    }
}

/// What is wanted, as a call's metadata says it: in ASCII, or escaped.
fn metadata(wanted: &Wanted<'_>) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    let mut add = |key: &'static str, encoded: &'static str, values: &[String]| {
        let is_plain = |value: &String| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let plain = values.iter().all(is_plain);
        for value in values {
            let text = if plain {
                value.clone()
            } else {
                utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
            };
            if let Ok(value) = MetadataValue::try_from(text) {
                metadata.append(key, value);
            }
        }
        if !plain {
            metadata.insert(encoded, MetadataValue::from_static("1"));
        }
    };
    add("dir-name", "dir-name-encoded", &[wanted.dir.to_owned()]);
    add("followpaths", "followpaths-encoded", wanted.only);
    add("exclude-patterns", "exclude-patterns-encoded", wanted.but);
    metadata
}

/// A piece of an archive that is put together.
enum Piece {
    Member(Box<Member>),
    Data(Bytes),
}

/// Asks for files, and puts what comes in order.
struct Arriving {
    packets: Streaming<Packet>,
    say: mpsc::Sender<Packet>,
    hand: mpsc::Sender<Vec<Piece>>,
    batch: Vec<Piece>,
    /// Of the batch.
    bytes: usize,
    /// Of all files so far.
    total: u64,
}

/// A file that was asked for.
#[derive(Default)]
struct Expected {
    data: Vec<Bytes>,
    /// Bytes that are to come still.
    left: u64,
    is_whole: bool,
}

impl Arriving {
    async fn all(&mut self, progress: &impl Fn(u64)) -> Result<(), Status> {
        let members = self.list().await?;
        let mut expected: BTreeMap<u32, Expected> = BTreeMap::new();
        let (mut ahead, mut asked) = (0, 0);
        for (place, member) in members.iter().enumerate() {
            // What may be on its way is asked for.
            while asked < members.len() && expected.len() < AHEAD {
                let Member { kind, size, .. } = members[asked];
                if kind == Type::File && size > 0 {
                    if ahead > 0 && ahead + size > WINDOW {
                        break;
                    }
                    let id = number(asked)?;
                    self.send(PacketType::Request, id).await?;
                    expected.insert(id, Expected { left: size, ..Expected::default() });
                    ahead += size;
                }
                asked += 1;
            }
            self.hand(Piece::Member(Box::new(member.clone()))).await?;
            let id = number(place)?;
            while let Some(own) = expected.get_mut(&id) {
                let (data, is_whole) = (std::mem::take(&mut own.data), own.is_whole);
                for data in data {
                    self.hand(Piece::Data(data)).await?;
                }
                if is_whole {
                    expected.remove(&id);
                    ahead -= member.size;
                    progress(self.total);
                    break;
                }
                self.data(&mut expected, &members).await?;
            }
        }
        self.flush().await?;
        self.send(PacketType::Finish, 0).await?;
        while let Some(packet) = self.packet().await? {
            if packet.r#type() == PacketType::Finish {
                break;
            }
        }
        Ok(())
    }

    /// What the client has.
    async fn list(&mut self) -> Result<Vec<Member>, Status> {
        let (mut members, mut bytes) = (Vec::new(), 0);
        loop {
            let packet = self.packet().await?;
            let packet = packet.ok_or_else(|| Status::aborted("the list of files has no end"))?;
            match (packet.r#type(), packet.stat) {
                (PacketType::Stat, Some(stat)) => {
                    bytes += stat.encoded_len();
                    members.push(member(stat));
                }
                (PacketType::Stat, None) => return Ok(members),
                _ => return Err(Status::invalid_argument("data before it was asked for")),
            }
            if members.len() > MAX_LIST.0 || bytes > MAX_LIST.1 {
                return Err(Status::invalid_argument(format!(
                    "the build context has more than {} files, or their names and attributes are longer than {} MiB: \
                     name what is not needed in .dockerignore",
                    MAX_LIST.0,
                    MAX_LIST.1 >> 20
                )));
            }
        }
    }

    /// Takes in a piece of some file.
    async fn data(
        &mut self,
        expected: &mut BTreeMap<u32, Expected>,
        members: &[Member],
    ) -> Result<(), Status> {
        // Nobody is to wait for what is here while nothing comes.
        let packet = if let Some(packet) = self.packets.message().now_or_never() {
            packet?
        } else {
            self.flush().await?;
            self.packets.message().await?
        };
        let packet = checked(packet)?.ok_or_else(|| Status::aborted("files are missing"))?;
        let of = expected.get_mut(&packet.id).filter(|of| !of.is_whole);
        let (PacketType::Data, Some(of)) = (packet.r#type(), of) else {
            return Err(Status::invalid_argument("data that was not asked for"));
        };
        let length = packet.data.len() as u64;
        let has_changed = length > of.left || length == 0 && of.left > 0;
        if has_changed {
            let name = members.get(packet.id as usize).map(|member| text(&member.name));
            return Err(Status::failed_precondition(format!(
                "{} changed while it was sent: build again",
                name.unwrap_or_default()
            )));
        }
        of.left -= length;
        self.total += length;
        match length {
            0 => of.is_whole = true,
            _ => of.data.push(packet.data),
        }
        Ok(())
    }

    async fn hand(&mut self, piece: Piece) -> Result<(), Status> {
        if let Piece::Data(data) = &piece {
            self.bytes += data.len();
        }
        self.batch.push(piece);
        if self.bytes >= BATCH.0 || self.batch.len() >= BATCH.1 {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Status> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.hand.send(batch).await.map_err(|_| Status::aborted("nobody keeps the files"))
    }

    async fn packet(&mut self) -> Result<Option<Packet>, Status> {
        checked(self.packets.message().await?)
    }

    async fn send(&self, kind: PacketType, id: u32) -> Result<(), Status> {
        let packet = Packet { r#type: kind.into(), id, ..Packet::default() };
        self.say.send(packet).await.map_err(|_| Status::aborted("the client has gone"))
    }
}

/// The client's own error out of a packet.
pub(crate) fn checked(packet: Option<Packet>) -> Result<Option<Packet>, Status> {
    match packet {
        Some(packet) if packet.r#type() == PacketType::Error => {
            Err(Status::failed_precondition(format!("the client: {}", text(&packet.data))))
        }
        packet => Ok(packet),
    }
}

fn number(place: usize) -> Result<u32, Status> {
    u32::try_from(place).map_err(|_| Status::invalid_argument("too many files"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A mode as Go has it.
pub(crate) fn mode_of_go(kind: Type, mode: u32) -> u32 {
    let kind = match kind {
        Type::File | Type::HardLink => 0,
        Type::Directory => go::DIRECTORY,
        Type::Symlink => go::SYMLINK,
        Type::Fifo => go::FIFO,
        Type::Character { .. } => go::DEVICE | go::CHARACTER,
        Type::Block { .. } => go::DEVICE,
    };
    let special = [(0o4000, go::SETUID), (0o2000, go::SETGID), (0o1000, go::STICKY)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0);
    special.fold(kind | mode & 0o777, |all, (_, bit)| all | bit)
}

/// A file as the list names it.
fn member(stat: Stat) -> Member {
    let Stat { path, mode, size, mod_time, linkname, xattrs, .. } = stat;
    let device = (mode & go::DEVICE != 0, mode & go::CHARACTER != 0);
    let kind = match mode & go::KINDS {
        0 if !linkname.is_empty() => Type::HardLink,
        0 => Type::File,
        go::DIRECTORY => Type::Directory,
        go::SYMLINK => Type::Symlink,
        _ if device == (true, true) => Type::Character { major: 0, minor: 0 },
        _ if device.0 => Type::Block { major: 0, minor: 0 },
        // Sockets too: neither is anything in a context.
        _ => Type::Fifo,
    };
    let bit = |go: u32, unix: u32| if mode & go != 0 { unix } else { 0 };
    let special = bit(go::SETUID, 0o4000) | bit(go::SETGID, 0o2000) | bit(go::STICKY, 0o1000);
    let second = 1_000_000_000;
    let nanoseconds = u32::try_from(mod_time.rem_euclid(second)).unwrap_or(0);
    let mut xattrs: Vec<_> =
        xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
    xattrs.sort();
    Member {
        name: path.into_bytes(),
        link: linkname.into_bytes(),
        kind,
        mode: mode & 0o777 | special,
        uid: 0,
        gid: 0,
        mtime: (mod_time.div_euclid(second), nanoseconds),
        size: if kind == Type::File { u64::try_from(size).unwrap_or(0) } else { 0 },
        sparse: None,
        xattrs,
    }
}

/// What has come, for a thread that may block.
struct Arrived {
    batches: mpsc::Receiver<Vec<Piece>>,
    batch: std::vec::IntoIter<Piece>,
    data: Bytes,
}

impl Arrived {
    fn piece(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.batch.next() {
                return Some(piece);
            }
            self.batch = self.batches.blocking_recv()?.into_iter();
        }
    }
}

impl Members for Arrived {
    fn next_member(&mut self) -> Result<Option<Member>, archive::Error> {
        match self.piece() {
            None => Ok(None),
            Some(Piece::Member(member)) => Ok(Some(*member)),
            Some(Piece::Data(_)) => Err(archive::Error::Read(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl Read for Arrived {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.data.is_empty() {
            match self.piece() {
                Some(Piece::Data(data)) => self.data = data,
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.data.len().min(buffer.len());
        self.data.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
