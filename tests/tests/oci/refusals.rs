//! What is wrong or not supported is refused by name, and leaves nothing.

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A path in the configuration, the value that is put there, and what the one line of error must hold.
type Bad = (&'static str, Value, &'static str);

/// Of the container and its program.
fn general() -> Vec<Bad> {
    vec![
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!(""), "ociVersion"),
        ("/root", json!(null), "root"),
        ("/root/path", json!("no-such-directory"), "root.path"),
        ("/root/path", json!("config.json"), "root.path"),
        ("/process", json!(null), "process"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!(["a\u{0}b"]), "zero byte"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/cwd", json!("/etc/passwd"), "process.cwd"),
        ("/process/env", json!(["A=\u{0}"]), "zero byte"),
        ("/process/oomScoreAdj", json!(5000), "process.oomScoreAdj"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            "process.rlimits",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]),
            "twice",
        ),
        ("/process/rlimits", json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "RLIMIT_X"),
        ("/process/apparmorProfile", json!("x"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("x"), "process.selinuxLabel"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 20}),
            "process.scheduler.nice: 20",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            "process.scheduler.priority",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO", "priority": 1, "period": 1}),
            "process.scheduler.period",
        ),
        ("/process/scheduler", json!({"policy": "SCHED_ISO"}), "set process.scheduler"),
        ("/process/scheduler", json!({"policy": "SCHED_X"}), "SCHED_X"),
        ("/process/scheduler", json!({"nice": 1}), "policy"),
        ("/process/scheduler", json!({"policy": "SCHED_FIFO", "flags": ["X"]}), "config.json"),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "process.ioPriority.priority: 8",
        ),
        ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_X"}), "IOPRIO_CLASS_X"),
        ("/process/execCPUAffinity", json!({"final": "1-"}), "1-"),
        ("/process/execCPUAffinity", json!({"initial": "70000"}), "process.execCPUAffinity"),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/ociVersion", json!("1.0"), "ociVersion"),
        ("/annotations", json!({"": "x"}), "annotations"),
        ("/annotations", json!({"x": 1}), "config.json"),
        ("/process/env", json!(["A"]), "process.env"),
        ("/process/env", json!(["=x"]), "process.env"),
        ("/process/commandLine", json!("x"), "process.commandLine"),
        ("/process/user/username", json!("x"), "process.user.username"),
        ("/windows", json!({"layerFolders": ["x"]}), "windows"),
        ("/solaris", json!({}), "solaris"),
        ("/zos", json!({}), "zos"),
        ("/vm", json!({"kernel": {"path": "x"}}), "vm.kernel.path"),
        ("/annotations", json!({"dev.hull.isolation": "none"}), "annotation dev.hull.isolation"),
        ("/annotations", json!({"dev.hull.isolation": "wall"}), "dev.hull.isolation"),
        ("/annotations", json!({"dev.hull.kernel.minimum": "99.1"}), "Linux 99.1 or newer"),
        ("/hooks/poststop", json!([{"path": "relative"}]), "hooks.poststop"),
        ("/hooks/prestart", json!([{"path": "/bin/true", "timeout": 0}]), "hooks.prestart"),
        ("/hooks/poststart", json!([{"path": "/bin/true", "env": ["=x"]}]), "hooks.poststart"),
        ("/hooks/poststart", json!([{"path": "/bin/true", "env": ["x"]}]), "hooks.poststart"),
        ("/hooks/poststart", json!([{"path": "/bin/true", "args": ["\u{0}"]}]), "zero byte"),
        ("/hooks/poststart", json!([{"args": ["x"]}]), "path"),
    ]
}

/// Of namespaces, devices and kernel parameters.
fn linux() -> Vec<Bad> {
    vec![
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}]), "twice"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "nosuch"}]), "nosuch"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "network", "path": "/no/such"}]),
            "/no/such",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "network", "path": "/dev/null"}]),
            "not a namespace",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/pid"}]),
            "another type",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 1, "size": 1}]),
            "linux.uidMappings",
        ),
        ("/linux/mountLabel", json!("x"), "linux.mountLabel"),
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt: no resctrl is mounted"),
        ("/linux/intelRdt", json!({"enableCMT": true}), "linux.intelRdt: no resctrl is mounted"),
        ("/freebsd", json!({}), "freebsd"),
        ("/linux/netDevices", json!({"no/such": {}}), "linux.netDevices"),
        ("/linux/netDevices", json!({"a": {"name": "sixteen-letters!"}}), "linux.netDevices"),
        ("/linux/netDevices", json!({"hullnosuch0": {}}), "linux.netDevices: hullnosuch0: find"),
        ("/linux/netDevices", json!({"lo": {}}), "linux.netDevices: lo"),
        ("/linux/personality", json!({"domain": "SOLARIS"}), "SOLARIS"),
        (
            "/linux/personality",
            json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
            "linux.personality.flags",
        ),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"}), "MPOL_BIND needs a node"),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
            "MPOL_LOCAL takes no nodes",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0-"}),
            "linux.memoryPolicy.nodes",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "999"}),
            "set linux.memoryPolicy",
        ),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_X"}), "MPOL_X"),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
            "MPOL_F_X",
        ),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
        ("/linux/sysctl", json!({"vm.swappiness": "1"}), "linux.sysctl"),
        ("/linux/sysctl", json!({"kernel.hostname": "x"}), "conflicts with hostname"),
        ("/linux/sysctl", json!({"user.max_user_namespaces": "1"}), "host's user namespace"),
        ("/linux/sysctl", json!({"kernel/panic": "1"}), "separate kernel namespace"),
        ("/linux/sysctl", json!({"net.ipv4.no_such": "1"}), "net.ipv4.no_such"),
        ("/linux/sysctl", json!({"net/../kernel/panic": "1"}), "linux.sysctl"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "a", "major": 1, "minor": 1}]),
            "/dev/x",
        ),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": -5, "minor": 1}]),
            "/dev/x",
        ),
    ]
}

/// Of limits and filters.
fn resources() -> Vec<Bad> {
    vec![
        (
            "/linux/resources",
            json!({"memory": {"limit": 8_388_608, "swap": 4_194_304}}),
            "linux.resources.memory.swap",
        ),
        (
            "/linux/resources",
            json!({"memory": {"swappiness": 101}}),
            "linux.resources.memory.swappiness",
        ),
        ("/linux/resources", json!({"cpu": {"cpus": "9999"}}), "linux.resources.cpu.cpus"),
        ("/linux/resources", json!({"cpu": {"quota": 1}}), "linux.resources.cpu.quota"),
        (
            "/linux/resources",
            json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}),
            "linux.resources.hugepageLimits",
        ),
        (
            "/linux/resources",
            json!({"blockIO": {"weight": 9999}}),
            "linux.resources.blockIO.weight",
        ),
        ("/linux/resources", json!({"network": {"classID": 1}}), "linux.resources.network.classID"),
        ("/linux/resources", json!({"rdma": {"x": {"hcaHandles": 1}}}), "linux.resources.rdma"),
        ("/linux/resources", json!({"devices": [{"allow": true}]}), "linux.resources.devices"),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true, "access": "x"}]}),
            "linux.resources.devices",
        ),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true, "type": "a", "major": 1, "access": "r"}]}),
            "linux.resources.devices",
        ),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "SCMP_ACT_NOTIFY"),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
            "listenerPath",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "listenerMetadata",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}),
            "SECCOMP_FILTER_FLAG_X",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}),
            "errnoRet 5000",
        ),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NO_SUCH"}), "SCMP_ACT_NO_SUCH"),
    ]
}

/// Of mounts.
fn mounts() -> Vec<Bad> {
    vec![
        ("/mounts", json!([{"destination": ""}]), "mounts"),
        ("/mounts", json!([{"destination": "/", "type": "tmpfs"}]), "root itself"),
        ("/mounts", json!([{"destination": "/x", "type": "nosuchfs"}]), "mount nosuchfs on /x"),
        ("/mounts", json!([{"destination": "/x"}]), "neither a type nor a bind"),
        (
            "/mounts",
            json!([{"destination": "/x", "source": "/no/such", "options": ["bind"]}]),
            "/no/such",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "options": ["frob"]}]),
            "mount tmpfs on /x",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "source": "/etc", "options": ["bind", "idmap"]}]),
            "idmap",
        ),
        (
            "/mounts",
            json!([{"destination": "/x", "source": "/etc", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]),
            "mounts.uidMappings",
        ),
    ]
}

#[test]
fn each_bad_configuration_gives_one_line_that_names_the_field_and_leaves_nothing() {
    let mut wrong = Vec::new();
    for (pointer, value, want) in [general(), linux(), resources(), mounts()].concat() {
        let Some(bundle) = Bundle::sh("echo ran") else { return };
        // A name would be refused first where there is no uts namespace.
        let bundle = bundle.with("/hostname", json!("")).with(pointer, value.clone());
        let ran = bundle.run();
        let said = ran.err.trim();
        let left = bundle.left();
        if ran.code != 1 || !said.contains(want) || said.lines().count() != 1 || !left.is_empty() {
            wrong.push(format!("{pointer} = {value}: want {want:?}: {ran}; left {left:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bundle_without_a_readable_configuration_is_refused() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let run = |text: Option<&str>| {
        let command = bundle.command(&["run", &bundle.id]);
        let file = bundle.path().join("config.json");
        match text {
            Some(text) => std::fs::write(file, text).expect("written"),
            None => std::fs::remove_file(file).expect("removed"),
        }
        tests::command::run(command, b"").fails(1)
    };
    for (text, want) in [
        (None, "config.json: no such file"),
        (Some(""), "config.json: EOF"),
        (Some("{"), "config.json: EOF"),
        (Some("[]"), "ociVersion"),
        (Some("7"), "config.json"),
        (Some("{}"), "ociVersion"),
    ] {
        let said = run(text);
        assert!(said.contains(want) && said.lines().count() == 1, "{text:?}: {said}");
    }
    bundle.runtime(&["run", "-b", "/no/such/bundle", &bundle.id]).fails(1);
    bundle.runtime(&["run", "../x"]).fails(1);
    bundle.runtime(&["run"]).fails(1);
}
