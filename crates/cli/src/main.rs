//! The command line: speaks the Docker API, nothing else.
//!
//! ```text
//!   client      requests over the socket          daemon   starts and stops hulld
//!   run         run, create, start, exec          stream   a process's streams, here
//!   containers  ps, logs, stop, …                 terminal raw mode and size
//!   images      pull, images, import, rmi         system   info, version, system
//! ```
//!
//! Exit status: that of the container's program for `run` and `exec`, else 0; 126 and 127 when the
//! program could not be executed or found; for any other failure 125 in `run` and 1 elsewhere.

mod client;
mod containers;
mod daemon;
mod error;
mod images;
mod output;
mod run;
mod stream;
mod system;
mod table;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::error::Error;

/// Runs containers behind one of two walls: the kernel's, or a virtual machine's.
#[derive(Debug, Parser)]
#[command(name = "hull", version, disable_help_subcommand = true)]
struct Arguments {
    /// The engine's socket, `unix:///PATH` [default: $HULL_HOST, $DOCKER_HOST, unix:///run/hull/hull.sock]
    #[arg(short = 'H', long, global = true, value_name = "HOST")]
    host: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a new container
    Run(run::Run),
    /// Make a container without running it
    Create(run::Create),
    /// Run a command in a running container
    Exec(run::Exec),
    /// Start containers
    Start(containers::Named),
    /// Stop containers
    Stop(containers::Stop),
    /// Send a signal to containers
    Kill(containers::Kill),
    /// Wait for containers to end; print their exit status
    Wait(containers::Named),
    /// Remove containers
    Rm(containers::Rm),
    /// List containers
    Ps(containers::Ps),
    /// Show a container's output
    Logs(containers::Logs),
    /// Show a container's processes
    Top(containers::Top),
    /// Show everything about containers or images
    Inspect(containers::Named),
    /// Fetch an image from a registry
    Pull(images::Pull),
    /// List images
    Images(images::Images),
    /// Make an image of a tar archive
    Import(images::Import),
    /// Remove images
    Rmi(images::Rmi),
    /// Show facts about the engine and its host
    Info,
    /// Show the versions of command line and engine
    Version,
    /// Start or stop the engine
    #[command(subcommand)]
    System(system::System),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // `run` has the exit status of the container's program: what is our own fault stands out.
    let fault = if matches!(arguments.verb, Verb::Run(_)) { 125 } else { 1 };
    let failed = |error: &Error| {
        eprintln!("hull: {}", spec::chain(error));
        ExitCode::from(error.code().unwrap_or(fault))
    };
    let socket = match client::socket(arguments.host.as_deref()) {
        Ok(socket) => socket,
        Err(error) => return failed(&error),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => return failed(&Error::Runtime(source)),
    };
    let code = match runtime.block_on(dispatch(arguments.verb, socket)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    };
    // A thread may still be blocked in a read of standard input: do not wait for it.
    runtime.shutdown_background();
    code
}

/// Does what is asked; gives the exit status.
async fn dispatch(verb: Verb, socket: PathBuf) -> Result<u8, Error> {
    if let Verb::System(verb) = verb {
        return system::system(&verb, &socket).await.map(|()| 0);
    }
    daemon::ensure(&socket).await?;
    let client = Client::new(socket);
    match verb {
        Verb::Run(verb) => return run::run(&client, &verb).await,
        Verb::Exec(verb) => return run::exec(&client, &verb).await,
        Verb::Create(verb) => run::create(&client, &verb).await,
        Verb::Start(verb) => containers::start(&client, &verb).await,
        Verb::Stop(verb) => containers::stop(&client, &verb).await,
        Verb::Kill(verb) => containers::kill(&client, &verb).await,
        Verb::Wait(verb) => containers::wait(&client, &verb).await,
        Verb::Rm(verb) => containers::rm(&client, &verb).await,
        Verb::Ps(verb) => containers::ps(&client, &verb).await,
        Verb::Logs(verb) => containers::logs(&client, &verb).await,
        Verb::Top(verb) => containers::top(&client, &verb).await,
        Verb::Inspect(verb) => containers::inspect(&client, &verb).await,
        Verb::Pull(verb) => images::pull(&client, &verb.image).await,
        Verb::Images(verb) => images::images(&client, &verb).await,
        Verb::Import(verb) => images::import(&client, &verb).await,
        Verb::Rmi(verb) => images::rmi(&client, &verb).await,
        Verb::Info => system::info(&client).await,
        Verb::Version => system::version(&client).await,
        Verb::System(_) => unreachable!("done without a client above"),
    }
    .map(|()| 0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_behind_the_image_are_the_commands() {
        let parsed =
            Arguments::try_parse_from(["hull", "run", "--rm", "alpine", "ls", "-l", "--rm"]);
        let Verb::Run(run) = parsed.expect("legal").verb else { panic!("run") };
        assert_eq!(run.create.command, ["ls", "-l", "--rm"]);
    }
}
