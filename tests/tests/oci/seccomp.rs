//! System call filters as a program in the container meets them, and the agent that answers for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::command::{self, Running};

use crate::bundle::Bundle;

/// The engine's default, the same lists as Docker's.
#[path = "../../../crates/engine/src/bundle/seccomp.rs"]
mod default;

/// `Read-only file system`, which mkdir(2) would not say in these containers.
const EROFS: &str = "30";

/// Everything allowed but what `rules` say.
fn profile(rules: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

#[test]
fn each_action_does_what_it_says() {
    let make = "mkdir /tmp/x; echo $?";
    for (action, errno, want) in [
        ("SCMP_ACT_ALLOW", None, "0"),
        ("SCMP_ACT_LOG", None, "0"),
        ("SCMP_ACT_ERRNO", None, "1"),
        ("SCMP_ACT_ERRNO", Some(28), "1"),
        // Without a tracer the call is not made.
        ("SCMP_ACT_TRACE", None, "1"),
        // SIGSYS.
        ("SCMP_ACT_TRAP", None, "159"),
        ("SCMP_ACT_KILL", None, "159"),
        ("SCMP_ACT_KILL_THREAD", None, "159"),
        ("SCMP_ACT_KILL_PROCESS", None, "159"),
    ] {
        for unprivileged in [false, true] {
            let Some(bundle) = Bundle::sh(make) else { return };
            let mut rule = json!({"names": ["mkdir"], "action": action});
            if let Some(errno) = errno {
                rule["errnoRet"] = json!(errno);
            }
            let mut filter = profile(&json!([rule]));
            if action == "SCMP_ACT_ALLOW" {
                filter["defaultAction"] = json!("SCMP_ACT_LOG");
            }
            let ran = bundle
                .with("/linux/seccomp", filter)
                .with("/process/noNewPrivileges", json!(unprivileged))
                .run();
            assert_eq!(ran.out.trim().lines().last(), Some(want), "{action}: {ran}");
            let reason = match (action, errno) {
                ("SCMP_ACT_ERRNO", Some(_)) => "No space left on device",
                ("SCMP_ACT_ERRNO", None) => "Operation not permitted",
                ("SCMP_ACT_TRACE", _) => "Function not implemented",
                _ => "",
            };
            assert!(ran.err.contains(reason), "{action}: {ran}");
        }
    }
}

#[test]
pub(crate) fn arguments_decide_and_unknown_names_do_not() {
    let Some(bundle) =
        Bundle::sh("touch /tmp/a; chmod 700 /tmp/a; chmod 711 /tmp/a; stat -c %a /tmp/a")
    else {
        return;
    };
    let rule = |names, value| {
        json!({"names": names, "action": "SCMP_ACT_ERRNO",
               "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]})
    };
    let filter = profile(&json!([rule(json!(["chmod", "no_such_call"]), 0o711)]));
    let ran = bundle.with("/linux/seccomp", filter).run();
    assert_eq!(ran.out.trim(), "700", "{ran}");
}

#[test]
fn flags_and_architectures_are_taken() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let Some(bundle) = Bundle::sh("grep -E '^Seccomp|Bypass' /proc/self/status") else {
            return;
        };
        let mut filter = profile(&json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
        filter["flags"] = flags.clone();
        filter["architectures"] = json!([
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_RISCV64",
            "SCMP_ARCH_S390X",
        ]);
        let said = bundle.with("/linux/seccomp", filter).run().ok();
        assert!(said.contains("Seccomp:\t2") && said.contains("Seccomp_filters:\t1"), "{said}");
    }
}

#[test]
fn the_default_profile_lets_ordinary_programs_run() {
    let script = "set -e; mkdir /tmp/d; echo x >/tmp/d/f; cat /tmp/d/f; ls -l /tmp/d | wc -l; \
                  chmod 600 /tmp/d/f; ps >/dev/null; sleep 0; id -u; \
                  mount -t tmpfs tmpfs /tmp 2>&1 || true";
    for unprivileged in [false, true] {
        for uid in [0, 1000] {
            let Some(bundle) = Bundle::sh(script) else { return };
            let tmp = std::fs::Permissions::from_mode(0o1777);
            std::fs::set_permissions(bundle.rootfs().join("tmp"), tmp).expect("changed");
            let said = bundle
                .with("/linux/seccomp", default::filter(&[]))
                .with("/process/user", json!({"uid": uid, "gid": uid}))
                .with("/process/noNewPrivileges", json!(unprivileged))
                .run()
                .ok();
            assert!(said.starts_with(&format!("x\n2\n{uid}\n")), "{said}");
            assert!(said.contains("permission denied") || uid != 0, "{said}");
        }
    }
}

#[test]
fn an_agent_answers_for_the_calls_of_init_and_exec() {
    for unprivileged in [false, true] {
        let Some(bundle) = Bundle::sh("mkdir /tmp/x 2>&1; sleep 100") else { return };
        let agent = Agent::start(bundle.path());
        let bundle = bundle
            .with("/linux/seccomp", agent.profile(&json!(["mkdir"])))
            .with("/process/noNewPrivileges", json!(unprivileged))
            .with("/annotations", json!({"a": "b"}));
        bundle.create();
        let state = bundle.state();
        let told = agent.told(1);
        assert_eq!(told["fds"], json!(["seccompFd"]), "{told}");
        assert_eq!(told["pid"], state["pid"], "{told}");
        assert_eq!(told["metadata"], "about", "{told}");
        assert_eq!(told["ociVersion"], state["ociVersion"], "{told}");
        for name in ["id", "pid", "bundle", "annotations", "ociVersion"] {
            assert_eq!(told["state"][name], state[name], "{name}: {told}");
        }
        assert_eq!(told["state"]["status"], "creating", "{told}");
        bundle.runtime(&["start", &bundle.id]).ok();

        let ran = bundle.exec(&["mkdir", "/tmp/y"]);
        assert!(ran.err.contains("Read-only file system"), "{ran}");
        let told = agent.told(2);
        assert_eq!(told["state"]["status"], "running", "{told}");
        assert_eq!(told["state"]["pid"], state["pid"], "{told}");
        assert_ne!(told["pid"], state["pid"], "{told}");
        assert_eq!(told["metadata"], "about", "{told}");
    }
}

#[test]
fn an_agent_may_be_asked_of_what_starts_the_program() {
    for unprivileged in [false, true] {
        let Some(bundle) = Bundle::sh("echo ran") else { return };
        let agent = Agent::start(bundle.path());
        let calls = json!([
            "execve",
            "execveat",
            "openat",
            "open",
            "read",
            "close",
            "fcntl",
            "accept4",
            "recvfrom",
            "sendto",
            "sendmsg",
            "recvmsg",
            "rt_sigaction",
            "rt_sigprocmask",
            "capset",
            "seccomp",
            "prctl",
            "mmap",
            "munmap",
        ]);
        let mut filter = agent.profile(&calls);
        filter["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let bundle = bundle
            .with("/linux/seccomp", filter)
            .with("/process/noNewPrivileges", json!(unprivileged));
        assert_eq!(bundle.run().ok(), "ran");
        agent.told(1);
    }
}

#[test]
fn an_agent_that_is_not_there_is_an_error_that_leaves_nothing() {
    let Some(bundle) = Bundle::sh("echo ran") else { return };
    let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    let mut filter = profile(&rules);
    filter["listenerPath"] = json!("nobody");
    let bundle = bundle.with("/linux/seccomp", filter);
    let said = bundle.run().fails(1);
    assert!(said.contains("nobody") && said.lines().count() == 1, "{said}");
    assert!(bundle.left().is_empty(), "{:?}", bundle.left());
}

/// An agent that answers every `mkdir` with an error and lets all else go on.
struct Agent {
    path: PathBuf,
    running: Running,
}

impl Agent {
    fn start(scratch: &Path) -> Self {
        let (program, path) = (scratch.join("agent"), scratch.join("agent.sock"));
        let source = tests::programs::source().join("tests/tests/oci/agent.c");
        let mut compiler = Command::new("cc");
        compiler.arg("-o").arg(&program).arg(source);
        command::run(compiler, b"").ok();
        let mut agent = Command::new(program);
        agent.arg(&path).arg(EROFS);
        let running = Running::start(agent);
        running.out.expect("ready\n");
        Self { path, running }
    }

    /// A profile that has this agent asked.
    fn profile(&self, names: &Value) -> Value {
        let mut filter = profile(&json!([{"names": names, "action": "SCMP_ACT_NOTIFY"}]));
        filter["listenerPath"] = json!(self.path);
        filter["listenerMetadata"] = json!("about");
        filter
    }

    /// The document that came with the listener number `count`, from 1.
    #[track_caller]
    fn told(&self, count: usize) -> Value {
        let mut lines = String::new();
        command::eventually("the agent has a listener", || {
            lines = self.running.out.expect("ready\n");
            lines.lines().count() > count
        });
        serde_json::from_str(lines.lines().nth(count).expect("counted")).expect("json")
    }
}
