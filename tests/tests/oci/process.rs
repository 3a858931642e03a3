//! What `process` says is what the program finds itself to be.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn user_groups_umask_and_home() {
    let Some(bundle) = Bundle::sh("id -u; id -g; id -G; umask; echo $HOME; pwd") else { return };
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77});
    let said = bundle.with("/process/user", user).with("/process/cwd", json!("/a/b")).run().ok();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["1000", "1001", "1001 5 6", "0077", "/home/u", "/a/b"]
    );
}

#[test]
fn the_five_capability_sets() {
    let Some(bundle) = Bundle::sh("grep -E '^(Cap|NoNew)' /proc/self/status") else { return };
    let bundle = bundle
        .with(
            "/process/capabilities",
            json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "effective": ["CAP_KILL"],
                "permitted": ["CAP_KILL", "CAP_NET_RAW"],
                "inheritable": ["CAP_NET_RAW"],
                "ambient": ["CAP_NET_RAW"],
            }),
        )
        .with("/process/user", json!({"uid": 7, "gid": 7}));
    let said = bundle.run().ok();
    let sets: Vec<&str> =
        said.lines().map(|line| line.split_whitespace().nth(1).unwrap_or("")).collect();
    // For another user than root execve leaves the ambient set alone.
    let (net_raw, bounding) = ("0000000000002000", "0000000000002021");
    assert_eq!(sets, [net_raw, net_raw, net_raw, bounding, net_raw, "1"], "{said}");
}

#[test]
fn an_unknown_capability_is_told_and_left_out() {
    let Some(bundle) = Bundle::sh("grep '^CapBnd' /proc/self/status") else { return };
    let sets = json!({"bounding": ["CAP_KILL", "CAP_NO_SUCH"], "effective": ["CAP_NO_SUCH"]});
    let bundle = bundle.with("/process/capabilities", sets);
    let said = bundle.runtime(&["--log", "log", "run", &bundle.id]).ok();
    assert_eq!(said.split_whitespace().nth(1), Some("0000000000000020"));
    let log = std::fs::read_to_string(bundle.path().join("log")).expect("a log");
    assert!(log.contains("CAP_NO_SUCH"), "{log}");
}

#[test]
fn what_an_engine_in_go_leaves_out_or_null_is_absent() {
    let Some(bundle) = Bundle::sh("id -u") else { return };
    let mut bundle = bundle
        .with("/process/rlimits", json!(null))
        .with("/process/consoleSize", json!(null))
        .with("/linux/devices", json!(null))
        .with(
            "/linux/resources",
            json!({"devices": [{"allow": true, "type": "", "major": null, "access": "rwm"}]}),
        );
    bundle.config["process"].as_object_mut().expect("an object").remove("user");
    assert_eq!(bundle.run().ok(), "0");
}

#[test]
fn no_capabilities_are_none_at_all() {
    let Some(bundle) = Bundle::sh("grep '^Cap' /proc/self/status | grep -v 0000000000000000; true")
    else {
        return;
    };
    assert_eq!(bundle.with("/process/capabilities", json!(null)).run().ok(), "");
}

#[test]
fn limits_are_set_and_clamped_where_the_host_forbids_more() {
    let Some(bundle) = Bundle::sh("ulimit -n; ulimit -c; cat /proc/self/oom_score_adj") else {
        return;
    };
    let bundle = bundle
        .with(
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX},
            ]),
        )
        .with("/process/oomScoreAdj", json!(100));
    assert_eq!(bundle.run().ok().lines().collect::<Vec<_>>(), ["512", "0", "100"]);
    // Without CAP_SYS_RESOURCE neither can be had in full; that must not stop anything.
    bundle
        .with("/process/oomScoreAdj", json!(-900))
        .with(
            "/process/rlimits",
            json!([
            {"type": "RLIMIT_NOFILE", "soft": 1_000_000_000, "hard": 1_000_000_000}]),
        )
        .run();
}

#[test]
fn the_environment_is_the_configurations_and_a_home() {
    let Some(bundle) = Bundle::sh("env | grep -v -e ^PWD -e ^SHLVL -e ^_") else { return };
    let env = json!(["PATH=/bin", "A=1", "B=two words"]);
    let said = bundle.with("/process/env", env).run().ok();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1", "B=two words", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn no_descriptor_but_the_three_and_those_preserved() {
    let Some(bundle) = Bundle::sh("ls /proc/self/fd | wc -l") else { return };
    // Three, and the one with which ls reads the directory.
    assert_eq!(bundle.run().ok(), "4");
    let script = format!(
        "exec 3</dev/null 4</etc/hostname 5</dev/null; exec {} --root {} run --preserve-fds 2 {}",
        tests::programs::program("hull-runtime").display(),
        bundle.state_root().display(),
        bundle.id,
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(bundle.path());
    assert_eq!(tests::command::run(command, b"").ok(), "6");
}

#[test]
fn a_seccomp_profile_filters_with_and_without_no_new_privileges() {
    for no_new_privileges in [true, false] {
        let Some(bundle) =
            Bundle::sh("grep ^Seccomp: /proc/self/status; mkdir /tmp/x; chmod 0 /tmp")
        else {
            return;
        };
        let bundle = bundle.with("/process/noNewPrivileges", json!(no_new_privileges)).with(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                    {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS",
                     "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]},
                ],
            }),
        );
        let ran = bundle.run();
        assert_eq!(ran.code, 159, "{ran}");
        assert!(ran.err.contains("No space left"), "{ran}");
        let bundle = bundle.program(&["sleep", "100"]);
        bundle.start();
        let ran = bundle.exec(&["sh", "-c", "grep ^Seccomp: /proc/self/status; mkdir /tmp/x"]);
        assert!(ran.out.contains('2'), "{ran}");
        assert!(ran.err.contains("No space left"), "{ran}");
    }
}
