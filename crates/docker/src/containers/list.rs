//! `GET /containers/json`.

use std::time::SystemTime;

use engine::{Container, HealthStatus, List, Status};
use serde_json::{Value, json};
use spec::Isolation;

use crate::call::Call;
use crate::clock;
use crate::containers::view;
use crate::error::Error;
use crate::query::Query;
use crate::reply;
use crate::route::Answer;

/// The filters that are understood.
const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "is-task",
    "volume",
];

/// `GET /containers/json`.
pub(crate) async fn list(call: &mut Call) -> Answer {
    let mut containers = call.engine.list(which(&call.query)?).await?;
    let filters = call.query.filters(&FILTERS)?;
    let published: Vec<_> = filters.values("publish").map(with_protocol).collect();
    if !published.is_empty() {
        containers.retain(|one| published.iter().any(|wanted| is_published(one, wanted)));
    }
    Ok(reply::ok(&rows(call, &containers, call.query.flag("size")).await?))
}

/// A row for each container, with the bytes it takes if `sizes`.
pub(crate) async fn rows(
    call: &Call,
    containers: &[Container],
    sizes: bool,
) -> Result<Value, Error> {
    let now = SystemTime::now();
    let links = call.engine.names_by_links();
    let mut rows = Vec::new();
    for container in containers {
        let networks = call.engine.networks_of(container);
        let mut row = row(container, &image_name(call, container), &networks, now);
        let own = json!(format!("/{}", container.name));
        let linked = links.iter().filter(|(id, _)| *id == container.id.as_str());
        row["Names"] = std::iter::once(own).chain(linked.map(|(_, name)| json!(name))).collect();
        let networks = &mut row["NetworkSettings"]["Networks"];
        view::gate_endpoints(networks, call.version, container.short_id());
        if call.version.since_minor(46) && !container.host.openings.annotations.is_empty() {
            row["HostConfig"]["Annotations"] = json!(container.host.openings.annotations);
        }
        if sizes {
            let written = call.engine.written(container).await?;
            let image = call.engine.images().get(&container.image).map_or(0, |image| image.size);
            row["SizeRw"] = json!(written);
            row["SizeRootFs"] = json!(image + written);
        }
        rows.push(row);
    }
    Ok(rows.into())
}

/// What the query asks for.
fn which(query: &Query) -> Result<List, Error> {
    let filters = query.filters(&FILTERS)?;
    let texts = |name: &str| filters.values(name).map(str::to_owned).collect::<Vec<_>>();
    let one = |name: &str| filters.values(name).next().map(str::to_owned);
    let invalid =
        |name: &str, text: &str| Error::invalid(format!("invalid filter '{name}={text}'"));
    if filters.switch("is-task")? == Some(true) {
        return Err(Error::invalid("filter is-task is not supported by Hull yet"));
    }
    let exited =
        filters.values("exited").map(|text| text.parse().map_err(|_| invalid("exited", text)));
    let status = filters.values("status").map(|text| match text {
        "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead" => {
            Ok(text.to_owned())
        }
        _ => Err(invalid("status", text)),
    });
    let health = filters.values("health").map(|text| match text {
        "starting" | "healthy" | "unhealthy" | "none" => Ok(text.to_owned()),
        _ => Err(invalid("health", text)),
    });
    let isolation = filters
        .values("isolation")
        .map(|text| text.parse::<Isolation>().map_err(|error| Error::invalid(error.to_string())));
    let limit: Option<i64> = query.value("limit")?;
    Ok(List {
        all: query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        id: texts("id"),
        name: texts("name"),
        label: texts("label"),
        status: status.collect::<Result<_, _>>()?,
        expose: filters.values("expose").map(with_protocol).collect(),
        volume: texts("volume"),
        exited: exited.collect::<Result<_, _>>()?,
        ancestor: texts("ancestor"),
        network: texts("network"),
        health: health.collect::<Result<_, _>>()?,
        isolation: isolation.collect::<Result<_, _>>()?,
        before: one("before"),
        since: one("since"),
    })
}

/// A port as images name it: `80` is `80/tcp`.
fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

/// Whether the container's or the host's port of this name is published.
fn is_published(container: &Container, wanted: &str) -> bool {
    let named = |number: u16, port: &engine::Published| format!("{number}/{}", port.protocol);
    container
        .ports
        .iter()
        .any(|port| [port.inside, port.port].iter().any(|number| named(*number, port) == wanted))
}

/// The name it was made from, as long as that still means its image; else the image's id.
fn image_name(call: &Call, container: &Container) -> String {
    let name = &container.config.image;
    match call.engine.images().get(name) {
        Ok(image) if image.id.to_string() != container.image => container.image.clone(),
        _ => name.clone(),
    }
}

fn row(container: &Container, image: &str, networks: &view::Networks, now: SystemTime) -> Value {
    let words = std::iter::once(&container.path).chain(&container.args);
    let command = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    json!({
        "Id": container.id,
        "Image": image,
        "ImageID": container.image,
        "Command": command,
        "Created": clock::unix(container.created),
        "Ports": ports(container),
        "Labels": container.config.labels,
        "State": container.status.name(),
        "Status": status(container, now),
        "HostConfig": { "NetworkMode": view::network_mode(&container.host) },
        "NetworkSettings": { "Networks": view::networks(container, networks) },
        "Mounts": view::mounts(container),
        // Docker has no field for it here.
        "Hull": { "Isolation": container.isolation.to_string() },
    })
}

/// The ports that the host has of it now, and those that it only exposes.
fn ports(container: &Container) -> Value {
    let published = container.ports.iter().map(|port| {
        json!({
            "IP": port.host.to_string(),
            "PrivatePort": port.inside,
            "PublicPort": port.port,
            "Type": port.protocol.to_string(),
        })
    });
    let live = container.status.is_live();
    let exposed = container.config.exposed_ports.iter().filter(|_| live).filter_map(|port| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let number: u16 = number.parse().ok()?;
        let has = |port: &engine::Published| {
            port.inside == number && port.protocol.to_string() == protocol
        };
        let only = !container.ports.iter().any(has);
        only.then(|| json!({ "PrivatePort": number, "Type": protocol }))
    });
    published.chain(exposed).collect()
}

/// The sentence in the column STATUS.
fn status(container: &Container, now: SystemTime) -> String {
    let since = |at: Option<SystemTime>| {
        clock::human(at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default())
    };
    match container.status {
        Status::Created => "Created".to_owned(),
        Status::Running { .. } => format!("Up {}{}", since(container.started), health(container)),
        Status::Paused { .. } => format!("Up {} (Paused)", since(container.started)),
        Status::Exited => {
            format!("Exited ({}) {} ago", container.exit_code, since(container.finished))
        }
        Status::Restarting => {
            format!("Restarting ({}) {} ago", container.exit_code, since(container.finished))
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

/// What stands behind the time it has been up.
fn health(container: &Container) -> &'static str {
    match container.health.as_ref().map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which_of(filters: &Value) -> Result<List, Error> {
        let encoded: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("filters", &filters.to_string())
            .finish();
        which(&Query::parse(&encoded))
    }

    #[test]
    fn filters_reach_the_engine() {
        let list = which_of(&json!({
            "isolation": ["hyperv"], "exited": {"7": true}, "status": ["exited"], "label": ["a=b"],
        }));
        let want = List {
            isolation: vec![Isolation::Vm],
            exited: vec![7],
            status: vec!["exited".into()],
            label: vec!["a=b".into()],
            ..List::default()
        };
        assert_eq!(list, Ok(want));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        for (filters, want) in [
            (json!({"status": ["asleep"]}), "invalid filter 'status=asleep'"),
            (json!({"exited": ["x"]}), "invalid filter 'exited=x'"),
            (json!({"colour": ["red"]}), "invalid filter 'colour'"),
            (
                json!({"isolation": ["kata"]}),
                "invalid isolation \"kata\": want default, process or hyperv (also spelled vm)",
            ),
        ] {
            assert_eq!(which_of(&filters).unwrap_err().message(), want);
        }
    }
}
