//! Debian's docker-registry.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{eventually, wait};
use crate::host::spawn_inside;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A registry that ends when it is dropped.
#[derive(Debug)]
pub struct Registry(Child);

impl Registry {
    /// On port 5000 of the namespace's loopback, with what it had in `dir`.
    pub(crate) fn start(netns: &File, dir: &Path) -> Self {
        Self::start_at(netns, dir, "127.0.0.1:5000", "", "")
    }

    /// At `address`; `more` is YAML of its configuration, `http` of that key's.
    pub(crate) fn start_at(
        netns: &File,
        dir: &Path,
        address: &str,
        http: &str,
        more: &str,
    ) -> Self {
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{address}'{http}}}\n{more}\n",
            dir.join("registry").display()
        );
        fs::write(&config, text).expect("a file");
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        let log = File::create(dir.join("registry.log")).expect("a file");
        // Before it is waited for: one that never answers ends too.
        let registry = Self(spawn_inside(netns, serve.stderr(log)));
        eventually("docker-registry answers", || {
            let connect = || std::net::TcpStream::connect(address);
            sys::netns::within(netns.as_fd(), connect).is_ok()
        });
        registry
    }

    /// Ends it now, if that was not done before.
    pub(crate) fn stop(&mut self) {
        // One that was waited for is left alone: its number may be another's by now.
        let _ = self.0.kill();
        wait(&mut self.0, Instant::now() + PATIENCE);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
