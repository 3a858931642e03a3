//! Programs at points of a container's life: their order, where they run, what they read, and what
//! their failure means.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::command::{Ran, eventually};

use crate::bundle::Bundle;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a shell's script.
fn sh(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

impl Bundle {
    /// Where hooks write, seen from the host and, beneath `/log`, from the container.
    fn log(&self) -> PathBuf {
        self.rootfs().join("log")
    }

    /// The same with a hook of every kind that notes its kind and its state, a line each.
    fn with_hooks(mut self) -> Self {
        for kind in KINDS {
            // In the container after the pivot it is somewhere else.
            let log = if kind == "startContainer" { "/log".into() } else { self.log() };
            let script = format!("echo {kind} $(cat) >> {}", log.display());
            self.config["hooks"][kind] = json!([sh(&script)]);
        }
        self
    }

    /// What they noted: the kind and the state.
    fn noted(&self) -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let parse = |line: &str| {
            let (kind, state) = line.split_once(' ').expect("two words");
            (kind.to_owned(), serde_json::from_str(state).expect("a state"))
        };
        text.lines().map(parse).collect()
    }
}

#[test]
fn all_six_kinds_run_in_order_with_the_state_of_their_time() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let bundle = bundle.with_hooks().with("/annotations", json!({"com.example.key": "a value"}));
    bundle.create();
    let kinds =
        |noted: &[(String, Value)]| noted.iter().map(|(kind, _)| kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&bundle.noted()), &KINDS[..3]);
    let pid = bundle.state()["pid"].clone();
    bundle.runtime(&["start", &bundle.id]).ok();
    assert_eq!(kinds(&bundle.noted()), &KINDS[..5]);
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    let noted = bundle.noted();
    assert_eq!(kinds(&noted), KINDS);
    for ((kind, state), (status, seen)) in noted.iter().zip([
        ("creating", pid.clone()),
        ("creating", pid.clone()),
        ("creating", json!(1)),
        ("created", json!(1)),
        ("running", pid),
        ("stopped", Value::Null),
    ]) {
        assert_eq!((&state["status"], &state["pid"]), (&json!(status), &seen), "{kind}");
        assert_eq!(state["id"], json!(bundle.id), "{kind}");
        assert_eq!(state["bundle"], json!(bundle.path()), "{kind}");
        assert_eq!(state["ociVersion"], bundle.config["ociVersion"], "{kind}");
        assert_eq!(state["annotations"]["com.example.key"], "a value", "{kind}");
    }
}

#[test]
fn each_runs_in_the_namespaces_and_on_the_side_of_the_pivot_that_it_should() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let mut bundle = bundle
        .mount(json!({"destination": "/inner", "type": "tmpfs", "source": "tmpfs", "options": []}));
    for kind in KINDS {
        let (log, inner) = match kind {
            "startContainer" => ("/log".into(), "/inner".into()),
            _ => (bundle.log(), bundle.rootfs().join("inner")),
        };
        let script = format!(
            "echo {kind} $(readlink /proc/self/ns/mnt) $(grep -c ' {} ' /proc/self/mountinfo) >> {}",
            inner.display(),
            log.display(),
        );
        bundle.config["hooks"][kind] = json!([sh(&script)]);
    }
    bundle.start();
    let namespace = |pid: &str| {
        let path = format!("/proc/{pid}/ns/mnt");
        std::fs::read_link(path).expect("alive").display().to_string()
    };
    let inside = namespace(&bundle.state()["pid"].to_string());
    let host = namespace("self");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    let said = std::fs::read_to_string(bundle.log()).expect("written");
    let want = [
        format!("prestart {host} 0"),
        format!("createRuntime {host} 0"),
        format!("createContainer {inside} 1"),
        format!("startContainer {inside} 1"),
        format!("poststart {host} 0"),
        format!("poststop {host} 0"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), want);
}

#[test]
fn hooks_of_one_kind_run_in_the_order_of_the_list_up_to_the_first_that_fails() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let note = |text: &str| sh(&format!("echo {text} >> {}", bundle.log().display()));
    let hooks = json!([note("one"), note("two"), {"path": "/bin/false"}, note("three")]);
    let bundle = bundle.with("/hooks/createRuntime", hooks);
    bundle.run().fails(1);
    assert_eq!(std::fs::read_to_string(bundle.log()).expect("written"), "one\ntwo\n");
}

#[test]
fn a_hook_has_its_own_arguments_and_environment_or_the_runtimes() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let log = bundle.log();
    let script = format!("echo $0 $1 A=$A B=$B R=$RUNTIME >> {}", log.display());
    let hook = |env: Value| json!({"path": "/bin/sh", "args": ["name", "-c", script, "zero", "one"], "env": env});
    let bundle = bundle
        .with("/hooks/prestart", json!([hook(json!(["A=1", "B=two words"])), hook(json!(null))]))
        .with("/hooks/poststart", json!([{"path": "/bin/true"}]))
        .with(
            "/hooks/startContainer",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo T=$TERM R=$RUNTIME >> /log"]}]),
        );
    let mut command = bundle.command(&["run", &bundle.id]);
    command.env("RUNTIME", "hull");
    tests::command::run(command, b"").ok();
    let said = std::fs::read_to_string(&log).expect("written");
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["zero one A=1 B=two words R=", "zero one A= B= R=hull", "T=xterm R="]
    );
}

#[test]
fn a_failure_says_what_the_hook_wrote_and_leaves_nothing_but_calls_poststop() {
    let failing = [
        (sh("echo why >&2; exit 3"), "exit status: 3: why"),
        (sh("echo out; exit 4"), "exit status: 4: out"),
        (sh("kill -9 $$"), "signal: 9"),
        (json!({"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}), "no end after 1 s"),
        (json!({"path": "/no/such/hook"}), "no such file"),
        (json!({"path": "/etc/passwd"}), "permission denied"),
    ];
    for (hook, want) in failing {
        let Some(bundle) = Bundle::sh("true") else { return };
        let bundle = bundle.with_hooks().with("/hooks/createRuntime", json!([hook]));
        let said = bundle.run().fails(1);
        assert!(said.contains("createRuntime hook") && said.contains(want), "{said}");
        assert_eq!(bundle.left(), Vec::<String>::new());
        let kinds: Vec<String> = bundle.noted().into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["prestart", "poststop"], "{want}");
    }
}

#[test]
fn a_hook_of_any_kind_that_fails_before_the_program_stops_the_container() {
    for kind in &KINDS[..4] {
        let Some(bundle) = Bundle::sh("touch /ran") else { return };
        let failing = json!([sh("echo broken >&2; exit 1")]);
        let bundle = bundle.with(&format!("/hooks/{kind}"), failing);
        let said = bundle.run().fails(1);
        assert!(said.contains(&format!("{kind} hook /bin/sh: exit status: 1: broken")), "{said}");
        assert!(!bundle.rootfs().join("ran").exists(), "{kind}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

#[test]
fn a_start_whose_hook_fails_ends_the_container() {
    for kind in ["startContainer", "poststart"] {
        let Some(bundle) = Bundle::sh("sleep 100") else { return };
        let bundle = bundle.with_hooks().with(&format!("/hooks/{kind}"), json!([sh("exit 1")]));
        bundle.create();
        let said = bundle.runtime(&["start", &bundle.id]).fails(1);
        assert!(said.contains(&format!("{kind} hook")), "{said}");
        if kind == "startContainer" {
            eventually("stopped", || bundle.status() == "stopped");
            bundle.runtime(&["delete", &bundle.id]).ok();
        }
        assert_eq!(bundle.left(), Vec::<String>::new(), "{kind}");
        assert_eq!(bundle.noted().last().expect("noted").0, "poststop", "{kind}");
    }
}

#[test]
fn a_poststop_hook_that_fails_is_a_warning_and_the_others_run() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let note = sh(&format!("cat > {}", bundle.log().display()));
    let bundle = bundle.with("/hooks/poststop", json!([sh("echo sorry; exit 5"), note]));
    bundle.create();
    let log = bundle.path().join("messages");
    let name = log.display().to_string();
    bundle.runtime(&["--log", &name, "delete", "--force", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    let said = std::fs::read_to_string(log).expect("written");
    assert!(said.contains("level=warning") && said.contains("exit status: 5: sorry"), "{said}");
    assert!(bundle.log().exists());
}

#[test]
fn a_hook_may_write_much_leave_a_child_behind_and_not_read_its_input() {
    let big = "x".repeat(200_000);
    for script in [
        "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2",
        // The child keeps the pipes open.
        "sleep 5 & exit 0",
        "exec 0<&-; true",
        "test $(cat | wc -c) -gt 200000",
    ] {
        let Some(bundle) = Bundle::sh("true") else { return };
        let bundle = bundle
            .with("/annotations", json!({"big": big}))
            .with("/hooks/createRuntime", json!([sh(script)]));
        let begun = std::time::Instant::now();
        bundle.run().ok();
        assert!(begun.elapsed().as_secs() < 4, "{script}");
    }
}

#[test]
fn a_hook_finds_signals_as_a_program_expects_them() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let mut bundle = bundle;
    for kind in KINDS {
        let log = if kind == "startContainer" { "/log".into() } else { bundle.log() };
        let script = format!(
            "grep -E '^Sig(Blk|Ign)' /proc/self/status >> {}; echo >> /dev/null",
            log.display()
        );
        bundle.config["hooks"][kind] = json!([sh(&script)]);
    }
    bundle.run().ok();
    let said = std::fs::read_to_string(bundle.log()).expect("written");
    assert_eq!(said.lines().count(), 2 * KINDS.len(), "{said}");
    // 32 and 33 are the C library's, which whoever runs this test may have ignored.
    assert!(said.lines().all(|line| line.ends_with("0000000")), "{said}");
}

#[test]
fn in_a_joined_pid_namespace_inner_hooks_see_the_pid_that_counts_there() {
    let Some(outer) = Bundle::sh("sleep 100") else { return };
    outer.start();
    let Some(bundle) = Bundle::sh("true") else { return };
    let path = format!("/proc/{}/ns/pid", outer.state()["pid"]);
    let mut bundle = bundle.with_hooks();
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().expect("a list") {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(path);
        }
    }
    let ran: Ran = bundle.run();
    ran.ok();
    let noted = bundle.noted();
    let pid = |kind: &str| {
        let state = noted.iter().find(|(noted, _)| noted == kind).expect("noted").1.clone();
        state["pid"].as_u64().expect("a pid")
    };
    assert_eq!(pid("createContainer"), pid("startContainer"));
    assert_ne!(pid("createContainer"), 1);
    assert_ne!(pid("createContainer"), pid("createRuntime"));
    assert_eq!(pid("createRuntime"), pid("poststart"));
}

#[test]
fn in_a_user_namespace_outer_hooks_are_the_hosts_and_inner_ones_are_not() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    let mut bundle = bundle
        .namespace(json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map);
    let log = bundle.rootfs().join("log");
    std::fs::write(&log, "").expect("written");
    std::os::unix::fs::chown(&log, Some(100_000), None).expect("given away");
    std::os::unix::fs::chown(bundle.path(), Some(100_000), None).expect("given away");
    for kind in KINDS {
        let log = if kind == "startContainer" { "/log".into() } else { log.clone() };
        let script = format!("echo {kind} $(head -n1 /proc/self/uid_map) >> {}", log.display());
        bundle.config["hooks"][kind] = json!([sh(&script)]);
    }
    bundle.run().ok();
    let said = std::fs::read_to_string(log).expect("written");
    let inner: Vec<bool> = said.lines().map(|line| line.ends_with(" 0 100000 10")).collect();
    assert_eq!(inner, [false, false, true, true, false, false], "{said}");
}
