//! Fetching one blob: hashed while it streams, resumed where the connection broke.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Bar, Failure, verify};
use crate::content::Writer;
use crate::disk;
use crate::manifest::Descriptor;
use crate::registry::{self, Session};
use crate::store::Store;
use crate::{Progress, Status};

/// Attempts at one blob before the pull fails.
const ATTEMPTS: u32 = 5;
/// Pieces between network and disk.
const QUEUE: usize = 16;

/// What all blobs of one pull share.
pub(super) struct Download<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) session: &'a Session,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Why an attempt ended, with what it had written.
struct Broken {
    writer: Option<Writer>,
    cause: Failure,
}

impl Download<'_> {
    /// Brings the blob into the store, unless it is there. With `shown`, its line tells how.
    pub(super) async fn fetch(
        &self,
        blob: &Descriptor,
        shown: Option<&spec::Digest>,
    ) -> Result<(), Failure> {
        let tell = |status| {
            if let Some(layer) = shown {
                (self.progress)(Progress::layer(layer, status));
            }
        };
        let pin = self.store.pin(&blob.digest);
        let _making = pin.making.lock().await;
        if self.store.content.has(&blob.digest) {
            tell(Status::DownloadComplete);
            return Ok(());
        }
        let mut writer = None;
        for attempt in 1.. {
            match self.attempt(blob, writer.take(), shown).await {
                Ok(whole) => {
                    tell(Status::VerifyingChecksum);
                    self.commit(blob, whole).await?;
                    tell(Status::DownloadComplete);
                    return Ok(());
                }
                Err(broken) if attempt < ATTEMPTS && is_passing(&broken.cause) => {
                    writer = broken.writer;
                    let seconds = 1 << (attempt - 1);
                    tracing::debug!(digest = %blob.digest, seconds, "download broke, trying again");
                    tell(Status::Retrying(seconds));
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                Err(broken) => return Err(broken.cause),
            }
        }
        Err(Failure::GivenUp)
    }

    /// One request. Goes on after what `writer` has, if the registry can.
    async fn attempt(
        &self,
        blob: &Descriptor,
        writer: Option<Writer>,
        shown: Option<&spec::Digest>,
    ) -> Result<Writer, Broken> {
        let offset = writer.as_ref().map_or(0, Writer::length);
        let mut answer = match self.session.blob(blob, offset).await {
            Ok(answer) => answer,
            Err(e) => return Err(Broken { writer, cause: e.into() }),
        };
        let writer = writer.filter(|_| answer.resumed);
        let writer = match writer.map_or_else(|| self.store.content.writer(), Ok) {
            Ok(writer) => writer,
            Err(e) => return Err(Broken { writer: None, cause: e.into() }),
        };
        let mut length = writer.length();
        let (pieces, queue) = mpsc::channel::<Bytes>(QUEUE);
        let disk = write_all(writer, queue);
        let mut bar = Bar::default();
        let mut cause = None;
        while let Some(piece) = answer.stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(e) => {
                    cause = Some(self.session.broken(&e).into());
                    break;
                }
            };
            length += piece.len() as u64;
            if length > blob.size {
                cause = Some(self.too_long(blob));
                break;
            }
            if pieces.send(piece).await.is_err() {
                break;
            }
            if let Some(layer) = shown.filter(|_| bar.moves()) {
                let status = Status::Downloading;
                (self.progress)(Progress::bar(layer, status, length, blob.size));
            }
        }
        drop(pieces);
        let writer = match disk.await {
            Ok(Ok(writer)) => writer,
            Ok(Err(e)) => return Err(Broken { writer: None, cause: e.into() }),
            Err(_) => return Err(Broken { writer: None, cause: Failure::GivenUp }),
        };
        let short = || {
            let early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            self.session.broken(&early).into()
        };
        match cause.or_else(|| (length < blob.size).then(short)) {
            Some(cause) => Err(Broken { writer: Some(writer), cause }),
            None => Ok(writer),
        }
    }

    async fn commit(&self, blob: &Descriptor, writer: Writer) -> Result<(), Failure> {
        verify(self.session, &blob.digest, &writer.digest())?;
        let store = Arc::clone(self.store);
        let work = tokio::task::spawn_blocking(move || store.content.commit(writer));
        work.await.map_err(|_| Failure::GivenUp)??;
        Ok(())
    }

    fn too_long(&self, blob: &Descriptor) -> Failure {
        let (host, digest) = (self.session.host().to_owned(), blob.digest.clone());
        Failure::Size { host, digest, size: blob.size }
    }
}

/// Takes pieces to the disk, on a thread that may block.
fn write_all(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Bytes>,
) -> JoinHandle<Result<Writer, disk::Error>> {
    tokio::task::spawn_blocking(move || {
        while let Some(piece) = queue.blocking_recv() {
            writer.write(&piece)?;
        }
        Ok(writer)
    })
}

fn is_passing(cause: &Failure) -> bool {
    matches!(cause, Failure::Registry(e) if registry::Error::is_passing(e))
}
