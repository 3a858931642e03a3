//! The body of `POST /containers/create`, read into what the engine makes containers from.

mod openings;

use std::collections::BTreeMap;

use engine::{
    Config, Create, Healthcheck, HostConfig, Logging, Resources, RestartPolicy, Size, Ulimit,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use spec::{Isolation, Signal};

use crate::error::Error;
use crate::fields::{self, is_blank};
use openings::{BlkioBody, OpeningsBody};

/// Reads the body of a create.
///
/// # Errors
///
/// 400 that names the field which is no legal value, or asks for what Hull does not do.
pub(crate) fn parse(mut body: Value, name: Option<String>) -> Result<Create, Error> {
    let object =
        body.as_object_mut().ok_or_else(|| Error::invalid("the body is not a JSON object"))?;
    fields::CONFIG.check(object)?;
    let mut host = match object.remove("HostConfig") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(host)) => host,
        Some(_) => return Err(Error::invalid("HostConfig is not a JSON object")),
    };
    fields::HOST_CONFIG.check(&mut host)?;
    let mode = host.get("NetworkMode").and_then(Value::as_str);
    let (network, aliases) = endpoints(object.remove("NetworkingConfig").as_ref(), mode)?;
    let mut host: HostBody = read("HostConfig: ", Value::Object(host))?;
    if host.network_mode.as_deref().is_none_or(|mode| matches!(mode, "" | "default")) {
        host.network_mode = network;
    }
    let config: ConfigBody = read("", body)?;
    let console_size = host.console_size;
    Ok(Create {
        name,
        config: config.read(console_size)?,
        host: HostConfig { aliases, ..host.read()? },
    })
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(place: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value)
        .map_err(|error| Error::invalid(format!("invalid request body: {place}{error}")))
}

/// `NetworkingConfig` says again that the container is on the network of `NetworkMode`, and by which
/// names its neighbours find it there; anything more (an address, another network) is refused. Gives
/// those names, and the network in case `NetworkMode` does not say it.
fn endpoints(
    networking: Option<&Value>,
    mode: Option<&str>,
) -> Result<(Option<String>, Vec<String>), Error> {
    let endpoints = networking.and_then(|networking| networking.get("EndpointsConfig"));
    let Some(Value::Object(endpoints)) = endpoints else {
        return Ok((None, Vec::new()));
    };
    let (mut only, mut aliases) = (None, Vec::new());
    for (network, settings) in endpoints {
        let refused = |what: String| {
            Err(Error::invalid(format!(
                "NetworkingConfig.EndpointsConfig.{what} is not supported by Hull yet"
            )))
        };
        let mode = mode.filter(|mode| !matches!(*mode, "" | "default"));
        if endpoints.len() > 1 || mode.is_some_and(|mode| mode != network) {
            return refused(format!("{network}, a second network,"));
        }
        only = Some(network.clone());
        for (field, value) in settings.as_object().into_iter().flatten() {
            match field.as_str() {
                "Aliases" if !value.is_null() => {
                    aliases = read("NetworkingConfig.EndpointsConfig.Aliases: ", value.clone())?;
                }
                // What the server says of an endpoint; clients send back what they have read.
                "NetworkID" | "EndpointID" | "DNSNames" => {}
                _ if is_blank(value) => {}
                _ => return refused(format!("{network}.{field} (given {value})")),
            }
        }
    }
    Ok((only, aliases))
}

/// The mapped fields of the body itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigBody {
    hostname: Option<String>,
    domainname: Option<String>,
    user: Option<String>,
    attach_stdin: Option<bool>,
    attach_stdout: Option<bool>,
    attach_stderr: Option<bool>,
    exposed_ports: Option<BTreeMap<String, Value>>,
    healthcheck: Option<Healthcheck>,
    shell: Option<Vec<String>>,
    tty: Option<bool>,
    open_stdin: Option<bool>,
    stdin_once: Option<bool>,
    env: Option<Vec<String>>,
    cmd: Option<Words>,
    image: Option<String>,
    working_dir: Option<String>,
    entrypoint: Option<Words>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    stop_timeout: Option<i64>,
    volumes: Option<BTreeMap<String, Value>>,
}

/// The mapped fields of `HostConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostBody {
    #[serde(flatten)]
    resources: ResourcesBody,
    #[serde(flatten)]
    openings: OpeningsBody,
    auto_remove: Option<bool>,
    binds: Option<Vec<String>>,
    cap_add: Option<Words>,
    cap_drop: Option<Words>,
    #[serde(deserialize_with = "console_size")]
    console_size: Option<Size>,
    dns: Option<Vec<String>>,
    dns_options: Option<Vec<String>>,
    dns_search: Option<Vec<String>>,
    extra_hosts: Option<Vec<String>>,
    group_add: Option<Vec<String>>,
    init: Option<bool>,
    isolation: Option<String>,
    mounts: Option<Vec<engine::Mount>>,
    log_config: Option<LogBody>,
    network_mode: Option<String>,
    oom_score_adj: Option<i32>,
    readonly_rootfs: Option<bool>,
    restart_policy: Option<RestartBody>,
    security_opt: Option<Vec<String>>,
    shm_size: Option<i64>,
    sysctls: Option<BTreeMap<String, String>>,
    tmpfs: Option<BTreeMap<String, String>>,
    ulimits: Option<Vec<UlimitBody>>,
    volume_driver: Option<String>,
    volumes_from: Option<Vec<String>>,
}

/// Limits: in `HostConfig`, and in an update.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ResourcesBody {
    cpu_period: Option<i64>,
    cpu_quota: Option<i64>,
    cpu_shares: Option<i64>,
    cpu_realtime_period: Option<i64>,
    cpu_realtime_runtime: Option<i64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    memory: Option<i64>,
    memory_reservation: Option<i64>,
    memory_swap: Option<i64>,
    memory_swappiness: Option<i64>,
    #[serde(rename = "KernelMemoryTCP")]
    kernel_memory_tcp: Option<i64>,
    oom_kill_disable: Option<bool>,
    #[serde(flatten)]
    blkio: BlkioBody,
    nano_cpus: Option<i64>,
    pids_limit: Option<i64>,
}

/// `HostConfig.RestartPolicy`, in a create and in an update.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RestartBody {
    name: Option<String>,
    maximum_retry_count: Option<i64>,
}

impl RestartBody {
    /// Whether it says nothing.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.name.as_deref().unwrap_or_default().is_empty()
    }

    /// The policy that it names.
    pub(crate) fn read(&self) -> Result<RestartPolicy, Error> {
        let name = self.name.as_deref().unwrap_or_default();
        Ok(RestartPolicy::parse(name, self.maximum_retry_count.unwrap_or_default())?)
    }
}

/// `HostConfig.LogConfig`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct LogBody {
    r#type: Option<String>,
    config: Option<BTreeMap<String, String>>,
}

/// One of `HostConfig.Ulimits`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UlimitBody {
    name: String,
    soft: Option<i64>,
    hard: Option<i64>,
}

/// A list of words, or one word as old clients send it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl From<Words> for Vec<String> {
    fn from(words: Words) -> Self {
        match words {
            Words::One(word) => vec![word],
            Words::Many(words) => words,
        }
    }
}

/// `[height, width]`; zeros and `null` say that it is not known.
pub(crate) fn console_size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Size>, D::Error> {
    let size = Option::<[u16; 2]>::deserialize(value)?;
    Ok(size
        .filter(|[rows, columns]| *rows > 0 && *columns > 0)
        .map(|[rows, columns]| Size { rows, columns }))
}

/// A number of which zero says "not set".
fn set(number: Option<i64>) -> Option<i64> {
    number.filter(|number| *number != 0)
}

/// The same where a negative number makes no sense.
fn natural(field: &str, number: Option<i64>) -> Result<Option<u64>, Error> {
    set(number)
        .map(|number| {
            u64::try_from(number)
                .map_err(|_| Error::invalid(format!("invalid {field}: {number} is negative")))
        })
        .transpose()
}

/// A share of 100, of which -1 says "not set".
fn swappiness(number: Option<i64>) -> Result<Option<u64>, Error> {
    let number = number.filter(|number| *number != -1);
    let natural = |number| {
        u64::try_from(number).map_err(|_| {
            Error::invalid(format!(
                "Invalid HostConfig.MemorySwappiness: Invalid value: {number}, valid memory \
                 swappiness range is 0-100"
            ))
        })
    };
    number.map(natural).transpose()
}

/// `None` for the spellings of "the engine decides".
fn isolation(text: &str) -> Result<Option<Isolation>, Error> {
    if text.is_empty() || text.eq_ignore_ascii_case("default") {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error: spec::isolation::InvalidIsolation| Error::invalid(error.to_string()))
}

/// Without a type, the engine's driver.
fn logging(body: LogBody) -> Result<Option<Logging>, Error> {
    let (name, options) = (body.r#type.unwrap_or_default(), body.config.unwrap_or_default());
    if name.is_empty() && options.is_empty() {
        return Ok(None);
    }
    Ok(Some(Logging::new(&name, options)?))
}

/// `None` for an empty text.
pub(crate) fn signal(text: &str) -> Result<Option<Signal>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error: spec::signal::InvalidSignal| Error::invalid(error.to_string()))
}

impl ConfigBody {
    fn read(self, console_size: Option<Size>) -> Result<Config, Error> {
        Ok(Config {
            image: self
                .image
                .filter(|image| !image.is_empty())
                .ok_or_else(|| Error::invalid("no image is given"))?,
            entrypoint: self.entrypoint.map(Vec::from),
            cmd: self.cmd.map(Vec::from),
            env: self.env.unwrap_or_default(),
            user: self.user.unwrap_or_default(),
            working_dir: self.working_dir.unwrap_or_default(),
            hostname: self.hostname.unwrap_or_default(),
            domainname: self.domainname.unwrap_or_default(),
            tty: self.tty.unwrap_or_default(),
            open_stdin: self.open_stdin.unwrap_or_default(),
            stdin_once: self.stdin_once.unwrap_or_default(),
            attach_stdin: self.attach_stdin.unwrap_or_default(),
            attach_stdout: self.attach_stdout.unwrap_or_default(),
            attach_stderr: self.attach_stderr.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            stop_signal: signal(self.stop_signal.as_deref().unwrap_or_default())?,
            stop_timeout: self.stop_timeout,
            volumes: self.volumes.unwrap_or_default().into_keys().collect(),
            exposed_ports: self.exposed_ports.unwrap_or_default().into_keys().collect(),
            healthcheck: self.healthcheck,
            shell: self.shell.unwrap_or_default(),
            console_size,
        })
    }
}

impl ResourcesBody {
    pub(crate) fn read(self) -> Result<Resources, Error> {
        Ok(Resources {
            memory: set(self.memory),
            memory_swap: set(self.memory_swap),
            memory_reservation: set(self.memory_reservation),
            nano_cpus: set(self.nano_cpus),
            cpu_quota: set(self.cpu_quota),
            cpu_period: natural("HostConfig.CpuPeriod", self.cpu_period)?,
            cpu_shares: natural("HostConfig.CpuShares", self.cpu_shares)?,
            cpuset_cpus: self.cpuset_cpus.unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.unwrap_or_default(),
            pids_limit: set(self.pids_limit),
            cpu_realtime: set(self.cpu_realtime_runtime),
            cpu_realtime_period: natural("HostConfig.CpuRealtimePeriod", self.cpu_realtime_period)?,
            swappiness: swappiness(self.memory_swappiness)?,
            oom_kill_off: self.oom_kill_disable.unwrap_or_default(),
            kernel_tcp: set(self.kernel_memory_tcp),
            blkio: self.blkio.read(),
        })
    }
}

impl HostBody {
    fn read(self) -> Result<HostConfig, Error> {
        let mut openings = self.openings.read()?;
        let mode = self.network_mode.as_deref().unwrap_or_default();
        let shared = openings::network(mode);
        let network = if shared.is_some() { "none" } else { mode }.parse();
        openings.network = shared.unwrap_or_default();
        Ok(HostConfig {
            isolation: isolation(self.isolation.as_deref().unwrap_or_default())?,
            network: network.map_err(|error: engine::config::UnsupportedNetwork| {
                Error::invalid(format!("HostConfig.{error}"))
            })?,
            resources: self.resources.read()?,
            openings,
            cap_add: self.cap_add.map(Vec::from).unwrap_or_default(),
            cap_drop: self.cap_drop.map(Vec::from).unwrap_or_default(),
            readonly_rootfs: self.readonly_rootfs.unwrap_or_default(),
            ulimits: self.ulimits.unwrap_or_default().into_iter().map(Ulimit::from).collect(),
            binds: self.binds.unwrap_or_default(),
            mounts: self.mounts.unwrap_or_default(),
            volumes_from: self.volumes_from.unwrap_or_default(),
            volume_driver: self.volume_driver.unwrap_or_default(),
            tmpfs: self.tmpfs.unwrap_or_default(),
            dns: self.dns.unwrap_or_default(),
            dns_search: self.dns_search.unwrap_or_default(),
            dns_options: self.dns_options.unwrap_or_default(),
            extra_hosts: self.extra_hosts.unwrap_or_default(),
            sysctls: self.sysctls.unwrap_or_default(),
            group_add: self.group_add.unwrap_or_default(),
            oom_score_adj: self.oom_score_adj.filter(|adjustment| *adjustment != 0),
            security_opt: self.security_opt.unwrap_or_default(),
            shm_size: natural("HostConfig.ShmSize", self.shm_size)?,
            logging: self.log_config.map(logging).transpose()?.flatten(),
            init: self.init.unwrap_or_default(),
            auto_remove: self.auto_remove.unwrap_or_default(),
            restart: self.restart_policy.unwrap_or_default().read()?,
            aliases: Vec::new(),
        })
    }
}

impl From<UlimitBody> for Ulimit {
    fn from(body: UlimitBody) -> Self {
        Self {
            name: body.name,
            soft: body.soft.unwrap_or_default(),
            hard: body.hard.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
