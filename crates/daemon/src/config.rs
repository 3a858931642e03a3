//! The daemon's configuration: each key of `hulld.toml` is a flag too, and flags go first.

mod json;
mod values;
mod walls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use engine::Settings;
use image::Registries;
use serde::{Deserialize, Serialize};
use spec::options::Vm;
use toml::Table;
use tracing_subscriber::EnvFilter;

use crate::error::Error;
use crate::log::Format;
use crate::tls;
use values::{
    absolute, accel, format, hosts, labels, level, limit, logging, loopback, pools, root,
};

/// Read when no other is named; need not exist.
const FILE: &str = "/etc/hull/hulld.toml";
/// Where authorities for registries are looked for; the second is docker's.
const CERTIFICATES: [&str; 2] = ["/etc/hull/certs.d", "/etc/docker/certs.d"];
/// Where devices are described by name.
const CDI: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// What a daemon that listens on TCP must be told.
const ALL_OF_TLS: &str = "TCP wants all of --tlsverify, --tlscacert, --tlscert and --tlskey";
/// Keys that are taken over while the daemon runs.
const RELOADED: [&str; 6] =
    ["log-level", "debug", "registry-mirror", "insecure-registry", "registry-certs", "label"];
/// The shim's program, beside the daemon's.
const SHIM: &str = "containerd-shim-hull-v2";

/// Hull's engine: containers behind two kinds of wall, by the Docker API.
#[derive(Debug, Clone, Parser)]
#[command(name = "hulld", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Configuration file, /etc/hull/hulld.toml if it exists; its keys are these flags' names. A file
    /// called *.json has dockerd's.
    #[arg(long, visible_alias = "config-file", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// What can be said by flag or by file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Directory of what survives a reboot [/var/lib/hull].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Directory of what does not [/run/hull].
    #[arg(long, value_name = "DIR")]
    exec_root: Option<PathBuf>,
    /// Socket of the Docker API, a path or unix://PATH [<exec-root>/hull.sock]; beside it
    /// tcp://ADDRESS:PORT for clients that prove themselves by TLS, repeatable.
    #[arg(long, short = 'H', value_name = "SOCKET")]
    #[serde(deserialize_with = "values::one_or_more")]
    host: Vec<String>,
    /// Group that may use the socket, by name or number [hull if there is one, else root].
    #[arg(long, short = 'G', value_name = "GROUP")]
    group: Option<String>,
    /// Clients of TCP must show a certificate: there is no TCP without it.
    #[arg(long)]
    tlsverify: bool,
    /// Authority of their certificates.
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The daemon's certificate.
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Where Prometheus reads /metrics, a loopback address [nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<String>,
    /// The shim's program [containerd-shim-hull-v2 beside hulld].
    #[arg(long, value_name = "FILE")]
    shim: Option<PathBuf>,
    /// The bridge that containers are attached to [hull0].
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Its subnet [172.30.0.0/16].
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    subnet: Option<String>,
    /// IPv6 addresses on that bridge.
    #[arg(long)]
    ipv6: bool,
    /// Their subnet [one of this engine's own].
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    fixed_cidr_v6: Option<String>,
    /// Where networks get subnets from that nobody asked for; repeatable
    /// [172.18.0.0/16 to 172.31.0.0/16, 192.168.0.0/16 by 20, an IPv6 /48 of this engine's own by 64].
    #[arg(long, value_name = "base=ADDRESS/PREFIX,size=PREFIX")]
    default_address_pool: Vec<String>,
    /// Directory of CDI files, which describe devices by name; repeatable, a later one counts before an
    /// earlier [/etc/cdi, /var/run/cdi].
    #[arg(long, alias = "cdi-spec-dir", value_name = "DIR")]
    cdi_spec_dirs: Vec<PathBuf>,
    /// Registry asked for images of docker.io before docker.io; repeatable.
    #[arg(long, value_name = "URL")]
    registry_mirror: Vec<String>,
    /// Registry that may be spoken to without TLS; repeatable. 127.0.0.0/8 always may.
    #[arg(long, value_name = "HOST[:PORT]|ADDRESS/PREFIX")]
    insecure_registry: Vec<String>,
    /// Directory of authorities, HOST[:PORT]/*.crt, each for one registry; repeatable
    /// [/etc/hull/certs.d and /etc/docker/certs.d].
    #[arg(long, value_name = "DIR")]
    registry_certs: Vec<PathBuf>,
    /// What this engine is called by in `docker info`; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// How output is kept where a container does not say it: json-file, local or none [json-file].
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Option of that driver; repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// What this host is: auto, server or workstation [auto].
    #[arg(long, value_name = "KIND")]
    host_kind: Option<String>,
    /// Wall of containers that ask for none: process or hyperv
    /// [process on a server, hyperv on a workstation where a VM can be started].
    #[arg(long, value_name = "WALL")]
    isolation: Option<String>,
    /// Docker's spelling of the same, isolation=WALL; repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    exec_opt: Vec<String>,
    /// Wall that containers may have; repeatable [process and hyperv].
    #[arg(long, value_name = "WALL")]
    allowed_isolation: Vec<String>,
    /// What builds may keep for the next ones, steps that no image has and caches of RUN: after a build, what
    /// was not used for longest goes [no limit].
    #[arg(long, value_name = "SIZE")]
    build_cache_limit: Option<String>,
    /// Accelerator of VMs: auto, kvm or tcg [auto].
    #[arg(long, value_name = "ACCEL")]
    vm_accel: Option<String>,
    /// Kernel of VMs [the newest beneath <data-root>/vm/kernel/boot].
    #[arg(long, value_name = "FILE")]
    vm_kernel: Option<PathBuf>,
    /// Its module tree [beside the kernel].
    #[arg(long, value_name = "DIR")]
    vm_modules: Option<PathBuf>,
    /// Program in VMs [hull-agent beside the shim].
    #[arg(long, value_name = "FILE")]
    vm_agent: Option<PathBuf>,
    /// The hypervisor [found in PATH].
    #[arg(long, value_name = "FILE")]
    vm_qemu: Option<PathBuf>,
    /// Memory of a VM whose container has no limit, in MiB.
    #[arg(long, value_name = "MIB")]
    vm_memory: Option<u32>,
    /// error, warn, info, debug or trace [info].
    #[arg(long, short = 'l', value_name = "LEVEL")]
    log_level: Option<String>,
    /// The daemon's messages: text or json [text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// As the log level debug.
    #[arg(long, short = 'D')]
    debug: bool,
}

/// The configuration, complete.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    /// The API's socket.
    pub(crate) host: PathBuf,
    /// Where it is served over TCP.
    pub(crate) tcp: Vec<SocketAddr>,
    /// Who we are there; present where `tcp` is not empty.
    pub(crate) tls: Option<tls::Files>,
    /// Where numbers for Prometheus are.
    pub(crate) metrics: Option<SocketAddr>,
    /// The group that may connect.
    pub(crate) group: Option<String>,
    /// Which messages are written.
    pub(crate) log: EnvFilter,
    /// How they look.
    pub(crate) log_format: Format,
    /// What was said, by key.
    pub(crate) said: Table,
}

impl Configuration {
    /// Keys that say something else than `before` and hold only from the next start on.
    pub(crate) fn waiting(&self, before: &Table) -> Vec<String> {
        let mut keys: Vec<&String> = self.said.keys().chain(before.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| {
            !RELOADED.contains(&key.as_str()) && self.said.get(*key) != before.get(*key)
        });
        keys.into_iter().cloned().collect()
    }
}

impl Arguments {
    /// Flags over the file's keys over defaults. Reads the file anew each time.
    pub(crate) fn configuration(&self) -> Result<Configuration, Error> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None if Path::new(FILE).exists() => read(Path::new(FILE))?,
            None => Options::default(),
        };
        let options = self.options.clone().over(file);
        let said = options.said();
        Ok(Configuration { said, ..options.complete()? })
    }
}

fn read(path: &Path) -> Result<Options, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return json::parse(path, &text);
    }
    toml::from_str(&text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line_of(&text, error.span().map_or(0, |span| span.start)),
        problem: error.message().replace('\n', "; "),
    })
}

/// The number of the line that this byte is in.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

impl Options {
    /// Each key that has a value.
    fn said(&self) -> Table {
        Table::try_from(self).expect("keys are strings, values strings, numbers and lists")
    }

    /// These, and where they say nothing, `other`.
    fn over(self, other: Self) -> Self {
        fn list<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
            if own.is_empty() { other } else { own }
        }
        Self {
            data_root: self.data_root.or(other.data_root),
            exec_root: self.exec_root.or(other.exec_root),
            host: list(self.host, other.host),
            tlsverify: self.tlsverify || other.tlsverify,
            tlscacert: self.tlscacert.or(other.tlscacert),
            tlscert: self.tlscert.or(other.tlscert),
            tlskey: self.tlskey.or(other.tlskey),
            metrics_addr: self.metrics_addr.or(other.metrics_addr),
            group: self.group.or(other.group),
            shim: self.shim.or(other.shim),
            bridge: self.bridge.or(other.bridge),
            subnet: self.subnet.or(other.subnet),
            ipv6: self.ipv6 || other.ipv6,
            fixed_cidr_v6: self.fixed_cidr_v6.or(other.fixed_cidr_v6),
            default_address_pool: list(self.default_address_pool, other.default_address_pool),
            cdi_spec_dirs: list(self.cdi_spec_dirs, other.cdi_spec_dirs),
            registry_mirror: list(self.registry_mirror, other.registry_mirror),
            insecure_registry: list(self.insecure_registry, other.insecure_registry),
            registry_certs: list(self.registry_certs, other.registry_certs),
            label: list(self.label, other.label),
            log_driver: self.log_driver.or(other.log_driver),
            log_opt: list(self.log_opt, other.log_opt),
            host_kind: self.host_kind.or(other.host_kind),
            isolation: self.isolation.or(other.isolation),
            exec_opt: list(self.exec_opt, other.exec_opt),
            allowed_isolation: list(self.allowed_isolation, other.allowed_isolation),
            build_cache_limit: self.build_cache_limit.or(other.build_cache_limit),
            vm_accel: self.vm_accel.or(other.vm_accel),
            vm_kernel: self.vm_kernel.or(other.vm_kernel),
            vm_modules: self.vm_modules.or(other.vm_modules),
            vm_agent: self.vm_agent.or(other.vm_agent),
            vm_qemu: self.vm_qemu.or(other.vm_qemu),
            vm_memory: self.vm_memory.or(other.vm_memory),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
            debug: self.debug || other.debug,
        }
    }

    fn complete(self) -> Result<Configuration, Error> {
        let data_root = root("data-root", self.data_root, "/var/lib/hull")?;
        let exec_root = root("exec-root", self.exec_root, "/run/hull")?;
        let (host, tcp) = hosts(&self.host)?;
        let host = host.unwrap_or_else(|| exec_root.join("hull.sock"));
        let tls = match (self.tlscacert, self.tlscert, self.tlskey) {
            (Some(authority), Some(certificate), Some(key)) if self.tlsverify => {
                Some(tls::Files { authority, certificate, key })
            }
            (None, None, None) if !self.tlsverify => None,
            _ => return Err(value("tlsverify", &self.tlsverify.to_string(), ALL_OF_TLS)),
        };
        match (tcp.first(), &tls) {
            (Some(address), None) => {
                return Err(value("host", &format!("tcp://{address}"), ALL_OF_TLS));
            }
            (None, Some(_)) => {
                return Err(value("tlsverify", &self.tlsverify.to_string(), "want --host tcp://…"));
            }
            _ => {}
        }
        let metrics = self.metrics_addr.as_deref().map(loopback).transpose()?;
        let walls = walls::Said {
            isolation: self.isolation.as_deref(),
            exec: &self.exec_opt,
            allowed: &self.allowed_isolation,
            kind: self.host_kind.as_deref(),
        };
        let walls = walls.walls()?;
        let log = level(self.log_level, self.debug)?;
        let log_format = format(self.log_format.as_deref())?;
        let usual = Vm::default();
        let vm = Vm {
            accel: accel(self.vm_accel.as_deref())?,
            qemu: self.vm_qemu.unwrap_or(usual.qemu),
            kernel: absolute("vm-kernel", self.vm_kernel)?,
            modules: absolute("vm-modules", self.vm_modules)?,
            agent: absolute("vm-agent", self.vm_agent)?,
            memory_mib: self.vm_memory.unwrap_or(usual.memory_mib),
            scratch_mib: usual.scratch_mib,
            cpus: usual.cpus,
            console: usual.console,
        };
        let mut settings = Settings {
            data_root,
            exec_root,
            shim: self.shim.map_or_else(sibling, Ok)?,
            walls,
            logging: logging(self.log_driver.as_deref(), &self.log_opt)?,
            bridge: self.bridge.unwrap_or_else(|| "hull0".to_owned()),
            subnet: self.subnet.unwrap_or_else(|| "172.30.0.0/16".to_owned()),
            ipv6: self.ipv6,
            subnet6: self.fixed_cidr_v6,
            address_pools: pools(&self.default_address_pool)?,
            registries: Registries {
                mirrors: self.registry_mirror,
                insecure: self.insecure_registry,
                certificates: if self.registry_certs.is_empty() {
                    CERTIFICATES.iter().map(PathBuf::from).collect()
                } else {
                    self.registry_certs
                },
            },
            labels: labels(self.label)?,
            cdi_dirs: if self.cdi_spec_dirs.is_empty() {
                CDI.iter().map(PathBuf::from).collect()
            } else {
                self.cdi_spec_dirs
            },
            build_cache: self.build_cache_limit.as_deref().map(limit).transpose()?,
            vm,
        };
        walls::fall_back(&mut settings);
        let (group, said) = (self.group, Table::new());
        Ok(Configuration { settings, host, tcp, tls, metrics, group, log, log_format, said })
    }
}

fn value(flag: &'static str, value: &str, problem: impl Into<String>) -> Error {
    Error::Value { flag, value: value.to_owned(), problem: problem.into() }
}

/// The shim's program beside the running one.
fn sibling() -> Result<PathBuf, Error> {
    std::env::current_exe()
        .map(|program| program.with_file_name(SHIM))
        .map_err(|source| Error::Process { doing: "find the running program", source })
}

#[cfg(test)]
mod tests;
