//! Dockerfile instructions that change an image's configuration, as `docker import --change` takes them.
//!
//! CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR.
//! Variables are not expanded here: an unescaped `$` where docker would expand it is refused.
//!
//! Spec: Dockerfile reference; OCI image-spec, config.md "config".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use spec::{Kind, Signal};

use crate::extension::Healthcheck;

/// What a shell-form command runs in.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not among those that may change an image.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// Docker has it, Hull does not.
    #[error("unsupported change {0:?}")]
    Unsupported(String),
    /// Arguments that make no sense.
    #[error("invalid change {change:?}: {reason}")]
    Invalid {
        /// The line.
        change: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) | Self::Invalid { .. } => Kind::Invalid,
            Self::Unsupported(_) => Kind::Unsupported,
        }
    }
}

/// The configuration that a list of changes amounts to.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    cmd: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    env: Vec<(String, String)>,
    exposed: Vec<String>,
    healthcheck: Option<Healthcheck>,
    labels: BTreeMap<String, String>,
    on_build: Vec<String>,
    shell: Option<Vec<String>>,
    /// The shell of what is changed, where it has one of its own.
    inherited: Option<Vec<String>>,
    stop_signal: Option<String>,
    user: Option<String>,
    volumes: Vec<String>,
    working_dir: Option<String>,
}

impl Changes {
    /// Takes the lines in order; a later one overrides or adds as in a Dockerfile.
    pub(crate) fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, Error> {
        Self::over(None, lines)
    }

    /// The same for an image whose shell is not the usual one.
    pub(crate) fn over<S: AsRef<str>>(
        shell: Option<Vec<String>>,
        lines: &[S],
    ) -> Result<Self, Error> {
        let mut changes = Self { inherited: shell, ..Self::default() };
        for line in lines.iter().flat_map(|lines| lines.as_ref().lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                changes.take(line)?;
            }
        }
        Ok(changes)
    }

    fn take(&mut self, line: &str) -> Result<(), Error> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        let invalid = |reason| Error::Invalid { change: line.to_owned(), reason };
        let supported = match word.as_str() {
            "CMD" | "ENTRYPOINT" | "HEALTHCHECK" | "ONBUILD" | "SHELL" => true,
            "ENV" | "EXPOSE" | "LABEL" | "STOPSIGNAL" | "USER" | "VOLUME" | "WORKDIR" => {
                !has_variable(rest)
            }
            _ => return Err(Error::Unknown(word)),
        };
        if !supported {
            return Err(Error::Unsupported(line.to_owned()));
        }
        if rest.is_empty() {
            return Err(invalid("an argument is missing"));
        }
        self.apply(&word, rest).map_err(invalid)
    }

    fn apply(&mut self, word: &str, rest: &str) -> Result<(), &'static str> {
        match word {
            "CMD" => self.cmd = Some(self.command(rest)),
            "ENTRYPOINT" => self.entrypoint = Some(self.command(rest)),
            "HEALTHCHECK" => self.healthcheck = Some(healthcheck(rest)?),
            "ONBUILD" => self.on_build.push(trigger(rest)?),
            "SHELL" => {
                let words: Option<Vec<String>> = serde_json::from_str(rest).ok();
                let words = words.filter(|words| !words.is_empty());
                self.shell = Some(words.ok_or("want a list in JSON: [\"PROGRAM\", \"FLAG\"]")?);
            }
            "ENV" => {
                for (key, value) in pairs(rest)? {
                    self.env.retain(|(known, _)| *known != key);
                    self.env.push((key, value));
                }
            }
            "LABEL" => self.labels.extend(pairs(rest)?),
            "EXPOSE" => {
                for port in words(rest)? {
                    self.exposed.push(exposed(&port)?);
                }
            }
            "VOLUME" => {
                let list: Option<Vec<String>> = serde_json::from_str(rest).ok();
                self.volumes.extend(list.map_or_else(|| words(rest), Ok)?);
            }
            "USER" => self.user = Some(only(rest)?),
            "WORKDIR" => {
                let under = self.working_dir.as_deref().unwrap_or("/");
                let path = std::path::Path::new(under).join(only(rest)?);
                self.working_dir = Some(path.to_string_lossy().into_owned());
            }
            "STOPSIGNAL" => {
                let signal: Signal = rest.parse().map_err(|_| "no such signal")?;
                self.stop_signal = Some(signal.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// JSON form as it is, any other text for the shell.
    fn command(&self, rest: &str) -> Vec<String> {
        serde_json::from_str(rest).unwrap_or_else(|_| {
            let usual = || SHELL.map(str::to_owned).to_vec();
            let own = self.shell.as_ref().or(self.inherited.as_ref());
            let mut words = own.cloned().unwrap_or_else(usual);
            words.push(rest.to_owned());
            words
        })
    }

    /// The `config` object of an image's configuration.
    pub(crate) fn config(&self) -> Value {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        let keys = |keys: &[String]| -> Value {
            keys.iter().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>().into()
        };
        if let Some(cmd) = &self.cmd {
            set("Cmd", json!(cmd));
        }
        if let Some(entrypoint) = &self.entrypoint {
            set("Entrypoint", json!(entrypoint));
        }
        if !self.env.is_empty() {
            let env = self.env.iter().map(|(key, value)| format!("{key}={value}"));
            set("Env", json!(env.collect::<Vec<_>>()));
        }
        if !self.exposed.is_empty() {
            set("ExposedPorts", keys(&self.exposed));
        }
        if let Some(healthcheck) = &self.healthcheck {
            set("Healthcheck", json!(healthcheck));
        }
        if !self.on_build.is_empty() {
            set("OnBuild", json!(self.on_build));
        }
        if let Some(shell) = &self.shell {
            set("Shell", json!(shell));
        }
        if !self.labels.is_empty() {
            set("Labels", json!(self.labels));
        }
        if !self.volumes.is_empty() {
            set("Volumes", keys(&self.volumes));
        }
        let texts = [
            ("StopSignal", &self.stop_signal),
            ("User", &self.user),
            ("WorkingDir", &self.working_dir),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                set(key, json!(text));
            }
        }
        config.into()
    }
}

/// `NONE`, or `[--interval=30s ...] CMD` with a command line or a list.
fn healthcheck(mut rest: &str) -> Result<Healthcheck, &'static str> {
    let mut check = Healthcheck::default();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).ok_or("CMD or NONE is missing")?;
        let (name, value) = flag.split_once('=').ok_or("want --NAME=VALUE")?;
        match name {
            "interval" => check.interval = duration(value)?,
            "timeout" => check.timeout = duration(value)?,
            "start-period" => check.start_period = duration(value)?,
            "start-interval" => check.start_interval = duration(value)?,
            "retries" => check.retries = value.parse().map_err(|_| "want --retries=NUMBER")?,
            _ => return Err("no such flag"),
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match (word.to_ascii_uppercase().as_str(), command) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", "") => return Err("a command is missing"),
        ("CMD", command) => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => [vec!["CMD".to_owned()], words].concat(),
            Err(_) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        _ => return Err("want CMD or NONE"),
    };
    Ok(check)
}

/// Nanoseconds of `1m30s`, as Go writes times.
fn duration(text: &str) -> Result<i64, &'static str> {
    const WRONG: &str = "want a time such as 30s or 1m30s";
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WRONG)?;
        let number: f64 = rest[..digits].parse().map_err(|_| WRONG)?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        sum += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(WRONG),
            };
        rest = &rest[end..];
    }
    // Docker's least, so that a check does not follow on itself.
    #[expect(clippy::cast_possible_truncation, reason = "more than 290 years saturate")]
    let nanoseconds = sum as i64;
    if nanoseconds == 0 || nanoseconds >= 1_000_000 {
        Ok(nanoseconds)
    } else {
        Err("less than 1ms")
    }
}

/// An instruction for builds on this image.
fn trigger(rest: &str) -> Result<String, &'static str> {
    let word = rest.split_whitespace().next().unwrap_or_default();
    match word.to_ascii_uppercase().as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => Err("not allowed as a trigger"),
        _ => Ok(rest.to_owned()),
    }
}

/// `A=b C="d e"`, or the old form `A b c`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, &'static str> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = rest.split_once(char::is_whitespace).ok_or("a value is missing")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) | None => Err("want KEY=VALUE"),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    };
    words(rest)?.into_iter().map(pair).collect()
}

fn only(rest: &str) -> Result<String, &'static str> {
    match <[String; 1]>::try_from(words(rest)?) {
        Ok([word]) => Ok(word),
        Err(_) => Err("want one argument"),
    }
}

/// Words as a shell splits them: quotes and backslashes are taken off.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                let escaped = chars.next().ok_or("a backslash at the end")?;
                word.get_or_insert_default().push(escaped);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote is not closed") } else { Ok(words) }
}

/// `80`, `80/udp`; tcp is the default.
fn exposed(port: &str) -> Result<String, &'static str> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    match number.parse::<u16>() {
        Ok(number) if number > 0 && known => Ok(format!("{number}/{protocol}")),
        _ => Err("want PORT or PORT/tcp, /udp, /sctp"),
    }
}

fn has_variable(text: &str) -> bool {
    let mut before = None;
    text.chars().any(|c| {
        let variable = c == '$' && before != Some('\\');
        before = Some(c);
        variable
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_become_a_configuration() {
        let changes = Changes::parse(&[
            "CMD [\"sh\", \"-l\"]",
            "entrypoint exec $THING",
            "ENV A=1 B=\"two words\" A=3",
            "ENV C four and five",
            "EXPOSE 80 53/UDP",
            "LABEL a=b 'c d'=e\\ f",
            "STOPSIGNAL 9",
            "USER 1000:1000",
            "VOLUME [\"/data\", \"/more\"]",
            "WORKDIR /a\nWORKDIR b",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD test -e /ok",
            "ONBUILD RUN make",
            "# a comment",
        ]);
        let want = json!({
            "Cmd": ["sh", "-l"],
            "Entrypoint": ["/bin/sh", "-c", "exec $THING"],
            "Env": ["B=two words", "A=3", "C=four and five"],
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
            "Healthcheck": {
                "Test": ["CMD-SHELL", "test -e /ok"], "Interval": 90_000_000_000_i64, "Retries": 2,
            },
            "Labels": { "a": "b", "c d": "e f" },
            "OnBuild": ["RUN make"],
            "StopSignal": "SIGKILL",
            "User": "1000:1000",
            "Volumes": { "/data": {}, "/more": {} },
            "WorkingDir": "/a/b",
        });
        assert_eq!(changes.expect("valid").config(), want);
    }

    #[test]
    fn a_shell_is_for_the_commands_after_it() {
        let changes = Changes::parse(&["SHELL [\"bash\", \"-c\"]", "CMD a b", "HEALTHCHECK NONE"]);
        let want = json!({
            "Cmd": ["bash", "-c", "a b"], "Healthcheck": { "Test": ["NONE"] },
            "Shell": ["bash", "-c"],
        });
        assert_eq!(changes.expect("valid").config(), want);
        let inherited = || Some(vec!["ash".to_owned(), "-ec".to_owned()]);
        let changes = Changes::over(inherited(), &["ENTRYPOINT a"]).expect("valid");
        assert_eq!(changes.config(), json!({ "Entrypoint": ["ash", "-ec", "a"] }));
        let changes = Changes::over(inherited(), &["SHELL [\"sh\"]", "CMD a"]).expect("valid");
        assert_eq!(changes.config()["Cmd"], json!(["sh", "a"]));
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        let cases = [
            ("FROM scratch", Kind::Invalid),
            ("RUN true", Kind::Invalid),
            ("HEALTHCHECK NONE x", Kind::Invalid),
            ("HEALTHCHECK CMD", Kind::Invalid),
            ("HEALTHCHECK --interval=1 CMD x", Kind::Invalid),
            ("HEALTHCHECK --often=1s CMD x", Kind::Invalid),
            ("ONBUILD FROM x", Kind::Invalid),
            ("SHELL bash", Kind::Invalid),
            ("ENV PATH=$PATH:/x", Kind::Unsupported),
            ("ENV", Kind::Invalid),
            ("ENV A", Kind::Invalid),
            ("ENV =b", Kind::Invalid),
            ("ENV A=\"b", Kind::Invalid),
            ("EXPOSE 0", Kind::Invalid),
            ("EXPOSE 80-90", Kind::Invalid),
            ("EXPOSE 80/x", Kind::Invalid),
            ("STOPSIGNAL NO", Kind::Invalid),
            ("USER a b", Kind::Invalid),
        ];
        for (line, kind) in cases {
            assert_eq!(Changes::parse(&[line]).err().map(|e| e.kind()), Some(kind), "{line}");
        }
    }
}
