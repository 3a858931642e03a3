//! The command line: speaks the Docker API, nothing else.
//!
//! ```text
//!   verb        what a verb is, tables of verbs     client      requests over the socket
//!   run         run, create, start, exec, attach    daemon      starts and stops hulld
//!   container   ps, logs, cp, stats, …              stream      a process's streams, here
//!   image       pull, push, images, save, …         credentials docker's logins
//!   build       build                             format      tables, JSON, templates
//!   demo, compare  both walls, shown and measured   volume, network, system, login
//! ```
//!
//! Exit status: that of the container's program for `run`, `start -a`, `attach` and `exec`, else 0; 126
//! and 127 when the program could not be executed or found; for any other failure 125 in `run` and 1
//! elsewhere.

mod build;
mod client;
mod compare;
mod container;
mod credentials;
mod daemon;
mod dash;
mod demo;
mod doctor;
mod error;
mod explain;
mod filters;
mod format;
mod generate;
mod help;
mod image;
mod login;
mod network;
mod output;
mod progress;
mod prune;
mod run;
mod stream;
mod system;
mod table;
mod template;
mod terminal;
mod trial;
mod units;
mod verb;
mod volume;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::client::Client;
use crate::error::Error;
use crate::verb::{Verb, verbs};

/// Runs containers behind one of two walls: the kernel's, or a virtual machine's.
#[derive(Debug, Parser)]
#[command(name = "hull", version, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    /// The engine's socket [$HULL_HOST, $DOCKER_HOST, unix:///run/hull/hull.sock]
    #[arg(short = 'H', long, global = true, value_name = "unix:///PATH", hide = true)]
    host: Option<String>,
    #[command(subcommand)]
    verb: All,
}

verbs! {
    /// Every verb.
    All {
        /// List containers
        #[command(alias = "list")]
        Ps: container::Ps,
        /// List images
        Images: image::Images,
        /// Build an image from a Dockerfile
        Build: build::Build,
        /// Remove images
        Rmi: image::Rmi,
        /// Show everything about anything
        Inspect: system::Inspect,
        /// Log in to a registry
        Login: login::Login,
        /// Forget a login
        Logout: login::Logout,
        /// Show the versions of command line and engine
        Version: system::Version,
        /// Find out what this host can do
        Doctor: doctor::Doctor,
        /// Run an image behind both walls and show what differs
        Compare: compare::Compare,
        /// Open the engine's web page
        Dash: dash::Dash,
        /// Show one image behind both walls, step by step
        Demo: demo::Demo,
        /// Show all of a verb's options
        Help: help::Help,
        /// Tell what the code of an error means, and what to do
        Explain: explain::Explain,
        /// Print completions for a shell
        Completion: generate::Completion,
        /// Write man pages
        Man: generate::Man,
        /// Verbs for containers
        Container: container::Container,
        /// Verbs for images
        Image: image::Image,
        /// Verbs for volumes
        Volume: volume::Volume,
        /// Verbs for networks
        Network: network::Network,
        /// Verbs for the engine
        System: system::System,
        => {
            OfContainers: container::Everyday,
            OfImages: image::Everyday,
            OfSystem: system::Everyday,
        }
    }
}

fn main() -> ExitCode {
    let matches = help::complete(Arguments::command()).try_get_matches();
    let matches = matches.unwrap_or_else(|error| error::usage(&error));
    // `run` has the exit status of the container's program: what is our own fault stands out.
    let runs = matches.subcommand_name() == Some("run")
        || matches.subcommand_matches("container").and_then(|group| group.subcommand_name())
            == Some("run");
    let fault = if runs { 125 } else { 1 };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match begin(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.code().unwrap_or(fault))
        }
    }
}

fn begin(arguments: Arguments) -> Result<u8, Error> {
    let client = Client::new(client::socket(arguments.host.as_deref())?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let done = runtime.block_on(arguments.verb.run(&client));
    // A thread may still be blocked in a read of standard input: do not wait for it.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_behind_the_image_are_the_commands() {
        let line = ["hull", "run", "--rm", "-h", "box", "alpine", "ls", "-l", "--rm"];
        let parsed = Arguments::try_parse_from(line).expect("legal");
        let All::OfContainers(container::Everyday::Run(run)) = parsed.verb else { panic!("run") };
        assert_eq!(run.create.command, ["ls", "-l", "--rm"]);
    }
}
