//! The channel to the shim: a virtio-serial port.
//!
//! A port whose other end nobody holds reads as end of file, not as silence. That is the state in
//! which a template waits, so reading here waits too and never ends.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long the device may take to appear after its driver was loaded.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look again while nobody holds the other end.
const PAUSE: Duration = Duration::from_millis(2);

/// The open port.
#[derive(Debug)]
pub(crate) struct Port(File);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The machine has no such device, or its driver is missing.
    #[error("no virtio-serial port appeared within {} s", PATIENCE.as_secs())]
    Missing,
    /// The device is there but cannot be opened.
    #[error("open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
}

impl Port {
    /// Opens the machine's port once it is there.
    pub(crate) fn open() -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            if let Some(path) = find() {
                let opened = File::options().read(true).write(true).open(&path);
                return opened.map(Self).map_err(|source| Error::Open { path, source });
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::Missing);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Another handle to the same port.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// The device of the first port that has a name; ports without one are consoles.
fn find() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let named = |port: &fs::DirEntry| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|name| !name.trim().is_empty())
    };
    let port = ports.flatten().find(named)?;
    Some(PathBuf::from("/dev").join(port.file_name())).filter(|device| device.exists())
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Ok(0) if !buffer.is_empty() => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
