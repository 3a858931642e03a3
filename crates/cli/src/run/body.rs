//! `POST /containers/create`, from options.
//!
//! What was not given is not sent: the engine's own value holds.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};

use super::flags::{Flags, Limits, Upkeep, Walls};
use super::{mounts, ports};
use crate::error::Error;
use crate::terminal;
use crate::units::{parse_bytes, parse_duration};

/// The body. `attached` is true when our streams are to be the container's.
pub(super) fn body(
    flags: &Flags,
    image: &str,
    command: &[String],
    attached: bool,
) -> Result<Value, Error> {
    let ports = ports::parse(&flags.publish)?;
    let mut labels = lines(&flags.label_file)?;
    labels.extend(flags.label.iter().cloned());
    let mut variables = environment(&lines(&flags.env_file)?);
    variables.extend(environment(&flags.env));
    let exposed = ports.keys().map(String::as_str).chain(flags.expose.iter().map(String::as_str));
    let exposed =
        exposed.map(|port| if port.contains('/') { port.into() } else { format!("{port}/tcp") });
    let (binds, anonymous) = mounts::volumes(&flags.volume)?;
    let body = json!({
        "Image": image,
        "Cmd": (!command.is_empty()).then_some(command),
        "Entrypoint": flags.entrypoint.as_ref().map(|word| [word]),
        "Env": variables,
        "WorkingDir": flags.workdir,
        "User": flags.user,
        "Hostname": flags.hostname,
        "Domainname": flags.domainname,
        "Labels": pairs(&labels),
        "Tty": flags.tty,
        "OpenStdin": flags.interactive,
        "StdinOnce": flags.interactive && attached,
        "AttachStdin": flags.interactive && attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "StopSignal": flags.stop_signal,
        "StopTimeout": flags.stop_timeout,
        "ExposedPorts": exposed.map(|port| (port, json!({}))).collect::<Map<_, _>>(),
        "Volumes": anonymous,
        "MacAddress": flags.mac_address,
        "Healthcheck": health(&flags.upkeep)?,
        "NetworkingConfig": endpoint(flags),
    });
    let mut body = trimmed(body);
    body["HostConfig"] = host(flags, &binds, &ports)?;
    Ok(body)
}

fn host(flags: &Flags, binds: &[String], ports: &Map<String, Value>) -> Result<Value, Error> {
    let tmpfs: BTreeMap<_, _> =
        flags.tmpfs.iter().map(|mount| mount.split_once(':').unwrap_or((mount, ""))).collect();
    let shm = flags.shm_size.as_deref().map(|text| parse_bytes("--shm-size", text)).transpose()?;
    let groups = [
        json!({
            "Isolation": flags.isolation,
            "NetworkMode": flags.network,
            "PortBindings": ports,
            "PublishAllPorts": flags.publish_all,
            "ExtraHosts": flags.add_host,
            "Dns": flags.dns,
            "DnsOptions": flags.dns_option,
            "DnsSearch": flags.dns_search,
            "Binds": binds,
            "Mounts": mounts::mounts(&flags.mount)?,
            "Tmpfs": tmpfs,
            "VolumesFrom": flags.volumes_from,
            "VolumeDriver": flags.volume_driver,
            "ReadonlyRootfs": flags.read_only,
            "StorageOpt": pairs(&flags.storage_opt),
            "ShmSize": shm,
            "GroupAdd": flags.group_add,
            "AutoRemove": flags.rm,
            "Init": flags.init.then_some(true),
            "RestartPolicy": flags.restart.as_deref().map(restart).transpose()?,
            "ContainerIDFile": flags.cidfile,
            "ConsoleSize": terminal::size().filter(|_| flags.tty).map(|(h, w)| [h, w]),
        }),
        limits(&flags.limits)?,
        walls(&flags.walls)?,
        json!({ "LogConfig": log(&flags.upkeep) }),
    ];
    let all = groups.into_iter().filter_map(|group| match trimmed(group) {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    Ok(Value::Object(all.flatten().collect()))
}

fn limits(flags: &Limits) -> Result<Value, Error> {
    let bytes = |option, value: &Option<String>| {
        value.as_deref().map(|text| parse_bytes(option, text)).transpose()
    };
    #[allow(clippy::cast_possible_truncation)] // saturates, and the engine checks it
    let nano_cpus = flags.cpus.map(|cpus| (cpus * 1e9) as i64);
    Ok(json!({
        "Memory": bytes("--memory", &flags.memory)?,
        "MemoryReservation": bytes("--memory-reservation", &flags.memory_reservation)?,
        "MemorySwap": bytes("--memory-swap", &flags.memory_swap)?,
        "MemorySwappiness": flags.memory_swappiness,
        "NanoCpus": nano_cpus,
        "CpuShares": flags.cpu_shares,
        "CpuPeriod": flags.cpu_period,
        "CpuQuota": flags.cpu_quota,
        "CpusetCpus": flags.cpuset_cpus,
        "CpusetMems": flags.cpuset_mems,
        "PidsLimit": flags.pids_limit,
        "Ulimits": flags.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>, _>>()?,
        "BlkioWeight": flags.blkio_weight,
        "BlkioWeightDevice": rates("--blkio-weight-device", "Weight", &flags.blkio_weight_device)?,
        "BlkioDeviceReadBps": rates("--device-read-bps", "Rate", &flags.device_read_bps)?,
        "BlkioDeviceWriteBps": rates("--device-write-bps", "Rate", &flags.device_write_bps)?,
        "BlkioDeviceReadIOps": rates("--device-read-iops", "Rate", &flags.device_read_iops)?,
        "BlkioDeviceWriteIOps": rates("--device-write-iops", "Rate", &flags.device_write_iops)?,
        "OomKillDisable": flags.oom_kill_disable.then_some(true),
        "OomScoreAdj": flags.oom_score_adj,
        "CgroupParent": flags.cgroup_parent,
    }))
}

fn walls(flags: &Walls) -> Result<Value, Error> {
    // A name of a device, VENDOR/CLASS=NAME, begins with no slash, and a path with nothing else.
    let (paths, names): (Vec<_>, Vec<_>) =
        flags.device.iter().partition(|text| text.starts_with('/') || !text.contains('='));
    let devices = paths.iter().map(|text| device(text)).collect::<Vec<_>>();
    let by_name = (!names.is_empty()).then(|| json!({ "Driver": "cdi", "DeviceIDs": names }));
    let requests: Vec<_> = flags.gpus.as_deref().map(gpus).into_iter().chain(by_name).collect();
    Ok(json!({
        "Privileged": flags.privileged,
        "CapAdd": flags.cap_add,
        "CapDrop": flags.cap_drop,
        "SecurityOpt": flags.security_opt.iter().map(|text| security(text)).collect::<Result<Vec<_>, _>>()?,
        "Devices": devices,
        "DeviceCgroupRules": flags.device_cgroup_rule,
        "DeviceRequests": (!requests.is_empty()).then_some(requests),
        "IpcMode": flags.ipc,
        "PidMode": flags.pid,
        "UTSMode": flags.uts,
        "UsernsMode": flags.userns,
        "CgroupnsMode": flags.cgroupns,
        "Sysctls": pairs(&flags.sysctl),
        "Runtime": flags.runtime,
        "Annotations": pairs(&flags.annotation),
        "Links": flags.link,
    }))
}

fn log(flags: &Upkeep) -> Value {
    if flags.log_driver.is_none() && flags.log_opt.is_empty() {
        return Value::Null;
    }
    json!({ "Type": flags.log_driver.as_deref().unwrap_or_default(), "Config": pairs(&flags.log_opt) })
}

fn health(flags: &Upkeep) -> Result<Value, Error> {
    if flags.no_healthcheck {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let time = |option, value: &Option<String>| {
        value.as_deref().map(|text| parse_duration(option, text)).transpose()
    };
    let check = trimmed(json!({
        "Test": flags.health_cmd.as_ref().map(|command| ["CMD-SHELL", command]),
        "Interval": time("--health-interval", &flags.health_interval)?,
        "Timeout": time("--health-timeout", &flags.health_timeout)?,
        "StartPeriod": time("--health-start-period", &flags.health_start_period)?,
        "StartInterval": time("--health-start-interval", &flags.health_start_interval)?,
        "Retries": flags.health_retries,
    }));
    let asked = check.as_object().is_some_and(|check| !check.is_empty());
    Ok(if asked { check } else { Value::Null })
}

/// What it is on its network, when that is more than the network's name.
fn endpoint(flags: &Flags) -> Value {
    let address = trimmed(json!({ "IPv4Address": flags.ip, "IPv6Address": flags.ip6 }));
    let addressed = address.as_object().is_some_and(|fields| !fields.is_empty());
    let mut options = pairs(&flags.network_opt);
    for (option, rate) in [("rate-in", &flags.rate_in), ("rate-out", &flags.rate_out)] {
        if let Some(rate) = rate {
            options.insert(option.to_owned(), rate.as_str().into());
        }
    }
    let plain = flags.network_alias.is_empty() && options.is_empty();
    if !addressed && plain {
        return Value::Null;
    }
    let network = flags.network.as_deref().unwrap_or("bridge");
    let endpoint = trimmed(json!({
        "Aliases": flags.network_alias,
        "IPAMConfig": addressed.then_some(address),
        "DriverOpts": options,
    }));
    json!({ "EndpointsConfig": { network: endpoint } })
}

/// An object without what says nothing.
fn trimmed(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    Value::Object(fields.into_iter().filter(|(_, value)| says(value)).collect())
}

/// `KEY=VALUE`, or `KEY` for an empty value.
pub(crate) fn pairs(given: &[String]) -> Map<String, Value> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.into())
    };
    given.iter().map(pair).collect()
}

/// Variables with their values; a name alone takes ours, and none where we have none.
pub(super) fn environment(given: &[String]) -> Vec<String> {
    let value = |name: &String| {
        if name.contains('=') {
            return Some(name.clone());
        }
        std::env::var(name).ok().map(|value| format!("{name}={value}"))
    };
    given.iter().filter_map(value).collect()
}

/// The lines of files, without comments.
fn lines(files: &[String]) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(Error::file(file))?;
        let lines = text.lines().map(str::trim_start);
        all.extend(
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned),
        );
    }
    Ok(all)
}

/// Also `update`'s.
pub(crate) fn restart(text: &str) -> Result<Value, Error> {
    let (name, times) = text.split_once(':').unwrap_or((text, "0"));
    let times: u32 = times.parse().map_err(|_| Error::Argument {
        option: "--restart",
        value: text.to_owned(),
        want: "no, always, unless-stopped or on-failure[:TIMES]".into(),
    })?;
    Ok(json!({ "Name": name, "MaximumRetryCount": times }))
}

/// `NAME=SOFT[:HARD]`.
pub(crate) fn ulimit(text: &str) -> Result<Value, Error> {
    let invalid = || Error::Argument {
        option: "--ulimit",
        value: text.to_owned(),
        want: "NAME=SOFT[:HARD]".into(),
    };
    let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| invalid());
    Ok(json!({ "Name": name, "Soft": number(soft)?, "Hard": number(hard)? }))
}

/// `DEVICE:NUMBER`, a list of them; rates in bytes may have units.
fn rates(option: &'static str, key: &str, given: &[String]) -> Result<Vec<Value>, Error> {
    let one = |text: &String| {
        let invalid =
            || Error::Argument { option, value: text.clone(), want: "DEVICE:NUMBER".into() };
        let (device, number) = text.rsplit_once(':').ok_or_else(invalid)?;
        Ok(json!({ "Path": device, key: parse_bytes(option, number)? }))
    };
    given.iter().map(one).collect()
}

/// `PATH[:PATH[:rwm]]`.
fn device(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or(host);
    let rights = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (inside, rights) = match (second, parts.next()) {
        (inside, Some(rights)) => (inside, rights),
        (only, None) if rights(only) => (host, only),
        (inside, None) => (inside, "rwm"),
    };
    json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": rights })
}

fn gpus(text: &str) -> Value {
    let count = text.parse::<i64>().unwrap_or(-1);
    json!({ "Driver": "", "Count": count, "Capabilities": [["gpu"]] })
}

/// An option of `--security-opt`; a seccomp profile is sent, not named.
fn security(text: &str) -> Result<String, Error> {
    match text.split_once('=').or_else(|| text.split_once(':')) {
        Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
            let read = fs::read_to_string(profile).map_err(Error::file(profile))?;
            Ok(format!("seccomp={}", read.trim_end()))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let body = body(&Flags::default(), "img", &[], false).expect("valid");
        for key in ["Cmd", "Env", "Labels", "Healthcheck", "NetworkingConfig", "ExposedPorts"] {
            assert!(body.get(key).is_none(), "{key}");
        }
        let host = body["HostConfig"].as_object().expect("an object");
        let sent: Vec<&str> = host.keys().map(String::as_str).collect();
        assert_eq!(sent, ["AutoRemove", "Privileged", "PublishAllPorts", "ReadonlyRootfs"]);
    }

    #[test]
    fn options_are_said_as_the_api_wants_them() {
        assert_eq!(device("/dev/a")["PathInContainer"], "/dev/a");
        assert_eq!(device("/dev/a:r")["CgroupPermissions"], "r");
        assert_eq!(device("/dev/a:/dev/b:rw")["PathInContainer"], "/dev/b");
        assert_eq!(ulimit("nofile=5:6").expect("valid")["Hard"], 6);
        assert!(ulimit("nofile").is_err());
        assert_eq!(restart("on-failure:3").expect("valid")["MaximumRetryCount"], 3);
        assert!(restart("on-failure:x").is_err());
        let rate = rates("--device-read-bps", "Rate", &["/dev/a:1mb".to_owned()]);
        assert_eq!(rate.expect("valid")[0]["Rate"], 1 << 20);
        assert_eq!(security("seccomp=unconfined").expect("valid"), "seccomp=unconfined");
        assert!(security("seccomp=/absent").is_err());
    }
}
