//! Descriptors that the caller means for the container: `--preserve-fds`, and systemd's sockets.
//!
//! They are 3, 4, …: first the sockets, of which the program learns by `LISTEN_FDS` as
//! sd_listen_fds(3) has it, then those that the flag counts.

use std::os::fd::OwnedFd;

use crate::args::Action;
use crate::command::Error;

/// What was inherited.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// All of them, in order.
    pub(crate) fds: Vec<OwnedFd>,
    /// How many of them are systemd's.
    listen: u32,
}

impl Inherited {
    /// Takes over what `action` hands on.
    pub(crate) fn take(action: &Action) -> Result<Self, Error> {
        let (listen, preserved) = match action {
            Action::Create(create) | Action::Run { create, .. } => {
                (listening(), create.preserve_fds)
            }
            Action::Exec(exec) => (0, exec.preserve_fds),
            _ => (0, 0),
        };
        if let Action::Checkpoint(checkpoint) = action {
            let take = |number| sys::spawn::inherited(number).map_err(Error::descriptor(number));
            return Ok(Self {
                fds: checkpoint.status_fd.into_iter().map(take).collect::<Result<_, _>>()?,
                listen: 0,
            });
        }
        let take = |number| sys::spawn::inherited(number).map_err(Error::descriptor(number));
        let count = usize::try_from(listen.saturating_add(preserved)).unwrap_or(usize::MAX);
        Ok(Self { fds: (3..).take(count).map(take).collect::<Result<_, _>>()?, listen })
    }

    /// Variables by which the program learns of the sockets.
    pub(crate) fn variables(&self) -> Vec<String> {
        match self.listen {
            0 => Vec::new(),
            // It is the first process of its namespace.
            count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
        }
    }
}

/// How many sockets systemd left for this process.
fn listening() -> u32 {
    let own = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let count = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok());
    count.filter(|_| own).unwrap_or(0)
}
