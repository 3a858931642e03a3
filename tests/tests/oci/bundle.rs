//! A bundle, a state directory of its own, and what is left when they are gone.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::command::{self, Ran};
use tests::programs::{has_kernel, kernel, program};

/// What an image without a shell of its own would lack.
const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "pwd", "sleep", "true", "false", "grep", "head", "mkdir", "touch",
    "kill", "hostname", "stat", "tty", "stty", "env", "mount", "readlink", "wc", "echo", "chmod",
    "ps",
];

type Variables = Vec<(&'static str, PathBuf)>;

thread_local! {
    /// What this thread's bundles have of another, see [`behind`].
    static BASE: RefCell<Option<(Variables, Value)>> = const { RefCell::new(None) };
}

/// Runs a case of this suite with bundles that are behind the wall of `base`.
pub(crate) fn behind(base: &Bundle, case: fn()) {
    BASE.set(Some((base.variables.clone(), base.config["annotations"].clone())));
    case();
    BASE.set(None);
}

/// One container's bundle beneath a scratch directory.
pub(crate) struct Bundle {
    scratch: TempDir,
    /// The container's name, which no other test on this machine uses.
    pub(crate) id: String,
    /// What the environment has besides.
    variables: Variables,
    /// Its `config.json`, written by each command that reads it.
    pub(crate) config: Value,
}

impl Bundle {
    /// A bundle whose program is `sh -c SCRIPT`; `None` without root.
    pub(crate) fn sh(script: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let scratch = TempDir::with_prefix("hull-oci-").expect("a scratch directory");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("hull-oci-{}-{number}", std::process::id());
        let bundle = Self { scratch, id, variables: Vec::new(), config: config() };
        fill(&bundle.rootfs());
        let bundle = BASE.with_borrow(|base| match base {
            Some((variables, annotations)) => bundle.like(variables, annotations),
            None => bundle,
        });
        Some(bundle.program(&["sh", "-c", script]))
    }

    /// The same with another program.
    pub(crate) fn program(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// The same with one value changed, by a path such as `/process/cwd`; made where it is missing.
    pub(crate) fn with(mut self, pointer: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for name in pointer.split('/').skip(1) {
            at = &mut at[name];
        }
        *at = value;
        self
    }

    /// The same with one more namespace.
    pub(crate) fn namespace(mut self, namespace: Value) -> Self {
        self.config["linux"]["namespaces"].as_array_mut().expect("a list").push(namespace);
        self
    }

    /// The same with one more mount.
    pub(crate) fn mount(mut self, mount: Value) -> Self {
        self.config["mounts"].as_array_mut().expect("a list").push(mount);
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Where the runtime keeps its state.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.path().join("state")
    }

    /// `hull-runtime` with this bundle's state directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.write_config();
        let mut command = Command::new(program("hull-runtime"));
        command.arg("--root").arg(self.state_root()).args(args).current_dir(self.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same behind a VM's wall, whose things lie in the scratch directory; `None` without a kernel for
    /// guests.
    pub(crate) fn in_vm(mut self) -> Option<Self> {
        if !has_kernel() {
            println!("skipped: no kernel for guests, see make vm-kernel");
            return None;
        }
        let (kernel, modules) = kernel();
        self.variables = vec![
            ("HULL_EXEC_ROOT", self.path().join("exec")),
            ("HULL_DATA_ROOT", self.path().join("data")),
            ("HULL_VM_KERNEL", kernel),
            ("HULL_VM_MODULES", modules),
            // To probe for KVM takes longer than the cases.
            ("HULL_VM_ACCEL", "tcg".into()),
        ];
        Some(self.with("/annotations", json!({"dev.hull.isolation": "hyperv"})))
    }

    /// The same behind a VM's wall, with the things of another.
    pub(crate) fn beside(self, other: &Self) -> Self {
        self.like(&other.variables, &other.config["annotations"])
    }

    fn like(mut self, variables: &Variables, annotations: &Value) -> Self {
        self.variables.clone_from(variables);
        self.with("/annotations", annotations.clone())
    }

    pub(crate) fn write_config(&self) {
        let text = serde_json::to_vec(&self.config).expect("json");
        fs::write(self.path().join("config.json"), text).expect("config.json");
    }

    /// Runs `hull-runtime ARGS`.
    #[track_caller]
    pub(crate) fn runtime(&self, args: &[&str]) -> Ran {
        command::run(self.command(args), b"")
    }

    /// Runs the container to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Ran {
        self.runtime(&["run", &self.id])
    }

    /// Creates and starts the container; its streams are the null device.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.create();
        self.runtime(&["start", &self.id]).ok();
    }

    /// Creates the container; its streams are the null device.
    #[track_caller]
    pub(crate) fn create(&self) {
        let mut command = self.command(&["create", &self.id]);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let status = command.status().expect("hull-runtime starts");
        assert!(status.success(), "create: {status}");
    }

    /// `exec` in the container.
    #[track_caller]
    pub(crate) fn exec(&self, args: &[&str]) -> Ran {
        self.runtime(&[&["exec", &self.id], args].concat())
    }

    /// The state document.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", &self.id]).ok()).expect("json")
    }

    /// The word for where the container is in its life.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().expect("a word").to_owned()
    }

    /// What of this container is on the machine.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.state_root().join(&self.id).exists() {
            left.push("its state".to_owned());
        }
        let mut cgroups = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &self.id, 5, &mut cgroups);
        left.extend(cgroups.iter().map(|path| format!("cgroup {}", path.display())));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
        let here = self.path().display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&here)).map(str::to_owned));
        left.extend(inits(&here));
        left
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = command::run(self.command(&["delete", "--force", &self.id]), b"");
        let left = self.left();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// Processes whose root directory is beneath `here`.
fn inits(here: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let root = |pid: &Path| fs::read_link(pid.join("root")).is_ok_and(|to| to.starts_with(here));
    let all = entries.map(|entry| entry.path()).filter(|path| root(path));
    all.map(|path| format!("process {}", path.display())).collect()
}

fn find(directory: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name().to_str() == Some(name) {
            found.push(entry.path());
        } else if depth > 0 {
            find(&entry.path(), name, depth - 1, found);
        }
    }
}

/// A root filesystem of one program under many names.
fn fill(rootfs: &Path) {
    for directory in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
        fs::create_dir_all(rootfs.join(directory)).expect("a directory");
    }
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let program = rootfs.join("bin/busybox");
    fs::copy(busybox.expect("busybox-static"), &program).expect("copied");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("changed");
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("a link");
    }
    fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n",
    )
    .expect("passwd");
}

fn config() -> Value {
    let mut config: Value =
        serde_json::from_str(include_str!("../../../crates/runtime/src/command/config.json"))
            .expect("the template is json");
    config["process"]["terminal"] = json!(false);
    config["root"]["readonly"] = json!(false);
    config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "cgroup"}));
    config
}
