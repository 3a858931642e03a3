//! Times as Docker writes them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-11-22T14:06:53.120000001Z`: UTC, nanoseconds without trailing zeros, as Go's RFC3339Nano.
pub fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_else(|_| zero().to_owned())
}

/// As [`rfc3339`], always with nine digits of nanoseconds: the prefix of `logs --timestamps`.
pub fn rfc3339_fixed(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let seconds = rfc3339(time.replace_nanosecond(0).unwrap_or(time).into());
    format!("{}.{:09}Z", seconds.trim_end_matches('Z'), time.nanosecond())
}

/// Docker's text for a time that has not come.
pub fn zero() -> &'static str {
    "0001-01-01T00:00:00Z"
}

/// Reads a time as [`rfc3339`] writes it.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// The time so many seconds and nanoseconds after 1970.
pub(crate) fn unix(seconds: i64, nanos: i32) -> SystemTime {
    let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    SystemTime::UNIX_EPOCH + seconds + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_gos_do() {
        let cases = [
            (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z"),
            (120_000_001, "1970-01-01T00:00:00.120000001Z", "1970-01-01T00:00:00.120000001Z"),
            (120_000_000, "1970-01-01T00:00:00.12Z", "1970-01-01T00:00:00.120000000Z"),
        ];
        for (nanos, short, fixed) in cases {
            let time = unix(0, nanos);
            assert_eq!(rfc3339(time), short);
            assert_eq!(rfc3339_fixed(time), fixed);
            assert_eq!(parse(short), Some(time));
        }
    }
}
