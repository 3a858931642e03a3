//! The shim's program: where it is, and what it does besides serving.
//!
//! Spec: containerd, core/runtime/v2/README.md "Commands".

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spec::ContainerId;

use super::Error;

const PROGRAM: &str = "containerd-shim-hull-v2";
/// What the server appends its log to, in its bundle.
pub(super) const LOG: &str = "shim.log";
/// Our namespace in containerd's sense.
const NAMESPACE: &str = "hull-runtime";
/// The variable that names the directory of Hull's programs.
const PROGRAMS: &str = "HULL_BIN_DIR";

/// The server of one container.
#[derive(Debug)]
pub(super) struct Shim<'a> {
    pub(super) id: &'a ContainerId,
    /// Where this program keeps the container's state: it is the server's bundle.
    pub(super) directory: &'a Path,
}

impl Shim<'_> {
    /// Leaves a server behind; gives its address.
    pub(super) fn start(&self) -> Result<String, Error> {
        Ok(self.run("start")?.trim().to_owned())
    }

    /// Removes what a killed server left.
    pub(super) fn delete(&self) -> Result<(), Error> {
        self.run("delete").map(drop)
    }

    fn run(&self, command: &'static str) -> Result<String, Error> {
        let program = program()?;
        // Containers of two roots may have one name: the root tells them apart.
        let root = self.directory.parent().unwrap_or(Path::new("/"));
        let mut shim = Command::new(&program);
        shim.args(["-namespace", NAMESPACE, "-id", self.id.as_str()]);
        shim.arg("-address").arg(root).arg("-bundle").arg(self.directory).arg(command);
        shim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = shim.output().map_err(|source| Error::Spawn { program, source })?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        let words = words.trim().trim_start_matches("containerd-shim-hull-v2: ").to_owned();
        Err(Error::Shim { command, said: words })
    }
}

/// The program: in [`PROGRAMS`], beside this one, or in `PATH`.
fn program() -> Result<PathBuf, Error> {
    let named = std::env::var_os(PROGRAMS).filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = named.into_iter().chain(beside).chain(std::env::split_paths(&path));
    let found = all.map(|directory| directory.join(PROGRAM)).find(|program| program.is_file());
    found.ok_or(Error::NoShim)
}
