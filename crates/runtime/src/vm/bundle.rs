//! The shim's bundle from the caller's, and how its VM is to be.
//!
//! Spec: OCI runtime-spec, config-vm.md.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use spec::oci::runtime as oci;
use spec::options::Options;
use spec::{Isolation, annotation};

use super::Error;
use super::host::Host;
use super::tasks::mount;
use crate::layers::Claim;
use crate::protobuf::Message;

/// What a VM is made from.
#[derive(Debug)]
pub(super) struct Made {
    /// The root filesystem on the host, or where it would be.
    pub(super) rootfs: PathBuf,
    /// The layers, for the request; `None` for a directory.
    pub(super) mount: Option<Message>,
    pub(super) options: Options,
}

/// Writes the shim's `config.json` into `directory`, for a VM of its own or that of `host`.
pub(super) fn write(
    directory: &Path,
    bundle: &Path,
    spec: &oci::Spec,
    layers: Option<&Claim>,
    host: Option<&Host>,
) -> Result<Made, Error> {
    let options = Options::from_variables(|name| std::env::var_os(name))?;
    let options = machine(spec.vm().as_ref(), options)?;
    let mut spec = spec.clone();
    if let Some(host) = host {
        host.offers(spec.vm().as_ref())?;
        host.enter(&mut spec)?;
    }
    spec.set_vm(None);
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(annotation::ISOLATION.to_owned(), Isolation::Vm.to_string());
    if let Some(mib) = layers.and_then(|claim| claim.limit) {
        if annotations.contains_key(annotation::SCRATCH_MIB) {
            let why =
                "the scratch space was made with a limit as well: want one of them".to_owned();
            return Err(Error::Invalid { field: "annotation dev.hull.scratch-mib", why });
        }
        annotations.insert(annotation::SCRATCH_MIB.to_owned(), mib.to_string());
    }
    spec.set_annotations(Some(annotations));
    let mut root = spec.root().clone().unwrap_or_else(|| {
        let mut root = oci::Root::default();
        // oci-spec's own default is not the specification's.
        root.set_readonly(Some(false));
        root
    });
    let rootfs = match layers {
        Some(_) => directory.join("rootfs"),
        None => bundle.join(root.path()),
    };
    root.set_path(rootfs.clone());
    spec.set_root(Some(root));
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if let Some(source) = mount.source().as_ref().filter(|_| is_bind(mount)) {
            let source = bundle.join(source);
            mount.set_source(Some(source));
        }
    }
    let path = directory.join("config.json");
    let text = serde_json::to_vec(&spec);
    let text = text.map_err(|source| Error::Json { what: path.display().to_string(), source })?;
    fs::write(&path, text).map_err(Error::file("write", path))?;
    let mount = layers.map(|claim| mount("overlay", "overlay", &claim.layers.options()));
    Ok(Made { rootfs, mount, options })
}

fn is_bind(mount: &oci::Mount) -> bool {
    let options = mount.options().iter().flatten();
    mount.typ().as_deref() == Some("bind")
        || options.into_iter().any(|option| option == "bind" || option == "rbind")
}

/// The host's set-up with what the section `vm` says. What is in it and not understood is refused.
fn machine(section: Option<&Value>, mut options: Options) -> Result<Options, Error> {
    let none = Map::new();
    let section = match section {
        None => &none,
        Some(Value::Object(section)) => section,
        Some(_) => return Err(Error::Invalid { field: "vm", why: "want an object".to_owned() }),
    };
    for (part, within) in section {
        let Value::Object(within) = within else {
            let why = format!("{part}: want an object");
            return Err(Error::Invalid { field: "vm", why });
        };
        for (name, value) in within.iter().filter(|(_, value)| !is_empty(value)) {
            match (part.as_str(), name.as_str()) {
                ("kernel", "path") => options.vm.kernel = Some(file("vm.kernel.path", value)?),
                ("hypervisor", "path") => options.vm.qemu = file("vm.hypervisor.path", value)?,
                ("hwConfig", "vcpus") => {
                    options.vm.cpus = Some(number("vm.hwConfig.vcpus", value, 1)?);
                }
                ("hwConfig", "memory") => {
                    options.vm.memory_mib = number("vm.hwConfig.memory", value, 1 << 20)?;
                }
                _ => {
                    let why = "is not supported: a VM has Hull's own devices, root image and command \
                               line; want kernel.path, hypervisor.path, hwConfig.vcpus and \
                               hwConfig.memory alone";
                    return Err(Error::unsupported(format!("vm.{part}.{name}"), why));
                }
            }
        }
    }
    Ok(options)
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn file(field: &'static str, value: &Value) -> Result<PathBuf, Error> {
    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| Error::Invalid { field, why: format!("{value}: want an absolute path") })
}

/// A number, 1 or more, in units.
fn number(field: &'static str, value: &Value, unit: u64) -> Result<u32, Error> {
    let whole = value.as_u64().map(|number| number / unit).filter(|number| *number > 0);
    let fits = whole.and_then(|number| u32::try_from(number).ok());
    let invalid = || Error::Invalid { field, why: format!("{value}: want {unit} or more") };
    fits.ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_section_chooses_kernel_hypervisor_and_size() {
        let section = json!({
            "hypervisor": {"path": "/bin/qemu", "parameters": []},
            "kernel": {"path": "/boot/vmlinuz"},
            "hwConfig": {"vcpus": 2, "memory": 536_870_912},
        });
        let vm = machine(Some(&section), Options::default()).expect("supported").vm;
        assert_eq!((vm.qemu, vm.kernel), ("/bin/qemu".into(), Some("/boot/vmlinuz".into())));
        assert_eq!((vm.cpus, vm.memory_mib), (Some(2), 512));
        assert_eq!(machine(None, Options::default()).ok(), Some(Options::default()));
        assert_eq!(machine(Some(&json!({})), Options::default()).ok(), Some(Options::default()));
    }

    #[test]
    fn what_the_section_asks_for_in_vain_is_refused_by_name() {
        for (section, said) in [
            (json!({"kernel": {"path": "/k", "parameters": ["quiet"]}}), "vm.kernel.parameters: "),
            (json!({"kernel": {"path": "/k", "initrd": "/i"}}), "vm.kernel.initrd: "),
            (json!({"image": {"path": "/i", "format": "raw"}}), "vm.image."),
            (json!({"hwConfig": {"dtdevs": ["a"]}}), "vm.hwConfig.dtdevs: "),
            (json!({"kernel": {"path": "vmlinuz"}}), "vm.kernel.path: "),
            (json!({"hwConfig": {"memory": 4096}}), "vm.hwConfig.memory: "),
            (json!({"hwConfig": {"vcpus": 0}}), "vm.hwConfig.vcpus: "),
            (json!({"kernel": 1}), "vm: "),
        ] {
            let error = machine(Some(&section), Options::default()).expect_err("refused");
            assert!(error.to_string().starts_with(said), "{section}: {error}");
        }
    }
}
