//! Fetching blobs: hashed and written while they stream, layers unpacked from the same stream, resumed
//! where the connection broke.
//!
//! ```text
//!             ┌─▶  hash, write           ─▶  digest right?  ─▶  blob has its name
//!   network  ─┤                                                       │
//!             └─▶  decompress, hash, unpack  ──────────────▶  layer can have its place
//! ```
//!
//! A layer is read from the disk only where its blob was there before.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use spec::Digest;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::{Bar, Failure, verify};
use crate::content::Writer;
use crate::disk;
use crate::manifest::Descriptor;
use crate::registry::{self, Session};
use crate::snapshot::{self, Unpacked};
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
    /// Blobs and layers being written to the disk before anyone waits for that.
    pub(super) writing: Mutex<Option<JoinHandle<Result<(), disk::Error>>>>,
}

/// What is to become of a blob's bytes besides the blob.
pub(super) struct Unpacking {
    /// The digest of the archive in it.
    pub(super) diff_id: Digest,
    /// What must not end before the unpacking does, be it heard or not.
    pub(super) kept: Arc<dyn Send + Sync>,
}

/// The threads that a blob's bytes go to.
struct Flow {
    writing: Queue<Result<Writer, disk::Error>>,
    unpacking: Option<Queue<Result<Unpacked, snapshot::Error>>>,
    /// Bytes so far.
    length: u64,
}

/// A thread with its input.
struct Queue<T> {
    pieces: mpsc::Sender<Bytes>,
    work: JoinHandle<T>,
}

/// Why an attempt ended, with what goes on with the next.
struct Broken {
    flow: Option<Flow>,
    cause: Failure,
}

impl Download<'_> {
    /// Brings a small blob into the store, unless it is there.
    pub(super) async fn fetch(&self, blob: &Descriptor) -> Result<(), Failure> {
        let pin = self.store.pin(&blob.digest);
        let _making = pin.blob.lock().await;
        if !self.has_whole(blob).await? {
            self.stream(blob, None).await?;
        }
        Ok(())
    }

    /// Brings a layer's blob into the store, unless it is there, and unpacks it if that is wanted.
    pub(super) async fn fetch_layer(
        &self,
        blob: &Descriptor,
        unpacking: Option<Unpacking>,
    ) -> Result<Option<Unpacked>, Failure> {
        let pin = self.store.pin(&blob.digest);
        let _making = pin.blob.lock().await;
        if !self.has_whole(blob).await? {
            return self.stream(blob, unpacking).await;
        }
        self.tell(blob, Status::DownloadComplete);
        let Some(unpacking) = unpacking else { return Ok(None) };
        let (store, path) = (Arc::clone(self.store), self.store.content.path(&blob.digest));
        let work = tokio::task::spawn_blocking(move || {
            use disk::Context;
            let _kept = unpacking.kept;
            let input = std::fs::File::open(&path).on("open", &path)?;
            store.snapshots.take(input, Some(&unpacking.diff_id))
        });
        let unpacked = work.await.map_err(|_| Failure::GivenUp)?;
        unpacked.map(Some).map_err(|source| layer(blob, source))
    }

    async fn has_whole(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let (store, digest) = (Arc::clone(self.store), blob.digest.clone());
        let work = tokio::task::spawn_blocking(move || store.content.has_whole(&digest));
        Ok(work.await.map_err(|_| Failure::GivenUp)??)
    }

    /// Takes the blob from the network, in as many attempts as it may need.
    async fn stream(
        &self,
        blob: &Descriptor,
        unpacking: Option<Unpacking>,
    ) -> Result<Option<Unpacked>, Failure> {
        let is_layer = unpacking.is_some();
        let mut flow = None;
        for attempt in 1.. {
            match self.attempt(blob, flow.take(), unpacking.as_ref()).await {
                Ok(whole) => return self.finish(blob, whole, is_layer).await,
                Err(broken) if attempt < ATTEMPTS && is_passing(&broken.cause) => {
                    flow = broken.flow;
                    let seconds = 1 << (attempt - 1);
                    tracing::debug!(digest = %blob.digest, seconds, "download broke, trying again");
                    self.tell(blob, Status::Retrying(seconds));
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                Err(broken) => {
                    if let Some(flow) = broken.flow {
                        flow.end().await;
                    }
                    return Err(broken.cause);
                }
            }
        }
        Err(Failure::GivenUp)
    }

    /// One request. Goes on after what `flow` has, if the registry can.
    async fn attempt(
        &self,
        blob: &Descriptor,
        flow: Option<Flow>,
        unpacking: Option<&Unpacking>,
    ) -> Result<Flow, Broken> {
        let offset = flow.as_ref().map_or(0, |flow| flow.length);
        let mut answer = match self.session.blob(blob, offset).await {
            Ok(answer) => answer,
            Err(e) => return Err(Broken { flow, cause: e.into() }),
        };
        let flow = flow.filter(|_| answer.resumed);
        let mut flow = match flow.map_or_else(|| self.flow(unpacking), Ok) {
            Ok(flow) => flow,
            Err(cause) => return Err(Broken { flow: None, cause }),
        };
        let mut bar = Bar::default();
        while let Some(piece) = answer.stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(e) => {
                    let cause = self.session.broken(&e).into();
                    return Err(Broken { flow: Some(flow), cause });
                }
            };
            flow.length += piece.len() as u64;
            if flow.length > blob.size {
                return Err(Broken { flow: Some(flow), cause: self.wrong_size(blob, None) });
            }
            if !flow.push(piece).await {
                return Err(Broken { flow: None, cause: flow.failed().await });
            }
            if unpacking.is_some() && bar.moves() {
                let (done, all) = (flow.length, blob.size);
                (self.progress)(Progress::bar(&blob.digest, Status::Downloading, done, all));
            }
        }
        if flow.length == blob.size {
            return Ok(flow);
        }
        // The end of a connection can look like a blob's end; where it ends twice at one place, it is.
        let found = flow.length;
        let cause = if offset > 0 && found <= offset {
            self.wrong_size(blob, Some(found))
        } else {
            self.session.broken(&io::ErrorKind::UnexpectedEof.into()).into()
        };
        Err(Broken { flow: Some(flow), cause })
    }

    fn flow(&self, unpacking: Option<&Unpacking>) -> Result<Flow, Failure> {
        let mut writer = self.store.content.writer()?;
        let writing = Queue::start(move |mut queue| {
            while let Some(piece) = queue.blocking_recv() {
                writer.write(&piece)?;
            }
            Ok(writer)
        });
        let unpacking = unpacking.map(|unpacking| {
            let (store, kept) = (Arc::clone(self.store), Arc::clone(&unpacking.kept));
            let diff_id = unpacking.diff_id.clone();
            Queue::start(move |queue| {
                let _kept = kept;
                store.snapshots.take(Pieces { queue, piece: Bytes::new() }, Some(&diff_id))
            })
        });
        Ok(Flow { writing, unpacking, length: 0 })
    }

    /// Compares what came with what was asked for, and only then believes what the unpacking says.
    async fn finish(
        &self,
        blob: &Descriptor,
        flow: Flow,
        is_layer: bool,
    ) -> Result<Option<Unpacked>, Failure> {
        let Flow { writing, unpacking, .. } = flow;
        let tell = |status| {
            if is_layer {
                self.tell(blob, status);
            }
        };
        // An early end of the unpacking's input would be a failure of its own.
        let unpacking = unpacking.map(Queue::close);
        let writer = writing.close().await.map_err(|_| Failure::GivenUp)??;
        tell(Status::VerifyingChecksum);
        let verified = verify(self.session, &blob.digest, &writer.digest());
        if verified.is_ok() {
            self.store.content.commit(writer)?;
            tell(Status::DownloadComplete);
        }
        let Some(unpacking) = unpacking else { return verified.map(|()| None) };
        tell(Status::Extracting);
        let unpacked = unpacking.await.map_err(|_| Failure::GivenUp)?;
        verified?;
        unpacked.map(Some).map_err(|source| layer(blob, source))
    }

    fn tell(&self, layer: &Descriptor, status: Status) {
        (self.progress)(Progress::layer(&layer.digest, status));
    }

    fn wrong_size(&self, blob: &Descriptor, found: Option<u64>) -> Failure {
        let (host, digest) = (self.session.host().to_owned(), blob.digest.clone());
        match found {
            Some(found) => Failure::TooShort { host, digest, size: blob.size, found },
            None => Failure::TooLong { host, digest, size: blob.size },
        }
    }
}

impl Flow {
    /// Hands a piece on. False when it could not be written; that it could not be unpacked is nothing to
    /// stop for: the bytes may be others than those that were asked for, which is the better error.
    async fn push(&mut self, piece: Bytes) -> bool {
        if let Some(unpacking) = &self.unpacking {
            let _ = unpacking.pieces.send(piece.clone()).await;
        }
        self.writing.pieces.send(piece).await.is_ok()
    }

    /// Why the writing ended early.
    async fn failed(self) -> Failure {
        match self.end().await {
            Some(error) => error.into(),
            None => Failure::GivenUp,
        }
    }

    /// Waits until both threads have cleaned up. Gives why the writing failed, if it did.
    async fn end(self) -> Option<disk::Error> {
        let unpacking = self.unpacking.map(Queue::close);
        let written = self.writing.close().await;
        if let Some(unpacking) = unpacking {
            drop(unpacking.await);
        }
        written.ok().and_then(Result::err)
    }
}

impl<T: Send + 'static> Queue<T> {
    /// Starts `work` where it may block.
    fn start(work: impl FnOnce(mpsc::Receiver<Bytes>) -> T + Send + 'static) -> Self {
        let (pieces, queue) = mpsc::channel(QUEUE);
        Self { pieces, work: tokio::task::spawn_blocking(move || work(queue)) }
    }

    /// Ends the input.
    fn close(self) -> JoinHandle<T> {
        self.work
    }
}

/// A stream's pieces, for who may block.
struct Pieces {
    queue: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.queue.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

fn layer(blob: &Descriptor, source: snapshot::Error) -> Failure {
    Failure::Layer { layer: blob.digest.clone(), source }
}

fn is_passing(cause: &Failure) -> bool {
    matches!(cause, Failure::Registry(e) if registry::Error::is_passing(e))
}
