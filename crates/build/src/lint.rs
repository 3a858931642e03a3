//! What a Dockerfile does that its writer may not mean.
//!
//! Called once for a file, before the build; nothing is expanded but what the file itself says. A rule that
//! needs an image's configuration asks for it, and without it tells only of what is wrong with any.
//!
//! Spec: docs.docker.com/reference/build-checks; Dockerfile reference, "check".

mod commands;
mod stages;
mod variables;

use std::collections::BTreeSet;
use std::fmt;

use crate::dockerfile::{Dockerfile, Instruction, Kind, Warning};
use crate::ignore::Ignore;

/// The rules. Their names are what `# check=skip=` takes.
pub const RULES: [&str; 22] = [
    "ConsistentInstructionCasing",
    "CopyIgnoredFile",
    "DuplicateStageName",
    "ExposeInvalidFormat",
    "ExposeProtoCasing",
    "FromAsCasing",
    "FromPlatformFlagConstDisallowed",
    "InvalidDefaultArgInFrom",
    "InvalidDefinitionDescription",
    "InvalidJSONForm",
    "JSONArgsRecommended",
    "LegacyKeyValueFormat",
    "MaintainerDeprecated",
    "MultipleInstructionsDisallowed",
    "NoEmptyContinuation",
    "RedundantTargetPlatform",
    "ReservedStageName",
    "SecretsUsedInArgOrEnv",
    "StageNameCasing",
    "UndefinedArgInFrom",
    "UndefinedVar",
    "WorkdirRelativePath",
];

/// Rules that hold only where `# check=experimental=` asks for them.
const EXPERIMENTAL: [&str; 1] = ["InvalidDefinitionDescription"];

/// What the rules may know besides the file.
#[derive(Default)]
pub struct Facts<'a> {
    /// The context's `.dockerignore`.
    pub ignore: Option<&'a Ignore>,
    /// The names of the variables that an image sets, given its name as a `FROM` says it; `None` if the
    /// image is not known.
    pub environment: Option<&'a Environment<'a>>,
}

/// See [`Facts::environment`].
pub type Environment<'a> = dyn Fn(&str) -> Option<Vec<String>> + 'a;

/// Which rules hold, as `# check=` says: `skip=A,B;error=true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    skip: BTreeSet<String>,
    experimental: BTreeSet<String>,
    /// Whether a build with a warning fails.
    pub is_error: bool,
}

/// Why a file is not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `# check=` with something else than `skip`, `error` and `experimental`.
    #[error("invalid check option {option:?}: write skip=RULE,... or error=true, with ; between")]
    Option {
        /// As written.
        option: String,
    },
    /// There are warnings, and `error=true`.
    #[error("lint violation found for rules: {}", rules.join(", "))]
    Violations {
        /// Names of the rules, each once.
        rules: Vec<&'static str>,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> spec::Kind {
        spec::Kind::Invalid
    }
}

impl Policy {
    /// The policy of a `check` directive, or of the build argument `BUILDKIT_DOCKERFILE_CHECK`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut policy = Self::default();
        for option in text.split(';').map(str::trim).filter(|option| !option.is_empty()) {
            let wrong = || Error::Option { option: option.to_owned() };
            let (key, value) = option.split_once('=').ok_or_else(wrong)?;
            let names = value.split(',').map(|name| name.trim().to_owned());
            match key.trim() {
                "skip" => policy.skip.extend(names),
                "experimental" => policy.experimental.extend(names),
                "error" => {
                    policy.is_error = match value.trim().to_lowercase().as_str() {
                        "true" | "1" | "t" => true,
                        "false" | "0" | "f" => false,
                        _ => return Err(wrong()),
                    };
                }
                _ => return Err(wrong()),
            }
        }
        Ok(policy)
    }

    fn holds(&self, rule: &str) -> bool {
        let names = |set: &BTreeSet<String>| set.contains("all") || set.contains(rule);
        !names(&self.skip) && (!EXPERIMENTAL.contains(&rule) || names(&self.experimental))
    }

    /// [`Error::Violations`] if this policy lets no warning pass.
    pub fn judge(&self, warnings: &[Warning]) -> Result<(), Error> {
        if !self.is_error || warnings.is_empty() {
            return Ok(());
        }
        let rules: BTreeSet<&'static str> = warnings.iter().map(|warning| warning.rule).collect();
        Err(Error::Violations { rules: rules.into_iter().collect() })
    }
}

/// All that is to be told of `file`, by line.
pub fn check(file: &Dockerfile, policy: &Policy, facts: &Facts<'_>) -> Vec<Warning> {
    let mut warnings = file.warnings.clone();
    warnings.extend(stages::check(file));
    warnings.extend(commands::check(file, facts.ignore));
    warnings.extend(variables::check(file, facts.environment));
    warnings.retain(|warning| policy.holds(warning.rule));
    warnings.sort_by_key(|warning| warning.line);
    warnings
}

impl Warning {
    /// The page that explains the rule; `None` for a rule that only Hull has.
    pub fn url(&self) -> Option<String> {
        if self.rule == "InvalidJSONForm" {
            return None;
        }
        let mut page = String::new();
        let letters: Vec<char> = self.rule.chars().collect();
        for (at, letter) in letters.iter().enumerate() {
            let next = letters.get(at + 1);
            // JSONArgs is json-args.
            let begins = letter.is_uppercase()
                && (next.is_some_and(|next| next.is_lowercase())
                    || at > 0 && letters.get(at - 1).is_some_and(|before| before.is_lowercase()));
            if begins && at > 0 {
                page.push('-');
            }
            page.extend(letter.to_lowercase());
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (line {})", self.rule, self.message, self.line)
    }
}

fn warning(rule: &'static str, at: &Instruction, message: String) -> Warning {
    Warning { rule, line: at.line, message }
}

/// The stages of a file, each from its `FROM` on, and before them the global arguments.
fn split(file: &Dockerfile) -> (&[Instruction], Vec<&[Instruction]>) {
    let is_from = |instruction: &Instruction| matches!(instruction.kind, Kind::From { .. });
    let first = file.instructions.iter().position(is_from).unwrap_or(file.instructions.len());
    let (globals, mut rest) = file.instructions.split_at(first);
    let mut stages = Vec::new();
    while let Some((_, behind)) = rest.split_first() {
        let end = behind.iter().position(is_from).map_or(rest.len(), |at| at + 1);
        let (stage, next) = rest.split_at(end);
        stages.push(stage);
        rest = next;
    }
    (globals, stages)
}

#[cfg(test)]
mod tests;
