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
mod foreground;
mod log;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    container::init::dispatch();
    // Init inherits it: nothing in the container may trace this process by way of what it joins.
    let (global, action) = match args::parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("hull-runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let log = log::Log::open(&global);
    match command::run(&global, action, &log) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let message = spec::chain(&error);
            log.error(&message);
            eprintln!("hull-runtime: {message}");
            ExitCode::from(error.status())
        }
    }
}
