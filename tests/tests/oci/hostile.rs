//! Files, names and hooks made to confuse: each gets its line, in time, and leaves nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::command;

use crate::bundle::Bundle;

/// Longer than any of these may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything of the machine that a container could leave: mounts, network namespaces, cgroups.
fn machine() -> [Vec<String>; 2] {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
    let mut ours: Vec<String> =
        mounts.lines().filter(|line| line.contains("hull-hostile")).map(str::to_owned).collect();
    ours.sort();
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut namespaces: Vec<String> =
        named.map(|one| one.file_name().display().to_string()).collect();
    namespaces.sort();
    [ours, namespaces]
}

/// Runs `run` of the bundle with what is in its directory now.
#[track_caller]
fn refused(bundle: &Bundle, write: impl FnOnce(&Path), want: &str) {
    let before = machine();
    let command = bundle.command(&["run", &bundle.id]);
    write(&bundle.path().join("config.json"));
    let start = Instant::now();
    let ran = command::run(command, b"");
    assert!(start.elapsed() < PATIENCE, "{want}: took {:?}", start.elapsed());
    let said = ran.err.trim();
    assert!(ran.code == 1 && said.contains(want) && said.lines().count() == 1, "{want}: {ran}");
    assert!(ran.out.is_empty(), "{want}: {ran}");
    assert!(bundle.left().is_empty(), "{want}: {:?}", bundle.left());
    assert_eq!(machine(), before, "{want}");
}

#[test]
fn a_configuration_that_is_no_file_of_json_is_refused() {
    let Some(bundle) = Bundle::sh("echo ran") else { return };
    let replace = |path: &Path| fs::remove_file(path).expect("removed");
    refused(
        &bundle,
        |path| {
            replace(path);
            fs::create_dir(path).expect("made");
        },
        "config.json",
    );
    fs::remove_dir(bundle.path().join("config.json")).expect("removed");
    refused(
        &bundle,
        |path| {
            replace(path);
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                .expect("made");
        },
        "config.json",
    );
    fs::remove_file(bundle.path().join("config.json")).expect("removed");
    refused(
        &bundle,
        |path| {
            replace(path);
            symlink("config.json", path).expect("made");
        },
        "config.json",
    );
    fs::remove_file(bundle.path().join("config.json")).expect("removed");
    let deep = format!("{{\"process\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, want) in [
        ("\0", "config.json"),
        ("\u{feff}{}", "config.json"),
        ("nul", "config.json"),
        ("{}{}", "trailing"),
        // The last of two counts, as with runc.
        ("{\"ociVersion\":\"1.0.2\",\"ociVersion\":\"7\"}", "ociVersion"),
        ("{\"ociVersion\":1}", "invalid type"),
        ("{\"ociVersion\":\"1.0.2\",\"process\":[]}", "config.json"),
        ("{\"ociVersion\":\"1.0.2\",\"root\":\"x\"}", "config.json"),
        ("{\"ociVersion\":\"\\ud800\"}", "config.json"),
        (&deep, "recursion limit"),
    ] {
        refused(&bundle, |path| fs::write(path, text).expect("written"), want);
    }
    for bytes in [&b"{\"ociVersion\":\"\xff\xfe\"}"[..], &[0xff; 64]] {
        refused(&bundle, |path| fs::write(path, bytes).expect("written"), "config.json");
    }
}

#[test]
fn values_of_no_size_that_fits_are_refused() {
    let megabytes = "x".repeat(10 << 20);
    for (pointer, value, want) in [
        ("/hostname", json!(megabytes), "hostname"),
        ("/process/args", json!(["sh", megabytes]), "exec"),
        ("/process/env", json!([format!("A={megabytes}")]), "exec"),
        ("/process/cwd", json!(format!("/{megabytes}")), "process.cwd"),
        ("/root/path", json!(megabytes), "root.path"),
        ("/linux/cgroupsPath", json!(format!("/{megabytes}")), "cgroup"),
        ("/process/user/uid", json!(1u64 << 40), "config.json"),
        ("/process/user/uid", json!(-1), "config.json"),
        ("/process/user/gid", json!(0.5), "config.json"),
        ("/process/user/additionalGids", json!([1u64 << 32]), "config.json"),
        ("/process/oomScoreAdj", json!(1i64 << 40), "config.json"),
        ("/process/terminal", json!("yes"), "config.json"),
        ("/process/args", json!("sh"), "config.json"),
        ("/process/args", json!([1]), "config.json"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}]), "config.json"),
        ("/linux/resources", json!({"pids": {"limit": 1e300}}), "config.json"),
        ("/linux/resources", json!({"memory": {"limit": u64::MAX}}), "config.json"),
        ("/linux/namespaces", json!({"type": "pid"}), "config.json"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "options": [megabytes]}]),
            "mount",
        ),
        ("/mounts", json!([{"destination": format!("/{megabytes}"), "type": "tmpfs"}]), "mount"),
        ("/mounts", json!([{"destination": 7}]), "config.json"),
        ("/linux/maskedPaths", json!([format!("/{megabytes}")]), "mask"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": 1}), "config.json"),
    ] {
        let Some(bundle) = Bundle::sh("echo ran") else { return };
        let bundle = bundle.with(pointer, value);
        let before = machine();
        let ran = bundle.run();
        let said: String = ran.err.chars().take(300).collect();
        assert!([1, 126, 255].contains(&ran.code) && ran.err.contains(want), "{pointer}: {said}");
        assert!(
            !ran.out.contains("ran") && ran.err.trim().lines().count() == 1,
            "{pointer}: {said}"
        );
        assert!(bundle.left().is_empty(), "{pointer}: {:?}", bundle.left());
        assert_eq!(machine(), before, "{pointer}");
    }
}

#[test]
fn names_that_are_paths_are_refused() {
    let Some(bundle) = Bundle::sh("echo ran") else { return };
    let long = "x".repeat(5000);
    for id in ["", ".", "..", "../x", "a/b", "/tmp", "a b", "a\n", "$(id)", "a;b", "é", &long] {
        for action in ["run", "create", "state", "delete", "kill", "start"] {
            let ran = bundle.runtime(&[action, "--", id]);
            assert!(ran.code != 0, "{action} {id:?}: {ran}");
            assert!(!ran.err.trim().is_empty(), "{action} {id:?}");
        }
    }
    let state = fs::read_dir(bundle.state_root()).into_iter().flatten().count();
    assert_eq!(state, 0, "made something");
}

#[test]
fn links_that_lead_nowhere_or_round_are_refused() {
    for (from, to, at) in [
        ("round", "round", "/round/x"),
        ("a", "b", "/a"),
        ("proc-link", "/proc/self/root", "/proc-link/../../x"),
    ] {
        let Some(bundle) = Bundle::sh("echo ran") else { return };
        symlink(to, bundle.rootfs().join(from)).expect("linked");
        if from == "a" {
            symlink("a", bundle.rootfs().join("b")).expect("linked");
        }
        let before = machine();
        let ran = bundle.mount(json!({"destination": at, "type": "tmpfs"})).run();
        if from == "proc-link" {
            // The text alone says that this is `/x`.
            assert_eq!(ran.ok(), "ran");
        } else {
            let said = ran.fails(1);
            assert!(said.contains(at) && said.lines().count() == 1, "{said}");
        }
        assert_eq!(machine(), before);
    }
    let Some(bundle) = Bundle::sh("echo ran") else { return };
    symlink("rooted", bundle.path().join("rooted")).expect("linked");
    refused(&bundle.with("/root/path", json!("rooted")), |_| {}, "root.path");
}

#[test]
fn hooks_that_fail_hang_or_are_missing_leave_nothing() {
    let script = |text: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", text]}]);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let hanging = json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 30"], "timeout": 1}]);
        for (hook, want) in [
            (script("echo reason >&2; exit 3"), "reason"),
            (script("kill -9 $$"), "hook"),
            (json!([{"path": "/no/such/hook"}]), "/no/such/hook"),
            (json!([{"path": "/etc"}]), "hook"),
            (hanging, "hook"),
        ] {
            let Some(bundle) = Bundle::sh("echo ran") else { return };
            let bundle = bundle.with(&format!("/hooks/{kind}"), hook);
            refused(&bundle, |_| {}, want);
        }
    }
}

#[test]
fn files_beside_the_container_that_cannot_be_are_an_error_that_leaves_nothing() {
    let Some(bundle) = Bundle::sh("echo ran") else { return };
    for flags in [
        ["--pid-file", "/no/such/directory/pid"],
        ["--pid-file", "/proc/pid"],
        ["--console-socket", "/no/such/socket"],
        ["--preserve-fds", "400"],
        ["--bundle", "/no/such/bundle"],
        ["--bundle", "/etc/passwd"],
    ] {
        let ran = bundle.runtime(&["create", flags[0], flags[1], &bundle.id]);
        assert_eq!(ran.code, 1, "{flags:?}: {ran}");
        assert!(bundle.left().is_empty(), "{flags:?}: {:?}", bundle.left());
    }
    let root = bundle.path().join("file");
    fs::write(&root, "").expect("written");
    let mut other = Command::new(tests::programs::program("hull-runtime"));
    other.arg("--root").arg(root).args(["run", &bundle.id]).current_dir(bundle.path());
    command::run(other, b"").fails(1);
}
