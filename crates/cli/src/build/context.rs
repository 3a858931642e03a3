//! What a build is sent: an archive of a directory, without what its `.dockerignore` names.
//!
//! A thread walks and packs while the connection sends: neither waits for the whole. Owners are not sent,
//! as docker's client sends none.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::build::ignore::Ignore;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::dockerfile::{self, Dockerfile, IGNORE, LONGEST};
use crate::error::Error;

/// Bytes that are sent at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait for the connection.
const WAITING: usize = 4;
/// What a Dockerfile from elsewhere is called in the archive, unless the context has such a file.
const APART: &str = ".hull.dockerfile";
/// How much of standard input tells an archive from a Dockerfile.
const HEAD: usize = 512;

/// Why the archive could not be made.
type Failure = Arc<Mutex<Option<io::Error>>>;

/// A context on its way.
pub(super) struct Sending {
    /// Its bytes, as they are made.
    pub(super) archive: BoxStream<'static, io::Result<Bytes>>,
    /// How many there were.
    pub(super) sent: Arc<AtomicU64>,
    /// Why there will be no more.
    pub(super) failure: Failure,
}

/// What a build is sent.
pub(super) struct Context {
    from: From,
    /// The Dockerfile's path in the archive.
    dockerfile: String,
    ignore: Ignore,
}

enum From {
    /// A directory, and a Dockerfile that is not in it.
    Directory { root: PathBuf, apart: Option<Apart> },
    /// A Dockerfile alone.
    Text(Vec<u8>),
    /// An archive from standard input, of which this was read already.
    Input(Vec<u8>),
}

/// A Dockerfile from elsewhere, and the rules that hold for the context.
struct Apart {
    text: Vec<u8>,
    rules: String,
}

impl Context {
    /// The context that the command line names.
    pub(super) async fn open(named: &str, dockerfile: Dockerfile) -> Result<Self, Error> {
        if let Dockerfile::Unread(path) = dockerfile {
            return Self::of_input(tokio::io::stdin(), path).await;
        }
        let is_remote = named.contains("://");
        let root = Path::new(named);
        if !root.exists() {
            let what = if is_remote {
                format!("{named} is no git repository: download it, and name the directory")
            } else {
                format!("path {named:?} not found")
            };
            return Err(Error::Context { what, source: None });
        }
        if !root.is_dir() {
            let what = format!("context must be a directory: {named}");
            return Err(Error::Context { what, source: None });
        }
        let (path, own, apart) = match dockerfile {
            Dockerfile::Apart { text, ignore } => (free_name(root), ignore, Some(text)),
            Dockerfile::Within(path) | Dockerfile::Unread(path) => {
                let own = dockerfile::rules(&root.join(format!("{path}{IGNORE}")))?;
                (path, own, None)
            }
        };
        let rules = match own {
            Some(own) => own,
            None => dockerfile::rules(&root.join(IGNORE))?.unwrap_or_default(),
        };
        let ignore = Ignore::parse(&rules)?;
        let apart = apart.map(|text| Apart { text, rules });
        Ok(Self {
            from: From::Directory { root: root.to_owned(), apart },
            dockerfile: path,
            ignore,
        })
    }

    /// An archive or a Dockerfile, whichever `input` begins as.
    async fn of_input(mut input: impl AsyncRead + Unpin, path: String) -> Result<Self, Error> {
        let failed = || Error::file("read the context from standard input");
        if crate::terminal::input() {
            let what =
                "standard input is a terminal: name a directory, or redirect an archive".to_owned();
            return Err(Error::Context { what, source: None });
        }
        let mut head = Vec::new();
        (&mut input).take(HEAD as u64).read_to_end(&mut head).await.map_err(failed())?;
        if is_archive(&head) {
            return Ok(Self {
                from: From::Input(head),
                dockerfile: path,
                ignore: Ignore::default(),
            });
        }
        let mut rest = Vec::new();
        input.take(LONGEST + 1).read_to_end(&mut rest).await.map_err(failed())?;
        let text = dockerfile::read([head, rest].concat().as_slice(), "standard input")?;
        Ok(Self {
            from: From::Text(text),
            dockerfile: "Dockerfile".to_owned(),
            ignore: Ignore::default(),
        })
    }

    /// The Dockerfile's path in the archive.
    pub(super) fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// What is left out.
    pub(super) fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// Name and text of the Dockerfile, if it can be read here.
    pub(super) fn dockerfile_text(&self) -> Result<Option<(String, Vec<u8>)>, Error> {
        match &self.from {
            From::Directory { apart: Some(Apart { text, .. }), .. } | From::Text(text) => {
                Ok(Some(("Dockerfile".to_owned(), text.clone())))
            }
            From::Directory { root, apart: None } => {
                let path = dockerfile::place(root, &self.dockerfile);
                let name = path.display().to_string();
                let file = File::open(&path).map_err(Error::file(&name))?;
                dockerfile::read(file, &name).map(|text| Some((self.dockerfile.clone(), text)))
            }
            From::Input(_) => Ok(None),
        }
    }

    /// Begins to pack.
    pub(super) fn stream(self) -> Sending {
        let sent = Arc::new(AtomicU64::new(0));
        let failure = Failure::default();
        let counter = Arc::clone(&sent);
        let count = move |chunk: &Bytes| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        };
        let archive = match self.from {
            From::Input(head) => {
                let all = AsyncReadExt::chain(io::Cursor::new(head), tokio::io::stdin());
                ReaderStream::with_capacity(all, CHUNK).inspect_ok(count).boxed()
            }
            from => {
                let failure = Arc::clone(&failure);
                let packing = Packing { dockerfile: self.dockerfile, ignore: self.ignore, failure };
                let (to, chunks) = mpsc::channel(WAITING);
                tokio::task::spawn_blocking(move || packing.run(from, &to));
                let chunks = futures_util::stream::unfold(chunks, |mut chunks| async {
                    chunks.recv().await.map(|chunk| (chunk, chunks))
                });
                chunks.inspect_ok(count).boxed()
            }
        };
        Sending { archive, sent, failure }
    }
}

/// Whether a text begins as an archive does, plain or compressed.
fn is_archive(head: &[u8]) -> bool {
    let magics: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    magics.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

/// A name that no file of the context has.
fn free_name(root: &Path) -> String {
    let names =
        std::iter::once(APART.to_owned()).chain((1..).map(|number| format!("{APART}.{number}")));
    let mut free = names.filter(|name| fs::symlink_metadata(root.join(name)).is_err());
    free.next().unwrap_or_else(|| APART.to_owned())
}

/// Makes the archive, on a thread of its own.
struct Packing {
    dockerfile: String,
    ignore: Ignore,
    failure: Failure,
}

impl Packing {
    fn run(&self, from: From, to: &mpsc::Sender<io::Result<Bytes>>) {
        let mut archive = tar::Builder::new(Chunks { buffer: BytesMut::new(), to: to.clone() });
        let packed = self.pack(from, &mut archive).and_then(|()| archive.into_inner()?.flush());
        if let Err(error) = packed {
            let torn = io::Error::from(error.kind());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            // Whoever no longer listens knows of a failure of its own.
            let _ = to.blocking_send(Err(torn));
        }
    }

    fn pack(&self, from: From, archive: &mut tar::Builder<Chunks>) -> io::Result<()> {
        match from {
            From::Input(_) => Ok(()),
            From::Text(text) => append_text(archive, &self.dockerfile, &text),
            From::Directory { root, apart: None } => {
                let own = format!("{}{IGNORE}", self.dockerfile);
                let ignore = self.ignore.clone().but(&self.dockerfile).but(&own).but(IGNORE);
                walk(&root, &ignore, archive)
            }
            From::Directory { root, apart: Some(Apart { text, rules }) } => {
                // What the context does not have must not be copied into the image either: the engine goes
                // by the rules of this Dockerfile, which name it and themselves.
                let own = format!("{}{IGNORE}", self.dockerfile);
                let rules = format!("{rules}\n{}\n{own}\n", self.dockerfile);
                append_text(archive, &own, rules.as_bytes())?;
                append_text(archive, &self.dockerfile, &text)?;
                walk(&root, &self.ignore, archive)
            }
        }
    }
}

fn append_text(archive: &mut tar::Builder<Chunks>, path: &str, text: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(text.len() as u64);
    archive.append_data(&mut header, path, text)
}

/// Appends what is beneath `root`, names in order.
fn walk(root: &Path, ignore: &Ignore, archive: &mut tar::Builder<Chunks>) -> io::Result<()> {
    let mut left = vec![PathBuf::new()];
    // Directories that are ignored, but may hold what is not: they are sent if they do.
    let mut skipped: BTreeSet<PathBuf> = BTreeSet::new();
    while let Some(path) = left.pop() {
        let full = root.join(&path);
        let text = path.to_string_lossy();
        let is_root = path.as_os_str().is_empty();
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", full.display()));
        let metadata = if is_root { fs::metadata(root) } else { fs::symlink_metadata(&full) };
        let metadata = metadata.map_err(told)?;
        let excluded = !is_root && ignore.excludes(&text);
        if metadata.is_dir() {
            if excluded && !ignore.may_include_beneath(&text) {
                continue;
            }
            let mut names = fs::read_dir(&full)
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
                })
                .map_err(told)?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            left.extend(names.into_iter().map(|name| path.join(name)));
        }
        if is_root || excluded || metadata.file_type().is_socket() {
            if metadata.is_dir() && !is_root {
                skipped.insert(path);
            }
            continue;
        }
        let mut parents: Vec<&Path> =
            path.ancestors().skip(1).filter(|parent| skipped.contains(*parent)).collect();
        parents.reverse();
        for parent in parents {
            let full = root.join(parent);
            append(archive, &full, parent, &fs::symlink_metadata(&full).map_err(told)?)
                .map_err(told)?;
            skipped.remove(parent);
        }
        append(archive, &full, &path, &metadata).map_err(told)?;
    }
    Ok(())
}

fn append(
    archive: &mut tar::Builder<Chunks>,
    full: &Path,
    path: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    if metadata.is_symlink() {
        header.set_size(0);
        return archive.append_link(&mut header, path, fs::read_link(full)?);
    }
    if !metadata.is_file() {
        header.set_size(0);
        return archive.append_data(&mut header, path, io::empty());
    }
    // What is read is what the header says, whatever is written meanwhile.
    let file = File::open(full)?;
    let size = file.metadata()?.len();
    header.set_size(size);
    let mut data = Counted { from: file.take(size), count: 0 };
    archive.append_data(&mut header, path, &mut data)?;
    if data.count < size {
        return Err(io::Error::other("it became shorter while it was read"));
    }
    Ok(())
}

struct Counted<R> {
    from: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Gathers what is written and sends it in large pieces.
struct Chunks {
    buffer: BytesMut,
    to: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Chunks {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.to.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
