//! Limits hold, and the container sees its own cgroups only.

use serde_json::json;
use tests::command::eventually;

use crate::bundle::Bundle;

/// Whether this host has cgroup v2 alone.
fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn limits_are_what_the_container_reads_of_itself() {
    let script = if unified() {
        "cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.weight cpu.max"
    } else {
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us"
    };
    let Some(bundle) = Bundle::sh(script) else { return };
    let said = bundle
        .with(
            "/linux/resources",
            json!({
                "memory": {"limit": 33_554_432, "swap": 33_554_432},
                "pids": {"limit": 20},
                "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            }),
        )
        .run()
        .ok();
    let lines: Vec<&str> = said.lines().collect();
    if unified() {
        assert_eq!(lines, ["33554432", "0", "20", "59", "50000 100000"]);
    } else {
        assert_eq!(lines, ["33554432", "20", "512", "50000"]);
    }
}

#[test]
fn too_many_processes_cannot_be_made() {
    let Some(bundle) = Bundle::sh("for i in 1 2 3 4 5 6 7 8; do sleep 9 & done; echo all") else {
        return;
    };
    let ran = bundle.with("/linux/resources", json!({"pids": {"limit": 4}})).run();
    assert!(ran.err.contains("can't fork"), "{ran}");
}

#[test]
fn memory_beyond_the_limit_is_not_to_be_had() {
    let Some(bundle) = Bundle::sh("head -c 100m /dev/zero > /dev/shm/big; echo lived") else {
        return;
    };
    let ran = bundle
        .with("/linux/resources", json!({"memory": {"limit": 20_971_520, "swap": 20_971_520}}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}))
        .run();
    assert!(!ran.out.contains("lived") || ran.err.contains("Killed"), "{ran}");
}

#[test]
fn devices_that_no_rule_allows_cannot_be_opened() {
    let Some(bundle) = Bundle::sh("cat /dev/kmsg-x; head -c 0 /dev/null && echo null") else {
        return;
    };
    let bundle = bundle
        .with(
            "/linux/devices",
            json!([{"path": "/dev/kmsg-x", "type": "c", "major": 1, "minor": 11}]),
        )
        .with("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let ran = bundle.run();
    assert!(ran.err.contains("Operation not permitted"), "{ran}");
    assert_eq!(ran.out.trim(), "null");
}

#[test]
fn a_path_in_the_hierarchy_is_taken_and_removed() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let parent = format!("parent-of-{}", bundle.id);
    let path = format!("/{parent}/{}", bundle.id);
    let bundle = bundle.with("/linux/cgroupsPath", json!(path));
    bundle.start();
    let pid = bundle.state()["pid"].to_string();
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("alive");
    assert!(own.lines().any(|line| line.ends_with(&path)), "{own}");
    bundle.exec(&["sleep", "0"]).ok();
    bundle.runtime(&["delete", "-f", &bundle.id]).ok();
    eventually("no cgroup is left", || bundle.left().is_empty());
    // What is above is other containers' too; here it is known to be nobody's.
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("mounted").flatten();
    let roots = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
    let removed = roots.filter(|root| std::fs::remove_dir(root.join(&parent)).is_ok()).count();
    assert!(removed > 0, "its parent was nowhere");
}

#[test]
fn with_a_namespace_the_container_is_at_the_root_of_its_cgroups() {
    let Some(bundle) = Bundle::sh("cat /proc/self/cgroup") else { return };
    let said = bundle.run().ok();
    assert!(said.lines().all(|line| line.ends_with(":/")), "{said}");
}

/// What a container's cgroup file says, looked at from the host; `None` without such a file.
fn value(bundle: &Bundle, controller: &str, file: &str) -> Option<String> {
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.state()["pid"])).ok()?;
    let (mount, path) = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("", path) if unified() => Some(("/sys/fs/cgroup".to_owned(), path)),
            ("", path) if controller == "unified" => Some(("/sys/fs/cgroup/unified".into(), path)),
            (list, path) if list.split(',').any(|name| name == controller) => {
                Some((format!("/sys/fs/cgroup/{controller}"), path))
            }
            _ => None,
        }
    })?;
    let text = std::fs::read_to_string(format!("{mount}{path}/{file}")).ok()?;
    Some(text.trim().to_owned())
}

/// Whether this host's cgroup `controller` has `file` in every cgroup but the root.
fn has(controller: &str, file: &str) -> bool {
    let root = if unified() { String::new() } else { format!("/{controller}") };
    let probe = format!("/sys/fs/cgroup{root}/hull-probe-{}", std::process::id());
    let made = std::fs::create_dir(&probe).is_ok();
    let there = std::path::Path::new(&probe).join(file).exists();
    if made {
        std::fs::remove_dir(&probe).expect("a probe is empty");
    }
    if !there {
        println!("skipped: no {file}");
    }
    there
}

/// Starts a container with `resources` and compares the files.
fn assert_files(resources: serde_json::Value, files: &[(&str, &str, &str)]) {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let bundle = bundle.with("/linux/resources", resources);
    bundle.start();
    for (controller, file, want) in files {
        let got = value(&bundle, controller, file);
        assert_eq!(got.as_deref(), Some(*want), "{controller} {file}");
    }
}

#[test]
fn memory_limits_of_v1_are_written() {
    if unified() {
        return;
    }
    assert_files(
        json!({"memory": {
            "limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432, "swappiness": 7,
            "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true,
        }}),
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.memsw.limit_in_bytes", "134217728"),
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("memory", "memory.swappiness", "7"),
        ],
    );
}

#[test]
fn processor_limits_of_v1_are_written() {
    if unified() {
        return;
    }
    assert_files(
        json!({"cpu": {
            "shares": 256, "quota": 40_000, "period": 50_000, "burst": 10_000, "cpus": "0", "mems": "0",
        }}),
        &[
            ("cpu", "cpu.shares", "256"),
            ("cpu", "cpu.cfs_quota_us", "40000"),
            ("cpu", "cpu.cfs_period_us", "50000"),
            ("cpu", "cpu.cfs_burst_us", "10000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset", "cpuset.mems", "0"),
        ],
    );
    assert_files(json!({"cpu": {"idle": 1}}), &[("cpu", "cpu.idle", "1")]);
    let refused = Bundle::sh("true").expect("root");
    let ran = refused.with("/linux/resources", json!({"cpu": {"shares": 1}})).run();
    assert!(ran.err.contains("the minimum allowed cpu-shares is 2"), "{ran}");
}

#[test]
fn processes_without_a_limit_are_as_many_as_there_can_be() {
    for (limit, want) in [(-1, "max"), (0, "max"), (20, "20")] {
        assert_files(json!({"pids": {"limit": limit}}), &[("pids", "pids.max", want)]);
    }
}

#[test]
fn block_devices_are_weighed() {
    if unified() || !has("blkio", "blkio.bfq.weight") {
        return;
    }
    assert_files(json!({"blockIO": {"weight": 123}}), &[("blkio", "blkio.bfq.weight", "123")]);
}

#[test]
fn block_devices_are_throttled() {
    let device = std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok());
    let Some(device) = device else {
        println!("skipped: no block device");
        return;
    };
    let (major, minor) = device.trim().split_once(':').expect("two numbers");
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let one = |rate| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
    let resources = json!({"blockIO": {
        "throttleReadBpsDevice": one(1_048_576), "throttleWriteBpsDevice": one(2_097_152),
        "throttleReadIOPSDevice": one(100), "throttleWriteIOPSDevice": one(200),
    }});
    let device = device.trim();
    if unified() {
        let want = format!("{device} rbps=1048576 wbps=2097152 riops=100 wiops=200");
        assert_files(resources, &[("io", "io.max", &want)]);
    } else {
        assert_files(
            resources,
            &[
                ("blkio", "blkio.throttle.read_bps_device", &format!("{device} 1048576")),
                ("blkio", "blkio.throttle.write_bps_device", &format!("{device} 2097152")),
                ("blkio", "blkio.throttle.read_iops_device", &format!("{device} 100")),
                ("blkio", "blkio.throttle.write_iops_device", &format!("{device} 200")),
            ],
        );
    }
}

#[test]
fn huge_pages_are_limited_wherever_the_controller_is() {
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    if !v2.is_ok_and(|list| list.contains("hugetlb")) {
        println!("skipped: no hugetlb in a v2 hierarchy beside v1");
        return;
    }
    assert_files(
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
        &[
            ("unified", "hugetlb.2MB.max", "4194304"),
            ("unified", "hugetlb.2MB.rsvd.max", "4194304"),
        ],
    );
    assert_files(
        json!({"unified": {"hugetlb.2MB.max": "2097152"}}),
        &[("unified", "hugetlb.2MB.max", "2097152")],
    );
}

#[test]
fn what_no_controller_of_the_host_does_is_refused_only_when_set() {
    let cases = [
        (json!({"network": {"classID": 1}}), "linux.resources.network.classID"),
        (json!({"network": {"priorities": [{"name": "lo", "priority": 1}]}}), "priorities"),
        (json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "linux.resources.rdma"),
    ];
    for (resources, field) in cases {
        let Some(bundle) = Bundle::sh("true") else { return };
        let ran = bundle.with("/linux/resources", resources).run();
        assert_ne!(ran.code, 0, "{ran}");
        // A host that has the controller has no such device.
        let told = ["this host has no", "no such device"].iter().any(|text| ran.err.contains(text));
        assert!(ran.err.contains(field) && told, "{ran}");
    }
    let Some(bundle) = Bundle::sh("true") else { return };
    let empty =
        json!({"network": {"priorities": []}, "rdma": {}, "hugepageLimits": [], "unified": {}});
    bundle.with("/linux/resources", empty).run().ok();
}

#[test]
fn a_cgroup_with_processes_in_it_is_not_taken() {
    let (Some(first), Some(second)) = (Bundle::sh("sleep 100"), Bundle::sh("true")) else { return };
    let path = format!("/{}", first.id);
    let first = first.with("/linux/cgroupsPath", json!(path));
    first.start();
    let ran = second.with("/linux/cgroupsPath", json!(path)).run();
    assert!(ran.err.contains("container's cgroup is not empty"), "{ran}");
    assert_eq!(first.status(), "running");
}

#[test]
fn limits_change_while_the_container_runs() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let bundle = bundle.with(
        "/linux/resources",
        json!({
            "memory": {"limit": 33_554_432, "swap": 33_554_432},
            "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            "pids": {"limit": 20},
        }),
    );
    bundle.start();
    let update = |args: &[&str]| bundle.runtime(&[&["update"], args, &[&bundle.id]].concat());
    let check = |v1: [&str; 3], want_v1: &str, v2: [&str; 2], want_v2: &str| {
        let _ = v1[2];
        let (controller, file, want) =
            if unified() { (v2[0], v2[1], want_v2) } else { (v1[0], v1[1], want_v1) };
        assert_eq!(value(&bundle, controller, file).as_deref(), Some(want), "{file}");
    };
    // Up, then down: neither order of the two files is always right.
    for (limit, swap_v2) in [("64M", "67108864"), ("20M", "20971520")] {
        let swap = if limit == "64M" { "128M" } else { "40M" };
        update(&["--memory", limit, "--memory-swap", swap]).ok();
        let bytes = if limit == "64M" { "67108864" } else { "20971520" };
        check(["memory", "memory.limit_in_bytes", ""], bytes, ["memory", "memory.max"], bytes);
        let both = if limit == "64M" { "134217728" } else { "41943040" };
        let file = "memory.memsw.limit_in_bytes";
        check(["memory", file, ""], both, ["memory", "memory.swap.max"], swap_v2);
    }
    let refused = update(&["--memory", "80M"]);
    assert!(refused.err.contains("linux.resources.memory.swap"), "{refused}");
    update(&["--memory", "-1"]).ok();
    let most = "9223372036854771712";
    check(
        ["memory", "memory.memsw.limit_in_bytes", ""],
        most,
        ["memory", "memory.swap.max"],
        "max",
    );
    update(&["--cpu-period", "50000"]).ok();
    check(["cpu", "cpu.cfs_quota_us", ""], "50000", ["cpu", "cpu.max"], "50000 50000");
    update(&["--cpu-quota", "25000"]).ok();
    check(["cpu", "cpu.cfs_period_us", ""], "50000", ["cpu", "cpu.max"], "25000 50000");
    update(&["--cpu-share", "1024", "--cpu-burst", "1000"]).ok();
    check(["cpu", "cpu.shares", ""], "1024", ["cpu", "cpu.weight"], "100");
    check(["cpu", "cpu.cfs_burst_us", ""], "1000", ["cpu", "cpu.max.burst"], "1000");
    update(&["--cpu-idle", "1"]).ok();
    check(["cpu", "cpu.idle", ""], "1", ["cpu", "cpu.idle"], "1");
    update(&["--cpu-idle", "0"]).ok();
    update(&["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    check(["cpuset", "cpuset.cpus", ""], "0", ["cpuset", "cpuset.cpus"], "0");
    update(&["--pids-limit", "-1"]).ok();
    check(["pids", "pids.max", ""], "max", ["pids", "pids.max"], "max");
    let file = bundle.path().join("limits.json");
    std::fs::write(&file, r#"{"pids": {"limit": 33}}"#).expect("written");
    update(&["--resources", file.to_str().expect("text")]).ok();
    check(["pids", "pids.max", ""], "33", ["pids", "pids.max"], "33");
    let command = bundle.command(&["update", "-r", "-", &bundle.id]);
    tests::command::run(command, br#"{"pids": {"limit": 34}}"#).ok();
    check(["pids", "pids.max", ""], "34", ["pids", "pids.max"], "34");
    let refused = update(&["--l3-cache-schema", "L3:0=f"]);
    assert!(
        std::path::Path::new("/sys/fs/resctrl/info").exists() || refused.err.contains("resctrl"),
        "{refused}"
    );
}

#[test]
fn devices_change_while_the_container_runs() {
    let script = "while sleep 0.1; do cat /dev/null || echo lost; done 2>&1";
    let Some(bundle) = Bundle::sh(script) else { return };
    let fuse = |access: &str| {
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": access},
        ])
    };
    let bundle = bundle
        .with("/linux/devices", json!([{"path": "/dev/k", "type": "c", "major": 10, "minor": 229}]))
        .with("/linux/resources", json!({"devices": fuse("w")}));
    bundle.start();
    // Without the driver it is another error.
    let open = |how: &str| {
        let ran = bundle.exec(&["sh", "-c", &format!("true {how} /dev/k")]);
        !ran.err.contains("Operation not permitted")
    };
    assert!(open(">>") && !open("<"), "only to write");
    let update = |devices: serde_json::Value| {
        let text = json!({ "devices": devices }).to_string();
        tests::command::run(bundle.command(&["update", "-r", "-", &bundle.id]), text.as_bytes())
            .ok();
    };
    update(fuse("rw"));
    assert!(open(">>") && open("<"), "both");
    update(json!([{"allow": false, "access": "rwm"}]));
    assert!(!open(">>") && !open("<"), "neither");
    bundle.exec(&["sh", "-c", "true < /dev/null"]).ok();
}

#[test]
fn usage_is_told_as_runc_tells_it() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let bundle = bundle
        .with("/linux/resources", json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 20}}));
    bundle.start();
    let said = bundle.runtime(&["events", "--stats", &bundle.id]).ok();
    assert!(
        said.starts_with(&format!(r#"{{"type":"stats","id":"{}","data":{{"cpu":"#, bundle.id)),
        "{said}"
    );
    let event: serde_json::Value = serde_json::from_str(&said).expect("one line of json");
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
    assert_eq!(data["pids"]["limit"], 20);
    assert!(data["pids"]["current"].as_u64() >= Some(1), "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 5), "{data}");
    assert_eq!(data["cpuset"]["cpus"].is_array(), !unified());
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("it has stopped", || bundle.status() == "stopped");
    assert_ne!(bundle.runtime(&["events", "--stats", &bundle.id]).code, 0);
}

#[test]
fn running_out_of_memory_is_an_event() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let bundle = bundle
        .with("/linux/resources", json!({"memory": {"limit": 20_971_520, "swap": 20_971_520}}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}));
    bundle.start();
    let mut command = bundle.command(&["events", "--interval", "100ms", &bundle.id]);
    let output = std::fs::File::create(bundle.path().join("events")).expect("made");
    let mut events = command.stdout(output).spawn().expect("starts");
    let read = || std::fs::read_to_string(bundle.path().join("events")).unwrap_or_default();
    eventually("usage is told", || read().contains(r#"{"type":"stats""#));
    let _ = bundle.exec(&["sh", "-c", "head -c 100m /dev/zero > /dev/shm/big"]);
    let oom = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", bundle.id);
    eventually("the event", || read().contains(&oom));
    bundle.runtime(&["delete", "-f", &bundle.id]).ok();
    eventually("events end with the container", || events.try_wait().expect("a child").is_some());
    assert!(events.wait().expect("a child").success());
}
