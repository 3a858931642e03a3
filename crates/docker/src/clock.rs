//! Times in questions and answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use engine::clock::{rfc3339, rfc3339_fixed, zero};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::Error;

/// A time as [`rfc3339`] writes it; [`zero`] for one that has not come.
pub(crate) fn rfc3339_or_zero(at: Option<SystemTime>) -> String {
    at.map_or_else(|| zero().to_owned(), rfc3339)
}

/// Seconds since 1970.
pub(crate) fn unix(at: SystemTime) -> u64 {
    since_epoch(at).as_secs()
}

/// Nanoseconds since 1970.
pub(crate) fn unix_nanos(at: SystemTime) -> u64 {
    u64::try_from(since_epoch(at).as_nanos()).unwrap_or(u64::MAX)
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time in a query: seconds since 1970 with an optional fraction, or RFC 3339. `None` for `0`, which
/// says that there is no bound.
///
/// # Errors
///
/// 400 that names the parameter.
pub(crate) fn parse(name: &str, text: &str) -> Result<Option<SystemTime>, Error> {
    let invalid = || Error::invalid(format!("invalid {name} {text:?}: want seconds since 1970"));
    for text in [text, &completed(text)] {
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Some(at.into()));
        }
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 = seconds.parse().map_err(|_| invalid())?;
    if !digits(fraction) {
        return Err(invalid());
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    let since = Duration::new(seconds, nanos);
    let at = UNIX_EPOCH.checked_add(since).ok_or_else(invalid)?;
    Ok((!since.is_zero()).then_some(at))
}

/// The same, or a length of time before now as Go writes it: `24h`, `1h30m`.
///
/// # Errors
///
/// 400 that names the parameter.
pub(crate) fn moment(name: &str, text: &str) -> Result<Option<SystemTime>, Error> {
    match length(text) {
        Some(ago) => Ok(SystemTime::now().checked_sub(ago)),
        None => parse(name, text),
    }
}

/// Numbers with Go's units, from hours to nanoseconds; `None` for anything else.
fn length(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !is_of_number(c))?);
        let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

/// A date, or a date and a time, that names no zone: here it is UTC. Completed to RFC 3339.
fn completed(text: &str) -> String {
    match text.len() {
        10 => format!("{text}T00:00:00Z"),
        13 => format!("{text}:00:00Z"),
        16 => format!("{text}:00Z"),
        _ => format!("{text}Z"),
    }
}

/// A length of time in the words of `docker ps`.
pub(crate) fn human(length: Duration) -> String {
    let seconds = length.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_what_go_writes() {
        for (text, want) in [
            ("24h", Some(86_400)),
            ("1h30m", Some(5400)),
            ("0.5m", Some(30)),
            ("2s500ms500000us500000000ns", Some(3)),
            ("1500000µs", Some(1)),
            ("10", None),
            ("", None),
            ("1d", None),
            ("2024-01-01T00:00:00Z", None),
        ] {
            assert_eq!(length(text).map(|length| length.as_secs()), want, "{text}");
        }
    }

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn a_time_is_seconds_with_a_fraction_or_rfc3339() {
        assert_eq!(parse("since", "5"), Ok(Some(at(5, 0))));
        assert_eq!(parse("since", "5.25"), Ok(Some(at(5, 250_000_000))));
        assert_eq!(parse("since", "0"), Ok(None));
        assert_eq!(parse("since", "0.000000000"), Ok(None));
        assert_eq!(parse("since", "1970-01-01T00:00:05Z"), Ok(Some(at(5, 0))));
        for text in ["1970-01-02", "1970-01-02T00", "1970-01-02T00:00", "1970-01-02T00:00:00.0"] {
            assert_eq!(parse("since", text), Ok(Some(at(86_400, 0))), "{text}");
        }
        for text in
            ["x", "-5", "5.x", "5.1234567890", "99999999999999999999", "18446744073709551615"]
        {
            assert!(parse("since", text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_are_in_dockers_words() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 2, "2 days"),
            (86_400 * 15, "2 weeks"),
            (86_400 * 70, "2 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), want);
        }
    }
}
