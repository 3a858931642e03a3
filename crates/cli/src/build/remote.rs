//! A context that is a repository of git's: `https://host/name.git#REF:DIR`.
//!
//! ```text
//!   name ─▶ address, reference, directory ─▶ our git, as ourselves ─▶ a checkout for a while ─▶ a directory
//! ```
//!
//! The client fetches, as docker's does: it is the user who may read the repository, with the keys and the
//! settings that they have. The engine sees a context like any other. What is fetched is hostile: a directory
//! or Dockerfile in it that is a link out of it is refused.
//!
//! Spec: docs.docker.com, "Build context", "Git repositories".

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::error::Error;

/// How the name of a repository begins.
const SCHEMES: [&str; 4] = ["git://", "git@", "ssh://", "github.com/"];

/// A repository, and what of it is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remote {
    address: String,
    /// A branch, tag or commit; empty for what the repository itself says.
    reference: String,
    /// A directory in it; empty for its root.
    directory: String,
}

/// What was fetched; gone when this is dropped.
pub(super) struct Checkout {
    _whole: TempDir,
    /// The context.
    pub(super) root: PathBuf,
}

impl Remote {
    /// The repository that a context is the name of; `None` for the name of something else.
    pub(super) fn parse(named: &str) -> Option<Self> {
        let (address, fragment) = named.split_once('#').unwrap_or((named, ""));
        let by_http = ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme));
        if !(SCHEMES.iter().any(|scheme| address.starts_with(scheme))
            || by_http && address.strip_suffix(".git").is_some())
        {
            return None;
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let scheme = if address.starts_with("github.com/") { "https://" } else { "" };
        Some(Self {
            address: format!("{scheme}{address}"),
            reference: reference.to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// Fetches it.
    pub(super) fn check_out(&self) -> Result<Checkout, Error> {
        if self.reference.starts_with('-') {
            return Err(refused(format!("invalid git reference {:?}", self.reference)));
        }
        let whole = TempDir::with_prefix("hull-build-")
            .map_err(Error::file("make a directory for the repository"))?;
        let git = |words: &[&str]| git(whole.path(), words);
        let wanted = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        git(&["init", "-q"])?;
        git(&["remote", "add", "--", "origin", &self.address])?;
        // Not all servers give a part of the history, or a commit by its name.
        if git(&["fetch", "-q", "--depth=1", "--", "origin", wanted]).is_ok() {
            git(&["checkout", "-q", "--detach", "FETCH_HEAD"])?;
        } else {
            git(&["fetch", "-q", "--tags", "origin"])?;
            let branch = format!("refs/remotes/origin/{wanted}");
            git(&["checkout", "-q", "--detach", &branch, "--"])
                .or_else(|_| git(&["checkout", "-q", "--detach", wanted, "--"]))?;
        }
        git(&["submodule", "-q", "update", "--init", "--recursive", "--depth=1"])?;
        let root = beneath(whole.path(), &self.directory)?;
        // The same commit is the same context, however it was fetched.
        std::fs::remove_dir_all(whole.path().join(".git"))
            .map_err(Error::file("remove git's own directory"))?;
        Ok(Checkout { _whole: whole, root })
    }
}

impl Checkout {
    /// The Dockerfile of this name, which must be in the context itself.
    pub(super) fn dockerfile(&self, name: Option<&str>) -> Result<String, Error> {
        let path = beneath(&self.root, name.unwrap_or("Dockerfile"))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// What `path` leads to, if it is in `root`.
fn beneath(root: &Path, path: &str) -> Result<PathBuf, Error> {
    let failed = |source| Error::Context {
        what: format!("{path:?} of the repository"),
        source: Some(source),
    };
    let root = root.canonicalize().map_err(failed)?;
    let real = root.join(path.trim_start_matches('/')).canonicalize().map_err(failed)?;
    if !real.starts_with(&root) {
        return Err(refused(format!("{path:?} leads out of the repository")));
    }
    Ok(real)
}

fn git(dir: &Path, words: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    // No submodule names a file of ours, or a program.
    command.env("GIT_PROTOCOL_FROM_USER", "0");
    let ran = command.output().map_err(|source| Error::Context {
        what: "a repository as the context wants git: install it, or name a directory".to_owned(),
        source: Some(source),
    })?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "; ");
    Err(refused(format!("git {}: {said}", words[0])))
}

fn refused(what: String) -> Error {
    Error::Context { what, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_name() {
        let remote = |address: &str, reference: &str, directory: &str| {
            let (reference, directory) = (reference.to_owned(), directory.to_owned());
            Some(Remote { address: address.to_owned(), reference, directory })
        };
        let cases = [
            ("https://h/x.git", remote("https://h/x.git", "", "")),
            ("https://h/x.git#v1", remote("https://h/x.git", "v1", "")),
            ("http://h/x.git#v1:d/e", remote("http://h/x.git", "v1", "d/e")),
            ("git://h/x#:d", remote("git://h/x", "", "d")),
            ("git@h:x.git", remote("git@h:x.git", "", "")),
            ("github.com/a/b#c", remote("https://github.com/a/b", "c", "")),
            ("https://h/x.tar.gz", None),
            ("https://h/x#y.git", None),
            (".", None),
            ("a.git", None),
        ];
        for (named, want) in cases {
            assert_eq!(Remote::parse(named), want, "{named}");
        }
    }

    #[test]
    fn nothing_of_a_checkout_leads_out_of_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("in")).expect("directory");
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("symlink");
        assert!(beneath(dir.path(), "in").is_ok());
        assert!(beneath(dir.path(), "/in").is_ok());
        for path in ["out", "out/passwd", "..", "in/../..", "absent"] {
            assert!(beneath(dir.path(), path).is_err(), "{path}");
        }
    }
}
