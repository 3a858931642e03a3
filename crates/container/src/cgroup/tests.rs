use super::device::{Device, Rule, line, program, rules};
use super::setting::{Setting, list, swap_max, weight};
use super::*;

#[test]
fn swap_is_what_is_left_above_the_memory_limit() {
    let cases = [
        ("unset", Some(64), None, Some(None)),
        ("unlimited", Some(64), Some(-1), Some(Some(-1))),
        ("no swap at all", Some(64), Some(64), Some(Some(0))),
        ("some swap", Some(64), Some(96), Some(Some(32))),
        ("below", Some(64), Some(32), None),
        ("nothing to take off", None, Some(96), None),
        ("nothing finite to take off", Some(-1), Some(96), None),
        ("unlimited with memory", Some(-1), None, Some(Some(-1))),
    ];
    for (name, limit, swap, want) in cases {
        assert_eq!(swap_max(limit, swap).ok(), want, "{name}");
    }
}

#[test]
fn shares_become_weights_and_the_default_the_default() {
    for (shares, want) in
        [(2, 1), (512, 59), (1024, 100), (262_144, 10_000), (1, 1), (u64::MAX, 10_000)]
    {
        assert_eq!(weight(shares), want, "{shares}");
    }
}

#[test]
fn each_v1_hierarchy_is_found_once() {
    let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
        34 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:31 /inner /mnt/part rw - cgroup cgroup rw,memory\n\
        36 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let names: Vec<(String, String)> = mounts::hierarchies(text)
        .into_iter()
        .map(|(path, list)| (path.display().to_string(), list.join(",")))
        .collect();
    let want =
        [("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"), ("/sys/fs/cgroup/systemd", "name=systemd")];
    assert_eq!(names, want.map(|(path, list)| (path.to_owned(), list.to_owned())));
}

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).expect("resources")
}

#[test]
fn limits_become_files_of_both_versions() {
    let resources = resources(serde_json::json!({
        "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
        "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "cpus": "0"},
        "pids": {"limit": 7},
    }));
    assert_eq!(
        text(&resources, false),
        [
            "pids.max=7",
            "memory.limit_in_bytes=1000",
            "memory.memsw.limit_in_bytes=1500",
            "memory.soft_limit_in_bytes=500",
            "cpu.shares=1024",
            "cpu.cfs_period_us=10000",
            "cpu.cfs_quota_us=5000",
            "cpuset.cpus=0",
        ]
    );
    assert_eq!(
        text(&resources, true),
        [
            "pids.max=7",
            "memory.swap.max=500",
            "memory.max=1000",
            "memory.low=500",
            "cpu.weight=100",
            "cpu.max=5000 10000",
            "cpuset.cpus=0",
        ]
    );
}

fn text(resources: &LinuxResources, v2: bool) -> Vec<String> {
    let settings = list(resources, &|_| v2).expect("valid");
    let text = |one: &Setting| format!("{}={}", one.file, one.value);
    settings.iter().map(text).collect()
}

#[test]
fn block_devices_and_huge_pages_have_files_of_both_versions() {
    let resources = resources(serde_json::json!({
        "blockIO": {
            "weight": 100,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 10}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
    }));
    assert_eq!(
        text(&resources, false),
        [
            "blkio.weight=100",
            "blkio.weight_device=8:0 1000",
            "blkio.throttle.read_bps_device=8:0 10",
            "blkio.throttle.write_iops_device=8:16 0",
            "hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb.2MB.rsvd.limit_in_bytes=4096",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        ]
    );
    assert_eq!(
        text(&resources, true),
        [
            "io.bfq.weight=100",
            "io.bfq.weight=8:0 1000",
            "io.max=8:0 rbps=10",
            "io.max=8:16 wiops=max",
            "hugetlb.2MB.max=4096",
            "hugetlb.2MB.rsvd.max=4096",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
        ]
    );
}

#[test]
fn what_a_version_lacks_is_an_error_that_names_the_field() {
    let refused = |json, v2: bool, field: &str| {
        let resources = resources(json);
        assert!(list(&resources, &|_| !v2).is_ok(), "{field}");
        let error = list(&resources, &|_| v2).expect_err("no such file").to_string();
        assert!(error.contains(field), "{error}");
    };
    let json = serde_json::json!({"memory": {"swappiness": 10}});
    refused(json, true, "linux.resources.memory.swappiness");
    let json = serde_json::json!({"memory": {"kernel": 10}});
    refused(json, true, "linux.resources.memory.kernel");
    let json = serde_json::json!({"blockIO": {"leafWeight": 10}});
    refused(json, true, "linux.resources.blockIO.leafWeight");
    let json = serde_json::json!({"cpu": {"realtimePeriod": 10}});
    refused(json, true, "linux.resources.cpu.realtimeRuntime");
    refused(serde_json::json!({"cpu": {"shares": 1}}), false, "minimum allowed cpu-shares");
    for key in ["../x.y", "nodot", ".hidden"] {
        let escape = resources(serde_json::json!({"unified": {key: "1"}}));
        assert!(list(&escape, &|_| true).is_err(), "{key}");
    }
}

#[test]
fn an_update_changes_what_it_names_and_keeps_the_rest() {
    let old = resources(serde_json::json!({
        "memory": {"limit": 100, "swap": 200},
        "cpu": {"quota": 5, "period": 10, "shares": 2},
        "blockIO": {"throttleReadBpsDevice": [
            {"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 1, "rate": 2},
        ]},
    }));
    let change = resources(serde_json::json!({
        "memory": {"limit": 150},
        "cpu": {"period": 20},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 3}]},
    }));
    let merged = merge::merged(Some(&old), &change);
    let want = resources(serde_json::json!({
        "memory": {"limit": 150, "swap": 200},
        "cpu": {"quota": 5, "period": 20, "shares": 2},
        "blockIO": {"throttleReadBpsDevice": [
            {"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 1, "rate": 3},
        ]},
    }));
    assert_eq!(merged, want);
    let completed = merge::completed(&change, &merged);
    assert_eq!(
        text(&completed, true),
        ["memory.swap.max=50", "memory.max=150", "cpu.max=5 20", "io.max=8:1 rbps=3"]
    );
    let unlimited = resources(serde_json::json!({"memory": {"limit": -1}}));
    let merged = merge::merged(Some(&old), &unlimited);
    let completed = merge::completed(&unlimited, &merged);
    assert_eq!(text(&completed, true), ["memory.swap.max=max", "memory.max=max"]);
}

#[test]
fn a_missing_file_is_told_by_the_field_that_needs_it() {
    let directory = std::env::temp_dir();
    let settings = list(&resources(serde_json::json!({"pids": {"limit": 1}})), &|_| true);
    let error = setting::write_all(&settings.expect("valid"), |_| Some(&directory));
    let error = error.expect_err("no such file").to_string();
    assert_eq!(error, "linux.resources.pids.limit: this host has no cgroup file pids.max");
}

#[test]
fn device_rules_end_with_the_default_devices_unless_all_is_allowed() {
    let with = |json| rules(Some(&resources(serde_json::json!({"devices": json})))).expect("valid");
    let none = rules(None).expect("valid");
    assert_eq!(line(none[0]), "a");
    assert!(!none[0].allow);
    assert_eq!(line(none[3]), "c 1:3 rwm");
    let all = with(serde_json::json!([{"allow": true, "access": "rwm"}]));
    assert_eq!(all.len(), 1);
    let one = with(serde_json::json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "b", "major": 8, "minor": -1, "access": "r"},
    ]));
    assert_eq!(line(one[1]), "b 8:* r");
}

#[test]
fn the_device_program_decides_as_the_rules_do() {
    let rule = |allow, kind, major, minor, access| Rule { allow, kind, major, minor, access };
    let list = [
        rule(false, None, None, None, 7),
        rule(true, Some(Device::Char), Some(1), None, 7),
        rule(false, Some(Device::Char), Some(1), Some(8), 4),
        rule(true, Some(Device::Block), None, None, 1),
    ];
    let program = program(&list);
    // Kind, access, major, minor.
    for (asked, want) in [
        ((2, 2, 1, 3), 1),
        ((2, 6, 1, 8), 0),
        ((2, 2, 1, 8), 1),
        ((2, 2, 5, 0), 0),
        ((1, 1, 8, 0), 1),
        ((1, 2, 8, 0), 0),
    ] {
        assert_eq!(run(&program, asked), want, "{asked:?}");
    }
}

/// As much of extended BPF as the device program uses.
fn run(
    program: &[sys::bpf::Instruction],
    (kind, access, major, minor): (u64, u64, u64, u64),
) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0_usize;
    loop {
        let now = program[at];
        let (to, from) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
        let number = u64::from(now.immediate.cast_unsigned());
        at += 1;
        let mut skip = |condition: bool| {
            if condition {
                at += usize::try_from(now.offset).expect("forward");
            }
        };
        match now.code {
            0x61 => registers[to] = context[usize::try_from(now.offset).expect("positive") / 4],
            0x54 => registers[to] &= number,
            0x74 => registers[to] >>= number,
            0xbc => registers[to] = registers[from],
            0xb7 => registers[to] = number,
            0x15 => skip(registers[to] == number),
            0x55 => skip(registers[to] != number),
            0x5d => skip(registers[to] != registers[from]),
            0x95 => return registers[0],
            other => panic!("code {other:#x}"),
        }
    }
}

#[test]
fn the_kernel_takes_the_device_program_and_obeys() {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let Some(root) = roots.into_iter().find(|root| root.join("cgroup.controllers").exists()) else {
        println!("skipped: no cgroup v2");
        return;
    };
    let cgroup = root.join(format!("hull-unit-{}", std::process::id()));
    if fs::create_dir(&cgroup).is_err() {
        println!("skipped: needs root");
        return;
    }
    let rules = serde_json::json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]});
    let applied = device::apply_v2(&cgroup, Some(&resources(rules)));
    let script = "echo 0 > $0/cgroup.procs; true < /dev/null && echo null; \
                  true < /dev/kmsg && echo read; true >> /dev/kmsg && echo write";
    let output = std::process::Command::new("sh").args(["-c", script]).arg(&cgroup).output();
    tree::remove(&cgroup, Instant::now() + PATIENCE).expect("removed");
    applied.expect("the verifier accepts it");
    let said = String::from_utf8(output.expect("sh runs").stdout).expect("text");
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["null", "write"]);
}
