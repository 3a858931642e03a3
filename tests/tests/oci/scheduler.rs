//! When the program runs, on which processors, from which memory.

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Policy, nice value and real-time priority of the program itself, which is `cat`.
const STAT: [&str; 2] = ["cat", "/proc/self/stat"];

/// Fields 41, 19 and 40 of a `stat` line.
fn scheduling(stat: &str) -> [i64; 3] {
    let rest = stat.rsplit(") ").next().expect("a line");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    [41, 19, 40].map(|number| fields[number - 3].parse().expect("a number"))
}

#[test]
fn every_policy_is_set_with_what_belongs_to_it() {
    for (scheduler, want) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), [0, 7, 0]),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), [0, -5, 0]),
        (json!({"policy": "SCHED_BATCH", "nice": 19}), [3, 19, 0]),
        (json!({"policy": "SCHED_IDLE"}), [5, 0, 0]),
        (json!({"policy": "SCHED_IDLE", "nice": 30, "flags": []}), [5, 19, 0]),
        (json!({"policy": "SCHED_FIFO", "priority": 3}), [1, 0, 3]),
        (json!({"policy": "SCHED_RR", "priority": 99}), [2, 0, 99]),
        (
            json!({"policy": "SCHED_RR", "priority": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            [2, 0, 4],
        ),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 9_000_000,
                   "period": 10_000_000, "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]}),
            [6, 0, 0],
        ),
    ] {
        let Some(bundle) = Bundle::sh("") else { return };
        let bundle = bundle.program(&STAT).with("/process/scheduler", scheduler.clone());
        let ran = bundle.run();
        // Real time may be all given away, or not for cgroups like this one.
        if ran.err.contains("set process.scheduler: operation not permitted") {
            println!("not here: {scheduler}");
            continue;
        }
        let mut got = scheduling(&ran.ok());
        if scheduler["policy"] == "SCHED_IDLE" {
            got[1] = want[1];
        }
        assert_eq!(got, want, "{scheduler}");
    }
}

#[test]
fn the_priority_towards_disks_is_set_for_the_process_group() {
    for (class, priority, want) in [
        ("IOPRIO_CLASS_BE", 3, "best-effort: prio 3"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
    ] {
        let Some(bundle) = Bundle::sh("busybox ionice -p 1; busybox ionice -p $$") else { return };
        let priority = json!({"class": class, "priority": priority});
        let said = bundle.with("/process/ioPriority", priority).run().ok();
        assert!(said.lines().all(|line| line.contains(want)), "{class}: {said}");
    }
}

/// `Cpus_allowed_list` of a process's status.
const PROCESSORS: &str = "grep Cpus_allowed_list /proc/self/status";

/// The list that `text` ends with.
fn list(text: &str) -> String {
    text.split_whitespace().last().unwrap_or_default().to_owned()
}

fn own_processors() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    list(status.lines().find(|line| line.starts_with("Cpus_allowed_list")).expect("a line"))
}

#[test]
fn the_callers_own_processors_are_not_the_containers() {
    let Some(bundle) = Bundle::sh(&format!("{PROCESSORS}; sleep 100")) else { return };
    let all = own_processors();
    let output = bundle.path().join("out");
    let script = format!(
        "exec taskset -c 0 {} --root {} run -d {} > {} 2>&1 < /dev/null",
        tests::programs::program("hull-runtime").display(),
        bundle.state_root().display(),
        bundle.id,
        output.display(),
    );
    bundle.write_config();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(bundle.path());
    tests::command::run(command, b"").ok();
    let said = || std::fs::read_to_string(&output).unwrap_or_default();
    tests::command::eventually("it says so", || !said().is_empty());
    assert_eq!(list(&said()), all);
    let script = format!(
        "exec taskset -c 0 {} --root {} exec {} sh -c '{PROCESSORS}'",
        tests::programs::program("hull-runtime").display(),
        bundle.state_root().display(),
        bundle.id,
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(bundle.path());
    assert_eq!(list(&tests::command::run(command, b"").ok()), all);
}

#[test]
fn an_exec_runs_where_its_affinity_says_and_the_container_does_not() {
    let Some(bundle) = Bundle::sh(&format!("{PROCESSORS}; sleep 100")) else { return };
    let bundle = bundle.with("/process/execCPUAffinity", json!({"initial": "0", "final": "0"}));
    bundle.start();
    let all = own_processors();
    let init = format!("/proc/{}/status", bundle.state()["pid"]);
    let status = std::fs::read_to_string(init).expect("alive");
    assert!(status.contains(&format!("Cpus_allowed_list:\t{all}\n")), "{status}");
    let debug = ["--debug", "exec", &bundle.id, "true"];
    let log = bundle.runtime(&debug).err;
    assert!(log.contains("level=debug") && log.contains("affinity: 0x1"), "{log}");
    // What the container's process has holds for every exec that has no own.
    assert_eq!(list(&bundle.exec(&["sh", "-c", PROCESSORS]).ok()), "0");
    let exec = |affinity: Value| {
        let file = bundle.path().join("process.json");
        let process = json!({"args": ["sh", "-c", PROCESSORS], "cwd": "/", "env": ["PATH=/bin"],
                             "execCPUAffinity": affinity});
        std::fs::write(&file, process.to_string()).expect("written");
        bundle.runtime(&["exec", "-p", &file.display().to_string(), &bundle.id])
    };
    for (affinity, want) in [
        (json!({"initial": "0"}), "0"),
        (json!({"final": "0"}), "0"),
        (json!({"initial": "0", "final": all}), all.as_str()),
        (json!({"initial": "", "final": ""}), all.as_str()),
    ] {
        assert_eq!(list(&exec(affinity.clone()).ok()), want, "{affinity}");
    }
    for (affinity, want) in [
        (json!({"initial": "9999"}), "process.execCPUAffinity.initial"),
        (json!({"final": "9999"}), "process.execCPUAffinity.final"),
        (json!({"final": "3-1"}), "process.execCPUAffinity.final"),
    ] {
        let said = exec(affinity.clone()).fails(255);
        assert!(said.contains(want), "{affinity}: {said}");
    }
}

#[test]
fn a_32_bit_personality_is_the_containers_and_every_execs() {
    let Some(bundle) = Bundle::sh("busybox uname -m; sleep 100") else { return };
    let machine = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    let host = rustix::system::uname().machine().to_string_lossy().into_owned();
    let plain = bundle.with("/linux/personality", json!({"domain": "LINUX"}));
    let script = json!(["sh", "-c", "busybox uname -m"]);
    let plain = plain.with("/process/args", script.clone());
    assert_eq!(machine(&plain.run().ok()), host);
    let bundle = plain.with("/linux/personality", json!({"domain": "LINUX32"}));
    let said = machine(&bundle.run().ok());
    assert_ne!(said, host);
    let bundle = bundle.program(&["sleep", "100"]);
    bundle.start();
    assert_eq!(machine(&bundle.exec(&["busybox", "uname", "-m"]).ok()), said);
}

#[test]
fn a_memory_policy_is_the_containers_and_every_execs() {
    for (policy, want) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_PREFERRED"}), "local"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}),
            "bind=relative:0",
        ),
    ] {
        let Some(bundle) = Bundle::sh("") else { return };
        if !std::path::Path::new("/proc/self/numa_maps").exists() {
            println!("skipped: a kernel without NUMA");
            return;
        }
        let bundle = bundle
            .program(&["head", "-n1", "/proc/self/numa_maps"])
            .with("/linux/memoryPolicy", policy.clone());
        let said = bundle.run().ok();
        assert!(said.contains(&format!(" {want}")), "{policy}: {said}");
        let bundle = bundle.program(&["sleep", "100"]);
        bundle.start();
        let said = bundle.exec(&["head", "-n1", "/proc/self/numa_maps"]).ok();
        assert!(said.contains(&format!(" {want}")), "{policy}: {said}");
    }
}
