//! A user without privileges runs containers as root of a user namespace of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::command::{self, Ran};
use tests::programs::program;

use crate::bundle::Bundle;

/// Nobody in particular.
const USER: u32 = 1234;

/// A bundle that belongs to [`USER`], who is mapped to root and nobody else is mapped.
fn bundle(script: &str) -> Option<Bundle> {
    let bundle = Bundle::sh(script)?;
    // The program as well must be where the user may go. Not copied by this process: whatever another
    // test starts meanwhile would keep it open for writing.
    let mut copy = Command::new("cp");
    copy.arg(program("hull-runtime")).arg(bundle.path());
    command::run(copy, b"").ok();
    fs::create_dir(bundle.state_root()).expect("made");
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    let namespaces =
        ["pid", "ipc", "uts", "mount", "user", "cgroup"].map(|kind| json!({"type": kind}));
    let bundle = bundle
        .with("/linux/namespaces", json!(namespaces))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
        .with("/linux/resources", json!(null))
        .with("/mounts", mounts());
    bundle.write_config();
    give(bundle.path());
    Some(bundle)
}

/// As `spec --rootless` has them: no group but the one that is mapped, and `/sys` is the host's.
fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        {"destination": "/sys", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]},
    ])
}

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("given");
    if path.is_dir() && !path.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opened");
        for entry in fs::read_dir(path).expect("read").flatten() {
            if !entry.path().is_symlink() {
                give(&entry.path());
            }
        }
    }
}

/// `hull-runtime ARGS` as [`USER`].
fn runtime(bundle: &Bundle, args: &[&str]) -> Ran {
    let mut command = Command::new(bundle.path().join("hull-runtime"));
    command.arg("--root").arg(bundle.state_root()).args(args).current_dir(bundle.path());
    command.uid(USER).gid(USER);
    command::run(command, b"")
}

#[test]
fn a_user_without_privileges_is_root_inside() {
    let Some(bundle) = bundle("id -u; id -g; touch /tmp/made; hostname; echo $$") else { return };
    assert_eq!(runtime(&bundle, &["run", &bundle.id]).ok(), "0\n0\nhull\n1");
    assert!(bundle.rootfs().join("tmp/made").exists());
}

#[test]
fn a_container_without_privileges_lives_as_others_do() {
    let Some(bundle) = bundle("trap 'exit 3' TERM; while :; do sleep 0.1; done") else { return };
    let id = bundle.id.as_str();
    let quiet = |args: &[&str]| {
        let mut command = Command::new(bundle.path().join("hull-runtime"));
        command.arg("--root").arg(bundle.state_root()).args(args).current_dir(bundle.path());
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        assert!(command.uid(USER).gid(USER).status().expect("starts").success(), "{args:?}");
    };
    quiet(&["create", id]);
    quiet(&["start", id]);
    assert!(runtime(&bundle, &["state", id]).ok().contains("\"running\""));
    assert!(runtime(&bundle, &["list"]).ok().contains(id));
    let said = runtime(&bundle, &["exec", id, "sh", "-c", "id -u; cat /proc/1/comm"]).ok();
    assert_eq!(said, "0\nsh");
    runtime(&bundle, &["exec", id, "no-such-program"]).fails(127);
    runtime(&bundle, &["kill", id, "TERM"]).ok();
    runtime(&bundle, &["delete", "--force", id]).ok();
}

#[test]
fn groups_beyond_the_users_are_warned_of_and_limits_refused_by_name() {
    let Some(first) = bundle("id -u") else { return };
    let user = json!({"uid": 0, "gid": 0, "additionalGids": [5]});
    let first = first.with("/process/user", user);
    first.write_config();
    let ran = runtime(&first, &["run", &first.id]);
    assert!(ran.err.contains("process.user.additionalGids"), "{ran}");
    assert_eq!(ran.ok(), "0");
    let Some(second) = bundle("true") else { return };
    let second = second.with("/linux/resources", json!({"memory": {"limit": 16_777_216}}));
    second.write_config();
    let said = runtime(&second, &["run", &second.id]).fails(1);
    assert!(said.contains("linux.resources.memory.limit"), "{said}");
}
