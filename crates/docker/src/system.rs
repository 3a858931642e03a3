//! Pages about the server itself.

mod host;

use std::time::SystemTime;

use engine::{Event, EventKind, Events, Info, LogDriver};
use futures_util::stream;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;
use crate::error::Error;
use crate::filters::Filters;
use crate::reply::{self, Reply};
use crate::route::Answer;
use crate::version::Version;

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What clients complete a login's server with; Docker's clients compare it letter by letter.
const INDEX: &str = "https://index.docker.io/v1/";

/// `GET` and `HEAD /_ping`.
pub(crate) fn ping(method: &str) -> Reply {
    let mut reply = reply::text(if method == "HEAD" { "" } else { "OK" });
    let headers = reply.headers_mut();
    let uncached = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, uncached);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // 2 would make clients build through BuildKit's session.
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
    let registries = &call.engine.settings().registries;
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
        "DriverStatus": [],
        "DockerRootDir": info.data_root,
        "Plugins": {
            "Volume": [], "Network": ["bridge", "null"], "Authorization": null, "Log": LogDriver::READABLE,
        },
        "LoggingDriver": info.logging.name(),
        "IndexServerAddress": INDEX,
        "ServerVersion": VERSION,
        "Runtimes": { "hull": { "path": "hull-runtime" } },
        "DefaultRuntime": "hull",
        "LiveRestoreEnabled": true,
        "Isolation": info.isolation.to_string(),
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "Warnings": weak_walls(info),
        "Hull": { "Walls": info.walls },
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
        "NFd": -1,
        "NGoroutines": -1,
        "NEventsListener": -1,
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": false,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
            "Error": "", "RemoteManagers": null,
        },
        "InitBinary": "",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "CDISpecDirs": [],
    })
}

/// A line for each wall that is less than its name promises.
fn weak_walls(info: &Info) -> Vec<String> {
    let emulated = |wall: &&engine::Wall| wall.get("accelerator") == Some(&json!("tcg"));
    let weak = info.walls.iter().filter(|(_, wall)| emulated(wall));
    weak.map(|(isolation, _)| {
        format!("WARNING: {isolation} runs on QEMU's emulator here: no hardware isolation")
    })
    .collect()
}

/// `GET /events`.
pub(crate) fn events(call: &mut Call) -> Answer {
    let filters = call.query.filters(&[
        "container",
        "event",
        "image",
        "label",
        "network",
        "type",
        "daemon",
        "plugin",
        "scope",
        "volume",
    ])?;
    let time = |name: &str| match call.query.text(name) {
        Some(text) => clock::parse(name, text),
        None => Ok(None),
    };
    let (since, until) = (time("since")?, time("until")?);
    let events = call.engine.events(since);
    let told = stream::unfold((events, filters), move |(mut events, filters)| async move {
        loop {
            let event = next(&mut events, until).await?;
            if passes(&event, &filters) {
                return Some((document(&event), (events, filters)));
            }
        }
    });
    Ok(reply::lines(told))
}

/// The next event that is not later than `until`.
async fn next(events: &mut Events, until: Option<SystemTime>) -> Option<Event> {
    let Some(until) = until else {
        return events.next().await;
    };
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    let event = match events.past() {
        Some(event) => event,
        None => tokio::time::timeout(left, events.next()).await.ok()??,
    };
    (event.time <= until).then_some(event)
}

fn passes(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    let of = |kind: EventKind, text: &str| {
        event.kind == kind && (event.actor.starts_with(text) || attribute("name") == Some(text))
    };
    let action = event.action.split(':').next().unwrap_or_default();
    filters.any("type", |text| text == event.kind.name())
        && filters.any("event", |text| text == event.action || text == action)
        && filters.any("container", |text| of(EventKind::Container, text))
        && filters.any("network", |text| of(EventKind::Network, text))
        && filters
            .any("image", |text| of(EventKind::Image, text) || attribute("image") == Some(text))
        && filters.any("scope", |text| text == "local")
        && filters.any("volume", |text| of(EventKind::Volume, text))
        && !["daemon", "plugin"].iter().any(|name| filters.has(name))
        && filters.labels(&event.attributes)
}

fn document(event: &Event) -> Value {
    let mut document = json!({
        "Type": event.kind.name(),
        "Action": event.action,
        "Actor": { "ID": event.actor, "Attributes": event.attributes },
        "scope": "local",
        "time": clock::unix(event.time),
        "timeNano": clock::unix_nanos(event.time),
    });
    // For clients before API 1.22, and the many that still read these.
    if !matches!(event.kind, EventKind::Network | EventKind::Volume) {
        document["status"] = json!(event.action);
        document["id"] = json!(event.actor);
    }
    if let (EventKind::Container, Some(image)) = (event.kind, event.attributes.get("image")) {
        document["from"] = json!(image);
    }
    document
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
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn event() -> Event {
        let attribute = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Event {
            kind: EventKind::Container,
            action: "exec_create: sh".into(),
            actor: "ab".repeat(32),
            attributes: BTreeMap::from([
                attribute("name", "web"),
                attribute("image", "alpine"),
                attribute("tier", "front"),
            ]),
            time: UNIX_EPOCH,
        }
    }

    #[test]
    fn an_event_has_its_old_fields_too() {
        let document = document(&event());
        assert_eq!(document["status"], "exec_create: sh");
        assert_eq!(document["from"], "alpine");
        assert_eq!(document["Actor"]["Attributes"]["name"], "web");
        let parsed: Result<bollard_stubs::models::EventMessage, _> =
            serde_json::from_value(document);
        assert!(parsed.is_ok(), "{parsed:?}");
    }

    #[test]
    fn events_are_narrowed_down() {
        for (filters, want) in [
            (json!({}), true),
            (json!({"type": ["container"]}), true),
            (json!({"type": ["image"]}), false),
            (json!({"event": ["exec_create"]}), true),
            (json!({"event": ["start"]}), false),
            (json!({"container": ["web"]}), true),
            (json!({"container": ["abab"]}), true),
            (json!({"container": ["db"]}), false),
            (json!({"image": ["alpine"]}), true),
            (json!({"label": ["tier=front"]}), true),
            (json!({"label": ["tier=back"]}), false),
            (json!({"volume": ["v"]}), false),
        ] {
            let known = ["type", "event", "container", "image", "label", "volume"];
            let parsed = Filters::parse(&filters.to_string(), &known).expect("legal");
            assert_eq!(passes(&event(), &parsed), want, "{filters}");
        }
    }

    #[test]
    fn info_has_the_shape_that_clients_parse() {
        let wall = json!({ "accelerator": "tcg" }).as_object().cloned().unwrap_or_default();
        let info = Info {
            running: 1,
            paused: 0,
            stopped: 2,
            images: 3,
            isolation: spec::Isolation::Process,
            logging: LogDriver::Local,
            data_root: "/var/lib/hull".into(),
            walls: [("hyperv".to_owned(), wall)].into(),
            id: "x".into(),
        };
        let document = facts(&info);
        assert_eq!(document["Warnings"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            (&document["Containers"], &document["Isolation"]),
            (&json!(3), &json!("process"))
        );
    }
}
