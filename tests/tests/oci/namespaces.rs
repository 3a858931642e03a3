//! User and time namespaces, made and joined.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Where the container's ids begin on the host.
const BASE: u32 = 100_000;

/// A bundle whose root is nobody on the host.
fn mapped(script: &str) -> Option<Bundle> {
    let bundle = Bundle::sh(script)?;
    give(&bundle);
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
    Some(
        bundle
            .namespace(json!({"type": "user"}))
            .with("/linux/uidMappings", map.clone())
            .with("/linux/gidMappings", map),
    )
}

/// Gives the root filesystem's directories to the container's root.
fn give(bundle: &Bundle) {
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    for name in ["", "tmp", "etc", "dev"] {
        chown(bundle.rootfs().join(name), Some(BASE), Some(BASE)).expect("given");
    }
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let Some(bundle) = mapped("id -u; cat /proc/self/uid_map; touch /tmp/made; cat /proc/1/status")
    else {
        return;
    };
    let said = bundle.run().ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "0");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    let made = fs::metadata(bundle.rootfs().join("tmp/made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (BASE, BASE));
}

#[test]
fn another_user_of_a_user_namespace_has_its_groups_and_streams() {
    let Some(bundle) = mapped("id -u; id -G; echo on >&2; echo x > /dev/null") else {
        return;
    };
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]});
    let ran = bundle.with("/process/user", user).run();
    assert_eq!(ran.err.trim(), "on");
    assert_eq!(ran.ok(), "1000\n1001 5 6");
}

/// The host need have no such node, nor one with that owner.
#[test]
fn devices_in_a_user_namespace_are_as_configured() {
    let script = "stat -c '%n %t:%T %a %u:%g' /dev/mine /dev/null /dev/fifo; echo x > /dev/null; echo y > /dev/mine";
    let Some(bundle) = mapped(script) else { return };
    let devices = json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 0, "gid": 7},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
    ]);
    let said = bundle.with("/linux/devices", devices).run().ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "/dev/mine 1:3 640 0:7");
    assert!(lines[1].starts_with("/dev/null 1:3 666"), "{said}");
    assert_eq!(lines[2], "/dev/fifo 0:0 600 0:0");
    let Some(bundle) = mapped("true") else { return };
    let stranger = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": 70_000}]);
    let said = bundle.with("/linux/devices", stranger).run().fails(1);
    assert!(said.contains("/dev/x") && said.contains("not mapped"), "{said}");
}

#[test]
fn sources_and_the_rootfs_may_lie_where_the_containers_users_may_not_go() {
    let Some(bundle) = mapped("cat /in/secret; ls -d /bin; pwd") else { return };
    let hidden = bundle.path().join("hidden");
    fs::create_dir(&hidden).expect("made");
    fs::write(hidden.join("secret"), "told\n").expect("written");
    let private = bundle.path().join("private");
    fs::create_dir(&private).expect("made");
    fs::rename(&hidden, private.join("hidden")).expect("moved");
    fs::rename(bundle.rootfs(), private.join("rootfs")).expect("moved");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).expect("closed");
    let bundle = bundle.with("/root/path", json!("private/rootfs")).mount(
        json!({"destination": "/in", "source": "private/hidden", "options": ["rbind", "ro"]}),
    );
    assert_eq!(bundle.run().ok(), "told\n/bin\n/");
}

#[test]
fn exec_enters_the_user_namespace() {
    let Some(bundle) = mapped("sleep 100") else { return };
    bundle.start();
    let inside = bundle.exec(&["sh", "-c", "id -u; readlink /proc/self/ns/user"]).ok();
    let pid = bundle.state()["pid"].to_string();
    let init = fs::read_link(format!("/proc/{pid}/ns/user")).expect("alive");
    assert_eq!(inside, format!("0\n{}", init.display()));
    assert_eq!(bundle.runtime(&["exec", "--user", "7:8", &bundle.id, "id", "-u"]).ok(), "7");
}

#[test]
fn a_terminal_in_a_user_namespace() {
    let Some(bundle) = mapped("tty; stat -c %U:%u /dev/console") else { return };
    let bundle = bundle.with("/process/terminal", json!(true));
    let said = bundle.run().ok();
    assert_eq!(said.lines().next().map(str::trim), Some("/dev/pts/0"), "{said}");
}

#[test]
fn a_user_namespace_is_joined_with_those_that_it_owns() {
    let Some(first) = mapped("sleep 100") else { return };
    first.start();
    let pid = first.state()["pid"].to_string();
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let Some(second) =
        Bundle::sh("for n in user net ipc uts; do readlink /proc/self/ns/$n; done; id -u; echo $$")
    else {
        return;
    };
    give(&second);
    let second = second.with("/hostname", json!("")).with(
        "/linux/namespaces",
        json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "cgroup"},
            {"type": "user", "path": path("user")},
            {"type": "network", "path": path("net")},
            {"type": "ipc", "path": path("ipc")},
            {"type": "uts", "path": path("uts")},
        ]),
    );
    let said = second.run().ok();
    let link = |kind: &str| fs::read_link(path(kind)).expect("alive").display().to_string();
    let want = [link("user"), link("net"), link("ipc"), link("uts"), "0".into(), "1".into()];
    assert_eq!(said.lines().collect::<Vec<_>>(), want);
}

#[test]
fn a_new_user_namespace_goes_with_a_joined_network_of_the_host() {
    let Some(first) = Bundle::sh("sleep 100") else { return };
    first.start();
    let pid = first.state()["pid"].to_string();
    let Some(second) = mapped("readlink /proc/self/ns/net; echo $$") else { return };
    let path = format!("/proc/{pid}/ns/net");
    let net = fs::read_link(&path).expect("alive");
    let mut second = second.with("/mounts", json!([{"destination": "/proc", "type": "proc"}]));
    for namespace in second.config["linux"]["namespaces"].as_array_mut().expect("a list") {
        if namespace["type"] == "network" {
            *namespace = json!({"type": "network", "path": path});
        }
    }
    assert_eq!(second.run().ok(), format!("{}\n1", net.display()));
}

#[test]
fn killing_a_container_in_a_joined_pid_namespace_ends_all_its_processes() {
    let Some(first) = Bundle::sh("sleep 100") else { return };
    first.start();
    let pid = first.state()["pid"].to_string();
    let Some(mut second) = Bundle::sh("sleep 100 & sleep 100") else { return };
    for namespace in second.config["linux"]["namespaces"].as_array_mut().expect("a list") {
        if namespace["type"] == "pid" {
            *namespace = json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")});
        }
    }
    second.start();
    second.runtime(&["delete", "--force", &second.id]).ok();
    assert_eq!(second.left(), Vec::<String>::new());
    assert_eq!(first.status(), "running");
}

#[test]
fn maps_without_a_namespace_and_a_namespace_without_maps_are_refused() {
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 10}]);
    let high = json!([{"containerID": 5, "hostID": BASE, "size": 10}]);
    let empty = json!([{"containerID": 0, "hostID": BASE, "size": 0}]);
    let user = json!({"type": "user"});
    let cases: [(&str, Option<Value>, Value, &str); 5] = [
        ("no namespace", None, map.clone(), "linux.uidMappings: needs a user namespace"),
        ("no maps", Some(user.clone()), json!(null), "linux.uidMappings: a user namespace needs"),
        ("no root", Some(user.clone()), high, "nothing is mapped to 0"),
        ("no size", Some(user), empty, "size 0"),
        (
            "joined",
            Some(json!({"type": "user", "path": "/proc/self/ns/user"})),
            map,
            "needs a user namespace without a path",
        ),
    ];
    for (name, namespace, map, want) in cases {
        let Some(mut bundle) = Bundle::sh("true") else { return };
        if let Some(namespace) = namespace {
            bundle = bundle.namespace(namespace);
        }
        bundle = bundle.with("/linux/uidMappings", map.clone()).with("/linux/gidMappings", map);
        let said = bundle.run().fails(1);
        assert!(said.contains(want), "{name}: {said}");
    }
}

#[test]
fn clocks_are_set_off_in_a_time_namespace() {
    let script =
        "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time";
    let Some(bundle) = Bundle::sh(script) else { return };
    let offsets =
        json!({"monotonic": {"secs": 1000, "nanosecs": 7}, "boottime": {"secs": 100_000_000}});
    let bundle = bundle.namespace(json!({"type": "time"})).with("/linux/timeOffsets", offsets);
    let said = bundle.run().ok();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "1000", "7", "boottime", "100000000", "0"]);
    assert!(words[6].parse::<u64>().expect("seconds") > 100_000_000, "{said}");
    let here = fs::read_link("/proc/self/ns/time").expect("proc");
    assert_ne!(here.display().to_string(), words[7]);
}

#[test]
fn exec_and_other_containers_join_a_time_namespace() {
    let Some(first) = Bundle::sh("sleep 100") else { return };
    let first = first
        .namespace(json!({"type": "time"}))
        .with("/linux/timeOffsets", json!({"boottime": {"secs": 5000}}));
    first.start();
    let pid = first.state()["pid"].to_string();
    let want = fs::read_link(format!("/proc/{pid}/ns/time")).expect("alive").display().to_string();
    assert_eq!(first.exec(&["readlink", "/proc/self/ns/time"]).ok(), want);
    let Some(second) = Bundle::sh("readlink /proc/self/ns/time") else { return };
    let path = format!("/proc/{pid}/ns/time");
    assert_eq!(second.namespace(json!({"type": "time", "path": path})).run().ok(), want);
}

#[test]
fn offsets_that_make_no_sense_are_refused() {
    for (offsets, own, want) in [
        (json!({"monotonic": {"secs": 1}}), false, "needs a time namespace"),
        (json!({"realtime": {"secs": 1}}), true, "realtime"),
        (json!({"monotonic": {"nanosecs": 1_000_000_000}}), true, "nanosecs"),
        (json!({"monotonic": {"secs": i64::MAX}}), true, "linux.timeOffsets"),
    ] {
        let Some(mut bundle) = Bundle::sh("true") else { return };
        if own {
            bundle = bundle.namespace(json!({"type": "time"}));
        }
        let said = bundle.with("/linux/timeOffsets", offsets).run().fails(1);
        assert!(said.contains(want), "{said}");
    }
}

/// The runtime's own mount namespace holds the container's mounts then, beneath one that goes with it.
#[test]
fn without_a_mount_namespace_nothing_is_left_mounted() {
    let Some(mut bundle) = Bundle::sh("sleep 100") else { return };
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "mount");
    bundle.start();
    let here = fs::read_link("/proc/self/ns/mnt").expect("proc").display().to_string();
    let said =
        bundle.exec(&["sh", "-c", "readlink /proc/self/ns/mnt; ls /; cat /proc/1/comm"]).ok();
    assert!(said.starts_with(&here) && said.ends_with("sleep") && said.contains("bin"), "{said}");
    assert!(!said.contains("lost+found"), "{said}");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    let bundle = bundle.with("/process/args", json!(["no-such-program"]));
    bundle.run().fails(127);
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn without_linux_a_container_has_its_launchers_namespaces() {
    let Some(mut bundle) = Bundle::sh("echo here") else { return };
    let config = bundle.config.as_object_mut().expect("an object");
    for name in ["linux", "hostname", "mounts"] {
        config.remove(name);
    }
    assert_eq!(bundle.run().ok(), "here");
    assert_eq!(bundle.left(), Vec::<String>::new());
}
