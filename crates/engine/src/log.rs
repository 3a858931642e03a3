//! Reading a container's json-file log.
//!
//! ```text
//!   json.log --lines--> since, until, streams --> tail --> reader
//!                                    follow: again, until the run has ended and all is read
//! ```
//!
//! A line that is not finished is left for the next look. What was followed can only grow.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::stream;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::engine::Logs;
use crate::error::Error;
use crate::owner::Life;

/// How often a followed log is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// How many lines may wait for a slow reader.
const AHEAD: usize = 64;

/// What to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Standard output's lines.
    pub stdout: bool,
    /// Standard error's lines.
    pub stderr: bool,
    /// Wait for more until the container ends.
    pub follow: bool,
    /// Not older than this.
    pub since: Option<SystemTime>,
    /// Not newer than this.
    pub until: Option<SystemTime>,
    /// The last so many that match; `None` for all.
    pub tail: Option<usize>,
}

/// One line, with its end of line; without one, it goes on in the stream's next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whether it went to standard error.
    pub stderr: bool,
    /// When the shim read it.
    pub time: SystemTime,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The log of the container that `life` watches.
pub(crate) fn read(life: watch::Receiver<Life>, which: LogRequest) -> Logs {
    let (lines, received) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let path = life.borrow().container.files.log.clone();
        if let Err(error) = send(&path, &life, which, &lines).await {
            // A reader that has gone wants no error either.
            let _ = lines.send(Err(error)).await;
        }
    });
    Box::pin(stream::unfold(received, |mut received| async move {
        received.recv().await.map(|line| (line, received))
    }))
}

type Lines = mpsc::Sender<Result<LogLine, Error>>;

async fn send(
    path: &PathBuf,
    life: &watch::Receiver<Life>,
    which: LogRequest,
    lines: &Lines,
) -> Result<(), Error> {
    let failed = |source| Error::File { action: "read", path: path.clone(), source };
    // Until its first start there is no log.
    let mut reader = loop {
        match File::open(path).await {
            Ok(file) => break Reader::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if !which.follow || life.borrow().gone || !wait(lines).await {
            return Ok(());
        }
        // Docker follows a container that does not run only to the end of what there is.
        if !life.borrow().container.status.is_live() {
            return Ok(());
        }
    };
    let mut kept = VecDeque::new();
    let mut tail = which.tail;
    loop {
        // Asked before reading: what is written before the end is read after it.
        let running = life.borrow().container.status.is_live();
        while let Some(line) = reader.line().await.map_err(failed)? {
            if which.until.is_some_and(|until| line.time > until) {
                if which.follow && tail.is_none() {
                    return Ok(());
                }
                continue;
            }
            if !which.wants(&line) {
                continue;
            }
            match tail {
                Some(most) => {
                    kept.push_back(line);
                    if kept.len() > most {
                        kept.pop_front();
                    }
                }
                None => {
                    if lines.send(Ok(line)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        tail = None;
        for line in std::mem::take(&mut kept) {
            if lines.send(Ok(line)).await.is_err() {
                return Ok(());
            }
        }
        let over = which.until.is_some_and(|until| until < SystemTime::now());
        if !which.follow || !running || over || !wait(lines).await {
            return Ok(());
        }
    }
}

/// Waits for the next look; tells whether anyone still reads.
async fn wait(lines: &Lines) -> bool {
    tokio::select! {
        () = tokio::time::sleep(PERIOD) => true,
        () = lines.closed() => false,
    }
}

impl LogRequest {
    fn wants(&self, line: &LogLine) -> bool {
        let stream = if line.stderr { self.stderr } else { self.stdout };
        stream && self.since.is_none_or(|since| line.time >= since)
    }
}

struct Reader {
    file: BufReader<File>,
    /// The beginning of a line that is still being written.
    part: Vec<u8>,
}

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

impl Reader {
    fn new(file: File) -> Self {
        Self { file: BufReader::new(file), part: Vec::new() }
    }

    /// The next whole line; `None` at the end of what is written. Lines that make no sense, as after
    /// a full disk, are skipped.
    async fn line(&mut self) -> std::io::Result<Option<LogLine>> {
        loop {
            self.file.read_until(b'\n', &mut self.part).await?;
            if self.part.last() != Some(&b'\n') {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.part);
            if let Some(line) = parse(&line) {
                return Ok(Some(line));
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let time = clock::parse(&entry.time)?;
    Some(LogLine { stderr: entry.stream == "stderr", time, bytes: entry.log.into_bytes() })
}
