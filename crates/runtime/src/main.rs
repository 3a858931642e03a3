//! The OCI command line over the container crate: a drop-in for runc.
//!
//! ```text
//!   main -> container::init::dispatch (second life as init)
//!        -> args::parse -> one function of command/ -> exit status
//! ```
//!
//! One thread, no async. Errors are printed once, here, and logged in runc's format where `--log` asks
//! for it; the exit status is 1, or 126 and 127 for a program that cannot be executed or found.

mod args;
mod command;
mod console;
mod criu;
mod foreground;
mod inherit;
mod layers;
mod log;
mod protobuf;
mod root;
mod socket;
mod table;
mod vm;
mod wall;

use std::process::ExitCode;

fn main() -> ExitCode {
    container::init::dispatch();
    let (global, action) = match args::parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            log::Log::stderr().error(&spec::chain(&error));
            return ExitCode::FAILURE;
        }
    };
    // Before anything else is opened: it would get the number of one that is missing.
    let inherited = inherit::Inherited::take(&action);
    let log = match log::Log::open(&global) {
        Ok(log) => log,
        Err(error) => {
            log::Log::stderr().error(&format!("open the log: {}", spec::chain(&error)));
            return ExitCode::FAILURE;
        }
    };
    match command::run(&global, action, inherited, &log) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log.error(&spec::chain(&error));
            ExitCode::from(error.status())
        }
    }
}
