use std::time::UNIX_EPOCH;

use engine::{Files, NetworkMode};
use spec::{Isolation, Pid};

use super::*;

/// A running container behind a VM.
pub(crate) fn bind(source: &str, destination: &str, writable: bool) -> engine::MountPoint {
    engine::MountPoint {
        source: source.into(),
        destination: destination.into(),
        writable,
        ..engine::MountPoint::default()
    }
}

fn container() -> Container {
    let wall = json!({ "backend": "qemu-tcg", "hardwareIsolation": false, "workerPid": 7 });
    Container {
        id: "ab".repeat(32).parse().expect("an id"),
        name: "web".into(),
        created: UNIX_EPOCH,
        image: format!("sha256:{}", "cd".repeat(32)),
        os_version: None,
        config: Config {
            image: "alpine".into(),
            cmd: Some(vec!["sleep".into()]),
            ..Config::default()
        },
        host: HostConfig {
            network: NetworkMode::Bridge,
            binds: vec!["/a:/b:ro".into(), "/c:/d".into()],
            ..HostConfig::default()
        },
        isolation: Isolation::Vm,
        path: "sleep".into(),
        args: vec!["600".into()],
        vm_of: None,
        status: Status::Running { pid: Pid::new(7).expect("positive") },
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        restarts: 0,
        stopped_by_hand: false,
        health: None,
        started: Some(UNIX_EPOCH),
        finished: None,
        endpoints: serde_json::from_value(json!({ "bridge": {
            "address": "172.30.0.2", "prefix": 16, "gateway": "172.30.0.1", "interface": "eth0",
            "mac": "02:42:ac:1e:00:02", "veth": "veth0",
        }}))
        .expect("endpoints"),
        ports: serde_json::from_value(json!([{
            "protocol": "tcp", "host": "0.0.0.0", "port": 8080, "to": "172.30.0.2", "inside": 80,
        }]))
        .expect("ports"),
        wall: wall.as_object().cloned(),
        shim: None,
        execs: Vec::new(),
        hidden: None,
        mounts: vec![bind("/a", "/b", false), bind("/c", "/d", true)],
        files: Files::default(),
    }
}

fn bridge() -> Networks {
    [("bridge".to_owned(), "ab".repeat(32))].into()
}

#[test]
fn an_inspected_container_has_the_shape_that_clients_parse() {
    let document = document(&container(), Path::new("/run/hull/netns/x"), &bridge());
    // The types of bollard are generated from Docker's own description of the API.
    let parsed: bollard_stubs::models::ContainerInspectResponse =
        serde_json::from_value(document.clone()).expect("Docker's shape");
    assert_eq!(parsed.name.as_deref(), Some("/web"));
    assert_eq!(parsed.state.expect("a state").pid, Some(7));
    assert_eq!(document["State"]["FinishedAt"], clock::zero());
    assert_eq!(document["ExecIDs"], Value::Null);
    let ports = json!({ "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }] });
    assert_eq!(document["NetworkSettings"]["Ports"], ports);
}

#[test]
fn the_wall_is_shown() {
    let document = document(&container(), Path::new(""), &bridge());
    assert_eq!(document["HostConfig"]["Isolation"], "hyperv");
    assert_eq!(
        document["Hull"]["Isolation"],
        json!({ "Backend": "qemu-tcg", "HardwareIsolation": false, "WorkerPid": 7 })
    );
}

#[test]
fn the_address_is_shown_where_old_and_new_clients_look_for_it() {
    let document = document(&container(), Path::new(""), &bridge());
    let settings = &document["NetworkSettings"];
    assert_eq!(settings["IPAddress"], "172.30.0.2");
    assert_eq!(settings["Networks"]["bridge"]["IPAddress"], "172.30.0.2");
}

#[test]
fn a_bind_tells_whether_it_can_be_written() {
    let mounts = mounts(&container());
    assert_eq!((&mounts[0]["RW"], &mounts[1]["RW"]), (&json!(false), &json!(true)));
    assert_eq!((&mounts[1]["Source"], &mounts[1]["Destination"]), (&json!("/c"), &json!("/d")));
}

#[test]
fn every_field_that_can_be_given_is_shown() {
    let mut given = container();
    given.host.tmpfs.insert("/t".into(), String::new());
    given.host.sysctls.insert("a".into(), "b".into());
    let shown = host_config(&given);
    let table = crate::fields::HOST_CONFIG;
    let unset = table.unset.iter().map(|(name, _)| *name);
    for name in table.mapped.iter().copied().chain(unset).chain(table.null.iter().copied()) {
        let left_out = ["KernelMemory", "KernelMemoryTCP", "Mounts", "StorageOpt"].contains(&name);
        assert_eq!(shown.get(name).is_none(), left_out, "{name}");
    }
}
