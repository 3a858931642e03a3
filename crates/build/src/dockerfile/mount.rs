//! `RUN --mount`.
//!
//! Spec: Dockerfile reference, "RUN --mount".

use super::error::Reason;
use super::suggest;
use crate::expand::{self, Lookup};

/// Keys with their values.
type Fields = Vec<(String, Option<String>)>;

/// Keys whose values are any text.
const TEXTS: [&str; 5] = ["target", "source", "from", "id", "env"];

/// A mount for one `RUN`. Values are not expanded, see [`Mount::expand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `type`, `bind` if not said.
    pub kind: MountKind,
    /// Where in the stage. For secrets, `None` with `env` is no file, and without it
    /// `/run/secrets/ID`; for ssh, `/run/buildkit/ssh_agent.N`.
    pub target: Option<String>,
    /// The path in `from`; its root if not said.
    pub source: Option<String>,
    /// A stage, an image or a context; of a bind, the build context if not said, of a cache, nothing.
    pub from: Option<String>,
    /// What a cache, a secret or an agent is found by; of a cache the target, of a secret the last
    /// component of the target, of an agent `default`, if not said.
    pub id: Option<String>,
    /// Whether the command cannot write: `true` for a bind, else `false`, if not said.
    pub readonly: bool,
    /// Whether a secret or agent that the client lacks is an error.
    pub required: bool,
    /// Of a tmpfs, in bytes.
    pub size: Option<u64>,
    /// Owner of a new cache, a secret or an agent's socket, 0 if not said.
    pub uid: Option<u32>,
    /// Group of the same.
    pub gid: Option<u32>,
    /// Permissions of the same; 0755 of a cache, 0400 of a secret, 0600 of a socket, if not said.
    pub mode: Option<u32>,
    /// How several builds use a cache at a time.
    pub sharing: Sharing,
    /// The variable that has a secret's value.
    pub env: Option<String>,
    /// As written.
    pub text: String,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image; what is written is thrown away.
    Bind,
    /// A directory that lives on in the builder.
    Cache,
    /// An empty filesystem in memory.
    Tmpfs,
    /// A secret of the client.
    Secret,
    /// The client's ssh agent.
    Ssh,
}

/// What a cache is to several builds at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One for all.
    Shared,
    /// A new one for each.
    Private,
    /// One after the other.
    Locked,
}

impl MountKind {
    /// The keys that a mount of the kind takes, but for `type`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["target", "source", "from", "readwrite", "readonly"],
            Self::Cache => &[
                "id",
                "target",
                "readwrite",
                "readonly",
                "sharing",
                "from",
                "source",
                "mode",
                "uid",
                "gid",
            ],
            Self::Tmpfs => &["target", "size"],
            Self::Secret => &["id", "source", "target", "env", "required", "mode", "uid", "gid"],
            Self::Ssh => &["id", "target", "required", "mode", "uid", "gid"],
        }
    }
}

impl Mount {
    /// What the flag's value says; values with variables are judged when they are expanded.
    pub(super) fn parse(text: &str) -> Result<Self, Reason> {
        Self::from_fields(&fields(text)?, text, false)
    }

    /// The mount with its variables replaced.
    ///
    /// # Errors
    ///
    /// [`Reason::Expansion`] for a value that means nothing, [`Reason::Value`] for what a value became.
    pub fn expand(&self, escape: char, lookup: &Lookup<'_>) -> Result<Self, Reason> {
        let mut fields = fields(&self.text)?;
        for (_, value) in &mut fields {
            if let Some(value) = value.as_mut().filter(|value| value.contains('$')) {
                *value = expand::word(value, escape, lookup)?;
            }
        }
        Self::from_fields(&fields, &self.text, true)
    }

    fn from_fields(fields: &Fields, text: &str, is_expanded: bool) -> Result<Self, Reason> {
        let mut mount = Self::of(kind(fields)?, text);
        for (key, value) in fields {
            if key == "type" {
                continue;
            }
            if !mount.kind.keys().contains(&key.as_str()) {
                let near = suggest::near(key, mount.kind.keys());
                let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                return Err(wrong(key, format!("unexpected key '{key}' in '{text}'{hint}")));
            }
            let later = !is_expanded && value.as_ref().is_some_and(|value| value.contains('$'));
            match value.as_deref() {
                Some(_) if later && !TEXTS.contains(&key.as_str()) => {}
                value => mount.set(key, value)?,
            }
        }
        mount.complete()
    }

    fn of(kind: MountKind, text: &str) -> Self {
        Self {
            kind,
            target: None,
            source: None,
            from: None,
            id: None,
            readonly: kind == MountKind::Bind,
            required: false,
            size: None,
            uid: None,
            gid: None,
            mode: None,
            sharing: Sharing::Shared,
            env: None,
            text: text.to_owned(),
        }
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), Reason> {
        match (key, value) {
            ("readonly", value) => self.readonly = switch(key, value)?,
            ("readwrite", value) => self.readonly = !switch(key, value)?,
            ("required", value) => self.required = switch(key, value)?,
            (key, None) => {
                return Err(wrong(key, format!("invalid field '{key}' must be a key=value pair")));
            }
            ("target", Some(value)) => self.target = Some(value.to_owned()),
            ("source", Some(value)) if self.kind == MountKind::Secret => {
                self.id = Some(value.to_owned());
            }
            ("source", Some(value)) => self.source = Some(value.to_owned()),
            ("from", Some(value)) => self.from = Some(value.to_owned()),
            ("id", Some(value)) => self.id = Some(value.to_owned()),
            ("env", Some(value)) => self.env = Some(value.to_owned()),
            ("size", Some(value)) => {
                self.size = Some(size(value).ok_or_else(|| invalid(key, value))?);
            }
            ("uid", Some(value)) => {
                self.uid = Some(value.parse().map_err(|_| invalid(key, value))?);
            }
            ("gid", Some(value)) => {
                self.gid = Some(value.parse().map_err(|_| invalid(key, value))?);
            }
            ("mode", Some(value)) => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| invalid(key, value))?);
            }
            ("sharing", Some(value)) => {
                self.sharing = match value {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(wrong(value, format!("unsupported sharing value {value:?}"))),
                }
            }
            (key, Some(_)) => unreachable!("{key} is no key of a mount"),
        }
        Ok(())
    }

    /// Refuses a mount that lacks what its kind needs.
    fn complete(self) -> Result<Self, Reason> {
        let blank = |value: &Option<String>| value.as_deref().is_none_or(str::is_empty);
        let missing = match self.kind {
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if blank(&self.target) => {
                format!("invalid mount '{}': target is required", self.text)
            }
            MountKind::Cache if blank(&self.from) && !is_root(self.source.as_deref()) => {
                format!("invalid mount '{}': source is a path in from, which is missing", self.text)
            }
            MountKind::Secret if blank(&self.target) && blank(&self.id) => {
                "invalid secret mount. one of source, target required".to_owned()
            }
            _ => return Ok(self),
        };
        Err(wrong(&self.text, missing))
    }
}

/// Whether a source is all there is.
fn is_root(source: Option<&str>) -> bool {
    matches!(source, None | Some("" | "." | "/"))
}

fn wrong(value: &str, message: String) -> Reason {
    Reason::Value { value: value.to_owned(), message }
}

fn invalid(key: &str, value: &str) -> Reason {
    wrong(value, format!("invalid value for {key}: {value}"))
}

fn kind(fields: &Fields) -> Result<MountKind, Reason> {
    let value =
        fields.iter().rev().find(|(key, _)| key == "type").map(|(_, value)| value.as_deref());
    match value {
        None | Some(Some("bind")) => Ok(MountKind::Bind),
        Some(Some("cache")) => Ok(MountKind::Cache),
        Some(Some("tmpfs")) => Ok(MountKind::Tmpfs),
        Some(Some("secret")) => Ok(MountKind::Secret),
        Some(Some("ssh")) => Ok(MountKind::Ssh),
        Some(other) => {
            let other = other.unwrap_or_default();
            Err(wrong(
                other,
                format!(
                    "unsupported mount type {other:?}: it can be bind, cache, tmpfs, secret or ssh"
                ),
            ))
        }
    }
}

/// Keys in their long form with their values: `target=/a,ro` is `target` and `readonly`.
fn fields(text: &str) -> Result<Fields, Reason> {
    let fields = comma_separated(text).ok_or_else(|| {
        wrong(text, format!("invalid mount '{text}': a quote is open or stands within a field"))
    })?;
    let fields = fields.into_iter().map(|field| {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field.as_str(), None),
        };
        let key = key.to_lowercase();
        let long = match key.as_str() {
            "dst" | "destination" => "target",
            "src" => "source",
            "ro" => "readonly",
            "rw" => "readwrite",
            other => other,
        };
        (long.to_owned(), value)
    });
    Ok(fields.collect())
}

/// The fields of one CSV record (RFC 4180); `None` for a quote out of place.
fn comma_separated(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let (field, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            (field.to_owned(), behind)
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => return behind.is_empty().then_some(fields),
        }
    }
}

/// A field behind its opening quote, and what is behind the closing one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, behind)),
        }
    }
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, Reason> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some(value) => Err(invalid(key, value)),
    }
}

/// Bytes of `64m`: powers of 1024, letters in any case.
fn size(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (number, power) = match text.char_indices().last()? {
        (at, unit) if !unit.is_ascii_digit() => (text.get(..at)?, "kmgtp".find(unit)? + 1),
        _ => (text, 0),
    };
    let factor = 1024_u64.checked_pow(u32::try_from(power).ok()?)?;
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}
