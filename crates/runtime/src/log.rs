//! The log file that `--log` names, in the formats that containerd and podman parse.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::SystemTime;

use crate::args::{Global, LogFormat};

/// Where messages go besides standard error.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<RefCell<File>>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    /// Opens the log. A log that cannot be opened is none, said on standard error.
    pub(crate) fn open(global: &Global) -> Self {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        let file = match global.log.as_ref().map(open) {
            None => None,
            Some(Ok(file)) => Some(RefCell::new(file)),
            Some(Err(error)) => {
                eprintln!("hull-runtime: open the log: {error}");
                None
            }
        };
        Self { file, format: global.log_format, debug: global.debug }
    }

    /// What was asked did not happen.
    pub(crate) fn error(&self, message: &str) {
        self.write("error", message);
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
        let Some(file) = &self.file else { return };
        let time = timestamp(SystemTime::now());
        let line = match self.format {
            LogFormat::Json => {
                serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
            }
            LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
        };
        // A full disk must not stop the container.
        let _ = writeln!(file.borrow_mut(), "{line}");
    }
}

/// RFC 3339 in UTC, to the nanosecond.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
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
    }
}
