//! What a container looks like: inspect and top.

mod endpoint;
mod openings;

use std::collections::BTreeMap;
use std::path::Path;

use engine::{
    Config, Container, HostConfig, HostPort, LogDriver, MountKind, Probe, Share, Size, Status, Wall,
};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::route::Answer;
use crate::version::Version;
use crate::{clock, reply};

/// `GET /containers/ID/json`.
pub(crate) async fn inspect(call: &mut Call, id: &str) -> Answer {
    let container = call.engine.inspect(id).await?;
    let netns = call.engine.settings().exec_root.join("netns").join(container.id.as_str());
    let mut document = document(&container, &netns, &call.engine.networks_of(&container));
    document["Hull"]["Piercings"] = json!(call.engine.piercings(&container).await?);
    if call.query.flag("size") {
        let written = call.engine.written(&container).await?;
        let image = call.engine.images().get(&container.image).map_or(0, |image| image.size);
        document["SizeRw"] = json!(written);
        document["SizeRootFs"] = json!(image + written);
    }
    if !container.host.links.is_empty() {
        let links = call.engine.links(&container).into_iter();
        let shown =
            links.map(|(other, alias)| format!("/{}:/{}/{alias}", other.name, container.name));
        document["HostConfig"]["Links"] = shown.collect();
    }
    gate(&mut document, call.version);
    Ok(reply::ok(&document))
}

/// Takes away what a version of the API did not have yet.
fn gate(document: &mut Value, version: Version) {
    if !version.since_minor(42) {
        remove(&mut document["HostConfig"], "ConsoleSize");
    }
    if !version.since_minor(43) {
        remove(&mut document["HostConfig"], "Annotations");
    }
    let short = document["Id"].as_str().and_then(|id| id.get(..12)).unwrap_or_default().to_owned();
    gate_endpoints(&mut document["NetworkSettings"]["Networks"], version, &short);
}

/// The same for the networks of a container, whose short id is `short`.
pub(crate) fn gate_endpoints(networks: &mut Value, version: Version, short: &str) {
    let networks = networks.as_object_mut();
    for endpoint in networks.into_iter().flat_map(|networks| networks.values_mut()) {
        if !version.since_minor(44) {
            remove(endpoint, "DNSNames");
        }
        if !version.since_minor(48) {
            remove(endpoint, "GwPriority");
        }
        if version.since_minor(45) {
            // Since then it is among the DNSNames only.
            without(&mut endpoint["Aliases"], short);
        }
    }
}

fn remove(value: &mut Value, field: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(field);
    }
}

/// Takes a text out of a list; `null` stands for an empty one.
fn without(list: &mut Value, text: &str) {
    let Some(texts) = list.as_array_mut() else { return };
    texts.retain(|one| one != text);
    if texts.is_empty() {
        *list = Value::Null;
    }
}

/// `GET /containers/ID/top`.
pub(crate) async fn top(call: &mut Call, id: &str) -> Answer {
    let top = call.engine.top(id, call.query.text("ps_args").unwrap_or_default()).await?;
    Ok(reply::ok(&json!({ "Titles": top.titles, "Processes": top.rows })))
}

/// `GET /containers/ID/egress`, a page of our own: what holds a container's sending, and what it sent
/// in vain.
pub(crate) async fn egress(call: &mut Call, id: &str) -> Answer {
    let held = call.engine.egress(id).await?.into_iter().map(|one| {
        json!({
            "Network": one.network,
            "Egress": one.policy,
            "Dropped": {
                "Refused": one.dropped.refused,
                "Host": one.dropped.host,
                "Forged": one.dropped.forged,
                "Names": one.names,
                "Addresses": one.addresses,
            },
        })
    });
    Ok(reply::ok(&json!(held.collect::<Vec<_>>())))
}

/// Everything about a container. `Hull` is our own and holds what Docker has no field for.
fn document(container: &Container, netns: &Path, networks: &Networks) -> Value {
    let (config, files) = (&container.config, &container.files);
    json!({
        "Id": container.id,
        "Created": clock::rfc3339(container.created),
        "Path": container.path,
        "Args": container.args,
        "State": state(container),
        "Image": container.image,
        "ResolvConfPath": files.resolv_conf,
        "HostnamePath": files.hostname,
        "HostsPath": files.hosts,
        "LogPath": log_path(container),
        "Name": format!("/{}", container.name),
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": (!container.execs.is_empty()).then_some(&container.execs),
        "HostConfig": host_config(container),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": { "ID": container.id, "UpperDir": files.upper },
        },
        "Mounts": mounts(container),
        "Config": program(config),
        "NetworkSettings": network_settings(container, netns, networks),
        "Hull": {
            "Isolation": isolation(container.wall.as_ref()),
        },
    })
}

/// The log that others may read: the file of `json-file`.
fn log_path(container: &Container) -> &Path {
    match container.logging().driver {
        LogDriver::Usual | LogDriver::JsonFile => &container.files.log,
        LogDriver::Local | LogDriver::None => Path::new(""),
    }
}

/// What the wall is made of, in the spelling of Docker's fields; `null` when there is none.
fn isolation(wall: Option<&Wall>) -> Value {
    let Some(wall) = wall else { return Value::Null };
    let named = wall.iter().map(|(key, value)| {
        let (first, rest) = key.split_at(key.chars().next().map_or(0, char::len_utf8));
        (first.to_uppercase() + rest, value.clone())
    });
    Value::Object(named.collect())
}

fn state(container: &Container) -> Value {
    let status = container.status;
    let mut document = json!({
        "Status": status.name(),
        "Running": status.is_up(),
        "Paused": matches!(status, Status::Paused { .. }),
        "Restarting": status == Status::Restarting,
        "OOMKilled": container.oom_killed,
        "Dead": matches!(status, Status::Dead),
        "Pid": status.pid().map_or(0, spec::Pid::raw),
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": clock::rfc3339_or_zero(container.started),
        "FinishedAt": clock::rfc3339_or_zero(container.finished),
    });
    if let Some(health) = &container.health {
        document["Health"] = json!({
            "Status": health.status.name(),
            "FailingStreak": health.failing_streak,
            "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
        });
    }
    document
}

fn probe(probe: &Probe) -> Value {
    json!({
        "Start": clock::rfc3339(probe.start),
        "End": clock::rfc3339(probe.end),
        "ExitCode": probe.exit_code,
        "Output": probe.output,
    })
}

/// The program and its surroundings: `Config`.
fn program(config: &Config) -> Value {
    let ports: Map<String, Value> =
        config.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    let volumes = (!config.volumes.is_empty())
        .then(|| config.volumes.iter().map(|at| (at.clone(), json!({}))).collect::<Map<_, _>>());
    let mut document = json!({
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.attach_stdin,
        "AttachStdout": config.attach_stdout,
        "AttachStderr": config.attach_stderr,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": config.env,
        "Cmd": config.cmd,
        "Image": config.image,
        "Volumes": volumes,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": null,
        "Labels": config.labels,
    });
    if !ports.is_empty() {
        document["ExposedPorts"] = Value::Object(ports);
    }
    if let Some(check) = &config.healthcheck {
        document["Healthcheck"] = json!(check);
    }
    if !config.shell.is_empty() {
        document["Shell"] = json!(config.shell);
    }
    if let Some(signal) = config.stop_signal {
        document["StopSignal"] = json!(signal.to_string());
    }
    if let Some(seconds) = config.stop_timeout {
        document["StopTimeout"] = json!(seconds);
    }
    document
}

/// Walls, limits and connections: `HostConfig`, of which every field that Docker has is shown.
fn host_config(container: &Container) -> Value {
    let (host, logging) = (&container.host, container.logging());
    let Size { rows, columns } =
        container.config.console_size.unwrap_or(Size { rows: 0, columns: 0 });
    let mut document = json!({
        "Binds": some(&host.binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": logging.driver.name(), "Config": logging.options },
        "NetworkMode": network_mode(host),
        "PortBindings": bindings(host),
        "RestartPolicy": {
            "Name": host.restart.name(), "MaximumRetryCount": host.restart.retries(),
        },
        "AutoRemove": host.auto_remove,
        "VolumeDriver": host.volume_driver,
        "VolumesFrom": some(&host.volumes_from),
        "ConsoleSize": [rows, columns],
        "CapAdd": some(&host.cap_add),
        "CapDrop": some(&host.cap_drop),
        "Dns": host.dns,
        "DnsOptions": host.dns_options,
        "DnsSearch": host.dns_search,
        "ExtraHosts": some(&host.extra_hosts),
        "GroupAdd": some(&host.group_add),
        "Cgroup": "",
        "Links": some(&host.links),
        "OomScoreAdj": host.oom_score_adj.unwrap_or(0),
        "PublishAllPorts": host.publish_all,
        "ReadonlyRootfs": host.readonly_rootfs,
        "SecurityOpt": some(&host.security_opt),
        "ShmSize": host.shm_size.unwrap_or(64 << 20),
        "Runtime": "hull",
        "Isolation": container.isolation.to_string(),
        "Init": host.init,
    });
    if let Some(mib) = host.storage_mib {
        document["StorageOpt"] = json!({ "size": format!("{mib}M") });
    }
    if !host.mounts.is_empty() {
        document["Mounts"] = json!(host.mounts);
    }
    if !host.tmpfs.is_empty() {
        document["Tmpfs"] = json!(host.tmpfs);
    }
    if !host.sysctls.is_empty() {
        document["Sysctls"] = json!(host.sysctls);
    }
    reply::both(reply::both(document, resources(host)), openings::openings(host))
}

/// The part of `HostConfig` that limits resources.
fn resources(host: &HostConfig) -> Value {
    let limits = &host.resources;
    let ulimits = host
        .ulimits
        .iter()
        .map(|limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard }));
    let document = json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "PidsLimit": limits.pids_limit,
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    });
    reply::both(document, openings::rare(limits))
}

/// Docker shows `null` where nothing was given to these.
fn some(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}

/// `HostConfig.PortBindings`, as asked for.
fn bindings(host: &HostConfig) -> Value {
    let port = |port: &HostPort| json!({ "HostIp": port.address, "HostPort": port.port });
    let ports = host.ports.iter();
    ports
        .map(|(inside, hosts)| (inside.clone(), hosts.iter().map(port).collect::<Value>()))
        .collect()
}

/// The ports that the host has of it now, and `null` for those that it only exposes.
pub(crate) fn ports(container: &Container) -> Value {
    let mut ports = Map::new();
    if !container.status.is_live() {
        return Value::Object(ports);
    }
    for port in &container.config.exposed_ports {
        ports.insert(port.clone(), Value::Null);
    }
    for published in &container.ports {
        let name = format!("{}/{}", published.inside, published.protocol);
        let port = json!({
            "HostIp": published.host.to_string(), "HostPort": published.port.to_string(),
        });
        match ports.entry(name).or_insert(Value::Null) {
            Value::Array(list) => list.push(port),
            other => *other = json!([port]),
        }
    }
    Value::Object(ports)
}

/// `NetworkSettings`, with the fields at its top that repeat the bridge's endpoint for old clients.
fn network_settings(container: &Container, netns: &Path, networks: &Networks) -> Value {
    let id = container.id.as_str();
    let live = container.status.is_live();
    let mut document = json!({
        "Bridge": "",
        "SandboxID": if live { id } else { "" },
        "SandboxKey": if live { netns } else { Path::new("") },
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports(container),
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "Networks": self::networks(container, networks),
    });
    // Only the default network's endpoint is repeated.
    let endpoint = match document["Networks"].get("bridge") {
        Some(endpoint) => endpoint.clone(),
        None => unconnected(),
    };
    for field in [
        "EndpointID",
        "Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "MacAddress",
    ] {
        document[field] = endpoint[field].clone();
    }
    document
}

/// How it is connected, as Docker spells it.
pub(crate) fn network_mode(host: &HostConfig) -> String {
    match &host.openings.network {
        Share::Own => host.network.to_string(),
        share => share.to_string(),
    }
}

/// Names and ids of a container's networks.
pub(crate) type Networks = BTreeMap<String, String>;

/// The networks it is connected to, or will be when it runs.
pub(crate) fn networks(container: &Container, networks: &Networks) -> Value {
    networks.iter().map(|(name, id)| (name.clone(), endpoint(container, name, id))).collect()
}

fn endpoint(container: &Container, network: &str, id: &str) -> Value {
    let mut document = unconnected();
    document["NetworkID"] = json!(id);
    if let Some(wish) = container.host.attachments.get(network) {
        if network != "bridge" {
            // Clients of Compose's first generation look for the short id here.
            let short = container.short_id().to_owned();
            let mut aliases = wish.aliases.clone();
            if !aliases.contains(&short) {
                aliases.push(short);
            }
            let hostname = Some(&container.config.hostname)
                .filter(|name| !name.is_empty() && !aliases.contains(name));
            let names = std::iter::once(&container.name).chain(&aliases).chain(hostname);
            document["DNSNames"] = json!(names.collect::<Vec<_>>());
            document["Aliases"] = json!(aliases);
        }
        // Those of the default network are told in `HostConfig` only.
        if !wish.links.is_empty() && network != "bridge" {
            document["Links"] = json!(wish.links);
        }
        for (key, address) in [
            ("IPv4Address", wish.address.map(std::net::IpAddr::from)),
            ("IPv6Address", wish.address6.map(std::net::IpAddr::from)),
        ] {
            if let Some(address) = address {
                document["IPAMConfig"][key] = json!(address);
            }
        }
        document["MacAddress"] = json!(wish.mac);
        document["GwPriority"] = json!(wish.priority);
    }
    document["DriverOpts"] = endpoint::options(container, network);
    if let Some(endpoint) = container.endpoints.get(network) {
        document["MacAddress"] = json!(endpoint.mac.to_string());
        document["EndpointID"] = json!(container.id);
        let gateway = endpoint.gateway.map(|gateway| gateway.to_string());
        document["Gateway"] = json!(gateway.unwrap_or_default());
        document["IPAddress"] = json!(endpoint.address);
        document["IPPrefixLen"] = json!(endpoint.prefix);
        if let Some(six) = &endpoint.six {
            let gateway = six.gateway.map(|gateway| gateway.to_string());
            document["IPv6Gateway"] = json!(gateway.unwrap_or_default());
            document["GlobalIPv6Address"] = json!(six.address);
            document["GlobalIPv6PrefixLen"] = json!(six.prefix);
        }
    }
    document
}

/// An endpoint that says nothing.
fn unconnected() -> Value {
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": "",
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    })
}

/// `Mounts`. What `--tmpfs` asks for is in `HostConfig` only, as in Docker.
pub(crate) fn mounts(container: &Container) -> Value {
    let points = container.mounts.iter().map(|point| {
        let mut document = json!({
            "Type": point.kind.name(),
            "Source": point.source,
            "Destination": point.destination,
            "Mode": point.mode,
            "RW": point.writable,
            "Propagation": point.propagation,
        });
        if point.kind == MountKind::Volume {
            document["Driver"] = json!(point.driver());
        }
        if !point.name.is_empty() {
            document["Name"] = json!(point.name);
        }
        document
    });
    points.collect()
}

#[cfg(test)]
mod tests;
