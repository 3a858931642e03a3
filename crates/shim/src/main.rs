//! Supervises one sandbox; serves containerd's task API.
//!
//! ```text
//!   containerd-shim-hull-v2 -namespace NS -id ID -address SOCKET start    prints an address
//!   containerd-shim-hull-v2 … delete                                      after a kill -9
//! ```
//!
//! Used by our own engine and by containerd alike, and by both in the same way: everything that
//! differs is in the requests. As `hull-init` it is a container's first process, as
//! `hull-share` the server of a guest's files.
//!
//! Spec: containerd, core/runtime/v2/README.md.

use std::io::{self, Write};
use std::process::ExitCode;

use protobuf::Message;

mod args;
mod bundle;
mod delete;
mod error;
mod events;
mod files;
mod keeper;
mod log;
mod place;
mod process;
mod reaper;
mod record;
mod report;
mod serve;
mod service;
mod start;
mod streams;
mod tasks;

use args::Command;

fn main() -> ExitCode {
    sandbox::dispatch();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-hull-v2: {}", spec::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    match Command::parse(std::env::args().skip(1))? {
        Command::Start(target) => start::run(&target)?,
        Command::Serve(target) => serve::run(&target)?,
        Command::Delete(target) => print(&delete::run(&target)?.write_to_bytes()?)?,
        Command::Version => print(version().as_bytes())?,
    }
    Ok(())
}

fn version() -> String {
    format!("containerd-shim-hull-v2 {}\n", env!("CARGO_PKG_VERSION"))
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
