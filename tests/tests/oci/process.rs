//! What `process` says is what the program finds itself to be.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
pub(crate) fn user_groups_umask_and_home() {
    let Some(bundle) = Bundle::sh("id -u; id -g; id -G; umask; echo $HOME; pwd") else { return };
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77});
    let said = bundle.with("/process/user", user).with("/process/cwd", json!("/a/b")).run().ok();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["1000", "1001", "1001 5 6", "0077", "/home/u", "/a/b"]
    );
}

#[test]
pub(crate) fn the_five_capability_sets() {
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
pub(crate) fn what_an_engine_in_go_leaves_out_or_null_is_absent() {
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
pub(crate) fn no_capabilities_are_none_at_all() {
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
pub(crate) fn the_environment_is_the_configurations_and_a_home() {
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
pub(crate) fn a_seccomp_profile_filters_with_and_without_no_new_privileges() {
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

#[test]
pub(crate) fn of_two_variables_the_last_counts_and_an_empty_home_is_none() {
    let Some(bundle) = Bundle::sh("") else { return };
    let env = json!(["PATH=/nowhere", "A=1", "PATH=/bin", "A=2", "B=", "C=x=y", "HOME="]);
    let said = bundle.program(&["env"]).with("/process/env", env).run().ok();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["PATH=/bin", "A=2", "B=", "C=x=y", "HOME=/root"]);
}

#[test]
pub(crate) fn every_kind_of_limit_is_set_for_the_container_and_an_exec() {
    // Two to a line of /proc/self/limits, by its name there; the host's own need not be raised.
    let kinds = [
        ("RLIMIT_CPU", "Max cpu time", 100, 200),
        ("RLIMIT_FSIZE", "Max file size", 10_000_000, 20_000_000),
        ("RLIMIT_DATA", "Max data size", 500_000_000, 600_000_000),
        ("RLIMIT_STACK", "Max stack size", 4_194_304, 8_388_608),
        ("RLIMIT_CORE", "Max core file size", 0, 4096),
        ("RLIMIT_RSS", "Max resident set", 500_000_000, 600_000_000),
        ("RLIMIT_NPROC", "Max processes", 500, 600),
        ("RLIMIT_NOFILE", "Max open files", 100, 200),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
        ("RLIMIT_AS", "Max address space", 900_000_000, 1_000_000_000),
        ("RLIMIT_LOCKS", "Max file locks", 10, 20),
        ("RLIMIT_SIGPENDING", "Max pending signals", 10, 20),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 100, 200),
        ("RLIMIT_NICE", "Max nice priority", 0, 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1000, 2000),
    ];
    let Some(bundle) = Bundle::sh("cat /proc/self/limits") else { return };
    let limits: Vec<_> = kinds
        .iter()
        .map(|(kind, _, soft, hard)| json!({"type": kind, "soft": soft, "hard": hard}))
        .collect();
    let bundle = bundle.with("/process/rlimits", json!(limits));
    let check = |said: &str| {
        for (_, name, soft, hard) in kinds {
            let line = said.lines().find(|line| line.starts_with(name)).expect(name);
            let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, [soft.to_string(), hard.to_string()], "{line}");
        }
    };
    check(&bundle.run().ok());
    let bundle = bundle.program(&["sleep", "100"]);
    bundle.start();
    check(&bundle.exec(&["cat", "/proc/self/limits"]).ok());
}

#[test]
fn the_oom_score_is_set_or_the_nearest_that_is_allowed_or_the_callers() {
    let Some(bundle) = Bundle::sh("cat /proc/self/oom_score_adj") else { return };
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("proc");
    let bundle = bundle.with("/process/oomScoreAdj", json!(null));
    assert_eq!(bundle.run().ok(), own.trim());
    let bundle = bundle.with("/process/oomScoreAdj", json!(1000));
    assert_eq!(bundle.run().ok(), "1000");
    let bundle = bundle.with("/process/oomScoreAdj", json!(-999));
    let log = bundle.path().join("log").display().to_string();
    let said = bundle.runtime(&["--log", &log, "run", &bundle.id]).ok();
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(said == "-999" || log.contains("process.oomScoreAdj: -999 needs"), "{said}: {log}");
    let bundle = bundle.with("/process/oomScoreAdj", json!(300)).program(&["sleep", "100"]);
    bundle.start();
    assert_eq!(bundle.exec(&["cat", "/proc/self/oom_score_adj"]).ok(), "300");
}

#[test]
fn without_capabilities_in_the_inheritable_set_nothing_is_ambient() {
    let Some(bundle) = Bundle::sh("grep CapAmb /proc/self/status") else { return };
    let bundle = bundle
        .with(
            "/process/capabilities",
            json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                   "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"],
                   "ambient": ["CAP_KILL", "CAP_CHOWN"]}),
        )
        .with("/process/user", json!({"uid": 7, "gid": 7}));
    let log = bundle.path().join("log").display().to_string();
    let said = bundle.runtime(&["--log", &log, "run", &bundle.id]).ok();
    assert!(said.ends_with("0000000000000001"), "{said}");
    let log = std::fs::read_to_string(log).expect("written");
    assert!(log.contains("level=warning") && log.contains("CAP_KILL"), "{log}");
}

#[test]
fn new_privileges_can_be_had_unless_they_are_forbidden() {
    for (value, want) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        let Some(bundle) = Bundle::sh("grep NoNewPrivs /proc/self/status") else { return };
        let said = bundle.with("/process/noNewPrivileges", value).run().ok();
        assert!(said.ends_with(want), "{said}");
    }
}

#[test]
fn the_umask_is_the_configurations_or_the_usual_and_an_execs_too() {
    let Some(bundle) = Bundle::sh("umask") else { return };
    assert_eq!(bundle.run().ok(), "0022");
    for (umask, want) in [(0, "0000"), (0o27, "0027"), (0o777, "0777")] {
        let Some(bundle) = Bundle::sh("umask") else { return };
        let bundle = bundle.with("/process/user/umask", json!(umask));
        assert_eq!(bundle.run().ok(), want);
        let bundle = bundle.program(&["sleep", "100"]);
        bundle.start();
        assert_eq!(bundle.exec(&["sh", "-c", "umask"]).ok(), want);
    }
}

#[test]
fn limits_score_and_policy_are_set_in_a_user_namespace_too() {
    let script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; \
                  grep NoNewPrivs /proc/self/status; umask";
    let Some(bundle) = Bundle::sh(script) else { return };
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    let bundle = bundle
        .namespace(json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
        .with("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]))
        .with("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}))
        .with("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}))
        .with("/process/user/umask", json!(0o77))
        .with("/process/oomScoreAdj", json!(200));
    let said = bundle.run().ok();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["99", "100", "200", "NoNewPrivs:\t1", "0077"]);
}
