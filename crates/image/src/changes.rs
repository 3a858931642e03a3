//! Dockerfile instructions that change an image's configuration, as `docker import --change` takes them.
//!
//! CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR.
//! Variables mean the environment of what is changed, and what the changes before set.
//!
//! Spec: Dockerfile reference; OCI image-spec, config.md "config".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use spec::{Kind, Signal};

use crate::expand;
use crate::extension::Healthcheck;

/// What escapes a character in a change.
const ESCAPE: char = '\\';

/// The instructions that may change an image.
const KNOWN: [&str; 12] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a shell-form command runs in.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not among those that may change an image.
    #[error("{0} is not a valid change command")]
    Unknown(String),
    /// Arguments that make no sense.
    #[error("invalid change {change:?}: {reason}")]
    Invalid {
        /// The line.
        change: String,
        /// What is wrong.
        reason: Reason,
    },
}

/// What is wrong with a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its form.
    #[error("{0}")]
    Form(&'static str),
    /// A word.
    #[error(transparent)]
    Word(#[from] expand::Error),
}

impl From<&'static str> for Reason {
    fn from(form: &'static str) -> Self {
        Self::Form(form)
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unknown(_) | Self::Invalid { .. } => Kind::Invalid,
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
    /// What is changed.
    base: Base,
    stop_signal: Option<String>,
    user: Option<String>,
    volumes: Vec<String>,
    working_dir: Option<String>,
}

/// What changes need to know of what they change.
#[derive(Debug, Default)]
pub(crate) struct Base {
    /// Its shell, where it has one of its own.
    pub(crate) shell: Option<Vec<String>>,
    /// Its environment, `NAME=VALUE`.
    pub(crate) env: Vec<String>,
}

impl Changes {
    /// Takes the lines in order; a later one overrides or adds as in a Dockerfile.
    pub(crate) fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, Error> {
        Self::over(Base::default(), lines)
    }

    /// The same for something that is there.
    pub(crate) fn over<S: AsRef<str>>(base: Base, lines: &[S]) -> Result<Self, Error> {
        let mut changes = Self { base, ..Self::default() };
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
        if !KNOWN.contains(&word.as_str()) {
            return Err(Error::Unknown(word));
        }
        if rest.is_empty() {
            return Err(invalid("an argument is missing".into()));
        }
        self.apply(&word, rest).map_err(invalid)
    }

    fn apply(&mut self, word: &str, rest: &str) -> Result<(), Reason> {
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
                for (key, value) in self.pairs(rest)? {
                    self.env.retain(|(known, _)| *known != key);
                    self.env.push((key, value));
                }
            }
            "LABEL" => self.labels.extend(self.pairs(rest)?),
            "EXPOSE" => {
                for port in self.words(rest)? {
                    self.exposed.push(exposed(&port)?);
                }
            }
            "VOLUME" => {
                let list: Option<Vec<String>> = serde_json::from_str(rest).ok();
                self.volumes.extend(list.map_or_else(|| self.words(rest), Ok)?);
            }
            "USER" => self.user = Some(self.word(rest)?),
            "WORKDIR" => {
                let under = self.working_dir.as_deref().unwrap_or("/");
                let path = std::path::Path::new(under).join(self.word(rest)?);
                self.working_dir = Some(path.to_string_lossy().into_owned());
            }
            "STOPSIGNAL" => {
                let word = self.word(rest)?;
                let _: Signal = word.parse().map_err(|_| "no such signal")?;
                self.stop_signal = Some(word);
            }
            _ => {}
        }
        Ok(())
    }

    /// The value of a variable: as changed before, else as it was.
    fn variable(&self, name: &str) -> Option<String> {
        let changed = self.env.iter().find(|(known, _)| known == name);
        let own = || {
            let mut pairs = self.base.env.iter().filter_map(|pair| pair.split_once('='));
            pairs.rfind(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        changed.map(|(_, value)| value.clone()).or_else(own)
    }

    fn word(&self, text: &str) -> Result<String, Reason> {
        Ok(expand::word(text, ESCAPE, &|name| self.variable(name))?)
    }

    fn words(&self, text: &str) -> Result<Vec<String>, Reason> {
        Ok(expand::words(text, ESCAPE, &|name| self.variable(name))?)
    }

    /// `A=b C="d e"`, or the old form `A b c`.
    fn pairs(&self, rest: &str) -> Result<Vec<(String, String)>, Reason> {
        let first = rest.split_whitespace().next().unwrap_or_default();
        if !first.contains('=') {
            let (key, value) = rest.split_once(char::is_whitespace).ok_or("a value is missing")?;
            return Ok(vec![(self.word(key)?, self.word(value.trim())?)]);
        }
        let pair = |word: &str| match word.split_once('=') {
            Some(("", _)) | None => Err("want KEY=VALUE".into()),
            Some((key, value)) => Ok((self.word(key)?, self.word(value)?)),
        };
        pieces(rest).into_iter().map(pair).collect()
    }

    /// JSON form as it is, any other text for the shell.
    fn command(&self, rest: &str) -> Vec<String> {
        serde_json::from_str(rest).unwrap_or_else(|_| {
            let usual = || SHELL.map(str::to_owned).to_vec();
            let own = self.shell.as_ref().or(self.base.shell.as_ref());
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

/// The text between blanks that are neither quoted nor escaped, as it is.
fn pieces(text: &str) -> Vec<&str> {
    let (mut quote, mut escaped) = (None, false);
    let ends = move |c: char| {
        match (c, quote) {
            _ if escaped => escaped = false,
            (ESCAPE, None | Some('"')) => escaped = true,
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, None) => return c.is_whitespace(),
            _ => {}
        }
        false
    };
    text.split(ends).filter(|piece| !piece.is_empty()).collect()
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
            "StopSignal": "9",
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
        let inherited =
            || Base { shell: Some(vec!["ash".to_owned(), "-ec".to_owned()]), env: Vec::new() };
        let changes = Changes::over(inherited(), &["ENTRYPOINT a"]).expect("valid");
        assert_eq!(changes.config(), json!({ "Entrypoint": ["ash", "-ec", "a"] }));
        let changes = Changes::over(inherited(), &["SHELL [\"sh\"]", "CMD a"]).expect("valid");
        assert_eq!(changes.config()["Cmd"], json!(["sh", "a"]));
    }

    #[test]
    fn variables_are_those_of_what_is_changed_and_of_changes_before() {
        let env = ["PATH=/bin", "WHO=me"].map(str::to_owned).to_vec();
        let base = Base { env, ..Base::default() };
        let changes = Changes::over(
            base,
            &[
                "ENV PATH=$PATH:/x 'L'=\"two $WHO\" E='$WHO' F=\\$WHO",
                "ENV WHO ${WHO:-no} again",
                "LABEL who=$WHO none=${NONE:-n}",
                "WORKDIR /home/$WHO",
                "USER ${UID:-7}",
                "EXPOSE ${PORT:-80 81}",
                "STOPSIGNAL ${SIGNAL:-SIGUSR1}",
                "CMD echo $WHO",
            ],
        );
        let want = json!({
            "Cmd": ["/bin/sh", "-c", "echo $WHO"],
            "Env": ["PATH=/bin:/x", "L=two me", "E=$WHO", "F=$WHO", "WHO=me again"],
            "ExposedPorts": { "80/tcp": {}, "81/tcp": {} },
            "Labels": { "none": "n", "who": "me again" },
            "StopSignal": "SIGUSR1",
            "User": "7",
            "WorkingDir": "/home/me again",
        });
        assert_eq!(changes.expect("valid").config(), want);
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
            ("ENV A=${B", Kind::Invalid),
            ("ENV A=${B:?missing}", Kind::Invalid),
            ("ENV", Kind::Invalid),
            ("ENV A", Kind::Invalid),
            ("ENV =b", Kind::Invalid),
            ("ENV A=\"b", Kind::Invalid),
            ("EXPOSE 0", Kind::Invalid),
            ("EXPOSE 80-90", Kind::Invalid),
            ("EXPOSE 80/x", Kind::Invalid),
            ("STOPSIGNAL NO", Kind::Invalid),
        ];
        for (line, kind) in cases {
            assert_eq!(Changes::parse(&[line]).err().map(|e| e.kind()), Some(kind), "{line}");
        }
    }
}
