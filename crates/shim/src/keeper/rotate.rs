//! A log's files: the newest, and older ones up to a number.
//!
//! ```text
//!   json.log  ->  json.log.1 (or .1.gz)  ->  json.log.2 (or .2.gz)  ->  gone
//! ```
//!
//! Invariants: a file ends with a whole entry, and a full one is never written again. So a reader
//! that holds a file open and finds another by its name has everything of the old one at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;
use spec::journal::Plan;

/// The newest file, and what makes it an older one.
#[derive(Debug)]
pub(crate) struct Rotating {
    file: File,
    path: PathBuf,
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    /// The compression of the last full file.
    work: Option<JoinHandle<()>>,
}

impl Rotating {
    /// The log of `plan` at `path`, to be written on.
    pub(crate) fn open(path: &Path, plan: &Plan) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self {
            size: file.metadata()?.len(),
            file,
            path: path.to_owned(),
            max_size: plan.max_size.unwrap_or(u64::MAX).max(1),
            max_files: plan.max_files.max(1),
            compress: plan.compress,
            work: None,
        })
    }

    /// Begins a new file.
    fn rotate(&mut self) -> io::Result<()> {
        if let Some(work) = self.work.take() {
            // What it could not compress stays as it is.
            let _ = work.join();
        }
        for number in (1..self.max_files).rev() {
            for end in ["", ".gz"] {
                let from = older(&self.path, number, end);
                let moved = if number + 1 == self.max_files {
                    fs::remove_file(&from)
                } else {
                    fs::rename(&from, older(&self.path, number + 1, end))
                };
                match moved {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        if self.max_files == 1 {
            fs::remove_file(&self.path)?;
        } else {
            let full = older(&self.path, 1, "");
            fs::rename(&self.path, &full)?;
            if self.compress {
                self.work = std::thread::Builder::new()
                    .name("compress".into())
                    .spawn(move || {
                        if let Err(error) = compress(&full) {
                            tracing::warn!(%error, "an old log file stays uncompressed");
                        }
                    })
                    .ok();
            }
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for Rotating {
    /// Writes up to the end of the entry with which the file is full. `text` is whole entries.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.size >= self.max_size {
            self.rotate()?;
        }
        let room = usize::try_from(self.max_size - self.size).unwrap_or(usize::MAX);
        let end = text.iter().skip(room.saturating_sub(1)).position(|byte| *byte == b'\n');
        let part = match end {
            Some(end) if room <= text.len() => &text[..=room.saturating_sub(1) + end],
            _ => text,
        };
        self.file.write_all(part)?;
        self.size += part.len() as u64;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            // It has said itself what went wrong.
            let _ = work.join();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The name of an older file.
fn older(path: &Path, number: u32, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{end}"));
    name.into()
}

/// Replaces `path` by `path.gz`. Readers find one of the two at any time.
fn compress(path: &Path) -> io::Result<()> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (unfinished, finished) = (with(".gz.tmp"), with(".gz"));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o640).open(&unfinished)?;
    let mut encoder = GzEncoder::new(file, Compression::fast());
    let done = io::copy(&mut File::open(path)?, &mut encoder).and_then(|_| encoder.finish());
    if let Err(error) = done {
        // The disk may be full: give back what was taken.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, &finished)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(max_size: u64, max_files: u32, compress: bool) -> Plan {
        Plan { max_size: Some(max_size), max_files, compress, ..Plan::default() }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a directory");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_makes_place_after_a_whole_entry() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("json.log");
        let mut log = Rotating::open(&path, &plan(6, 3, false)).expect("opened");
        log.write_all(b"one\ntwo\nthree\nfour\nfive\n").expect("written");
        assert_eq!(names(dir.path()), ["json.log", "json.log.1", "json.log.2"]);
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("text");
        assert_eq!(read("json.log.2"), "one\ntwo\n");
        assert_eq!(read("json.log.1"), "three\n");
        assert_eq!(read("json.log"), "four\nfive\n");
        log.write_all(b"six\n").expect("written");
        assert_eq!(names(dir.path()), ["json.log", "json.log.1", "json.log.2"]);
        assert_eq!(read("json.log.2"), "three\n");
    }

    #[test]
    fn one_file_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("json.log");
        let mut log = Rotating::open(&path, &plan(3, 1, true)).expect("opened");
        log.write_all(b"one\ntwo\n").expect("written");
        assert_eq!(names(dir.path()), ["json.log"]);
        assert_eq!(fs::read(&path).expect("text"), b"two\n");
    }

    #[test]
    fn older_files_are_compressed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("json.log");
        let mut log = Rotating::open(&path, &plan(3, 3, true)).expect("opened");
        log.write_all(b"one\ntwo\nthree\n").expect("written");
        drop(log);
        assert_eq!(names(dir.path()), ["json.log", "json.log.1.gz", "json.log.2.gz"]);
    }
}
