//! `hull container`, and the same verbs without it.

mod copy;
mod life;
mod list;
mod show;
mod staging;
mod stats;
mod walls;

use crate::run;
use crate::verb::{group, verbs};

verbs! {
    /// Verbs that need no `container` before them.
    Everyday {
        /// Run a command in a new container
        Run: run::Run,
        /// Make a container without running it
        Create: run::Create,
        /// Run a command in a running container
        Exec: run::Exec,
        /// Attach to a running container's streams
        Attach: run::Attach,
        /// Start containers
        Start: run::Start,
        /// Stop containers
        Stop: life::Stop,
        /// Stop containers and start them again
        Restart: life::Restart,
        /// Send a signal to containers
        Kill: life::Kill,
        /// Freeze containers
        Pause: life::Pause,
        /// Let frozen containers go on
        Unpause: life::Unpause,
        /// Wait for containers to end; print their exit status
        Wait: life::Wait,
        /// Give a container another name
        Rename: life::Rename,
        /// Change limits and restart policy of containers
        Update: life::Update,
        /// Remove containers
        Rm: life::Rm,
        /// Show a container's output
        Logs: show::Logs,
        /// Show a container's processes
        Top: show::Top,
        /// Show what containers use, live
        Stats: stats::Stats,
        /// Show a container's published ports
        Port: show::Port,
        /// Show where a container may send to, and what it sent in vain
        Egress: show::Egress,
        /// Show what a container changed of its image
        Diff: show::Diff,
        /// Copy files into a container, or out of one
        Cp: copy::Cp,
        /// Write a container's files as a tar archive
        Export: copy::Export,
        /// Make an image of a container
        Commit: copy::Commit,
    }
}

verbs! {
    /// Verbs behind `container`.
    Verbs {
        /// List containers
        #[command(visible_aliases = ["ps", "list"])]
        Ls: list::Ps,
        /// Show everything about containers
        Inspect: show::Inspect,
        /// Remove containers that do not run
        Prune: life::Prune,
        => { Everyday: Everyday, }
    }
}

group! {
    /// Containers.
    Container of Verbs
}

pub(crate) use copy::{last_message, save};
pub(crate) use life::prune;
pub(crate) use list::{Ps, labels};
pub(crate) use staging::unpack;
pub(crate) use walls::show as walls;
