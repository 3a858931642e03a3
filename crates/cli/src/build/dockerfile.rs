//! The Dockerfile of a build: where it is, and what is to be said of it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::build::dockerfile::Warning;
use ::build::lint::{self, Facts, Policy};

use super::context::Context;
use crate::error::Error;
use crate::output;

/// How long a Dockerfile may be.
pub(super) const LONGEST: u64 = 16 << 20;

/// The context's rules; behind a Dockerfile's name, those of this Dockerfile, which go before.
pub(super) const IGNORE: &str = ".dockerignore";

/// Where the Dockerfile is.
#[derive(Debug)]
pub(super) enum Dockerfile {
    /// In the context, at this path with slashes.
    Within(String),
    /// Elsewhere; this is its text, and that of the `.dockerignore` that is its own.
    Apart { text: Vec<u8>, ignore: Option<String> },
    /// In an archive, or what is on standard input; at this path.
    Unread(String),
}

impl Dockerfile {
    /// The Dockerfile that `--file` names, for the context that the command line names.
    pub(super) fn find(file: Option<&str>, context: &str) -> Result<Self, Error> {
        match (file, context) {
            (Some("-"), "-") => Err(Error::Exclude("the context -", "--file -")),
            (file, "-") => Ok(Self::Unread(file.unwrap_or("Dockerfile").to_owned())),
            (Some("-"), _) => {
                let text = read(std::io::stdin().lock(), "standard input")?;
                Ok(Self::Apart { text, ignore: None })
            }
            (Some(file), directory) => Self::at(Path::new(file), Path::new(directory)),
            (None, directory) => {
                let directory = Path::new(directory);
                let usual = directory.join("Dockerfile");
                let lower = directory.join("dockerfile");
                let is_lower = !usual.exists() && lower.exists();
                Self::at(if is_lower { &lower } else { &usual }, directory)
            }
        }
    }

    fn at(file: &Path, directory: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Context {
            what: format!("unable to evaluate symlinks in Dockerfile path: {}", file.display()),
            source: Some(source),
        };
        // Where a link leads may be outside; then what it leads to is sent.
        let real = file.canonicalize().map_err(failed)?;
        let root = directory.canonicalize().map_err(failed)?;
        if let Ok(within) = real.strip_prefix(&root) {
            return Ok(Self::Within(within.to_string_lossy().into_owned()));
        }
        let name = file.display().to_string();
        let text = read(fs::File::open(&real).map_err(Error::file(&name))?, &name)?;
        let ignore = rules(&PathBuf::from(format!("{name}{IGNORE}")))?;
        Ok(Self::Apart { text, ignore })
    }
}

/// The text of a `.dockerignore`, if there is one.
pub(super) fn rules(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path.display().to_string())(error)),
    }
}

/// The whole of a Dockerfile, if it has a length that one may have.
pub(super) fn read(from: impl Read, name: &str) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut text).map_err(Error::file(name))?;
    if text.len() as u64 > LONGEST {
        let what = format!("{name} is longer than {} MiB and no Dockerfile", LONGEST >> 20);
        return Err(Error::Context { what, source: None });
    }
    Ok(text)
}

/// What is to be said of a Dockerfile.
#[derive(Debug, Default)]
pub(super) struct Checked {
    policy: Policy,
    warnings: Vec<Warning>,
}

/// Reads the Dockerfile, if it can be read here, as the engine will.
pub(super) fn check(context: &Context) -> Result<Checked, Error> {
    let Some((name, text)) = context.dockerfile_text()? else { return Ok(Checked::default()) };
    let file =
        ::build::Dockerfile::parse(&text).map_err(|error| Error::Dockerfile(error.shown(&name)))?;
    let policy =
        file.directives.check.as_deref().map_or_else(|| Ok(Policy::default()), Policy::parse)?;
    let facts = Facts { ignore: Some(context.ignore()), environment: None };
    let warnings = lint::check(&file, &policy, &facts);
    Ok(Checked { policy, warnings })
}

impl Checked {
    /// Prints all of it; the status that `--check` ends with.
    pub(super) fn report(&self) -> u8 {
        if self.warnings.is_empty() {
            output::line("Check complete, no warnings found.");
            return 0;
        }
        let plural = if self.warnings.len() == 1 { "warning has" } else { "warnings have" };
        output::line(format!("Check complete, {} {plural} been found!", self.warnings.len()));
        for warning in &self.warnings {
            let url = warning.url().map(|url| format!(" - {url}")).unwrap_or_default();
            output::line(format!("\nWARNING: {warning}{url}"));
        }
        1
    }

    /// Refuses a Dockerfile that says that it must have no warning.
    pub(super) fn judge(&self) -> Result<(), Error> {
        self.policy.judge(&self.warnings).inspect_err(|_| self.warn()).map_err(Error::Lint)
    }

    /// Tells the warnings on standard error, behind all that a build says.
    pub(super) fn warn(&self) {
        if self.warnings.is_empty() {
            return;
        }
        let plural = if self.warnings.len() == 1 { "" } else { "s" };
        eprintln!(
            "\n {} warning{plural} found (hull build --check tells more):",
            self.warnings.len()
        );
        for warning in &self.warnings {
            eprintln!(" - {warning}");
        }
    }
}

/// Where a file of this name may be found, for errors.
pub(super) fn place(directory: &Path, within: &str) -> PathBuf {
    directory.join(within)
}
