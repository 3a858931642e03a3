//! `run /bin/true` by hull-runtime, crun and runc: one bundle with all namespaces, cgroups and the
//! default seccomp profile.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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
    let racer = |name: &'static str, program: &Path| {
        let program = program.to_owned();
        Contestant::new(name, move || run(&program, bundle))
    };
    let contestants = vec![
        racer("hull-runtime", &hull),
        racer("crun", Path::new("crun")),
        racer("runc", Path::new("runc")),
    ];
    let title = "run /bin/true, the same bundle";
    race(ROUNDS, contestants).print(title, Duration::ZERO);
}

fn run(program: &Path, bundle: &Path) {
    let status = Command::new(program)
        .arg("run")
        .arg("--bundle")
        .arg(bundle)
        .arg(format!("bench-{}", std::process::id()))
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(status.success(), "{} run: {status}", program.display());
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
    config["linux"]["seccomp"] = seccomp(host);
    fs::write(&path, config.to_string()).expect("a file");
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
