//! Interfaces that the container takes over from the runtime's network namespace.
//!
//! The runtime is started in a namespace of its own, where the interfaces are made: the host's are
//! never touched.

use std::os::fd::AsRawFd;
use std::process::Command;

use serde_json::{Value, json};
use tests::command::{self, Ran};
use tests::programs::program;

use crate::bundle::Bundle;

/// Runs the bundle in a new network namespace, after `before` and followed by `after` there.
fn run_after(bundle: &Bundle, before: &str, after: &str) -> Ran {
    bundle.write_config();
    let script = format!(
        "set -e\n{before}\nset +e\n{} --root {} run {}\nstatus=$?\n{after}\nexit $status",
        program("hull-runtime").display(),
        bundle.state_root().display(),
        bundle.id,
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]);
    command.current_dir(bundle.path());
    command::run(command, b"")
}

fn with_devices(script: &str, devices: Value) -> Option<Bundle> {
    Some(Bundle::sh(script)?.with("/linux/netDevices", devices))
}

const LIST: &str = "busybox ip -o addr; busybox ip -o link";

#[test]
fn an_interface_is_moved_renamed_up_and_has_its_permanent_addresses() {
    let devices = json!({"dummy7": {"name": "eth0"}, "dummy8": {}});
    let Some(bundle) = with_devices(LIST, devices) else { return };
    let ran = run_after(
        &bundle,
        "ip link add dummy7 address 02:00:00:00:00:07 mtu 1400 type veth peer name far7
         ip link add dummy8 type veth peer name far8
         ip addr add 10.7.0.1/24 dev dummy7
         ip addr add 10.7.1.1/32 dev dummy7
         ip addr add 10.7.2.1/24 dev dummy7 valid_lft 100 preferred_lft 100
         ip addr add 10.7.3.1/24 scope link dev dummy7
         ip link set dummy7 up
         ip addr add fd07::1/64 dev dummy7 nodad",
        "ip -o link >&2",
    );
    let said = &ran.out;
    for want in ["10.7.0.1/24", "10.7.1.1/32", "fd07::1/64"] {
        assert!(said.lines().any(|line| line.contains("eth0") && line.contains(want)), "{ran}");
    }
    for unwanted in ["10.7.2.1", "10.7.3.1", "dummy7"] {
        assert!(!said.contains(unwanted), "{unwanted}: {ran}");
    }
    let link = |name: &str| {
        let is = |line: &&str| line.contains(&format!(": {name}")) && line.contains("mtu");
        said.lines().find(is).unwrap_or_else(|| panic!("{name}: {ran}")).to_owned()
    };
    assert!(link("eth0").contains("mtu 1400") && link("eth0").contains("02:00:00:00:00:07"));
    assert!(link("eth0").contains("UP") && link("dummy8").contains("UP"), "{ran}");
    // Nothing of them is left where they came from.
    assert!(!ran.err.contains("dummy"), "{ran}");
}

#[test]
fn a_name_that_is_taken_stops_it_and_a_template_finds_another() {
    for (name, want) in [("lo", None), ("dum%d", Some("dum0")), ("lo%d", Some("lo0"))] {
        let devices = json!({"dummy7": {"name": name}});
        let Some(bundle) = with_devices(LIST, devices) else { return };
        let before = "ip link add dummy7 type veth peer name far7\nip addr add 10.7.0.1/24 dev dummy7\n\
                      ip link set dummy7 up\nip addr add fd07::1/64 dev dummy7 nodad";
        let ran = run_after(&bundle, before, "ip -o addr >&2");
        if let Some(want) = want {
            assert!(ran.out.contains(&format!(": {want}")), "{ran}");
            continue;
        }
        assert_eq!(ran.code, 1, "{ran}");
        assert!(ran.err.contains("linux.netDevices: dummy7: name in the container"), "{ran}");
        // It is where it was, as it was.
        let back =
            |address| ran.err.lines().any(|line| line.contains("dummy7") && line.contains(address));
        assert!(back("10.7.0.1/24") && back("fd07::1/64"), "{ran}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

#[test]
fn a_namespace_that_is_joined_gets_them_and_keeps_them() {
    let Some(bundle) = with_devices(LIST, json!({"dummy7": {}})) else { return };
    let netns = sys::netns::make().expect("a namespace");
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    let mut bundle = bundle;
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().expect("a list") {
        if namespace["type"] == "network" {
            namespace["path"] = json!(path);
        }
    }
    // The container is gone by the time of the last line, the namespace is not.
    let after = format!("nsenter --net={path} ip -o link >&2");
    let ran = run_after(&bundle, "ip link add dummy7 type veth peer name far7", &after);
    assert!(ran.out.contains("dummy7"), "{ran}");
    assert!(ran.err.lines().any(|line| line.contains("dummy7") && line.contains("UP")), "{ran}");
}

#[test]
fn the_runtimes_own_namespace_has_them_already() {
    let Some(mut bundle) = with_devices("true", json!({"lo": {}})) else { return };
    let list = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
    list.retain(|namespace| namespace["type"] != "network");
    let said = bundle.run().fails(1);
    assert!(said.contains("linux.netDevices: needs a network namespace"), "{said}");
}
