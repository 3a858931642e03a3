//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal of Linux on x86-64 and arm64, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

/// The text or number is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal {0:?}: want a name such as TERM or SIGTERM, or a number from 1 to 64")]
pub struct InvalidSignal(pub String);

/// Standard signals in order of number, from 1. See signal(7).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Second names.
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// The first real-time signal that glibc leaves to programs, and the last of all.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The signal with this number; `None` outside 1 to 64.
    pub fn new(number: i32) -> Option<Self> {
        (1..=RT_MAX).contains(&number).then_some(Self(number))
    }

    /// Its number, 1 to 64.
    pub fn number(self) -> i32 {
        self.0
    }

    fn named(name: &str) -> Option<i32> {
        let standard =
            NAMES.iter().position(|known| *known == name).and_then(|i| i32::try_from(i + 1).ok());
        let alias = || ALIASES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        standard.or_else(alias).or_else(|| Self::real_time(name))
    }

    /// `RTMIN`, `RTMIN+3`, `RTMAX-1`.
    fn real_time(name: &str) -> Option<i32> {
        let offset = |rest: &str, sign: char| match rest {
            "" => Some(0),
            _ => rest.strip_prefix(sign)?.parse::<i32>().ok(),
        };
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            RT_MIN.checked_add(offset(rest, '+')?)?
        } else {
            RT_MAX.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
        };
        (RT_MIN..=RT_MAX).contains(&number).then_some(number)
    }
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let upper = text.to_ascii_uppercase();
        let number = match upper.parse::<i32>() {
            Ok(number) => Some(number),
            Err(_) => Self::named(upper.strip_prefix("SIG").unwrap_or(&upper)),
        };
        number.and_then(Self::new).ok_or_else(|| InvalidSignal(text.to_owned()))
    }
}

impl TryFrom<i32> for Signal {
    type Error = InvalidSignal;

    fn try_from(number: i32) -> Result<Self, InvalidSignal> {
        Self::new(number).ok_or_else(|| InvalidSignal(number.to_string()))
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0 - 1).ok().and_then(|i| NAMES.get(i)) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRTMIN+{}", self.0 - RT_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        let cases = [
            ("TERM", Some(15)),
            ("sigterm", Some(15)),
            ("9", Some(9)),
            ("SIGCLD", Some(17)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX", Some(64)),
            ("RTMAX-30", Some(34)),
            ("RTMAX-31", None),
            ("RTMIN+31", None),
            ("RTMIN+2147483647", None),
            ("0", None),
            ("-1", None),
            ("65", None),
            ("", None),
            ("SIG", None),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Signal>().ok().map(Signal::number), want, "{text}");
        }
    }

    #[test]
    fn a_name_printed_is_a_name_read() {
        for number in (1..=31).chain(RT_MIN..=RT_MAX) {
            let signal = Signal::new(number).expect("in range");
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
