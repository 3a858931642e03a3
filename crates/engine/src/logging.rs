//! How a container's output is kept: the logging drivers and their options.
//!
//! ```text
//!   json-file  one object a line in json.log; read by other programs too
//!   local      the same in local.log, small by default: 5 files of 20 MB, older ones compressed
//!   none       nothing is kept, and nothing can be read
//! ```
//!
//! The texts of refusals are Docker's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::journal::Plan;

use crate::container::Container;
use crate::error::Error;

/// What `local` keeps when it is not told otherwise.
const LOCAL_SIZE: u64 = 20_000_000;
const LOCAL_FILES: u32 = 5;

/// A way to keep output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Whichever the engine's is.
    #[default]
    Usual,
    /// Docker's own format.
    JsonFile,
    /// Ours to choose the format of.
    Local,
    /// Not at all.
    None,
}

/// A driver and its options, as `HostConfig.LogConfig` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// The driver.
    pub driver: LogDriver,
    /// Its options by Docker's names.
    pub options: BTreeMap<String, String>,
}

impl LogDriver {
    /// Those whose output can be read, by Docker's names.
    pub const READABLE: [&str; 2] = ["json-file", "local"];

    /// Docker's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "" => Ok(Self::Usual),
            "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            _ => Err(Error::Logging(format!("logger: no log driver named '{name}' is registered"))),
        }
    }

    /// The newest file of a container whose bundle is `bundle`.
    pub(crate) fn path(self, bundle: &Path) -> PathBuf {
        match self {
            Self::Usual | Self::JsonFile => bundle.join("json.log"),
            Self::Local => bundle.join("local.log"),
            Self::None => PathBuf::new(),
        }
    }

    fn unknown(self, option: &str) -> Error {
        let name = self.name();
        Error::Logging(match self {
            Self::JsonFile => format!("unknown log opt '{option}' for json-file log driver"),
            Self::Usual | Self::Local | Self::None => {
                format!("unknown log opt '{option}' for log driver {name}")
            }
        })
    }
}

impl Logging {
    /// The driver called `name`, with options that it knows.
    ///
    /// # Errors
    ///
    /// [`Error::Logging`] that names the driver or the option.
    pub fn new(name: &str, options: BTreeMap<String, String>) -> Result<Self, Error> {
        let logging = Self { driver: LogDriver::parse(name)?, options };
        if logging.driver != LogDriver::Usual {
            logging.plan(PathBuf::new(), BTreeMap::new())?;
        }
        Ok(logging)
    }

    /// This, completed by what the engine was opened with.
    pub(crate) fn over(mut self, usual: &Self) -> Result<Self, Error> {
        if self.driver == LogDriver::Usual {
            self.driver = usual.driver;
        }
        if self.driver == LogDriver::Usual {
            self.driver = LogDriver::JsonFile;
        }
        if self.driver == usual.driver {
            for (option, value) in &usual.options {
                self.options.entry(option.clone()).or_insert_with(|| value.clone());
            }
        }
        self.plan(PathBuf::new(), BTreeMap::new())?;
        Ok(self)
    }

    /// What the shim is to do.
    fn plan(&self, path: PathBuf, attributes: BTreeMap<String, String>) -> Result<Plan, Error> {
        let local = self.driver == LogDriver::Local;
        let mut plan = Plan {
            path: (self.driver != LogDriver::None).then_some(path),
            max_size: local.then_some(LOCAL_SIZE),
            max_files: if local { LOCAL_FILES } else { 1 },
            compress: local,
            attributes,
        };
        for (option, value) in &self.options {
            match option.as_str() {
                _ if self.driver == LogDriver::None => return Err(self.driver.unknown(option)),
                // `-1` is Docker's word for no limit.
                "max-size" if value == "-1" => plan.max_size = None,
                "max-size" => plan.max_size = Some(size(option, value)?),
                "max-file" => plan.max_files = files(value)?,
                "compress" => plan.compress = switch(option, value)?,
                "mode" if matches!(value.as_str(), "blocking" | "non-blocking") => {}
                "mode" => {
                    return Err(Error::Logging(format!(
                        "logger: logging mode \"{value}\" not supported"
                    )));
                }
                "max-buffer-size" => drop(size(option, value)?),
                "labels" | "env" | "tag" => {}
                "labels-regex" | "env-regex" => {
                    return Err(Error::Logging(format!(
                        "log opt '{option}' is not supported by Hull yet"
                    )));
                }
                _ => return Err(self.driver.unknown(option)),
            }
        }
        if self.driver == LogDriver::JsonFile {
            check_pair(&plan)?;
        }
        Ok(plan)
    }
}

/// As Docker has it, a limit of files without one of size limits nothing.
fn check_pair(plan: &Plan) -> Result<(), Error> {
    if plan.compress && (plan.max_files < 2 || plan.max_size.is_none()) {
        return Err(Error::Logging(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
                .to_owned(),
        ));
    }
    Ok(())
}

/// What the shim of `container` is to do.
pub(crate) fn plan(container: &Container, bundle: &Path) -> Result<Plan, Error> {
    let logging = container.logging();
    logging.plan(logging.driver.path(bundle), attributes(container, logging))
}

/// What is written with each line: the labels and variables that were asked for, and the tag.
fn attributes(container: &Container, logging: &Logging) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let names = |option: &str| {
        let names = logging.options.get(option).map(String::as_str).unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    for name in names("labels") {
        if let Some(value) = container.config.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env") {
        let variables = container.config.env.iter().filter_map(|entry| entry.split_once('='));
        if let Some((_, value)) = variables.into_iter().find(|(key, _)| *key == name) {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = logging.options.get("tag").filter(|tag| !tag.is_empty()) {
        attributes.insert("tag".to_owned(), fill_in(tag, container));
    }
    attributes
}

/// A tag with the container's facts in the places that Docker's documentation names.
fn fill_in(tag: &str, container: &Container) -> String {
    let image = container.image.rsplit(':').next().unwrap_or_default();
    let facts = [
        ("{{.ID}}", container.short_id()),
        ("{{.FullID}}", container.id.as_str()),
        ("{{.Name}}", container.name.as_str()),
        ("{{.ImageID}}", image.get(..12).unwrap_or(image)),
        ("{{.ImageFullID}}", container.image.as_str()),
        ("{{.ImageName}}", container.config.image.as_str()),
        ("{{.DaemonName}}", "hull"),
    ];
    facts.iter().fold(tag.to_owned(), |tag, (place, fact)| tag.replace(place, fact))
}

/// A number of bytes: `10m`, `1.5g`, `4096`.
fn size(option: &str, text: &str) -> Result<u64, Error> {
    let invalid = || Error::Logging(format!("invalid value for {option}: invalid size: '{text}'"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1_u64,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return Err(invalid()),
    };
    let digits = digits.trim();
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = whole.parse().map_err(|_| invalid())?;
    let tenths = part.get(..part.len().min(6)).unwrap_or_default();
    let scale = 10_u64.pow(u32::try_from(tenths.len()).unwrap_or_default());
    let part: u64 = if tenths.is_empty() { 0 } else { tenths.parse().map_err(|_| invalid())? };
    let size = whole.checked_mul(unit).and_then(|size| size.checked_add(part * unit / scale));
    size.filter(|size| *size > 0).ok_or_else(invalid)
}

fn files(text: &str) -> Result<u32, Error> {
    let number = text.parse::<u32>().ok();
    match number {
        None => Err(Error::Logging(format!("invalid value for max-file: \"{text}\""))),
        Some(0) => Err(Error::Logging("max-file cannot be less than 1".to_owned())),
        Some(number) => Ok(number),
    }
}

fn switch(option: &str, text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(Error::Logging(format!("invalid value for {option}: \"{text}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_a_driver_does_not_know_is_refused_by_name() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        let cases: [Case; 8] = [
            ("syslog", &[], "logger: no log driver named 'syslog' is registered"),
            ("json-file", &[("max", "1")], "unknown log opt 'max' for json-file log driver"),
            ("local", &[("max", "1")], "unknown log opt 'max' for log driver local"),
            ("none", &[("max-size", "1")], "unknown log opt 'max-size' for log driver none"),
            (
                "json-file",
                &[("compress", "1")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("local", &[("max-size", "big")], "invalid value for max-size: invalid size: 'big'"),
            ("local", &[("mode", "fast")], "logger: logging mode \"fast\" not supported"),
        ];
        for (driver, given, want) in cases {
            let error = Logging::new(driver, options(given)).expect_err(want);
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn options_become_a_plan() {
        let given = options(&[("max-size", "1.5k"), ("max-file", "3"), ("compress", "true")]);
        let logging = Logging::new("json-file", given).expect("legal");
        let plan = logging.plan("/b/json.log".into(), BTreeMap::new()).expect("checked");
        assert_eq!((plan.max_size, plan.max_files, plan.compress), (Some(1500), 3, true));
        let plan = Logging::new("local", BTreeMap::new()).expect("legal");
        let plan = plan.plan("/b/local.log".into(), BTreeMap::new()).expect("checked");
        assert_eq!((plan.max_size, plan.max_files, plan.compress), (Some(20_000_000), 5, true));
        let plan = Logging::new("none", BTreeMap::new()).expect("legal");
        assert_eq!(plan.plan("/b".into(), BTreeMap::new()).expect("checked").path, None);
    }

    #[test]
    fn what_a_container_does_not_say_is_as_usual() {
        let usual = Logging::new("local", options(&[("max-size", "1m")])).expect("legal");
        let own = Logging::new("", options(&[("max-file", "2")])).expect("legal");
        let both = own.over(&usual).expect("legal");
        assert_eq!(both.driver, LogDriver::Local);
        assert_eq!(both.options, options(&[("max-file", "2"), ("max-size", "1m")]));
        let other = Logging::new("none", BTreeMap::new()).expect("legal");
        assert!(other.over(&usual).expect("legal").options.is_empty());
    }

    #[test]
    fn lines_carry_what_was_asked_for() {
        let mut container = sample::container("aa", "web", 1);
        container.config.labels = options(&[("tier", "front"), ("other", "x")]);
        container.config.env = vec!["MODE=fast".into(), "HOME=/".into()];
        let given = options(&[("labels", "tier,absent"), ("env", "MODE"), ("tag", "{{.Name}}/1")]);
        let logging = Logging::new("json-file", given).expect("legal");
        let want = options(&[("MODE", "fast"), ("tag", "web/1"), ("tier", "front")]);
        assert_eq!(attributes(&container, &logging), want);
    }
}
