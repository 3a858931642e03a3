//! The user's program: found as a shell would find it, in the working directory it is to have.
//!
//! Spec: OCI runtime-spec, config.md "Process": `cwd`, `env`, `args`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use spec::Kind;
use spec::oci::runtime::Process;

/// Where programs are looked for without `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or its interpreter is not.
    #[error("exec {}", program.escape_debug())]
    Execute {
        /// As the configuration names it.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Not in any directory of `PATH`.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    /// The working directory cannot be entered.
    #[error("process.cwd: chdir to {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The working directory is outside of the container's root (CVE-2024-21626).
    #[error("process.cwd: {} is outside of the container", path.display())]
    Outside {
        /// The directory.
        path: PathBuf,
    },
    /// An argument or variable that execve(2) cannot take.
    #[error("process: a zero byte in args or env")]
    ZeroByte,
}

impl Error {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NotInPath(_) => Kind::CommandNotFound,
            Self::Execute { source, .. } => match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => Kind::CommandNotFound,
                Some(libc::ENOMEM | libc::EAGAIN) => Kind::Exhausted,
                Some(libc::E2BIG) => Kind::Invalid,
                _ => Kind::CommandNotExecutable,
            },
            Self::Directory { source, .. } => match source.raw_os_error() {
                Some(libc::EACCES) => Kind::CommandNotExecutable,
                _ => Kind::Invalid,
            },
            Self::Outside { .. } | Self::ZeroByte => Kind::Invalid,
        }
    }

    pub(super) fn is_denied(&self) -> bool {
        let denied = |error: &io::Error| error.raw_os_error() == Some(libc::EACCES);
        matches!(self, Self::Directory { source, .. } if denied(source))
    }
}

/// Changes to the working directory and makes sure that it is inside the container.
pub(super) fn enter_directory(path: &Path) -> Result<(), Error> {
    rustix::process::chdir(path)
        .map_err(|error| Error::Directory { path: path.to_owned(), source: error.into() })?;
    // The kernel prefixes a directory that cannot be reached from the root with "(unreachable)".
    let cwd = rustix::process::getcwd(Vec::new())
        .map_err(|error| Error::Directory { path: path.to_owned(), source: error.into() })?;
    if cwd.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Error::Outside { path: path.to_owned() })
    }
}

/// A program, ready to be executed.
#[derive(Debug)]
pub(super) struct Command {
    name: String,
    path: CString,
    args: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    /// Finds the program of `process`, as the user that this process is by now.
    pub(super) fn find(process: &Process) -> Result<Self, Error> {
        let args = process.args().as_deref().unwrap_or_default();
        let variables = process.env().as_deref().unwrap_or_default();
        let name = args.first().cloned().unwrap_or_default();
        let path = search(&name, variables)?;
        let text = |text: &String| CString::new(text.as_bytes()).map_err(|_| Error::ZeroByte);
        let mut environment = last_of_each(variables).map(text).collect::<Result<Vec<_>, _>>()?;
        if variable(variables, "HOME").is_none_or(str::is_empty) {
            environment.retain(|text| !text.as_bytes().starts_with(b"HOME="));
            let home = [b"HOME=", home(process.user().uid()).as_slice()].concat();
            environment.push(CString::new(home).map_err(|_| Error::ZeroByte)?);
        }
        Ok(Self {
            name,
            path: CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::ZeroByte)?,
            args: args.iter().map(text).collect::<Result<_, _>>()?,
            environment,
        })
    }

    /// Becomes the program; returns only with the reason why not.
    pub(super) fn execute(self) -> Error {
        sys::execute::reset_signals();
        let source = sys::execute::execute(&self.path, &self.args, &self.environment);
        Error::Execute { program: self.name, source }
    }
}

/// The last value of a variable, as the program will see it.
fn variable<'a>(variables: &'a [String], name: &str) -> Option<&'a str> {
    variables.iter().rev().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
}

/// The variables in order, of several with one name the last.
fn last_of_each(variables: &[String]) -> impl Iterator<Item = &String> {
    let name = |text: &String| text.split('=').next().unwrap_or_default().len();
    variables.iter().enumerate().filter_map(move |(index, text)| {
        let name = &text[..name(text)];
        let same =
            |later: &String| later.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        (!variables[index + 1..].iter().any(same)).then_some(text)
    })
}

/// The path of the program.
fn search(name: &str, variables: &[String]) -> Result<PathBuf, Error> {
    let failed = |source| Error::Execute { program: name.to_owned(), source };
    if name.contains('/') {
        return executable(Path::new(name)).map(|()| name.into()).map_err(failed);
    }
    let mut denied = None;
    let path = variable(variables, "PATH").unwrap_or(DEFAULT_PATH);
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        let candidate = Path::new(directory).join(name);
        match executable(&candidate) {
            Ok(()) if !name.is_empty() => return Ok(candidate),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => denied = Some(error),
            _ => {}
        }
    }
    Err(denied.map_or_else(|| Error::NotInPath(name.to_owned()), failed))
}

/// Whether the file is there and may be executed.
fn executable(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

/// The user's home directory from the container's `/etc/passwd`, `/` when it names none.
fn home(uid: u32) -> Vec<u8> {
    let mut text = Vec::new();
    // The image decides what this file is: it may be a pipe, or endless.
    let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/etc/passwd");
    if let Ok(file) = open
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
    {
        let _ = file.take(1 << 20).read_to_end(&mut text);
    }
    home_in(&text, uid).unwrap_or(b"/".as_slice()).to_owned()
}

fn home_in(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let home = *fields.get(5)?;
        (fields[2] == uid.as_bytes() && OsStr::from_bytes(home).as_bytes().starts_with(b"/"))
            .then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let env = |path: &str| vec!["PATH=/nowhere".to_owned(), format!("PATH={path}")];
        let kind = |name: &str, path: &str| search(name, &env(path)).map_err(|error| error.kind());
        assert_eq!(kind("sh", "/bin"), Ok("/bin/sh".into()));
        assert_eq!(kind("/bin/sh", ""), Ok("/bin/sh".into()));
        for (name, path, want) in [
            ("no-such-program", "/bin", Kind::CommandNotFound),
            ("/no/such/program", "/bin", Kind::CommandNotFound),
            ("", "/bin", Kind::CommandNotFound),
            ("sh", "bin", Kind::CommandNotFound),
            ("passwd", "/etc", Kind::CommandNotExecutable),
            ("/etc", "/bin", Kind::CommandNotExecutable),
        ] {
            assert_eq!(kind(name, path), Err(want), "{name} in {path}");
        }
    }

    #[test]
    fn of_variables_with_one_name_the_last_counts() {
        let list = ["A=1", "HOME=/a", "AB=2", "A=", "HOME="].map(str::to_owned);
        let kept: Vec<&String> = last_of_each(&list).collect();
        assert_eq!(kept, ["AB=2", "A=", "HOME="]);
    }

    #[test]
    fn home_is_the_sixth_field_of_the_user() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbad:x:7\nu:x:7:7::/home/u:\nv:x:8:8::rel:\n";
        assert_eq!(home_in(passwd, 0), Some(b"/root".as_slice()));
        assert_eq!(home_in(passwd, 7), Some(b"/home/u".as_slice()));
        assert_eq!(home_in(passwd, 8), None);
        assert_eq!(home_in(passwd, 9), None);
    }
}
