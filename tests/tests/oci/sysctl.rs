//! Kernel parameters of the container's own namespaces, and the names of its host.

use serde_json::json;

use crate::bundle::Bundle;

#[test]
pub(crate) fn parameters_are_set_by_names_with_dots_and_with_slashes() {
    let Some(bundle) = Bundle::sh(
        "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/conf/lo/forwarding kernel/shmmni \
         fs/mqueue/msg_max kernel/domainname; cat net/ipv4/ip_default_ttl",
    ) else {
        return;
    };
    let host = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("proc");
    let before = host();
    let said = bundle
        .with(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "1",
                   "kernel.shmmni": "77", "fs/mqueue/msg_max": "11",
                   "kernel.domainname": "example.test", "net.ipv4.ip_default_ttl": "33"}),
        )
        .run()
        .ok();
    let want = ["1", "1", "77", "11", "example.test", "33"];
    assert_eq!(said.lines().collect::<Vec<_>>(), want);
    assert_eq!(host(), before);
}

#[test]
fn a_namespace_that_is_the_hosts_by_its_path_has_no_parameters() {
    for (kind, name, parameter) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.shmmni"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        let Some(mut bundle) = Bundle::sh("true") else { return };
        for namespace in bundle.config["linux"]["namespaces"].as_array_mut().expect("a list") {
            if namespace["type"] == kind {
                namespace["path"] = json!(format!("/proc/self/ns/{name}"));
            }
        }
        let bundle =
            bundle.with("/hostname", json!("")).with("/linux/sysctl", json!({parameter: "1"}));
        let said = bundle.run().fails(1);
        let want = format!("{parameter} is not allowed in the host's {name} namespace");
        assert!(said.contains(&want), "{said}");
    }
}

#[test]
fn the_names_of_the_host_and_its_domain_are_the_configurations() {
    let Some(bundle) = Bundle::sh("hostname; cat /proc/sys/kernel/domainname") else { return };
    let bundle = bundle.with("/hostname", json!("a")).with("/domainname", json!("b.test"));
    assert_eq!(bundle.run().ok(), "a\nb.test");
    for field in ["hostname", "domainname"] {
        let Some(mut bundle) = Bundle::sh("true") else { return };
        bundle.config["hostname"] = json!("");
        let list = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != "uts");
        let said = bundle.with(&format!("/{field}"), json!("x")).run().fails(1);
        assert!(said.contains(&format!("{field}: needs a uts namespace")), "{said}");
    }
}

#[test]
pub(crate) fn the_two_ways_to_name_the_domain_must_agree() {
    let Some(bundle) = Bundle::sh("cat /proc/sys/kernel/domainname") else { return };
    let bundle = bundle
        .with("/domainname", json!("a.test"))
        .with("/linux/sysctl", json!({"kernel.domainname": "a.test"}));
    assert_eq!(bundle.run().ok(), "a.test");
    let said = bundle.with("/linux/sysctl", json!({"kernel/domainname": "b.test"})).run().fails(1);
    assert!(said.contains("linux.sysctl: kernel.domainname"), "{said}");
}

#[test]
fn a_joined_namespace_that_is_the_hosts_keeps_its_name() {
    let Some(mut bundle) = Bundle::sh("true") else { return };
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().expect("a list") {
        if namespace["type"] == "uts" {
            namespace["path"] = json!("/proc/self/ns/uts");
        }
    }
    let said = bundle.with("/hostname", json!("hull-must-not-be")).run().fails(1);
    assert!(said.contains("hostname: needs a uts namespace that is not the host's"), "{said}");
}

#[test]
fn a_user_namespace_has_parameters_of_its_own() {
    let Some(bundle) = Bundle::sh("cat /proc/sys/user/max_user_namespaces") else { return };
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    let bundle = bundle
        .namespace(json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
        .with("/linux/sysctl", json!({"user.max_user_namespaces": "3"}));
    assert_eq!(bundle.run().ok(), "3");
}
