//! Edits, made to the OCI configuration of a container.
//!
//! Spec: Container Device Interface, SPEC.md, "containerEdits"; OCI runtime-spec, config.md "Mounts", "Hooks".

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Value, json};

use super::file::{Edits, Mount, Node};
use super::invalid;
use crate::bundle::process;
use crate::error::Error;

/// Makes them, in order: a later variable, device or mount takes the place of an earlier one.
pub(crate) fn apply(spec: &mut Value, edits: &[Edits]) -> Result<(), Error> {
    for edit in edits {
        environment(&mut spec["process"], &edit.env);
        for node in &edit.device_nodes {
            device(&mut spec["linux"], node)?;
        }
        for mount in &edit.mounts {
            let destination = &mount.container_path;
            let mounts = list(&mut spec["mounts"]);
            mounts.retain(|other| other["destination"] != **destination);
            mounts.push(self::mount(mount));
        }
        for hook in &edit.hooks {
            let mut made = json!({ "path": hook.path, "args": hook.args, "env": hook.env });
            if let Some(timeout) = hook.timeout {
                made["timeout"] = timeout.into();
            }
            list(&mut spec["hooks"][hook.stage.as_str()]).push(made);
        }
        let groups = list(&mut spec["process"]["user"]["additionalGids"]);
        for group in &edit.groups {
            // Spec: group 0 is left out.
            if *group != 0 && !groups.iter().any(|known| known == group) {
                groups.push((*group).into());
            }
        }
    }
    Ok(())
}

/// The list that is there, or a new one.
fn list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("made just now")
}

fn environment(process: &mut Value, entries: &[String]) {
    let env = list(&mut process["env"]);
    let mut words: Vec<String> =
        env.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    for entry in entries {
        process::set(&mut words, entry);
    }
    *env = words.into_iter().map(Value::from).collect();
}

/// What the file does not say of a node is taken from the host's.
fn device(linux: &mut Value, node: &Node) -> Result<(), Error> {
    let host = node.on_host();
    let said = node.r#type.as_deref().filter(|kind| !kind.is_empty());
    let mut made = json!({ "path": node.path });
    let (kind, major, minor) = match (said, node.major) {
        (Some("p"), _) => ("p", 0, 0),
        (Some(kind), Some(major)) => (kind, major, node.minor.unwrap_or_default()),
        _ => {
            let unknown = |problem: String| invalid(format!("device node {host:?}: {problem}"));
            let found = fs::metadata(host).map_err(|error| unknown(error.to_string()))?;
            let kind = match () {
                () if found.file_type().is_block_device() => "b",
                () if found.file_type().is_char_device() => "c",
                () => return Err(unknown("not a device node".to_owned())),
            };
            made["fileMode"] = (found.mode() & 0o777).into();
            made["uid"] = found.uid().into();
            made["gid"] = found.gid().into();
            (kind, rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))
        }
    };
    made["type"] = kind.into();
    let own = [("fileMode", node.file_mode), ("uid", node.uid), ("gid", node.gid)];
    for (key, value) in own.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        made[key] = value.into();
    }
    if kind != "p" {
        made["major"] = major.into();
        made["minor"] = minor.into();
        let access = node.permissions.as_deref().filter(|rights| !rights.is_empty());
        list(&mut linux["resources"]["devices"]).push(json!({
            "allow": true, "type": if kind == "u" { "c" } else { kind },
            "major": major, "minor": minor, "access": access.unwrap_or("rwm"),
        }));
    }
    let devices = list(&mut linux["devices"]);
    devices.retain(|other| other["path"] != *node.path);
    devices.push(made);
    Ok(())
}

fn mount(mount: &Mount) -> Value {
    let mut options = mount.options.clone();
    let kind = mount.r#type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
    if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".to_owned());
    }
    json!({
        "destination": mount.container_path, "type": kind, "source": mount.host_path,
        "options": options,
    })
}
