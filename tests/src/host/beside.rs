//! Engines beside the one that the cases share, for cases that need another kind.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Engine, Host, SECOND};
use crate::programs;

impl Host {
    /// A second engine on this host, with another kernel for its guests.
    pub fn another_engine_with_kernel(&self, kernel: &str) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        engine.kernel = kernel.into();
        engine.start();
        engine
    }

    /// A second engine on this host, with other modules for its guests' kernel.
    pub fn another_engine_with_modules(&self, modules: &Path) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        modules.clone_into(&mut engine.modules);
        engine.start();
        engine
    }

    /// A second engine on this host, with more arguments.
    pub fn another_engine_with(&self, arguments: &[&str]) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        engine.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        engine.start();
        engine
    }

    /// A second engine on this host, whose data root is a disk of its own.
    pub fn another_engine_on_a_disk_of(&self, bytes: u64) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        let size = format!("size={bytes}");
        let disk = engine.data_root().display().to_string();
        // Unmounted with whatever else is mounted there when the engine is dropped.
        engine.on_host("mount", &["-t", "tmpfs", "-o", &size, "hull-disk", &disk]).ok();
        engine.start();
        engine
    }

    /// A second engine on this host, whose data root is beneath `dir`.
    pub fn another_engine_beneath(&self, dir: &Path) -> Engine {
        let mut engine = Engine::beneath(dir, &self.engine.netns, SECOND);
        engine.start();
        engine
    }

    /// A second engine on this host that finds no programs but `tools`.
    pub fn another_engine_with_only(&self, tools: &[&str]) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        let path = engine.data_root().join("path");
        fs::create_dir(&path).expect("a directory");
        for tool in tools {
            let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
            let mut files = places.iter().map(|place| Path::new(place).join(tool));
            let file = files.find(|file| file.exists());
            let file = file.unwrap_or_else(|| panic!("{tool} is missing: scripts/deps.sh test"));
            std::os::unix::fs::symlink(file, path.join(tool)).expect("a link");
        }
        engine.path = Some(path);
        engine.start();
        engine
    }

    /// A second engine on this host whose mounts nobody else sees; `script` comes first among them, and
    /// knows the data root as `$DATA`.
    pub fn another_engine_among_mounts(&self, script: &str) -> Engine {
        let mut engine = Engine::new(&self.engine.netns, SECOND);
        engine.mounts = Some(script.to_owned());
        engine.start();
        engine
    }
}

impl Engine {
    /// The program, in its own mount namespace if it has one.
    pub(super) fn hulld(&self) -> Command {
        let program = programs::program("hulld");
        let Some(script) = &self.mounts else { return Command::new(program) };
        let mut unshare = Command::new("unshare");
        unshare.env("DATA", self.data_root());
        unshare.args(["--mount", "--propagation", "private", "sh", "-ec"]);
        unshare.arg(format!("{script}\nexec \"$0\" \"$@\"")).arg(program);
        unshare
    }
}
