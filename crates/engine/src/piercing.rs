//! Everything that crosses a container's wall, in one list: empty for one that asked for nothing.
//!
//! Made from the record when somebody looks: at a create, for its warnings, and by `inspect`. What an image
//! brings itself (anonymous volumes) is in it; memory of its own (tmpfs, private namespaces) is not.
//!
//! ```text
//!   mounts ─▶ ports ─▶ wires of the host ─▶ namespaces ─▶ devices ─▶ privileges
//! ```

mod risk;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use spec::Isolation;

use crate::bundle::defaults::{CAPABILITIES, MASKED, READONLY};
use crate::bundle::process::capabilities;
use crate::bundle::security::{Seccomp, Security};
use crate::cdi;
use crate::config::{NetworkMode, Openings, Share, wanted};
use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;
use crate::mountpoint::{MountKind, MountPoint};
use crate::owner::blocking;

/// One thing that crosses a wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Piercing {
    /// Of what kind.
    pub kind: PiercingKind,
    /// What the container sees: a path, a port, the name of a right.
    pub inside: String,
    /// What that is of the host, or of whom; empty for rights.
    pub outside: String,
    /// What may be done with it: `ro`, `rw`, letters of a device's access; empty where that is plain.
    pub access: String,
    /// How far that leads.
    pub reach: Reach,
    /// Why to think twice, if there is a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<&'static str>,
}

/// Kinds of piercings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PiercingKind {
    /// A file or directory of the host.
    Bind,
    /// A unix socket of the host.
    Socket,
    /// A FIFO of the host.
    Fifo,
    /// A volume.
    Volume,
    /// The files of an image.
    Image,
    /// A port of the host.
    Port,
    /// A place on the wire of one of the host's devices, by a macvlan: the host's own rules see nothing of
    /// what is sent there.
    Wire,
    /// A namespace of the host's or another container's, or one that is offered.
    Namespace,
    /// A device of the host.
    Device,
    /// What a device needs that was asked for by name; outside are its paths of the host.
    Cdi,
    /// Devices that may be used once they can be named.
    DeviceRule,
    /// Everything that a kernel grants.
    Privileged,
    /// A capability that others do not have.
    Capability,
    /// System calls that others may not make.
    Seccomp,
    /// A path of the kernel's that others do not see or write.
    Path,
    /// A kernel parameter.
    Sysctl,
}

impl PiercingKind {
    /// Its name, as in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Socket => "socket",
            Self::Fifo => "fifo",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Port => "port",
            Self::Wire => "wire",
            Self::Namespace => "namespace",
            Self::Device => "device",
            Self::Cdi => "cdi",
            Self::DeviceRule => "device-rule",
            Self::Privileged => "privileged",
            Self::Capability => "capability",
            Self::Seccomp => "seccomp",
            Self::Path => "path",
            Self::Sysctl => "sysctl",
        }
    }
}

/// How far a piercing leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// To the host.
    Host,
    /// To the kernel of the container's own VM, and no further.
    Guest,
}

/// What is known beside the record.
struct Surroundings<'a> {
    /// The engine's own directories.
    roots: [&'a Path; 2],
    /// The options of a volume, if there is one of that name.
    volume: &'a dyn Fn(&str) -> Option<BTreeMap<String, String>>,
    /// The paths that a device of that name stands for.
    device: &'a dyn Fn(&str) -> Vec<String>,
    /// The parent of a network's macvlans, and their mode, where that leads somewhere.
    wire: &'a dyn Fn(&str) -> Option<(String, network::macvlan::Mode)>,
}

impl Engine {
    /// All that crosses the wall of a container.
    ///
    /// # Errors
    ///
    /// Those of an engine that ends.
    pub async fn piercings(&self, container: &Container) -> Result<Vec<Piercing>, Error> {
        let (shared, container) = (Arc::clone(self.shared()), container.clone());
        blocking(move || {
            let settings = &shared.settings;
            let volume = |name: &str| Some(shared.volumes.get(name).ok()?.options);
            let roots = [settings.data_root.as_path(), settings.exec_root.as_path()];
            let device = |name: &str| cdi::paths(&settings.cdi_dirs, name);
            let wire = |network: &str| {
                let site = shared.site(network).ok()?;
                let (name, plan) = (site.bridge.name(), site.bridge.plan());
                plan.macvlan.filter(|_| !plan.internal).map(|mode| (name.to_string(), mode))
            };
            let around = Surroundings { roots, volume: &volume, device: &device, wire: &wire };
            Ok(of(&container, &around))
        })
        .await
    }
}

/// All that crosses the wall of `container`. Looks at files of the host, so it blocks.
fn of(container: &Container, around: &Surroundings<'_>) -> Vec<Piercing> {
    let mut list: Vec<Piercing> =
        container.mounts.iter().filter_map(|point| mount(point, around)).collect();
    list.extend(ports(container));
    list.extend(wires(container, around));
    let openings = &container.host.openings;
    list.extend(namespaces(openings, container.isolation));
    list.extend(devices(openings, container.isolation));
    list.extend(
        openings
            .cdi
            .iter()
            .map(|name| piercing(PiercingKind::Cdi, name, (around.device)(name).join(", "))),
    );
    list.extend(rights(container));
    list
}

/// What clients are told of it at a create.
pub(crate) fn warnings(list: &[Piercing]) -> Vec<String> {
    let line = |piercing: &Piercing| {
        let Piercing { kind, inside, outside, risk, .. } = piercing;
        let what =
            if outside.is_empty() { inside.clone() } else { format!("{inside} ({outside})") };
        risk.map(|risk| format!("{} {what}: {risk}", kind.name()))
    };
    list.iter().filter_map(line).collect()
}

fn piercing(kind: PiercingKind, inside: impl Into<String>, outside: impl Into<String>) -> Piercing {
    let (inside, outside) = (inside.into(), outside.into());
    Piercing { kind, inside, outside, access: String::new(), reach: Reach::Host, risk: None }
}

fn mount(point: &MountPoint, around: &Surroundings<'_>) -> Option<Piercing> {
    let made = |kind, outside: &str| Piercing {
        access: if point.writable { "rw" } else { "ro" }.to_owned(),
        ..piercing(kind, &point.destination, outside)
    };
    match point.kind {
        MountKind::Tmpfs => None,
        MountKind::Image => Some(made(PiercingKind::Image, &point.name)),
        MountKind::Bind => Some(bind(made(PiercingKind::Bind, &point.source), around)),
        MountKind::Volume => {
            let options = (around.volume)(&point.name).unwrap_or_else(|| point.new.options.clone());
            match options.get("device").filter(|device| device.starts_with('/')) {
                // It has a name, and is files or a disk of the host all the same.
                Some(device) => Some(bind(made(PiercingKind::Volume, device), around)),
                None => Some(made(PiercingKind::Volume, &point.name)),
            }
        }
    }
}

/// Looks at what is bound. What is not there yet will be a directory.
fn bind(mut piercing: Piercing, around: &Surroundings<'_>) -> Piercing {
    let source = Path::new(&piercing.outside);
    let real = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    let found = fs::symlink_metadata(&real).map(|found| found.file_type());
    piercing.risk = risk::of_bind(&real, piercing.access == "rw", &around.roots);
    match found {
        Ok(found) if found.is_socket() => piercing.kind = PiercingKind::Socket,
        Ok(found) if found.is_fifo() => piercing.kind = PiercingKind::Fifo,
        Ok(found) if found.is_block_device() => piercing.risk = Some(risk::DISK),
        _ => {}
    }
    piercing
}

/// Those that the host has, or will have once it runs.
fn ports(container: &Container) -> Vec<Piercing> {
    let made = |inside: String, outside: String| piercing(PiercingKind::Port, inside, outside);
    if container.status.is_live() {
        let published = container.ports.iter().map(|port| {
            let host = std::net::SocketAddr::new(port.host, port.port);
            made(format!("{}/{}", port.inside, port.protocol), host.to_string())
        });
        return published.collect();
    }
    let host = &container.host;
    if host.openings.network != Share::Own || host.network == NetworkMode::None {
        return Vec::new();
    }
    let asked = wanted(host, &container.config.exposed_ports).unwrap_or_default();
    let asked = asked.iter().map(|port| {
        let numbers = match port.ports {
            None => "any".to_owned(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let address = match port.host {
            None => "*".to_owned(),
            Some(address @ std::net::IpAddr::V6(_)) => format!("[{address}]"),
            Some(address) => address.to_string(),
        };
        made(format!("{}/{}", port.inside, port.protocol), format!("{address}:{numbers}"))
    });
    asked.collect()
}

/// Those that it is on by itself, or will be once it runs. Inside is the network, access the mode.
fn wires<'a>(
    container: &'a Container,
    around: &'a Surroundings<'_>,
) -> impl Iterator<Item = Piercing> + use<'a> {
    container.host.attachments.keys().filter_map(|network| {
        let (parent, mode) = (around.wire)(network)?;
        let wire = piercing(PiercingKind::Wire, network, parent);
        Some(Piercing { access: mode.to_string(), ..wire })
    })
}

fn namespaces(openings: &Openings, isolation: Isolation) -> Vec<Piercing> {
    let all = [
        ("network", &openings.network, risk::NETWORK),
        ("ipc", &openings.ipc, risk::IPC),
        ("pid", &openings.pid, risk::PID),
        ("uts", &openings.uts, risk::UTS),
        ("cgroup", &openings.cgroup, risk::CGROUP),
    ];
    let shared = |name: &str, with: &str| {
        let made = piercing(PiercingKind::Namespace, name, with);
        Some(Piercing { reach: reach(isolation), ..made })
    };
    let one = |(name, share, risk): (&str, &Share, &'static str)| match share {
        Share::Own | Share::None => None,
        Share::Shareable => shared(name, "offered to other containers"),
        Share::Container(_) => shared(name, &share.to_string()),
        Share::Host => {
            let made = piercing(PiercingKind::Namespace, name, "host");
            Some(Piercing { risk: Some(risk), ..made })
        }
    };
    all.into_iter().filter_map(one).collect()
}

fn devices(openings: &Openings, isolation: Isolation) -> Vec<Piercing> {
    let device = |device: &crate::config::Device| {
        let inside = if device.container.is_empty() { &device.host } else { &device.container };
        let access = if device.access.is_empty() { "rwm" } else { &device.access };
        Piercing {
            access: access.to_owned(),
            risk: risk::of_device(&PathBuf::from(&device.host)),
            ..piercing(PiercingKind::Device, inside, &device.host)
        }
    };
    let rule = |rule: &String| {
        let (numbers, access) = rule.rsplit_once(' ').unwrap_or((rule, ""));
        let reach = reach(isolation);
        Piercing {
            access: access.to_owned(),
            reach,
            risk: risk::of_rule(rule).filter(|_| reach == Reach::Host),
            ..piercing(PiercingKind::DeviceRule, numbers, "")
        }
    };
    let devices = openings.devices.iter().map(device);
    devices.chain(openings.device_rules.iter().map(rule)).collect()
}

/// How far a right leads that a kernel grants.
fn reach(isolation: Isolation) -> Reach {
    if isolation.shares_kernel() { Reach::Host } else { Reach::Guest }
}

/// What it may do to the kernel that it runs on.
fn rights(container: &Container) -> Vec<Piercing> {
    let (host, reach) = (&container.host, reach(container.isolation));
    let right = |kind, inside: &str, access: &str, risk: Option<&'static str>| Piercing {
        access: access.to_owned(),
        reach,
        risk: risk.filter(|_| reach == Reach::Host),
        ..piercing(kind, inside, "")
    };
    let mut list = Vec::new();
    let openings = &host.openings;
    if openings.privileged {
        let risk = match reach {
            Reach::Host => risk::PRIVILEGED,
            Reach::Guest => risk::PRIVILEGED_GUEST,
        };
        let made = right(PiercingKind::Privileged, "all capabilities, devices and calls", "", None);
        list.push(Piercing { risk: Some(risk), ..made });
    } else {
        let held = capabilities(host).unwrap_or_default();
        let more = held.iter().filter(|name| !CAPABILITIES.contains(&name.as_str()));
        list.extend(
            more.map(|name| right(PiercingKind::Capability, name, "", risk::of_capability(name))),
        );
    }
    let security = Security::parse(&host.security_opt).unwrap_or_default();
    match security.seccomp {
        Seccomp::Default => {}
        Seccomp::Off => {
            list.push(right(PiercingKind::Seccomp, "unconfined", "", Some(risk::SECCOMP)));
        }
        Seccomp::Profile(_) => list.push(right(PiercingKind::Seccomp, "its own profile", "", None)),
    }
    let open = |defaults: &'static [&str], own: Option<&Vec<String>>| {
        let own = own.cloned();
        defaults
            .iter()
            .filter(move |path| own.as_ref().is_some_and(|own| !own.iter().any(|at| at == *path)))
    };
    for path in open(&MASKED, openings.masked_paths.as_ref()) {
        list.push(right(PiercingKind::Path, path, "seen", Some(risk::PATH)));
    }
    for path in open(&READONLY, openings.readonly_paths.as_ref()) {
        list.push(right(PiercingKind::Path, path, "rw", Some(risk::PATH)));
    }
    if security.writable_cgroups {
        list.push(right(PiercingKind::Path, "/sys/fs/cgroup", "rw", None));
    }
    for (name, value) in &host.sysctls {
        list.push(right(PiercingKind::Sysctl, &format!("{name}={value}"), "", None));
    }
    list
}

#[cfg(test)]
mod tests;
