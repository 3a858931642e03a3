//! The OCI bundle that a container is started from.
//!
//! Written anew for each start, into the container's directory, once its network is known. What the
//! host must not be told by an image (users, groups) is read from the image's layers; nothing is
//! mounted here.
//!
//! ```text
//!   hosts, hostname, resolv.conf  ->  users of the image  ->  config.json
//! ```
//!
//! Invariant: the bundle is the same for both walls. Which wall is one annotation in it.
//!
//! Spec: OCI runtime-spec, bundle.md and config.md.

mod defaults;
mod files;
mod layers;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod process;
mod seccomp;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use image::Snapshot;
use serde_json::{Value, json};
use spec::annotation;

pub(crate) use files::split_host;

use crate::config::Size;
use crate::container::Container;
use crate::error::Error;
use mounts::Bind;
use process::Security;
use user::Accounts;

/// What a bundle is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) container: &'a Container,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) netns: &'a Path,
    pub(crate) bundle: &'a Path,
    pub(crate) size: Option<Size>,
}

/// Writes the bundle. Blocks.
pub(crate) fn write(inputs: &Inputs<'_>) -> Result<(), Error> {
    files::write(inputs.container)?;
    for bind in &inputs.container.host.binds {
        Bind::parse(bind)?.make_source()?;
    }
    let config = spec(inputs)?;
    files::put(&inputs.bundle.join("config.json"), &config.to_string())
}

/// The image's users, as the container sees them: what it wrote itself comes first.
pub(crate) fn accounts(snapshot: &Snapshot) -> Result<Accounts, Error> {
    let mut layers: Vec<PathBuf> = vec![snapshot.upper.clone()];
    layers.extend(snapshot.lower.iter().cloned());
    Ok(Accounts::read(&layers)?)
}

fn spec(inputs: &Inputs<'_>) -> Result<Value, Error> {
    let container = inputs.container;
    let (config, host) = (&container.config, &container.host);
    let identity = accounts(inputs.snapshot)?.resolve(&config.user, &host.group_add)?;
    let (mounts, engine_files) = mounts(container)?;
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process::of_init(container, &identity, inputs.size)?,
        "root": { "path": "rootfs", "readonly": host.readonly_rootfs },
        "hostname": config.hostname,
        "mounts": mounts,
        "annotations": {
            annotation::ISOLATION: container.isolation.to_string(),
            annotation::ENGINE_FILES: engine_files.join(":"),
        },
        "linux": {
            "cgroupsPath": format!("/hull/{}", container.id),
            "namespaces": [
                { "type": "mount" },
                { "type": "uts" },
                { "type": "ipc" },
                { "type": "pid" },
                { "type": "cgroup" },
                { "type": "network", "path": inputs.netns },
            ],
            "resources": limits::resources(&host.resources),
            "sysctl": limits::sysctls(host),
            "maskedPaths": defaults::MASKED,
            "readonlyPaths": defaults::READONLY,
        },
    });
    if !config.domainname.is_empty() {
        spec["domainname"] = config.domainname.as_str().into();
    }
    if !Security::parse(&host.security_opt)?.seccomp_off {
        spec["linux"]["seccomp"] = seccomp::filter(&process::capabilities(host)?);
    }
    Ok(spec)
}

/// All mounts in order, and the destinations of those that are the engine's own files.
fn mounts(container: &Container) -> Result<(Vec<Value>, Vec<String>), Error> {
    let host = &container.host;
    let mut asked = mounts::tmpfs(&host.tmpfs)?;
    for bind in &host.binds {
        asked.push(Bind::parse(bind)?.mount());
    }
    let destination = |mount: &Value| mount["destination"].as_str().unwrap_or("").to_owned();
    let taken: Vec<_> = asked.iter().map(destination).collect();
    // A mount below another comes after it.
    asked.sort_by_key(|mount| destination(mount).matches('/').count());

    let files = &container.files;
    let own = [
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
    ];
    let own: Vec<_> = own.iter().filter(|(at, _)| !taken.iter().any(|other| other == at)).collect();
    let mut mounts = defaults::mounts(host.shm_size);
    // A default mount gives way to one that was asked for in its place.
    mounts.retain(|mount| !taken.contains(&destination(mount)));
    for (at, file) in &own {
        let file = file.to_string_lossy();
        mounts.push(defaults::mount(at, "bind", &file, &["rbind", "rprivate"]));
    }
    mounts.extend(asked);
    Ok((mounts, own.iter().map(|(at, _)| (*at).to_owned()).collect()))
}
