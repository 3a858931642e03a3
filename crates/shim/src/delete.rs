//! `delete`: removes what a server left that was killed, and says how the container ended.
//!
//! Called when nobody answers at the server's socket any more; also when there never was a server,
//! twice, and while a `start` is at work, whose end it waits for. Everything is tried, whatever fails.

use std::fs;
use std::io;
use std::path::Path;

use containerd_shim_protos::api::DeleteResponse;
use protobuf::MessageField;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use spec::options::InvalidVariable;
use spec::{Exit, Signal};

use crate::args::Target;
use crate::place;
use crate::record::Record;

/// How long a killed server may take to end.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Why something may be left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No bundle to work in.
    #[error("find the bundle")]
    Bundle(#[source] io::Error),
    /// The host's set-up cannot be read.
    #[error(transparent)]
    Options(#[from] InvalidVariable),
    /// The sandbox's things are not all gone.
    #[error("clean up {container}")]
    Clean { container: String, source: sandbox::Error },
}

/// Removes everything of `target`.
pub(crate) fn run(target: &Target) -> Result<DeleteResponse, Error> {
    let bundle = place::bundle(target).map_err(Error::Bundle)?;
    let _locked = place::lock(&bundle).map_err(Error::Bundle)?;
    let pid = place::pid(&bundle);
    if let Some(pid) = pid {
        end_server(pid, target);
    }
    let record = Record::load(&bundle).filter(|record| record.container == target.id);
    let (options, streams, exit) = match record {
        Some(record) => (record.options, record.streams, record.exit),
        None => (place::default_options()?, None, None),
    };
    let cleaned = sandbox::clean(&options, &target.id, &bundle);
    if let Some(directory) = streams {
        remove_sockets(&directory);
    }
    place::remove(&bundle, &place::socket(target));
    let clean = |source| Error::Clean { container: target.id.to_string(), source };
    cleaned.map_err(clean)?;
    Record::remove(&bundle);

    let exit = exit.unwrap_or_else(|| Exit::by(Signal::KILL));
    let mut response = DeleteResponse::new();
    response.pid = pid.map_or(0, i32::unsigned_abs);
    response.exit_status = exit.code.into();
    response.exited_at = MessageField::some(exit.at.into());
    Ok(response)
}

/// Kills a server that lives but does not answer, and waits for its end, so that it makes nothing more.
/// The number may be another process's by now: it is held by a pidfd before its command line is looked at.
fn end_server(pid: i32, target: &Target) {
    let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return;
    };
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let follows = |flag: &str, value: &str| {
        words.windows(2).any(|pair| pair == [flag.as_bytes(), value.as_bytes()])
    };
    let ours = words.contains(&b"serve".as_slice())
        && follows("-id", target.id.as_str())
        && follows("-namespace", &target.namespace);
    if ours {
        // It may have ended since.
        let _ = pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE));
    }
}

/// Removes the attach sockets in `directory`, and nothing else.
fn remove_sockets(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "attach.sock" || name.starts_with("exec-") && name.ends_with(".sock") {
            // The next step of whoever called is to remove the directory.
            let _ = fs::remove_file(entry.path());
        }
    }
}
