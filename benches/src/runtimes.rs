//! `run /bin/true` and `exec` by hull-runtime, crun and runc: one bundle with all namespaces, cgroups
//! and the default seccomp profile. Beside them the floor: clone3, pivot_root and execve alone.

mod floor;
mod memory;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::host::IMAGE;
use tests::{Host, programs};

use crate::contest::{Contestant, race};

/// The argument by which this program knows that [`compare`] started it.
pub(crate) const AGAIN: &str = "--runtimes-here";

const ROUNDS: usize = 60;

/// Prints how they compare. crun 1.8 fails on a hybrid cgroup tree, so all three run where
/// `/sys/fs/cgroup/unified` is out of sight.
pub(crate) fn compare(host: &Host) {
    let bundle = bundle(host);
    let this = std::env::current_exe().expect("proc is mounted");
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(this)
        .arg(AGAIN)
        .arg(&bundle)
        .status()
        .expect("util-linux");
    assert!(status.success(), "the runtimes' race ended with {status}");
}

/// The race itself.
pub(crate) fn measure(bundle: &Path) {
    let hull = programs::program("hull-runtime");
    let all =
        [("hull-runtime", hull.as_path()), ("crun", "crun".as_ref()), ("runc", "runc".as_ref())];
    let mut contestants: Vec<_> = all
        .map(|(name, program)| Contestant::new(name, move || run(program, bundle)))
        .into_iter()
        .collect();
    let (floor, rootfs) = (floor::build(bundle), bundle.join("rootfs"));
    let floor = move || finish(Command::new(&floor).arg(&rootfs).arg("/bin/true"));
    contestants.push(Contestant::new("clone3, pivot_root, exec", floor));
    race(ROUNDS, contestants).print("run /bin/true, the same bundle");

    let idle = bundle.with_extension("idle");
    let containers = all.map(|(name, program)| Idle::start(name, program, &idle));
    let execs = containers.each_ref().map(|one| Contestant::new(one.name, || one.exec()));
    race(ROUNDS, execs.into()).print("exec /bin/true in a container that sleeps");
    drop(containers);

    println!("\nmemory at its most, of the largest process of a run, and size");
    for (name, program) in all {
        let file = which(program);
        let size = fs::metadata(&file).expect("it runs").len();
        println!("  {name:<28} {:>8} kB {size:>11} bytes", memory::peak(&file, bundle, &id()));
    }
}

/// The file of a program that PATH finds.
fn which(program: &Path) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program));
    found.into_iter().find(|file| file.is_file()).expect("it runs")
}

/// The container's name: one for each measurement at a time.
fn id() -> String {
    format!("bench-{}", std::process::id())
}

fn run(program: &Path, bundle: &Path) {
    finish(Command::new(program).arg("run").arg("--bundle").arg(bundle).arg(id()));
}

fn finish(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// A container that sleeps until this is dropped.
struct Idle<'a> {
    name: &'static str,
    program: &'a Path,
    id: String,
}

impl<'a> Idle<'a> {
    fn start(name: &'static str, program: &'a Path, bundle: &Path) -> Self {
        let idle = Self { name, program, id: format!("{}-{name}", id()) };
        let null = Stdio::null;
        let mut run = Command::new(program);
        run.args(["run", "--detach", "--bundle"]).arg(bundle).arg(&idle.id);
        finish(run.stdout(null()).stderr(null()));
        idle
    }

    fn exec(&self) {
        finish(Command::new(self.program).args(["exec", &self.id, "/bin/true"]));
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.program).args(["delete", "--force", &self.id]).status();
    }
}

/// `runc spec` with a static busybox, and the seccomp profile that the engine gives its containers.
fn bundle(host: &Host) -> std::path::PathBuf {
    let bundle = host.dir().join("bundle");
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::copy("/bin/busybox", bin.join("true")).expect("busybox-static");
    let spec = Command::new("runc").arg("spec").arg("--bundle").arg(&bundle).status();
    assert!(spec.expect("runc").success(), "runc spec");

    let path = bundle.join("config.json");
    let mut config = json_file(&path);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    // Those of `runc spec` are not inheritable, of which a runtime would warn each time.
    config["process"]["capabilities"]["ambient"] = json!([]);
    config["linux"]["seccomp"] = seccomp(host);
    fs::write(&path, config.to_string()).expect("a file");

    // The same with another program.
    let idle = bundle.with_extension("idle");
    fs::create_dir(&idle).expect("a directory");
    fs::copy("/bin/busybox", bin.join("sleep")).expect("busybox-static");
    config["root"]["path"] = json!(bundle.join("rootfs"));
    config["process"]["args"] = json!(["/bin/sleep", "1000"]);
    fs::write(idle.join("config.json"), config.to_string()).expect("a file");
    bundle
}

fn seccomp(host: &Host) -> Value {
    let id = host.docker(&["run", "-d", IMAGE, "sleep", "1000"]).ok();
    let config = host.engine.data_root().join("containers").join(&id).join("config.json");
    let profile = json_file(&config)["linux"]["seccomp"].take();
    host.docker(&["rm", "-f", &id]).ok();
    assert!(profile.is_object(), "the engine's containers have a profile");
    profile
}

fn json_file(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
