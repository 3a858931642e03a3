//! Whether a container runs again by itself, and when.
//!
//! ```text
//!   end of a run --asked for by a client?--> exited
//!        |  policy says yes
//!        +--> restarting --wait: 100 ms, doubled each time up to a minute--> start
//! ```
//!
//! A run of ten seconds or more makes the next wait short again. An engine that starts asks the same
//! question of every container that ended while it was away, without a wait.
//!
//! Spec: Docker's "Start containers automatically".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);
/// A run that was as long as this makes the next wait the first.
const STEADY: Duration = Duration::from_secs(10);

/// Whether a container runs again when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whatever its exit status, unless a client stopped it; then with the engine's next start.
    Always,
    /// As `Always`, but what a client stopped stays so.
    UnlessStopped,
    /// When its exit status is not 0.
    OnFailure {
        /// At most so many times without a client's start between; 0 for any number.
        retries: u32,
    },
}

/// How an end came about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// The exit status.
    pub(crate) code: u8,
    /// Whether a client asked for it.
    pub(crate) by_hand: bool,
    /// How often it was restarted since a client last started it.
    pub(crate) restarts: u32,
}

impl RestartPolicy {
    /// Reads Docker's words for it; an empty name means [`Self::No`].
    pub fn parse(name: &str, retries: i64) -> Result<Self, Error> {
        let invalid = |problem: String| Err(Error::Invalid { field: "restart policy", problem });
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => match u32::try_from(retries) {
                Ok(retries) => Self::OnFailure { retries },
                Err(_) => {
                    return invalid("maximum retry count cannot be negative".to_owned());
                }
            },
            _ => {
                return invalid(format!(
                    "unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
                     'unless-stopped'"
                ));
            }
        };
        if retries != 0 && !matches!(policy, Self::OnFailure { .. }) {
            return invalid("maximum retry count can only be used with 'on-failure'".to_owned());
        }
        Ok(policy)
    }

    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }

    /// How often it restarts at most; 0 for any number.
    pub fn retries(self) -> u32 {
        match self {
            Self::OnFailure { retries } => retries,
            _ => 0,
        }
    }

    /// Whether a run that ended so is followed by another.
    pub(crate) fn restarts(self, ending: Ending) -> bool {
        !ending.by_hand && self.would(ending)
    }

    /// Whether a container that ended so runs again with the engine.
    pub(crate) fn resumes(self, ending: Ending) -> bool {
        match self {
            Self::Always => true,
            policy => policy.restarts(ending),
        }
    }

    fn would(self, ending: Ending) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { retries } => {
                ending.code != 0 && (retries == 0 || ending.restarts < retries)
            }
        }
    }
}

/// The wait after a run of length `ran`, which followed a wait of `last`.
pub(crate) fn wait_after(ran: Duration, last: Option<Duration>) -> Duration {
    match last {
        Some(last) if ran < STEADY => last.saturating_mul(2).min(LONGEST),
        _ => FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_decides_by_status_and_by_who_ended_it() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        let ending = |code, by_hand, restarts| Ending { code, by_hand, restarts };
        let limited = OnFailure { retries: 2 };
        let cases = [
            (No, ending(1, false, 0), false, false),
            (Always, ending(0, false, 9), true, true),
            (Always, ending(0, true, 0), false, true),
            (UnlessStopped, ending(0, false, 0), true, true),
            (UnlessStopped, ending(0, true, 0), false, false),
            (OnFailure { retries: 0 }, ending(1, false, 99), true, true),
            (limited, ending(0, false, 0), false, false),
            (limited, ending(1, false, 1), true, true),
            (limited, ending(1, false, 2), false, false),
            (limited, ending(1, true, 0), false, false),
        ];
        for (policy, ending, now, with_engine) in cases {
            assert_eq!(policy.restarts(ending), now, "{policy:?} {ending:?}");
            assert_eq!(policy.resumes(ending), with_engine, "{policy:?} {ending:?}");
        }
    }

    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_a_steady_run() {
        let short = Duration::from_secs(1);
        let mut wait = wait_after(short, None);
        assert_eq!(wait, FIRST);
        for _ in 0..3 {
            wait = wait_after(short, Some(wait));
        }
        assert_eq!(wait, 8 * FIRST);
        assert_eq!(wait_after(short, Some(LONGEST)), LONGEST);
        assert_eq!(wait_after(STEADY, Some(LONGEST)), FIRST);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let parse = |name, retries| RestartPolicy::parse(name, retries).ok();
        assert_eq!(parse("", 0), Some(RestartPolicy::No));
        assert_eq!(parse("on-failure", 3), Some(RestartPolicy::OnFailure { retries: 3 }));
        assert_eq!(parse("on-failure", -1), None);
        assert_eq!(parse("always", 3), None);
        assert_eq!(parse("sometimes", 0), None);
    }
}
