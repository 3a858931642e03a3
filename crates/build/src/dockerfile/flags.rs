//! Flags of an instruction.

use super::error::Reason;
use super::suggest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// One value.
    Value,
    /// A value each time that it is given.
    Values,
    /// `true`, `false` or nothing, which is true.
    Bool,
}

/// The flags that an instruction was given.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Judges `given`, words such as `--from=base`, by what the instruction knows.
    pub(super) fn parse(given: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Reason> {
        let mut flags = Self::default();
        for word in given {
            let word = word.strip_prefix("--").unwrap_or(word);
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let Some((known_name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(Reason::UnknownFlag {
                    flag: name.to_owned(),
                    near: suggest::near(name, &names),
                });
            };
            let wrong = |message: String| Reason::Flag { flag: name.to_owned(), message };
            if *takes != Takes::Values && flags.0.iter().any(|(used, _)| used == known_name) {
                return Err(wrong(format!("duplicate flag specified: --{name}")));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true",
                (Takes::Value | Takes::Values, None) | (Takes::Bool, Some("")) => {
                    return Err(wrong(format!("missing a value on flag: --{name}")));
                }
                (Takes::Bool, Some(value)) if !is_bool(value) => {
                    let message =
                        format!("expecting boolean value for flag --{name}, not: {value}");
                    return Err(wrong(message));
                }
                (_, Some(value)) => value,
            };
            flags.0.push((known_name, value.to_owned()));
        }
        Ok(flags)
    }

    /// The value of a flag, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone())
    }

    /// All values of a flag.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a flag is on or off, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value.eq_ignore_ascii_case("true"))
    }
}

fn is_bool(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}
