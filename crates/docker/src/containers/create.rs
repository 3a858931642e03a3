//! The body of `POST /containers/create`, read into what the engine makes containers from.

mod endpoints;
mod openings;

use std::collections::BTreeMap;

use engine::{
    Config, Create, Healthcheck, HostConfig, HostPort, Logging, Resources, RestartPolicy, Size,
    Ulimit,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use spec::{Isolation, Signal};

use crate::error::Error;
use crate::fields;
use endpoints::endpoints;
pub(crate) use endpoints::{IFNAME, PortBody, attachment};
pub(crate) use openings::network;
use openings::{BlkioBody, OpeningsBody};

/// Reads the body of a create.
///
/// # Errors
///
/// 400 that names the field which is no legal value, or asks for what Hull does not do.
pub(crate) fn parse(mut body: Value, name: Option<String>) -> Result<Create, Error> {
    if body.is_null() {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let object =
        body.as_object_mut().ok_or_else(|| Error::invalid("the body is not a JSON object"))?;
    fields::CONFIG.check(object)?;
    let mut host = match object.remove("HostConfig") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(host)) => host,
        Some(_) => return Err(Error::invalid("HostConfig is not a JSON object")),
    };
    fields::HOST_CONFIG.check(&mut host)?;
    let networking = object.remove("NetworkingConfig");
    let mut host: HostBody = read("HostConfig: ", Value::Object(host))?;
    let config: ConfigBody = read("", body)?;
    let mode = host.network_mode.as_deref().filter(|mode| !matches!(*mode, "" | "default"));
    let mode = mode.unwrap_or("bridge").to_owned();
    let mut attachments = endpoints(networking.as_ref(), &mode)?;
    if mode == "bridge" && attachments.len() == 1 {
        // Clients of old name the network here alone.
        host.network_mode = attachments.keys().next().cloned();
    }
    // Before API 1.44 it was said here.
    if let Some(mac) = config.mac_address.clone().filter(|mac| !mac.is_empty()) {
        let main = attachments.entry(mode).or_default();
        if main.mac.is_empty() {
            main.mac = mac;
        }
    }
    let console_size = host.console_size;
    Ok(Create {
        name,
        config: config.read(console_size)?,
        host: HostConfig { attachments, ..host.read()? },
    })
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(place: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value)
        .map_err(|error| Error::invalid(format!("invalid request body: {place}{error}")))
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
    mac_address: Option<String>,
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
    links: Option<Vec<String>>,
    log_config: Option<LogBody>,
    network_mode: Option<String>,
    oom_score_adj: Option<i32>,
    port_bindings: Option<BTreeMap<String, Option<Vec<PortBody>>>>,
    publish_all_ports: Option<bool>,
    readonly_rootfs: Option<bool>,
    restart_policy: Option<RestartBody>,
    security_opt: Option<Vec<String>>,
    shm_size: Option<i64>,
    storage_opt: Option<BTreeMap<String, String>>,
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
pub(crate) struct UlimitBody {
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
    set(number).map(|number| u64::try_from(number).map_err(|_| negative(field, number))).transpose()
}

/// Docker has words of its own for one of them.
fn negative(field: &str, number: i64) -> Error {
    match field {
        "HostConfig.CpuShares" => Error::invalid(format!(
            "invalid CPU shares ({number}): value must be a positive integer"
        )),
        field => Error::invalid(format!("invalid {field}: {number} is negative")),
    }
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

/// Without the slashes that end it: `/tmp/` is `/tmp`.
fn directory(path: String) -> String {
    match path.trim_end_matches('/') {
        "" => path,
        shorter => shorter.to_owned(),
    }
}

/// `None` for the spellings of "the engine decides".
pub(crate) fn isolation(text: &str) -> Result<Option<Isolation>, Error> {
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

/// `HostConfig.StorageOpt`, of which `size` is understood, in MiB.
fn storage(options: BTreeMap<String, String>) -> Result<Option<u32>, Error> {
    let mut mib = None;
    for (option, value) in options {
        if option != "size" {
            return Err(Error::invalid(format!("HostConfig.StorageOpt: unknown option {option}")));
        }
        let wrong = || Error::invalid(format!("HostConfig.StorageOpt: invalid size: {value:?}"));
        let bytes = engine::size::bytes(&value).ok_or_else(wrong)?;
        mib = Some(u32::try_from(bytes >> 20).map_err(|_| wrong())?);
    }
    Ok(mib)
}

/// A port without the host's is any of the host's.
pub(crate) fn ports((inside, hosts): (String, Option<Vec<PortBody>>)) -> (String, Vec<HostPort>) {
    let mut hosts: Vec<_> = hosts.unwrap_or_default().into_iter().map(HostPort::from).collect();
    if hosts.is_empty() {
        hosts.push(HostPort::default());
    }
    (inside, hosts)
}

/// `None` for an empty text.
pub(crate) fn signal(text: &str) -> Result<Option<Signal>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_: spec::signal::InvalidSignal| {
        Error::invalid(format!(
            "invalid signal: {text}, want a name such as TERM or SIGTERM, or a number from 1 \
                 to 64"
        ))
    })
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
            working_dir: self.working_dir.map(directory).unwrap_or_default(),
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
            storage_mib: storage(self.storage_opt.unwrap_or_default())?,
            init: self.init.unwrap_or_default(),
            auto_remove: self.auto_remove.unwrap_or_default(),
            restart: self.restart_policy.unwrap_or_default().read()?,
            attachments: BTreeMap::new(),
            marks: engine::Marks::default(),
            links: self.links.unwrap_or_default(),
            ports: self.port_bindings.unwrap_or_default().into_iter().map(ports).collect(),
            publish_all: self.publish_all_ports.unwrap_or_default(),
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
