//! A result that becomes files of the client's: `docker build --output`.
//!
//! ```text
//!   image ─▶ a container that never runs ─▶ an archive ─▶ tar: as it is, in pieces
//!                                                     └─▶ local: a list, and what the client asks for of it
//! ```
//!
//! The second is [`crate::files`] the other way round. What has several names in the image is a file for each of
//! them here.
//!
//! Spec: `moby.filesync.v1.FileSend/DiffCopy`; github.com/tonistiigi/fsutil `send.go`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use engine::{Config, Create, Engine, HostConfig, NetworkMode, Pieces, Remove};
use futures_util::stream;
use image::Image;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tree::archive::{Archive, Member, Members, Type};

use crate::error::status;
use crate::files::{checked, mode_of_go};
use crate::messages::session::{BytesMessage, Packet, PacketType, Stat};
use crate::session::Session;

const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// By which a client knows which of its outputs is meant.
const NUMBER: &str = "buildkit-attachable-exporter-id";
/// Bytes sent at a time.
const CHUNK: usize = 32 << 10;
/// Messages that wait to be sent.
const QUEUE: usize = 32;

/// In which form files go to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An archive.
    Tar,
    /// A directory.
    Local,
}

/// Sends the files of `image` as the output of this number.
pub(crate) async fn send(
    engine: &Engine,
    session: &Session,
    image: &Image,
    (number, form): (usize, Form),
) -> Result<(), Status> {
    let failed = |error: engine::Error| status(error.kind(), &error);
    let mut metadata = MetadataMap::new();
    metadata.insert(NUMBER, number.into());
    let config = Config {
        image: image.id.to_string(),
        entrypoint: Some(Vec::new()),
        // It is never started: what it would run does not matter.
        cmd: Some(vec!["/".to_owned()]),
        ..Config::default()
    };
    let host = HostConfig { network: NetworkMode::None, ..HostConfig::default() };
    let made = engine.create(Create { name: None, config, host }).await.map_err(failed)?;
    let made = Made { engine: engine.clone(), id: made.id };
    let archive = engine.export(&made.id).await.map_err(failed)?;
    match form {
        Form::Tar => send_archive(session, metadata, archive).await,
        Form::Local => {
            let scratch = engine.build_scratch().map_err(failed)?;
            send_files(session, metadata, archive, &scratch).await
        }
    }
}

/// A container that never runs. It goes when this is dropped.
struct Made {
    engine: Engine,
    id: String,
}

impl Drop for Made {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), std::mem::take(&mut self.id));
        // The runtime is there: this is dropped by one of its tasks.
        tokio::spawn(async move {
            let how = Remove { force: true, volumes: true };
            if let Err(error) = engine.remove(&id, how).await {
                tracing::warn!(container = id, %error, "container of an output not removed");
            }
        });
    }
}

async fn send_archive(
    session: &Session,
    metadata: MetadataMap,
    archive: Pieces,
) -> Result<(), Status> {
    let (failure, failed) = mpsc::channel(1);
    let said = stream::unfold((archive, failure), |(mut archive, failure)| async move {
        match archive.recv().await? {
            Ok(data) => Some((BytesMessage { data }, (archive, failure))),
            Err(error) => {
                // One fits, and it is the only one.
                let _ = failure.try_send(error);
                None
            }
        }
    });
    let mut heard: Streaming<BytesMessage> = session.talk(METHOD, metadata, said).await?;
    while heard.message().await?.is_some() {}
    match { failed }.try_recv() {
        Ok(error) => Err(Status::internal(format!("read the image's files: {error}"))),
        Err(_) => Ok(()),
    }
}

/// The files of an archive, in the order in which they are sent, and their bytes.
struct Files {
    spool: File,
    /// Each with the place of its bytes.
    all: Vec<(Stat, u64)>,
}

impl Files {
    /// Takes in an archive. Blocks.
    fn read(archive: impl Read, dir: &Path) -> io::Result<Self> {
        let mut spool = build::context::unnamed(dir).map_err(io::Error::other)?;
        let (mut archive, mut offset) = (Archive::new(archive), 0);
        // Beneath a directory comes before whatever is named like it and longer.
        let key =
            |path: &[u8]| path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect();
        let mut all: BTreeMap<Vec<u8>, (Stat, u64)> = BTreeMap::new();
        while let Some(member) = archive.next_member().map_err(io::Error::other)? {
            let name = String::from_utf8_lossy(&member.name);
            let path = name.trim_start_matches("./").trim_matches('/').to_owned();
            if path.is_empty() || path == "." {
                continue;
            }
            let file = if member.kind == Type::HardLink {
                let target = String::from_utf8_lossy(&member.link);
                let target = target.trim_start_matches("./").trim_matches('/');
                let lost = || io::Error::other(format!("{path} is a link to nothing"));
                let (stat, offset) =
                    all.get(&key(target.as_bytes()) as &Vec<u8>).ok_or_else(lost)?;
                (Stat { path: path.clone(), ..stat.clone() }, *offset)
            } else {
                let written = io::copy(&mut (&mut archive).take(member.size), &mut spool)?;
                let begins = offset;
                offset += written;
                (stat(&path, member), begins)
            };
            all.insert(key(path.as_bytes()), file);
        }
        spool.flush()?;
        Ok(Self { spool, all: all.into_values().collect() })
    }
}

async fn send_files(
    session: &Session,
    metadata: MetadataMap,
    mut archive: Pieces,
    scratch: &Path,
) -> Result<(), Status> {
    let scratch = scratch.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut piece = io::Cursor::new(Vec::new());
        let read = ReadPieces { archive: &mut archive, piece: &mut piece };
        Files::read(read, &scratch)
    });
    let files = reading.await.map_err(|_| Status::aborted("the output was given up"))?;
    let files =
        files.map_err(|error| Status::internal(format!("read the image's files: {error}")))?;
    let (say, said) = mpsc::channel(QUEUE);
    // The client asks while it is told still.
    let (ask, mut asked) = mpsc::unbounded_channel();
    let hearing = async move {
        let said = ReceiverStream::new(said);
        let mut heard: Streaming<Packet> = session.talk(METHOD, metadata, said).await?;
        while let Some(packet) = checked(heard.message().await?)? {
            let last = packet.r#type() == PacketType::Finish;
            if ask.send((packet.r#type(), packet.id)).is_err() || last {
                break;
            }
        }
        Ok::<_, Status>(heard)
    };
    let telling = async move {
        for (stat, _) in &files.all {
            let packet = Packet { stat: Some(stat.clone()), ..packet(PacketType::Stat, 0) };
            tell(&say, packet).await?;
        }
        tell(&say, packet(PacketType::Stat, 0)).await?;
        while let Some((kind, id)) = asked.recv().await {
            match kind {
                PacketType::Request => send_file(&say, &files, id).await?,
                PacketType::Finish => return tell(&say, packet(PacketType::Finish, 0)).await,
                _ => {
                    return Err(Status::invalid_argument(
                        "the client sends what was not asked for",
                    ));
                }
            }
        }
        Err(Status::aborted("the client has not taken all files"))
    };
    let (mut heard, ()) = tokio::try_join!(hearing, telling)?;
    while heard.message().await?.is_some() {}
    Ok(())
}

async fn send_file(say: &mpsc::Sender<Packet>, files: &Files, id: u32) -> Result<(), Status> {
    let unknown =
        || Status::invalid_argument(format!("the client asks for file {id}, which there is not"));
    let (stat, offset) = files.all.get(id as usize).ok_or_else(unknown)?;
    let (mut at, mut left) = (*offset, u64::try_from(stat.size).unwrap_or(0));
    while left > 0 {
        let length = left.min(CHUNK as u64);
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(CHUNK)];
        let read = files.spool.read_exact_at(&mut chunk, at);
        read.map_err(|error| Status::internal(format!("read the image's files: {error}")))?;
        (at, left) = (at + length, left - length);
        tell(say, Packet { data: chunk.into(), ..packet(PacketType::Data, id) }).await?;
    }
    tell(say, packet(PacketType::Data, id)).await
}

fn packet(kind: PacketType, id: u32) -> Packet {
    Packet { r#type: kind.into(), id, stat: None, data: Bytes::new() }
}

async fn tell(say: &mpsc::Sender<Packet>, packet: Packet) -> Result<(), Status> {
    say.send(packet).await.map_err(|_| Status::aborted("the client has gone"))
}

fn stat(path: &str, member: Member) -> Stat {
    let (seconds, nanoseconds) = member.mtime;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (devmajor, devminor) = match member.kind {
        Type::Character { major, minor } | Type::Block { major, minor } => {
            (major.into(), minor.into())
        }
        _ => (0, 0),
    };
    let xattrs: HashMap<String, Vec<u8>> =
        member.xattrs.into_iter().map(|(name, value)| (text(name), value)).collect();
    Stat {
        path: path.to_owned(),
        mode: mode_of_go(member.kind, member.mode),
        uid: member.uid,
        gid: member.gid,
        size: i64::try_from(member.size).unwrap_or(i64::MAX),
        mod_time: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.into()),
        linkname: if member.kind == Type::Symlink { text(member.link) } else { String::new() },
        devmajor,
        devminor,
        xattrs,
    }
}

/// Pieces of an archive, for a thread that may block.
struct ReadPieces<'a> {
    archive: &'a mut Pieces,
    piece: &'a mut io::Cursor<Vec<u8>>,
}

impl Read for ReadPieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.piece.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.archive.blocking_recv() {
                Some(piece) => *self.piece = io::Cursor::new(piece?),
                None => return Ok(0),
            }
        }
    }
}
