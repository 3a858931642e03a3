//! The files of a log, read in order however the shim moves them.
//!
//! ```text
//!   log.2.gz  ->  log.1  ->  log  --another file has its name-->  those that are new since, again
//! ```
//!
//! Blocks. A line that is not finished is left for the next look; lines that make no sense, as after
//! a full disk, are skipped.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::LogLine;
use crate::clock;

/// How many bytes of lines are read at a time.
const BATCH: usize = 256 << 10;
/// How often the files are opened anew because the shim moved them meanwhile.
const ATTEMPTS: usize = 16;
/// How much is read at a time where lines are counted from the end.
const BLOCK: u64 = 64 << 10;

/// The place in a log up to which it was read.
pub(super) struct Files {
    path: PathBuf,
    /// Oldest first; the last is the newest file there was.
    open: VecDeque<One>,
    /// The beginning of a line that is still being written.
    part: Vec<u8>,
    /// The time of the last line, wanted or not.
    last: Option<SystemTime>,
    /// The newest file's number on its file system.
    newest: u64,
}

type One = BufReader<Box<dyn Read + Send>>;

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: String,
}

impl Files {
    /// Opens the log at `path`; of the last `tail` lines at least, if it can be told cheaply where
    /// they begin.
    pub(super) fn open(path: &Path, tail: Option<usize>) -> io::Result<Self> {
        let mut files = Self {
            path: path.to_owned(),
            open: VecDeque::new(),
            part: Vec::new(),
            last: None,
            newest: 0,
        };
        if let Some(tail) = tail {
            let mut file = File::open(path)?;
            if let Some(begin) = tail_of(&mut file, tail)? {
                file.seek(SeekFrom::Start(begin))?;
                files.newest = file.metadata()?.ino();
                files.open.push_back(BufReader::new(Box::new(file)));
                return Ok(files);
            }
        }
        files.find()?;
        Ok(files)
    }

    /// The next lines; none at the end of what is written.
    pub(super) fn lines(&mut self) -> io::Result<Vec<LogLine>> {
        let (mut lines, mut length) = (Vec::new(), 0);
        while length < BATCH {
            let Some(file) = self.open.front_mut() else { break };
            file.read_until(b'\n', &mut self.part)?;
            if self.part.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.part);
                length += line.len();
                if let Some(line) = parse(&line) {
                    self.last = Some(line.time);
                    lines.push(line);
                }
            } else if self.open.len() > 1 {
                self.open.pop_front();
                self.part.clear();
            } else if lines.is_empty() && self.moved() {
                // The old file is complete: one more look, then on to the new ones.
                file_end(self)?;
            } else {
                break;
            }
        }
        Ok(lines)
    }

    /// Whether another file has the newest's name.
    fn moved(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|now| now.ino() != self.newest)
    }

    /// Opens the files with lines that are newer than the last one read.
    fn find(&mut self) -> io::Result<()> {
        let mut attempts = 0;
        loop {
            let newest = File::open(&self.path)?;
            self.newest = newest.metadata()?.ino();
            let mut open = VecDeque::from([BufReader::new(Box::new(newest) as _)]);
            for number in 1_u32.. {
                let Some(mut older) = older(&self.path, number)? else { break };
                if self.last.is_some() && first(&mut older)? <= self.last {
                    break;
                }
                open.push_front(older);
            }
            attempts += 1;
            if !self.moved() || attempts == ATTEMPTS {
                // Those that were looked into begin with the line that was seen.
                self.open = open;
                return Ok(());
            }
        }
    }
}

/// Goes on to the next files if the present one has nothing more.
fn file_end(files: &mut Files) -> io::Result<()> {
    let Some(file) = files.open.front_mut() else { return Ok(()) };
    file.read_until(b'\n', &mut files.part)?;
    if files.part.last() == Some(&b'\n') {
        let line = std::mem::take(&mut files.part);
        // Put back for the loop, in front of the rest.
        if let Some(file) = files.open.pop_front() {
            files.open.push_front(BufReader::new(Box::new(io::Cursor::new(line).chain(file))));
        }
        return Ok(());
    }
    files.part.clear();
    files.find()
}

/// The time of a file's first line; the file is as before.
fn first(file: &mut One) -> io::Result<Option<SystemTime>> {
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line)?;
    let time = parse(&line).map(|line| line.time);
    let rest = std::mem::replace(file, BufReader::new(Box::new(io::empty())));
    *file = BufReader::new(Box::new(io::Cursor::new(line).chain(rest)));
    Ok(time)
}

/// An older file, compressed or not.
fn older(path: &Path, number: u32) -> io::Result<Option<One>> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}{end}"));
        match File::open(PathBuf::from(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    if let Some(plain) = named("")? {
        return Ok(Some(BufReader::new(Box::new(plain))));
    }
    Ok(named(".gz")?.map(|file| BufReader::new(Box::new(MultiGzDecoder::new(file)) as _)))
}

/// Where the last `tail` lines of a file begin; `None` if it has not so many.
fn tail_of(file: &mut File, tail: usize) -> io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    if tail == 0 {
        return Ok(Some(end));
    }
    // The end of the line before them is looked for, too.
    let mut missing = tail + 1;
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        file.by_ref().take(end - begin).read_to_end(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                missing -= 1;
                if missing == 0 {
                    return Ok(Some(begin + at as u64 + 1));
                }
            }
        }
        end = begin;
    }
    Ok(None)
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let time = clock::parse(&entry.time)?;
    Some(LogLine {
        stderr: entry.stream == "stderr",
        time,
        bytes: entry.log.into_bytes(),
        attributes: entry.attrs,
    })
}
