//! Pages about the server itself.

mod host;

use std::time::SystemTime;

use engine::{DRIVER, Info, LogDriver};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, PRAGMA};
use serde_json::{Value, json};
use spec::Isolation;
use spec::options::Vm;
use tokio::runtime::Handle;

use crate::call::Call;
use crate::clock;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::route::Answer;
use crate::version::Version;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What clients complete a login's server with; Docker's clients compare it letter by letter.
const INDEX: &str = "https://index.docker.io/v1/";

/// `GET` and `HEAD /_ping`.
pub(crate) fn ping(method: &str) -> Reply {
    let head = method == "HEAD";
    let mut reply = reply::text(if head { "" } else { "OK" });
    let headers = reply.headers_mut();
    if head {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let uncached = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, uncached);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // 2 would have clients before docker 23 build by POST /build with a session, which is no gRPC; those with
    // buildx use that whatever stands here.
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    reply
}

/// `GET /version`.
pub(crate) fn version() -> Reply {
    let kernel = host::kernel();
    let (newest, oldest) = (Version::NEWEST.to_string(), Version::OLDEST.to_string());
    reply::ok(&json!({
        "Platform": { "Name": "Hull" },
        "Components": [{
            "Name": "Engine",
            "Version": VERSION,
            "Details": {
                "ApiVersion": newest, "Arch": host::architecture(), "Experimental": "false",
                "KernelVersion": kernel, "MinAPIVersion": oldest, "Os": "linux",
            },
        }],
        "Version": VERSION,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": host::architecture(),
        "KernelVersion": kernel,
    }))
}

/// `GET /info`.
pub(crate) async fn info(call: &mut Call) -> Answer {
    let info = call.engine.info().await?;
    let mut document = reply::both(reply::both(facts(&info), surroundings()), host::limits());
    document["CDISpecDirs"] = json!(call.engine.settings().cdi_dirs);
    document["Hull"]["VM"] = machines(&call.engine.settings().vm);
    gate(&mut document, call.version);
    let registries = call.engine.images().registries();
    let mut insecure = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    insecure.extend(registries.insecure.iter().filter(|name| name.contains('/')).cloned());
    let mut indexes = json!({
        "docker.io": {
            "Name": "docker.io", "Mirrors": registries.mirrors, "Secure": true, "Official": true,
        },
    });
    for name in registries.insecure.iter().filter(|name| !name.contains('/')) {
        indexes[name] = json!({ "Name": name, "Mirrors": [], "Secure": false, "Official": false });
    }
    document["RegistryConfig"] = json!({
        "InsecureRegistryCIDRs": insecure,
        "IndexConfigs": indexes,
        "Mirrors": registries.mirrors,
    });
    Ok(reply::ok(&document))
}

/// Takes away what a version of the API did not have yet, and gives back what it still had.
fn gate(document: &mut Value, version: Version) {
    let Some(object) = document.as_object_mut() else { return };
    if !version.since_minor(42) {
        object.insert("KernelMemory".to_owned(), json!(false));
    }
    if !version.since_minor(44) {
        object.remove("CDISpecDirs");
    }
    if !version.since_minor(49) {
        object.remove("FirewallBackend");
    }
    if !version.since_minor(50) {
        // Docker's clients of the time warn where these are off; nothing here depends on them.
        object.insert("BridgeNfIptables".to_owned(), json!(true));
        object.insert("BridgeNfIp6tables".to_owned(), json!(true));
    }
    if !version.since_minor(47) {
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            object.insert(commit.to_owned(), json!({ "ID": "", "Expected": "" }));
        }
    }
}

/// What the engine says of itself.
fn facts(info: &Info) -> Value {
    json!({
        "ID": info.id,
        "Containers": info.running + info.paused + info.stopped,
        "ContainersRunning": info.running,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped,
        "Images": info.images,
        "Driver": "overlay2",
        "DriverStatus": host::filesystem(&info.data_root),
        "DockerRootDir": info.data_root,
        "Plugins": {
            "Volume": [DRIVER], "Network": ["bridge", "host", "macvlan", "null"], "Authorization": null, "Log": LogDriver::READABLE,
        },
        "LoggingDriver": info.logging.name(),
        "NEventsListener": info.listeners,
        "IndexServerAddress": INDEX,
        "ServerVersion": VERSION,
        "Runtimes": { "hull": { "path": "hull-runtime" } },
        "DefaultRuntime": "hull",
        "LiveRestoreEnabled": true,
        "Isolation": info.usual.usual.to_string(),
        "Labels": info.labels,
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "Warnings": weak_walls(info),
        // Whom to ask to end: of a socket of systemd's the kernel names systemd.
        "Hull": {
            "Walls": info.walls,
            "HostKind": info.usual.host.kind.to_string(),
            "HostKindSource": info.usual.host.because,
            "Pid": std::process::id(),
            "AllowedIsolation": allowed(info),
        },
    })
}

/// The walls that containers may have.
fn allowed(info: &Info) -> Vec<String> {
    let all = Isolation::ALL.into_iter().filter(|wall| info.usual.may(*wall));
    all.map(|wall| wall.to_string()).collect()
}

/// How virtual machines are made: `null` for what is looked for.
fn machines(vm: &Vm) -> Value {
    json!({
        "Accelerator": vm.accel, "Hypervisor": vm.qemu, "Kernel": vm.kernel, "Modules": vm.modules,
    })
}

/// What can be said without the engine: the host, and what Hull does not have.
fn surroundings() -> Value {
    json!({
        "SystemTime": clock::rfc3339(SystemTime::now()),
        "KernelVersion": host::kernel(),
        "OperatingSystem": host::operating_system(),
        "OSVersion": host::os_release("VERSION_ID").unwrap_or_default(),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": host::processors(),
        "MemTotal": host::memory(),
        "Name": host::name(),
        "Debug": false,
        "NFd": host::descriptors(),
        "NGoroutines": Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks()),
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "ExperimentalBuild": false,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
            "Error": "", "RemoteManagers": null,
        },
        "InitBinary": "docker-init",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "FirewallBackend": { "Driver": "nftables" },
    })
}

/// A line for each wall that is less than its name promises.
fn weak_walls(info: &Info) -> Vec<String> {
    let emulated = |wall: &&engine::Wall| wall.get("accelerator") == Some(&json!("tcg"));
    let weak = info.walls.iter().filter(|(_, wall)| emulated(wall));
    let emulated = weak.map(|(isolation, _)| {
        format!("WARNING: {isolation} runs on QEMU's emulator here: no hardware isolation")
    });
    let weakened = info.usual.of_host().map(|said| format!("WARNING: {said}"));
    weakened.into_iter().chain(emulated).collect()
}

/// `GET /plugins`.
pub(crate) fn plugins() -> Reply {
    reply::ok(&json!([]))
}

/// `GET /plugins/NAME/json`.
pub(crate) fn no_plugin(name: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, format!("plugin {name:?} not found"))
}

/// Any request to a swarm, in the words that clients look for.
pub(crate) fn no_swarm() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    )
}

#[cfg(test)]
mod tests {
    use engine::{HostKind, HostProfile, Walls, Weakened};

    use super::*;

    #[test]
    fn info_has_the_shape_that_clients_parse() {
        let wall = json!({ "accelerator": "tcg" }).as_object().cloned().unwrap_or_default();
        let info = Info {
            running: 1,
            paused: 0,
            stopped: 2,
            images: 3,
            usual: Walls {
                usual: Isolation::Process,
                said: true,
                allowed: Vec::new(),
                host: HostProfile { kind: HostKind::Workstation, because: "a lid".to_owned() },
                weakened: Some(Weakened::Configured),
            },
            logging: LogDriver::Local,
            listeners: 0,
            data_root: "/var/lib/hull".into(),
            walls: [("hyperv".to_owned(), wall)].into(),
            id: "x".into(),
            labels: vec!["rack=7".into()],
        };
        let document = facts(&info);
        assert_eq!(document["Warnings"].as_array().map(Vec::len), Some(2));
        assert_eq!(document["Hull"]["HostKind"], "workstation");
        assert_eq!(document["Labels"], json!(["rack=7"]));
        assert_eq!(document["Hull"]["AllowedIsolation"], json!(["process", "hyperv"]));
        let mut only = info;
        only.usual.allowed = vec![Isolation::Vm];
        assert_eq!(facts(&only)["Hull"]["AllowedIsolation"], json!(["hyperv"]));
        assert_eq!(
            (&document["Containers"], &document["Isolation"]),
            (&json!(3), &json!("process"))
        );
    }
}
