//! `.dockerignore`: what of a context a build does not see.
//!
//! The last pattern that matches a path, or a directory that it is in, decides; one that begins with `!`
//! brings back.
//!
//! Spec: docs.docker.com/build/concepts/context, ".dockerignore files"; Go's `filepath.Match`.

mod glob;

use glob::Glob;

/// A pattern with a class or an escape that does not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {pattern:?}")]
pub struct BadPattern {
    /// As written.
    pub pattern: String,
}

/// Why a `.dockerignore` is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A pattern that is none.
    #[error("line {line} of .dockerignore")]
    Pattern {
        /// From 1; 0 if the patterns are not from a file.
        line: usize,
        /// What is wrong.
        source: BadPattern,
    },
    /// A `!` alone.
    #[error("line {line} of .dockerignore: illegal exclusion pattern: \"!\"")]
    Nothing {
        /// From 1; 0 if the patterns are not from a file.
        line: usize,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> spec::Kind {
        spec::Kind::Invalid
    }
}

/// What a context leaves out.
#[derive(Debug, Clone, Default)]
pub struct Ignore(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    glob: Glob,
    /// Whether it brings back.
    is_exception: bool,
}

impl Ignore {
    /// The rules of a file: one pattern a line, `#` first begins a comment.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let rules = lines.map(|(index, line)| Rule::new(line.trim(), index + 1));
        rules.filter_map(Result::transpose).collect::<Result<_, _>>().map(Self)
    }

    /// The rules of a list, such as `COPY --exclude` gives.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let rules = patterns.into_iter().map(|pattern| Rule::new(pattern.trim(), 0));
        rules.filter_map(Result::transpose).collect::<Result<_, _>>().map(Self)
    }

    /// Adds an exception for just this path, whatever is in it.
    #[must_use]
    pub fn but(mut self, path: &str) -> Self {
        let mut pattern = String::from("!");
        for c in clean(path).chars() {
            if "*?[\\".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        self.0.extend(Rule::new(&pattern, 0).ok().flatten());
        self
    }

    /// Whether there is nothing that it could leave out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the build does not see `path`, relative to the context, with slashes between.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.0 {
            if rule.is_exception == excluded && rule.glob.verdict(path).covered {
                excluded = !rule.is_exception;
            }
        }
        excluded
    }

    /// Whether something beneath the excluded directory `path` may be brought back: if not, a walk need not
    /// look into it.
    pub fn may_include_beneath(&self, path: &str) -> bool {
        self.0.iter().any(|rule| {
            let verdict = rule.glob.verdict(path);
            rule.is_exception && (verdict.beneath || verdict.covered)
        })
    }
}

impl Rule {
    /// The rule of a line; `None` if the line has none.
    fn new(line: &str, number: usize) -> Result<Option<Self>, Error> {
        let (is_exception, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line),
        };
        if pattern.is_empty() {
            return if is_exception { Err(Error::Nothing { line: number }) } else { Ok(None) };
        }
        let pattern = clean(pattern);
        let pattern = pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
        let glob =
            Glob::new(pattern, true).map_err(|source| Error::Pattern { line: number, source })?;
        Ok(Some(Self { glob, is_exception }))
    }
}

/// `path` without empty components, `.` and, where that is plain, `..`; as Go's `path.Clean`.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => String::from("."),
        (false, rest) => rest,
    }
}

/// Whether the whole of `path` matches `pattern`, where `*`, `?` and classes do not cross a slash (but
/// `[^a]` does). Go's `filepath.Match`.
pub fn matches(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    Glob::new(pattern, false).map(|glob| glob.matches(path))
}

/// As [`matches`], with `**` for any number of directories: `COPY --parents`.
pub fn matches_deep(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    Glob::new(pattern, true).map(|glob| glob.matches(path))
}

#[cfg(test)]
mod tests;
