//! Repositories of git's as contexts, and as sources of `ADD`: `https://host/name.git#REF:DIR`.
//!
//! ```text
//!   name ─▶ address, reference, directory ─▶ the host's git ─▶ a checkout for a while ─▶ a directory
//! ```
//!
//! A client fetches as its user, who may read the repository by keys and settings of their own. The engine
//! fetches as nobody: no settings, no keys, no programs but git's own, no way but the network. A client may
//! lend it an agent, then by ssh too: with the agent's keys alone, from servers that the host knows. What is
//! fetched is hostile: a directory that is a link out of it is refused, other links are data.
//!
//! Spec: docs.docker.com, "Build context", "Git repositories"; git(1), "Environment Variables".

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use spec::Kind;
use tokio::process::Command;

/// How the name of a repository begins.
const SCHEMES: [&str; 4] = ["git://", "git@", "ssh://", "github.com/"];
/// What the engine's git is told of the environment.
const KEPT: [&str; 9] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_SSL_CAINFO",
];
/// Settings of the engine's git: no hooks, no housekeeping, and no server that has fallen silent for a minute.
/// The engine's ssh: none of the host's settings and keys, and no server that the host does not know.
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=yes \
                   -o UserKnownHostsFile=/dev/null -o ConnectTimeout=60";
/// How ssh says that it does not know a server.
const UNKNOWN: &str = "Host key verification failed";
const SETTINGS: [&str; 4] =
    ["core.hooksPath=/dev/null", "gc.auto=0", "http.lowSpeedLimit=1", "http.lowSpeedTime=60"];

/// A repository, and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    address: String,
    /// A branch, tag or commit; empty for what the repository itself says.
    reference: String,
    /// A directory in it; empty for its root.
    directory: String,
}

/// As whom git fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// As the user who runs this program.
    Users,
    /// As nobody, for whoever asks.
    Nobodys,
    /// As nobody, with the ssh agent at this socket.
    Lent(&'a Path),
}

/// What was fetched.
#[derive(Debug)]
pub struct Checkout {
    /// The directory that was meant.
    pub root: PathBuf,
    /// The commit, in hexadecimal.
    pub commit: String,
}

/// Why a repository was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no git.
    #[error("{address}: repositories are fetched by git, which does not run: install it")]
    NoGit {
        /// Which repository.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The engine has no keys.
    #[error(
        "{0}: the engine has no keys for ssh: lend it an agent (hull build --ssh default), name the \
         repository by https://, or clone it into the context"
    )]
    Keys(String),
    /// What git would take for an option.
    #[error("invalid git reference {0:?}")]
    Reference(String),
    /// git itself says why not.
    #[error("git {verb}: {said}")]
    Said {
        /// What it was to do.
        verb: String,
        /// Its words.
        said: String,
    },
    /// A link out of the repository.
    #[error("{0:?} leads out of the repository")]
    Outside(String),
    /// Nothing is there.
    #[error("{0:?} of the repository")]
    Look(String, #[source] io::Error),
    /// The checkout cannot be used.
    #[error("remove git's own directory")]
    Remove(#[source] io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoGit { .. } | Self::Keys(_) => Kind::Unsupported,
            Self::Reference(_) | Self::Said { .. } | Self::Outside(_) | Self::Look(..) => {
                Kind::Invalid
            }
            Self::Remove(_) => Kind::Internal,
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, reference, directory } = self;
        f.write_str(address)?;
        match (reference.as_str(), directory.as_str()) {
            ("", "") => Ok(()),
            (reference, "") => write!(f, "#{reference}"),
            (reference, directory) => write!(f, "#{reference}:{directory}"),
        }
    }
}

impl Repository {
    /// The repository that a context is the name of; `None` for the name of something else.
    pub fn parse(named: &str) -> Option<Self> {
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

    /// Whether only keys open it.
    pub fn is_by_ssh(&self) -> bool {
        ["git@", "ssh://"].iter().any(|scheme| self.address.starts_with(scheme))
    }

    /// The directory that is meant; empty for the root.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Fetches it into `into`, an empty directory. git's own directory stays only if `keep`.
    pub async fn check_out(
        &self,
        into: &Path,
        whose: Whose<'_>,
        keep: bool,
    ) -> Result<Checkout, Error> {
        if self.reference.starts_with('-') {
            return Err(Error::Reference(self.reference.clone()));
        }
        if whose == Whose::Nobodys && self.is_by_ssh() {
            return Err(Error::Keys(self.address.clone()));
        }
        let git = async |words: &[&str]| self.git(into, whose, words).await;
        let wanted = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        git(&["init", "-q", "--template="]).await?;
        git(&["remote", "add", "--", "origin", &self.address]).await?;
        // Not all servers give a part of the history, or a commit by its name.
        let fetched = git(&["fetch", "-q", "--depth=1", "--", "origin", wanted]).await.is_ok()
            || git(&["fetch", "-q", "--", "origin", wanted]).await.is_ok();
        if fetched {
            git(&["checkout", "-q", "--detach", "FETCH_HEAD"]).await?;
        } else {
            git(&["fetch", "-q", "--tags", "origin"]).await?;
            git(&["checkout", "-q", "--detach", wanted, "--"]).await?;
        }
        git(&["submodule", "-q", "update", "--init", "--recursive", "--depth=1"]).await?;
        let commit = git(&["rev-parse", "HEAD"]).await?;
        if !keep {
            // The same commit is the same context, however it was fetched.
            std::fs::remove_dir_all(into.join(".git")).map_err(Error::Remove)?;
        }
        Ok(Checkout { root: beneath(into, &self.directory)?, commit })
    }

    /// Runs git to its end; gives what it printed.
    async fn git(&self, dir: &Path, whose: Whose<'_>, words: &[&str]) -> Result<String, Error> {
        let mut command = Command::new("git");
        if whose != Whose::Users {
            command.env_clear().env("HOME", "/nonexistent").env("LC_ALL", "C.UTF-8");
            command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
            command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "git:http:https");
            command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        }
        if let Whose::Lent(socket) = whose {
            command.env("GIT_ALLOW_PROTOCOL", "git:http:https:ssh");
            command.env("GIT_SSH_COMMAND", SSH).env("SSH_AUTH_SOCK", socket);
        }
        // No submodule names a file of ours, or a program.
        command.env("GIT_PROTOCOL_FROM_USER", "0");
        command.arg("-C").arg(dir).args(words).stdin(Stdio::null()).kill_on_drop(true);
        let address = || self.address.clone();
        let ran = command.output().await;
        let ran = ran.map_err(|source| Error::NoGit { address: address(), source })?;
        if ran.status.success() {
            return Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned());
        }
        let mut said = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "; ");
        if whose != Whose::Users && said.contains(UNKNOWN) {
            said.push_str(": add its key to /etc/ssh/ssh_known_hosts of the engine's host");
        }
        Err(Error::Said { verb: words[0].to_owned(), said })
    }
}

/// What `path` leads to, if it is in `root`.
pub fn beneath(root: &Path, path: &str) -> Result<PathBuf, Error> {
    let failed = |source| Error::Look(path.to_owned(), source);
    let root = root.canonicalize().map_err(failed)?;
    let real = root.join(path.trim_start_matches('/')).canonicalize().map_err(failed)?;
    if !real.starts_with(&root) {
        return Err(Error::Outside(path.to_owned()));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_name() {
        let repository = |address: &str, reference: &str, directory: &str| {
            let (reference, directory) = (reference.to_owned(), directory.to_owned());
            Some(Repository { address: address.to_owned(), reference, directory })
        };
        let cases = [
            ("https://h/x.git", repository("https://h/x.git", "", "")),
            ("https://h/x.git#v1", repository("https://h/x.git", "v1", "")),
            ("http://h/x.git#v1:d/e", repository("http://h/x.git", "v1", "d/e")),
            ("git://h/x#:d", repository("git://h/x", "", "d")),
            ("git@h:x.git", repository("git@h:x.git", "", "")),
            ("github.com/a/b#c", repository("https://github.com/a/b", "c", "")),
            ("https://h/x.tar.gz", None),
            ("https://h/x#y.git", None),
            ("file:///x.git", None),
            ("ext::sh -c x.git", None),
            (".", None),
            ("a.git", None),
        ];
        for (named, want) in cases {
            assert_eq!(Repository::parse(named), want, "{named}");
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
