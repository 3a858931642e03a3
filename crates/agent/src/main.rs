//! PID 1 of the guest.
//!
//! ```text
//!   boot ──▶ say READY ──▶ [template is saved, clones begin here] ──▶ serve ──▶ power off
//! ```
//!
//! Boots the guest as far as a container needs it, opens the channel to the shim and serves its calls
//! with the `container` crate, as the runtime does on the host. It never exits, since the kernel
//! would panic: whatever ends it powers the machine off, and what it had to say is on the console.
//!
//! Called `docker-init` it is something else: see [`init`].

mod boot;
mod configure;
mod disks;
mod doors;
mod files;
mod fuse;
mod guest;
mod init;
mod names;
mod network;
mod port;
mod process;
mod rootfs;
mod shares;
mod stdio;
mod visitors;
mod workers;

use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use rustix::system::RebootCommand;
use wire::{Call, Reply, Request, Server};

use crate::guest::Guest;
use crate::network::Namespace;
use crate::workers::Workers;

/// What a booted agent writes before anything else; the hypervisor's driver waits for it.
const READY: &[u8; 8] = b"HULLAGNT";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    if init::is_called(&name) {
        return init::main(words);
    }
    container::init::dispatch();
    if let Err(error) = run(&name) {
        eprintln!("hull-agent: {}", spec::chain(error.as_ref()));
    }
    power_off();
}

fn run(called: &OsStr) -> Result<(), Box<dyn Error>> {
    if boot::is_first_life(called) {
        match boot::leave()? {}
    }
    let mut port = boot::boot()?;
    let (netns, workers) = (Namespace::make()?, Workers::start()?);
    let server = Server::start(port.try_clone()?, port.try_clone()?)?;
    port.write_all(READY).and_then(|()| port.flush())?;
    serve(&server, netns, &workers)?;
    match server.ended() {
        Some(ended) => Err(Box::new(ended)),
        None => Ok(()),
    }
}

/// Serves calls until the channel ends, each in a thread of its own: one that waits holds up no other.
/// Only the machine's configuration holds up what comes after it, which is then of this machine and not
/// of its template.
fn serve(server: &Server, netns: Namespace, workers: &Workers) -> io::Result<()> {
    let guest = Arc::new(Guest::new(server.streams(), netns, workers.clone()));
    while let Some(call) = server.next_call() {
        if matches!(call.request, Request::Configure(_)) {
            answer(&guest, call);
            continue;
        }
        let guest = Arc::clone(&guest);
        workers.give(move || answer(&guest, call))?;
    }
    Ok(())
}

fn answer(guest: &Guest, call: Call) {
    let last = matches!(call.request, Request::Shutdown);
    let outcome = guest.serve(&call.request);
    call.answer(&outcome);
    if last {
        power_off();
    }
}

fn power_off() -> ! {
    rustix::fs::sync();
    loop {
        // Where the machine has no power switch, a reboot ends it as well: the hypervisor is told not
        // to start it again.
        for command in [RebootCommand::PowerOff, RebootCommand::Restart] {
            if let Err(error) = rustix::system::reboot(command) {
                eprintln!("hull-agent: power off: {error}");
            }
        }
        thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// A reply to calls that have no result.
fn done<E>(outcome: Result<(), E>) -> Result<Reply, E> {
    outcome.map(|()| Reply::Done)
}
