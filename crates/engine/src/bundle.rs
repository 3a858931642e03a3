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

pub(crate) mod defaults;
pub(crate) mod devices;
mod files;
mod layers;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod process;
mod profile;
mod seccomp;
pub(crate) mod security;
pub(crate) mod user;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use image::Snapshot;
use serde_json::{Value, json};
use spec::{annotation, kernel};

pub(crate) use files::{introduce, resolve, split_host};

use crate::cdi;
use crate::config::{HostConfig, Share, Size};
use crate::container::Container;
use crate::error::Error;
use crate::mountpoint::propagation;
use crate::networks::marks;
use crate::owner::SharedVm;
use security::Security;
use user::Accounts;

/// What a bundle is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) container: &'a Container,
    pub(crate) snapshot: &'a Snapshot,
    /// Where the network is; `None` for the host's.
    pub(crate) network: Option<&'a Path>,
    /// Whether it has a name server of ours.
    pub(crate) served: bool,
    /// Variables that tell of those it is linked to.
    pub(crate) links: &'a [String],
    /// Where the host is for containers that have no gateway of their own.
    pub(crate) gateways: &'a [IpAddr],
    /// Where the processes are that it joins.
    pub(crate) pid: Option<&'a Path>,
    /// Where the interprocess communication is that it joins.
    pub(crate) ipc: Option<&'a Path>,
    /// The shared memory that it has together with others.
    pub(crate) shm: Option<&'a Path>,
    /// Another container's VM, if it is to be in one.
    pub(crate) vm: Option<&'a SharedVm>,
    pub(crate) bundle: &'a Path,
    /// Where mounts are put together for it.
    pub(crate) staged: &'a Path,
    /// The program that is PID 1 where one is asked for.
    pub(crate) init: &'a Path,
    pub(crate) size: Option<Size>,
    /// Where devices are described that are asked for by name.
    pub(crate) cdi_dirs: &'a [PathBuf],
}

/// Writes the bundle. Blocks.
pub(crate) fn write(inputs: &Inputs<'_>) -> Result<(), Error> {
    files::write(inputs.container, inputs.gateways, inputs.served)?;
    for point in &inputs.container.mounts {
        mounts::source(point)?;
    }
    let (mut config, path) = (spec(inputs)?, inputs.bundle.join("config.json"));
    let Some(hidden) = &inputs.container.hidden else {
        return files::put(&path, &config.to_string());
    };
    if let Some(env) = config["process"]["env"].as_array_mut() {
        env.extend(hidden.env.iter().map(|variable| variable.as_str().into()));
    }
    hidden.put(&path, &config.to_string())
}

/// The image's users, as the container sees them: what it wrote itself comes first.
pub(crate) fn accounts(snapshot: &Snapshot) -> Result<Accounts, Error> {
    let mut layers: Vec<PathBuf> = vec![snapshot.upper.clone()];
    layers.extend(snapshot.lower.iter().cloned());
    Ok(Accounts::read(&layers)?)
}

/// With another's interprocess communication comes its shared memory; without any there is none.
fn shared_memory(mounts: &mut Vec<Value>, ipc: &Share, shm: Option<&Path>) {
    const AT: &str = "/dev/shm";
    let source = match ipc {
        Share::Host => Some(Path::new(AT)),
        Share::Own | Share::None | Share::Shareable | Share::Container(_) => shm,
    };
    if source.is_some() || *ipc == Share::None {
        mounts.retain(|mount| mount["destination"] != AT);
    }
    if let Some(source) = source {
        let options = ["rbind", "rprivate", "nosuid", "nodev", "noexec"];
        mounts.push(defaults::mount(AT, "bind", &source.to_string_lossy(), &options));
    }
}

fn spec(inputs: &Inputs<'_>) -> Result<Value, Error> {
    let container = inputs.container;
    let (config, host) = (&container.config, &container.host);
    let identity = accounts(inputs.snapshot)?.resolve(&config.user, &host.group_add)?;
    let (mut mounts, engine_files) = mounts(inputs)?;
    let mut process = process::of_init(container, &identity, inputs.size, inputs.links)?;
    if host.init {
        process::put_init_first(&mut process);
        mounts.push(init(inputs.init)?);
    }
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process,
        "root": { "path": "rootfs", "readonly": host.readonly_rootfs },
        "mounts": mounts,
        "annotations": {
            annotation::ISOLATION: container.isolation.to_string(),
            annotation::ENGINE_FILES: engine_files.join(":"),
        },
        "linux": {
            "cgroupsPath": format!("/hull/{}", container.id),
            "namespaces": namespaces(inputs),
            "resources": limits::changed(&host.resources)?,
            "sysctl": limits::sysctls(host),
        },
    });
    if let Some(asked) = config.labels.get(annotation::KERNEL) {
        spec["annotations"][annotation::KERNEL] = asked.as_str().into();
    }
    if let Some(asked) = config.labels.get(annotation::PAUSE) {
        spec["annotations"][annotation::PAUSE] = asked.as_str().into();
    }
    if let Some(network) = marks::resources(&host.marks) {
        spec["linux"]["resources"]["network"] = network;
    }
    let label = config.labels.get(annotation::KERNEL_MINIMUM);
    if let Some(least) = kernel::newest([label, container.os_version.as_ref()]) {
        spec["annotations"][annotation::KERNEL_MINIMUM] = least.into();
    }
    if let Some(mib) = host.storage_mib {
        spec["annotations"][annotation::SCRATCH_MIB] = mib.to_string().into();
    }
    if host.init {
        spec["annotations"][annotation::INIT] = process::INIT.into();
    }
    let named = host.openings.uts != Share::Host;
    if named {
        spec["hostname"] = config.hostname.as_str().into();
    }
    if named && !config.domainname.is_empty() {
        spec["domainname"] = config.domainname.as_str().into();
    }
    // Into a VM none does, which it says itself.
    if container.isolation.shares_kernel()
        && let Some(root) = propagation::of_root(&container.mounts)?
    {
        spec["linux"]["rootfsPropagation"] = root.into();
    }
    if let Some(vm) = inputs.vm {
        share_vm(&mut spec, vm);
    }
    open_up(&mut spec, host)?;
    cdi::apply(&mut spec, &cdi::resolve(inputs.cdi_dirs, &host.openings.cdi)?)?;
    Ok(spec)
}

/// Has it made in another's VM. The paths of namespaces on the host say there only that they are joined.
fn share_vm(spec: &mut Value, vm: &SharedVm) {
    let joined = vm.namespaces.iter().map(|(namespace, of)| format!("{namespace}={of}"));
    spec["annotations"][annotation::SANDBOX] = vm.of.as_str().into();
    spec["annotations"][annotation::NAMESPACES] = joined.collect::<Vec<_>>().join(",").into();
    for namespace in spec["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        let own = !vm.namespaces.iter().any(|(joined, _)| namespace["type"] == **joined);
        if own && let Some(fields) = namespace.as_object_mut() {
            fields.remove("path");
        }
    }
}

/// The mount of the program that is PID 1.
fn init(program: &Path) -> Result<Value, Error> {
    if !program.exists() {
        let problem = format!("{} is not there: install hull-agent", program.display());
        return Err(Error::Unsupported { field: "HostConfig.Init", problem });
    }
    let options = ["bind", "ro", "rprivate"];
    Ok(defaults::mount(process::INIT, "bind", &program.to_string_lossy(), &options))
}

/// What is the container's own choice in `linux`: paths, devices, filter, control group.
fn open_up(spec: &mut Value, host: &HostConfig) -> Result<(), Error> {
    let openings = &host.openings;
    let linux = &mut spec["linux"];
    let (nodes, rules) = devices::of(openings)?;
    linux["resources"]["devices"] = rules.into();
    if !nodes.is_empty() {
        linux["devices"] = nodes.into();
    }
    linux["maskedPaths"] = json!(openings.masked().unwrap_or_default());
    linux["readonlyPaths"] = json!(openings.readonly().unwrap_or_default());
    let security = Security::of(host)?;
    if let Some(filter) = security.filter(host)? {
        linux["seccomp"] = filter;
    }
    if !openings.cgroup_parent.is_empty() {
        let own = linux["cgroupsPath"].as_str().and_then(|path| path.rsplit('/').next());
        let path = format!("/{}/{}", openings.cgroup_parent.trim_matches('/'), own.unwrap_or(""));
        linux["cgroupsPath"] = path.into();
    }
    for (key, value) in &openings.annotations {
        spec["annotations"][key] = value.as_str().into();
    }
    if openings.privileged {
        spec["annotations"][annotation::HOST_DEVICES] = "all".into();
    }
    let mounts = spec["mounts"].as_array_mut().into_iter().flatten();
    for mount in mounts {
        let open = match mount["destination"].as_str() {
            Some("/sys") => openings.privileged,
            Some("/sys/fs/cgroup") => security.writable_cgroups,
            _ => false,
        };
        if let (true, Some(options)) = (open, mount["options"].as_array_mut()) {
            options.retain(|option| option != "ro");
        }
    }
    Ok(())
}

/// The namespaces that it has of its own, or joins.
fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let openings = &inputs.container.host.openings;
    let own = [
        ("uts", &openings.uts),
        ("ipc", &openings.ipc),
        ("pid", &openings.pid),
        ("cgroup", &openings.cgroup),
    ];
    let mut list = vec![json!({ "type": "mount" })];
    let own = own.iter().filter(|(_, share)| **share != Share::Host);
    let joined = |kind: &str| match kind {
        "pid" => inputs.pid,
        "ipc" => inputs.ipc,
        _ => None,
    };
    list.extend(own.map(|(kind, _)| match joined(kind) {
        Some(path) => json!({ "type": kind, "path": path }),
        None => json!({ "type": kind }),
    }));
    list.extend(inputs.network.map(|path| json!({ "type": "network", "path": path })));
    list
}

/// All mounts in order, and the destinations of those that are the engine's own files.
fn mounts(inputs: &Inputs<'_>) -> Result<(Vec<Value>, Vec<String>), Error> {
    let container = inputs.container;
    let host = &container.host;
    let mut asked = mounts::tmpfs(&host.tmpfs)?;
    asked.extend(mounts::of(&container.mounts, inputs.staged));
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
    shared_memory(&mut mounts, &host.openings.ipc, inputs.shm);
    // A default mount gives way to one that was asked for in its place.
    mounts.retain(|mount| !taken.contains(&destination(mount)));
    for (at, file) in &own {
        let file = file.to_string_lossy();
        mounts.push(defaults::mount(at, "bind", &file, &["rbind", "rprivate"]));
    }
    mounts.extend(asked);
    Ok((mounts, own.iter().map(|(at, _)| (*at).to_owned()).collect()))
}
