//! The server's own log: containerd's FIFO `log` in the bundle, or else the file `shim.log` there.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::OFlags;
use tracing::level_filters::LevelFilter;

/// Sends log lines to the bundle. A server that cannot log serves all the same.
pub(crate) fn open(bundle: &Path, debug: bool) {
    let Some(file) = destination(bundle) else { return };
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_writer(Mutex::new(file))
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .init();
}

fn destination(bundle: &Path) -> Option<File> {
    let fifo = bundle.join("log");
    if fs::metadata(&fifo).is_ok_and(|file| file.file_type().is_fifo()) {
        // Both ways and never blocking: its reader may come late, or go.
        let quiet = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
        return OpenOptions::new().read(true).write(true).custom_flags(quiet).open(fifo).ok();
    }
    OpenOptions::new().append(true).create(true).open(bundle.join("shim.log")).ok()
}
