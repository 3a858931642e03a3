//! The log that `--log` names, else standard error, in the formats that containerd and podman parse.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::SystemTime;

use crate::args::{Global, LogFormat};

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<RefCell<File>>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    /// Standard error, for what fails before there is any other.
    pub(crate) fn stderr() -> Self {
        Self { file: None, format: LogFormat::Text, debug: false }
    }

    /// Opens the log.
    pub(crate) fn open(global: &Global) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let file = global.log.as_ref().map(open).transpose()?.map(RefCell::new);
        Ok(Self { file, format: global.log_format, debug: global.debug })
    }

    /// What was asked did not happen. When it goes to a file, standard error has it as plain text: so
    /// runc does it, and callers look for `level=error` where they gave no file.
    pub(crate) fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            eprintln!("hull-runtime: {message}");
        }
    }

    /// It happened, worse.
    pub(crate) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    /// Each of these happened.
    pub(crate) fn warn_of(&self, messages: &[String]) {
        for message in messages {
            self.warn(message);
        }
    }

    /// For us.
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        let line = line(self.format, level, message, SystemTime::now());
        // A full disk must not stop the container.
        let _ = match &self.file {
            Some(file) => file.borrow_mut().write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

/// A line as logrus writes it.
fn line(format: LogFormat, level: &str, message: &str, time: SystemTime) -> String {
    let (seconds, _) = parts(time);
    let time = format!("{seconds}Z");
    match format {
        LogFormat::Json => {
            format!("{}\n", serde_json::json!({ "level": level, "msg": message, "time": time }))
        }
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}\n"),
    }
}

/// RFC 3339 in UTC, to the nanosecond where that is not zero, as Go's `RFC3339Nano`.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let (seconds, nanos) = parts(time);
    let fraction = format!(".{nanos:09}");
    format!("{seconds}{}Z", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// Date and time to the second, and the nanoseconds.
fn parts(time: SystemTime) -> (String, u32) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    (text, since.subsec_nanos())
}

/// The Gregorian date of a day counted from 1970, by Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_is_written_as_rfc_3339() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000001Z"),
            (951_782_400, "2000-02-29T00:00:00.000000001Z"),
            (1_795_356_411, "2026-11-22T14:06:51.000000001Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 1);
            assert_eq!(timestamp(time), want);
        }
        for (nanos, want) in [(0, "00Z"), (500_000_000, "00.5Z"), (10, "00.00000001Z")] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(0, nanos);
            assert_eq!(timestamp(time), format!("1970-01-01T00:00:{want}"));
        }
    }

    #[test]
    fn lines_are_those_of_logrus() {
        let line = |format| line(format, "error", "a \"b\"", SystemTime::UNIX_EPOCH);
        assert_eq!(
            line(LogFormat::Text),
            "time=\"1970-01-01T00:00:00Z\" level=error msg=\"a \\\"b\\\"\"\n"
        );
        assert_eq!(
            line(LogFormat::Json),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}
