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
    /// The newest file's inode; 0 while there is none, as between two steps of a rotation.
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
        if let Some(tail) = tail
            && let Some(mut file) = existing(path)?
            && let Some(begin) = tail_of(&mut file, tail)?
        {
            file.seek(SeekFrom::Start(begin))?;
            files.newest = file.metadata()?.ino();
            files.open.push_back(BufReader::new(Box::new(file)));
            return Ok(files);
        }
        files.find()?;
        Ok(files)
    }

    /// The next lines; none at the end of what is written.
    pub(super) fn lines(&mut self) -> io::Result<Vec<LogLine>> {
        let (mut lines, mut length) = (Vec::new(), 0);
        while length < BATCH {
            let Some(file) = self.open.front_mut() else {
                // There was no newest file for a moment.
                if lines.is_empty() && self.moved() {
                    self.find()?;
                    continue;
                }
                break;
            };
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
    ///
    /// The shim may be moving them: each to the next number, the oldest first. A walk from the newest
    /// on misses none then, but finds numbers without a file, and files that it has met before.
    fn find(&mut self) -> io::Result<()> {
        let mut attempts = 0;
        loop {
            let (mut open, mut met, mut missing) = (VecDeque::new(), Vec::new(), 0);
            self.newest = 0;
            for number in 0_u32.. {
                let Some((inode, mut file)) = numbered(&self.path, number)? else {
                    missing += 1;
                    if missing > 1 && !reaches(&self.path, number)? {
                        break;
                    }
                    continue;
                };
                let begin = first(&mut file)?;
                if number == 0 {
                    self.newest = inode;
                } else if self.last.is_some() && begin <= self.last {
                    break;
                }
                // A file that was compressed meanwhile has the same lines in another inode.
                let same =
                    |(known, its): &(u64, _)| *known == inode || begin.is_some() && *its == begin;
                if !met.iter().any(same) {
                    open.push_front(file);
                    met.push((inode, begin));
                }
            }
            attempts += 1;
            if open.is_empty() && self.last.is_none() {
                return Err(io::ErrorKind::NotFound.into());
            }
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

/// The file of a number and its inode's, compressed or not; 0 is the newest.
fn numbered(path: &Path, number: u32) -> io::Result<Option<(u64, One)>> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}{end}"));
        }
        existing(Path::new(&name))
    };
    if let Some(plain) = named("")? {
        return Ok(Some((plain.metadata()?.ino(), BufReader::new(Box::new(plain)))));
    }
    // Nothing compresses the newest.
    let Some(file) = named(".gz")?.filter(|_| number > 0) else { return Ok(None) };
    let inode = file.metadata()?.ino();
    Ok(Some((inode, BufReader::new(Box::new(MultiGzDecoder::new(file))))))
}

/// Whether there is an older file with a number above this one.
fn reaches(path: &Path, number: u32) -> io::Result<bool> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let prefix = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let digits = digits.map(|digits| digits.strip_suffix(".gz").unwrap_or(digits));
        if digits.and_then(|digits| digits.parse().ok()).is_some_and(|other: u32| other > number) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// What a log of the lines 1 to 6 gives, two to a file, after `steps` of its next rotation.
    fn read_amid(steps: usize) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |number: u32| match number {
            0 => dir.path().join("json.log"),
            number => dir.path().join(format!("json.log.{number}")),
        };
        for (number, lines) in [(2, [1, 2]), (1, [3, 4]), (0, [5, 6])] {
            let mut text = String::new();
            for line in lines {
                let time = format!("2026-11-22T15:00:{line:02}Z");
                let entry = format!(r#"{{"log":"{line} ","stream":"stdout","time":"{time}"}}"#);
                writeln!(text, "{entry}").expect("text takes text");
            }
            fs::write(path(number), text).expect("written");
        }
        for number in [2, 1, 0].into_iter().take(steps) {
            fs::rename(path(number), path(number + 1)).expect("moved");
        }
        let mut files = Files::open(&path(0), Some(100)).expect("opened");
        let lines = files.lines().expect("read").into_iter();
        lines.map(|line| String::from_utf8(line.bytes).expect("text")).collect()
    }

    #[test]
    fn a_log_is_whole_in_the_middle_of_a_rotation() {
        for steps in 0..=3 {
            assert_eq!(read_amid(steps), "1 2 3 4 5 6 ", "after {steps} steps");
        }
    }

    #[test]
    fn a_log_that_moves_all_the_time_is_whole_and_has_no_line_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("json.log");
        let older = |number: u32, end: &str| dir.path().join(format!("json.log.{number}{end}"));
        let entry = |line: u32| {
            let time = format!("2026-11-22T15:{:02}:{:02}Z", line / 60, line % 60);
            format!(r#"{{"log":"{line} ","stream":"stdout","time":"{time}"}}"#) + "\n"
        };
        let compress = |from: &Path, to: &Path| {
            let unfinished = dir.path().join("unfinished");
            let file = File::create(&unfinished).expect("created");
            let mut encoder = GzEncoder::new(file, Compression::fast());
            let mut full = File::open(from).expect("opened");
            io::copy(&mut full, &mut encoder).expect("compressed");
            encoder.finish().expect("compressed");
            fs::rename(&unfinished, to).expect("moved");
            fs::remove_file(from).expect("removed");
        };
        fs::write(&path, entry(0)).expect("written");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for line in 1..60 {
                    // A log that moves faster than it is looked for is none that anybody reads.
                    std::thread::sleep(Duration::from_millis(2));
                    for number in (1..line).rev() {
                        fs::rename(older(number, ".gz"), older(number + 1, ".gz")).expect("moved");
                    }
                    fs::rename(&path, older(1, "")).expect("moved");
                    fs::write(&path, entry(line)).expect("written");
                    compress(&older(1, ""), &older(1, ".gz"));
                }
            });
            let mut looks = 0;
            while !writer.is_finished() {
                let mut files = Files::open(&path, None).expect("opened");
                let mut next = 0;
                loop {
                    let lines = files.lines().expect("read");
                    if lines.is_empty() {
                        break;
                    }
                    for line in lines {
                        assert_eq!(line.bytes, format!("{next} ").into_bytes());
                        next += 1;
                    }
                }
                looks += 1;
            }
            assert!(looks > 3, "looked {looks} times");
        });
    }
}
