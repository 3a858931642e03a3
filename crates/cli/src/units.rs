//! Numbers, times and sizes: as people read them, and as they type them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::Error;

/// Bytes in decimal units with three digits, as Docker shows sizes.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count, 1000.0, &["B", "kB", "MB", "GB", "TB"], 3)
}

/// Bytes in units of 1024 with four digits, as Docker shows memory.
pub(crate) fn memory(count: u64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"], 4)
}

fn scaled(count: u64, base: f64, units: &[&str], digits: usize) -> String {
    #[allow(clippy::cast_precision_loss)] // a few digits are shown
    let mut value = count as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    // As Go's %g: no zeros at the end.
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// A number of bytes with an optional unit: `b`, `k`, `m`, `g`, `t`, each 1024 of the one before.
pub(crate) fn parse_bytes(option: &'static str, text: &str) -> Result<i64, Error> {
    let invalid = || Error::Argument {
        option,
        value: text.to_owned(),
        want: "a number and b, k, m, g or t".into(),
    };
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    if let Ok(number) = digits.parse::<i64>() {
        return number.checked_mul(1 << shift).filter(|count| *count >= 0).ok_or_else(invalid);
    }
    let number: f64 = digits.parse().map_err(|_| invalid())?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // checked to fit
    let count = (number * (1_i64 << shift) as f64) as i64;
    if number.is_finite() && number >= 0.0 && count < i64::MAX { Ok(count) } else { Err(invalid()) }
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `100ms`. In nanoseconds.
pub(crate) fn parse_duration(option: &'static str, text: &str) -> Result<i64, Error> {
    let invalid = || Error::Argument {
        option,
        value: text.to_owned(),
        want: "a duration, e.g. 1m30s or 500ms".into(),
    };
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        let unit = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.');
        let unit = &rest[end..unit.map_or(rest.len(), |length| end + length)];
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        total += number * scale;
        rest = &rest[end + unit.len()..];
    }
    #[allow(clippy::cast_possible_truncation)] // checked to fit
    if text.is_empty() || total > 9e18 { Err(invalid()) } else { Ok(total as i64) }
}

/// A moment as `--since` takes it, for the API: seconds since 1970, a date, or so long ago.
pub(crate) fn parse_moment(option: &'static str, text: &str) -> Result<String, Error> {
    let number = text.strip_prefix('-').unwrap_or(text);
    if number.parse::<f64>().is_ok() && number == text {
        return Ok(text.to_owned());
    }
    let moment = if let Ok(ago) = parse_duration(option, number) {
        OffsetDateTime::now_utc() - time::Duration::nanoseconds(ago)
    } else {
        date(text).ok_or_else(|| Error::Argument {
            option,
            value: text.to_owned(),
            want: "10m, 2006-01-02T15:04:05Z, 2006-01-02 or seconds since 1970".into(),
        })?
    };
    Ok(format!("{}.{:09}", moment.unix_timestamp(), moment.nanosecond()))
}

/// A date with or without time and zone.
fn date(text: &str) -> Option<OffsetDateTime> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ if text.ends_with('Z') || text.get(19..).is_some_and(|end| end.contains(['+', '-'])) => {
            text.to_owned()
        }
        _ => format!("{text}Z"),
    };
    OffsetDateTime::parse(&whole, &Rfc3339).ok()
}

/// A date for people, in UTC.
pub(crate) fn date_of(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{} {:02}:{:02}:{:02} +0000 UTC",
        moment.date(),
        moment.hour(),
        moment.minute(),
        moment.second()
    )
}

/// How long ago a moment was, as Docker says it.
pub(crate) fn ago(seconds: i64) -> String {
    format!("{} ago", about(OffsetDateTime::now_utc().unix_timestamp() - seconds))
}

/// A number of seconds, roughly.
pub(crate) fn about(seconds: i64) -> String {
    const STEPS: [(i64, i64, &str); 7] = [
        (2, 1, "Less than a second"),
        (60, 1, "seconds"),
        (120, 60, "About a minute"),
        (3600, 60, "minutes"),
        (7200, 3600, "About an hour"),
        (48 * 3600, 3600, "hours"),
        (14 * 86400, 86400, "days"),
    ];
    let found = STEPS.iter().find(|(below, ..)| seconds < *below);
    match found {
        Some((2, ..)) if seconds == 1 => "1 second".into(),
        Some((_, _, text)) if text.starts_with(char::is_uppercase) => (*text).to_owned(),
        Some((_, unit, text)) => format!("{} {text}", seconds / unit),
        None if seconds < 60 * 86400 => format!("{} weeks", seconds / (7 * 86400)),
        None if seconds < 730 * 86400 => format!("{} months", seconds / (30 * 86400)),
        None => format!("{} years", seconds / (365 * 86400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (count, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (7_350_000, "7.35MB"),
            (73_500_000, "73.5MB"),
            (735_000_000, "735MB"),
            (u64::MAX, "18446744TB"),
        ] {
            assert_eq!(bytes(count), want);
        }
        assert_eq!((memory(64 << 20), memory(1_608_000)), ("64MiB".into(), "1.534MiB".into()));
    }

    #[test]
    fn memory_has_units_of_1024() {
        let count = |text| parse_bytes("--memory", text).ok();
        assert_eq!(count("64m"), Some(64 << 20));
        assert_eq!(count("1GiB"), Some(1 << 30));
        assert_eq!(count("1.5k"), Some(1536));
        assert_eq!((count("7"), count("-1")), (Some(7), Some(-1)));
        for text in ["", "m", "-2", "1x", "99999999999t", "nan"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_moments_are_gos() {
        let nanoseconds = |text| parse_duration("--t", text).ok();
        assert_eq!(nanoseconds("1h30m"), Some(5400 * 1_000_000_000));
        assert_eq!(nanoseconds("1.5s"), Some(1_500_000_000));
        assert_eq!((nanoseconds("0"), nanoseconds("250ms")), (Some(0), Some(250_000_000)));
        for text in ["", "s", "5", "1d", "1m5"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
        let moment = |text| parse_moment("--since", text).ok();
        assert_eq!(moment("1136073600.5").as_deref(), Some("1136073600.5"));
        assert_eq!(moment("2006-01-01").as_deref(), Some("1136073600.000000000"));
        assert_eq!(moment("2006-01-01T00:00:00Z").as_deref(), Some("1136073600.000000000"));
        assert_eq!(moment("2006-01-01T01:00:00+01:00").as_deref(), Some("1136073600.000000000"));
        assert!(moment("10m").is_some() && moment("-1s").is_some() && moment("soon").is_none());
    }

    #[test]
    fn ages_are_rounded_as_dockers() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (100, "About a minute"),
            (300, "5 minutes"),
            (4000, "About an hour"),
            (90_000, "25 hours"),
            (3 * 86400, "3 days"),
            (20 * 86400, "2 weeks"),
            (100 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(about(seconds), want);
        }
    }
}
