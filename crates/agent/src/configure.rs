//! Making a clone a machine of its own: its random numbers, clock and name.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec};
use spec::Kind;
use wire::message::{Configure, from_hex};

/// The least that makes random numbers unpredictable.
const MIN_SEED: usize = 32;

/// Why the machine could not be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It would repeat the numbers of other clones.
    #[error("configure: the seed is not {MIN_SEED} bytes of hex digits or more")]
    Seed,
    /// The time lies outside what a clock can show.
    #[error("configure: the time is out of range")]
    Time,
    /// The kernel refused.
    #[error("configure: set the {what}")]
    Set { what: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Seed | Self::Time => Kind::Invalid,
            Self::Set { .. } => Kind::Internal,
        }
    }
}

/// Configures the machine as asked.
pub(crate) fn configure(with: &Configure) -> Result<(), Error> {
    let seed = from_hex(&with.seed).filter(|seed| seed.len() >= MIN_SEED).ok_or(Error::Seed)?;
    sys::random::seed(&seed).map_err(set("random seed"))?;

    set_clock(with.clock)?;
    rustix::system::sethostname(with.hostname.as_bytes())
        .map_err(|error| set("host name")(error.into()))
}

/// Sets the clock to a time since 1970.
pub(crate) fn set_clock(now: Duration) -> Result<(), Error> {
    let seconds = i64::try_from(now.as_secs()).map_err(|_| Error::Time)?;
    let time = Timespec { tv_sec: seconds, tv_nsec: now.subsec_nanos().into() };
    rustix::time::clock_settime(ClockId::Realtime, time).map_err(|error| set("clock")(error.into()))
}

fn set(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Set { what, source }
}
