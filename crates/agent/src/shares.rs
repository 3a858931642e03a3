//! The host's directories and files in the guest: a FUSE file system whose requests are answered across
//! the channel, each share under its number. On their way both are looked at for sockets: see [`crate::doors`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use wire::message::Shares;
use wire::server::Streams;
use wire::{Receiver, Sender};

use crate::doors::{Doors, Passed};
use crate::visitors::Visitors;

const DEVICE: &str = "/dev/fuse";
/// The longest request or answer: 128 KiB of data and its headers.
const MAX_MESSAGE: usize = (128 << 10) + 4096;
/// What comes before an answer.
const HEADER: usize = 16;

/// Why nothing is shared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("open {DEVICE}")]
    Open(#[source] io::Error),
    #[error("mount the host's files on {}", on.display())]
    Mount { on: PathBuf, source: io::Error },
    #[error("start a thread for the host's files")]
    Thread(#[source] io::Error),
}

/// A file system that is mounted. Dropping this closes its doors; then it can be unmounted.
#[derive(Debug)]
pub(crate) struct Mounted(Arc<Doors>);

impl Drop for Mounted {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Mounts the file system on `on` and serves it from now on.
pub(crate) fn mount(
    on: &Path,
    shares: &Shares,
    streams: &Streams,
    visitors: &Visitors,
) -> Result<Mounted, Error> {
    let device = File::options().read(true).write(true).open(DEVICE).map_err(Error::Open)?;
    let answers = device.try_clone().map_err(Error::Open)?;
    let (from, to) = (streams.receiver(shares.answers), streams.sender(shares.requests));
    let spawn = |name: &str| thread::Builder::new().name(name.into());
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        device.as_raw_fd()
    );
    let options = std::ffi::CString::new(options).unwrap_or_default();
    let flags = MountFlags::NODEV;
    rustix::mount::mount("hull", on, "fuse.hull", flags, options.as_c_str())
        .map_err(|error| Error::Mount { on: on.to_owned(), source: error.into() })?;
    let doors = device.try_clone().map_err(Error::Open)?;
    let doors = Doors::new(doors, on.to_owned(), shares.requests, visitors.clone());
    let (asking, answering) = (Arc::clone(&doors), Arc::clone(&doors));
    spawn("fuse-out").spawn(move || ask(device, to, &asking)).map_err(Error::Thread)?;
    spawn("fuse-in").spawn(move || answer(from, answers, &answering)).map_err(Error::Thread)?;
    Ok(Mounted(doors))
}

/// Passes requests on until the file system is unmounted or nobody takes them.
fn ask(mut device: File, mut to: Sender, doors: &Doors) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let passed = match device.read(&mut buffer) {
            Ok(length) => match doors.request(&buffer[..length]) {
                Passed::On => to.write_all(&buffer[..length]),
                Passed::Instead(other) => to.write_all(&other),
                Passed::Answer(answer) => hand(&mut device, &answer),
            },
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        };
        if passed.is_err() {
            return;
        }
    }
}

/// Gives the kernel an answer.
fn hand(device: &mut File, answer: &[u8]) -> io::Result<()> {
    match device.write(answer) {
        // Who asked does not wait any more.
        Err(error) if is_passing(&error) => Ok(()),
        written => written.map(drop),
    }
}

/// A request that was taken back while it was read.
fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::INTR | Errno::AGAIN))
}

/// Passes answers on, each whole, until there are no more.
fn answer(mut from: Receiver, mut device: File, doors: &Arc<Doors>) {
    let mut message = vec![0; MAX_MESSAGE];
    while from.read_exact(&mut message[..HEADER]).is_ok() {
        let [a, b, c, d, ..] = message[..] else { return };
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        if !(HEADER..=MAX_MESSAGE).contains(&length)
            || from.read_exact(&mut message[HEADER..length]).is_err()
        {
            return;
        }
        if doors.answer(&message[..length])
            && let Err(error) = hand(&mut device, &message[..length])
        {
            eprintln!("hull-agent: an answer about the host's files: {error}");
        }
    }
}
