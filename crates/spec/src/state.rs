//! A container's life.
//!
//! ```text
//!   creating --ready--> created --start--> running <--pause/resume--> paused
//!       |                  |                  |                         |
//!       +------------------+-------exit-------+-------------------------+--> stopped
//! ```

use serde::{Deserialize, Serialize};

use crate::{Exit, Pid};

/// Where a container is in its life, with only what exists at that point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum State {
    /// Its environment is being made.
    Creating,
    /// Its init waits at the start gate.
    Created {
        /// The init process.
        pid: Pid,
    },
    /// The user's program runs.
    Running {
        /// The init process.
        pid: Pid,
    },
    /// Every process is frozen.
    Paused {
        /// The init process.
        pid: Pid,
    },
    /// The init process has ended.
    Stopped {
        /// How it ended.
        exit: Exit,
    },
}

/// What can happen to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The init process with this pid reached the start gate.
    Ready(Pid),
    /// The gate was opened.
    Start,
    /// All processes were frozen.
    Pause,
    /// All processes were thawed.
    Resume,
    /// The init process ended.
    Exit(Exit),
}

/// The event cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible while the container is {}", state.name())]
pub struct Illegal {
    /// The state, unchanged.
    pub state: State,
    /// What was asked.
    pub event: Event,
}

impl State {
    /// The state after `event`, or [`Illegal`] for every pair this table lacks. Pure: the caller does
    /// the work, then records it. Spec: OCI runtime-spec, runtime.md "Operations".
    pub fn next(self, event: Event) -> Result<Self, Illegal> {
        use State::{Created, Creating, Paused, Running, Stopped};
        match (self, event) {
            (Creating, Event::Ready(pid)) => Ok(Created { pid }),
            (Created { pid }, Event::Start) | (Paused { pid }, Event::Resume) => {
                Ok(Running { pid })
            }
            (Running { pid }, Event::Pause) => Ok(Paused { pid }),
            (Creating | Created { .. } | Running { .. } | Paused { .. }, Event::Exit(exit)) => {
                Ok(Stopped { exit })
            }
            (state, event) => Err(Illegal { state, event }),
        }
    }

    /// The init process, while there is one.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Created { pid } | Self::Running { pid } | Self::Paused { pid } => Some(pid),
            Self::Creating | Self::Stopped { .. } => None,
        }
    }

    /// The word that the OCI state document uses for it; `paused` is runc's addition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created { .. } => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Stopped { .. } => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_has_one_order() {
        let pid = Pid::new(7).expect("positive");
        let exit = Exit::now(0);
        let (created, running, paused) =
            (State::Created { pid }, State::Running { pid }, State::Paused { pid });
        let stopped = State::Stopped { exit };
        let cases = [
            (State::Creating, Event::Ready(pid), Some(created)),
            (State::Creating, Event::Start, None),
            (created, Event::Start, Some(running)),
            (created, Event::Pause, None),
            (created, Event::Exit(exit), Some(stopped)),
            (running, Event::Start, None),
            (running, Event::Pause, Some(paused)),
            (running, Event::Resume, None),
            (paused, Event::Resume, Some(running)),
            (paused, Event::Exit(exit), Some(stopped)),
            (stopped, Event::Start, None),
            (stopped, Event::Exit(exit), None),
        ];
        for (state, event, want) in cases {
            assert_eq!(state.next(event).ok(), want, "{state:?} {event:?}");
        }
    }
}
