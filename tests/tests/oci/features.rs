//! `features` says what the program can do, by the specification's schema, and no more.

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn features(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.runtime(&["features"]).ok()).expect("json")
}

fn names<'a>(features: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = features.pointer(pointer).and_then(Value::as_array).expect("a list");
    list.iter().map(|name| name.as_str().expect("text")).collect()
}

#[test]
fn the_document_has_the_schemas_types() {
    let Some(bundle) = Bundle::sh("") else { return };
    let features = features(&bundle);
    for pointer in ["/ociVersionMin", "/ociVersionMax"] {
        let version = features.pointer(pointer).and_then(Value::as_str).expect("text");
        assert_eq!(version.split('.').filter(|n| n.parse::<u32>().is_ok()).count(), 3);
    }
    for pointer in ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities"] {
        let all = names(&features, pointer);
        let mut unique = all.clone();
        unique.sort_unstable();
        unique.dedup();
        assert!(!all.is_empty() && unique.len() == all.len(), "{pointer}: {all:?}");
    }
    assert!(names(&features, "/linux/capabilities").iter().all(|name| name.starts_with("CAP_")));
    for pointer in ["v1", "v2", "systemd", "systemdUser", "rdma"] {
        assert!(
            features.pointer(&format!("/linux/cgroup/{pointer}")).is_some_and(Value::is_boolean)
        );
    }
    for name in
        ["apparmor", "selinux", "intelRdt", "netDevices", "mountExtensions/idmap", "seccomp"]
    {
        let enabled = features.pointer(&format!("/linux/{name}/enabled"));
        assert!(enabled.is_some_and(Value::is_boolean), "{name}");
    }
}

#[test]
fn every_mount_option_that_it_names_is_taken() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let features = features(&bundle);
    // What needs more than a new tmpfs to be tried on, and what a tmpfs refuses.
    let others = ["bind", "rbind", "remount", "idmap", "ridmap", "iversion", "mand"];
    let options = names(&features, "/mountOptions");
    let options: Vec<&&str> = options.iter().filter(|name| !others.contains(name)).collect();
    assert!(options.len() > 40, "{options:?}");
    let mounts: Vec<Value> = options
        .iter()
        .map(|option| json!({"destination": "/tmp", "type": "tmpfs", "source": "x", "options": [option]}))
        .collect();
    for mount in mounts {
        bundle.runtime(&["delete", "--force", &bundle.id]).ok();
        let Some(bundle) = Bundle::sh("true") else { return };
        let text = mount.to_string();
        assert_eq!(bundle.mount(mount).run().code, 0, "{text}");
    }
}
