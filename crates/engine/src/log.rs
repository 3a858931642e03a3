//! Reading a container's log.
//!
//! ```text
//!   files --lines--> since, until, streams --> tail --> reader
//!                                    follow: again, until the run has ended and all is read
//! ```
//!
//! A line that is not finished is left for the next look.

mod files;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::stream;
use tokio::sync::{mpsc, watch};

use crate::engine::Logs;
use crate::error::Error;
use crate::owner::Life;
use files::Files;

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
    /// What the driver was told to write with each line.
    pub attributes: BTreeMap<String, String>,
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
    path: &Path,
    life: &watch::Receiver<Life>,
    which: LogRequest,
    lines: &Lines,
) -> Result<(), Error> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    // Lines that are filtered do not count, so that it is not known where the tail begins.
    let plain = which.stdout && which.stderr && which.since.is_none() && which.until.is_none();
    let hint = which.tail.filter(|_| plain);
    // Until its first start there is no log.
    let mut files = loop {
        match blocking(path.to_owned(), move |path| Files::open(path, hint)).await {
            Ok((_, files)) => break files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
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
        loop {
            let read = blocking(files, Files::lines).await.map_err(failed)?;
            files = read.0;
            if read.1.is_empty() {
                break;
            }
            for line in read.1 {
                if which.until.is_some_and(|until| line.time > until) {
                    if which.follow && tail.is_none() {
                        return Ok(());
                    }
                } else if !which.wants(&line) {
                } else if let Some(most) = tail {
                    kept.push_back(line);
                    if kept.len() > most {
                        kept.pop_front();
                    }
                } else if lines.send(Ok(line)).await.is_err() {
                    return Ok(());
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

/// Lends `value` to work that blocks.
async fn blocking<T: Send + 'static, R: Send + 'static>(
    mut value: T,
    work: impl FnOnce(&mut T) -> io::Result<R> + Send + 'static,
) -> io::Result<(T, R)> {
    let done = tokio::task::spawn_blocking(move || work(&mut value).map(|result| (value, result)));
    done.await.unwrap_or_else(|error| Err(io::Error::other(error)))
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;
    use std::sync::Arc;

    use futures_util::StreamExt;
    use spec::Pid;

    use super::*;
    use crate::clock;
    use crate::container::Status;
    use crate::sample;

    fn append(path: &Path, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).open(path).expect("log");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn line(number: u32, stream: &str) -> String {
        let time = format!("2026-11-22T15:00:{number:02}.5Z");
        format!("{{\"log\":\"{number}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
    }

    fn life(path: &Path, running: bool) -> (watch::Sender<Life>, watch::Receiver<Life>) {
        let mut container = sample::container("aa", "web", 1);
        container.files.log = path.to_owned();
        if running {
            container.status = Status::Running { pid: Pid::new(7).expect("positive") };
        }
        watch::channel(Life { container: Arc::new(container), ends: 0, gone: false })
    }

    async fn text(mut lines: Logs) -> String {
        let mut text = String::new();
        while let Some(line) = lines.next().await {
            text += &String::from_utf8(line.expect("readable").bytes).expect("text");
        }
        text.replace('\n', " ")
    }

    fn both() -> LogRequest {
        LogRequest { stdout: true, stderr: true, ..Default::default() }
    }

    #[tokio::test]
    async fn a_log_is_read_by_stream_time_and_tail() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("json.log");
        for number in 1..=4 {
            append(&path, &line(number, if number % 2 == 0 { "stderr" } else { "stdout" }));
        }
        append(&path, "{\"log\":\"half");
        let at = |second: u32| clock::parse(&format!("2026-11-22T15:00:{second:02}Z"));
        let cases = [
            ("all", both(), "1 2 3 4 "),
            ("stdout", LogRequest { stderr: false, ..both() }, "1 3 "),
            ("tail", LogRequest { tail: Some(2), ..both() }, "3 4 "),
            ("no tail", LogRequest { tail: Some(0), ..both() }, ""),
            ("since", LogRequest { since: at(3), ..both() }, "3 4 "),
            ("until", LogRequest { until: at(3), ..both() }, "1 2 "),
            ("tail of a stream", LogRequest { stdout: false, tail: Some(1), ..both() }, "4 "),
        ];
        for (name, which, want) in cases {
            let (_owner, watcher) = life(&path, false);
            assert_eq!(text(read(watcher, which)).await, want, "{name}");
        }
    }

    #[tokio::test]
    async fn a_followed_log_ends_with_the_run_and_misses_no_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("json.log");
        append(&path, &line(1, "stdout"));
        let (owner, watcher) = life(&path, true);
        let lines = read(watcher, LogRequest { follow: true, tail: Some(0), ..both() });
        let reading = tokio::spawn(text(lines));
        tokio::time::sleep(PERIOD * 2).await;
        let (begin, end) = (&line(2, "stdout")[..20], &line(2, "stdout")[20..]);
        append(&path, begin);
        tokio::time::sleep(PERIOD * 2).await;
        append(&path, end);
        append(&path, &line(3, "stderr"));
        owner.send_modify(|life| Arc::make_mut(&mut life.container).status = Status::Exited);
        assert_eq!(reading.await.expect("read"), "2 3 ");
    }

    #[tokio::test]
    async fn a_container_that_never_ran_has_an_empty_log() {
        let (_owner, watcher) = life(Path::new("/nonexistent/json.log"), false);
        assert_eq!(text(read(watcher, LogRequest { follow: true, ..both() })).await, "");
    }

    #[tokio::test]
    async fn older_files_come_first_and_a_followed_log_goes_on_in_the_next_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("json.log");
        let older = dir.path().join("json.log.1");
        append(&older, &line(1, "stdout"));
        append(&path, &line(2, "stdout"));
        let (_ended, watcher) = life(&path, false);
        assert_eq!(text(read(watcher.clone(), both())).await, "1 2 ");
        let tail = LogRequest { tail: Some(2), ..both() };
        assert_eq!(text(read(watcher, tail)).await, "1 2 ");

        let (owner, watcher) = life(&path, true);
        let reading = tokio::spawn(text(read(watcher, LogRequest { follow: true, ..both() })));
        tokio::time::sleep(PERIOD * 2).await;
        append(&path, &line(3, "stdout"));
        for (number, next) in [(4, "json.log.2"), (5, "json.log.3")] {
            std::fs::rename(&older, dir.path().join(next)).expect("renamed");
            std::fs::rename(&path, &older).expect("renamed");
            append(&path, &line(number, "stdout"));
        }
        tokio::time::sleep(PERIOD * 3).await;
        append(&path, &line(6, "stdout"));
        owner.send_modify(|life| Arc::make_mut(&mut life.container).status = Status::Exited);
        assert_eq!(reading.await.expect("read"), "1 2 3 4 5 6 ");
    }
}
