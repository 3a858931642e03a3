//! `spec`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

use super::Error;

/// What every configuration starts from.
const TEMPLATE: &str = include_str!("config.json");

/// Writes a configuration to start from; one that is there is left alone.
pub(super) fn write(bundle: &Path, rootless: bool) -> Result<u8, Error> {
    let path = bundle.join("config.json");
    if path.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("File {} exists. Remove it first", path.display())));
    }
    let text = text(rootless).map_err(|source| Error::Json { path: path.clone(), source })?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(Error::file("make", &path))?;
    file.write_all(&text).map_err(Error::file("write", path))?;
    Ok(0)
}

/// The template as it is, or changed for this host and user.
fn text(rootless: bool) -> serde_json::Result<Vec<u8>> {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !rootless && !unified {
        return Ok(TEMPLATE.into());
    }
    let mut config: Value = serde_json::from_str(TEMPLATE)?;
    if unified && let Some(list) = config["linux"]["namespaces"].as_array_mut() {
        list.push(json!({"type": "cgroup"}));
    }
    if rootless {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        for_user(&mut config, uid.as_raw(), gid.as_raw());
    }
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    config.serialize(&mut serializer)?;
    text.push(b'\n');
    Ok(text)
}

/// Takes out what a user without privileges cannot have, and maps that user to root.
fn for_user(config: &mut Value, uid: u32, gid: u32) {
    let linux = &mut config["linux"];
    if let Some(list) = linux["namespaces"].as_array_mut() {
        list.retain(|one| one["type"] != "network");
        list.push(json!({"type": "user"}));
    }
    let mapping = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    linux["uidMappings"] = mapping(uid);
    linux["gidMappings"] = mapping(gid);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        }
        // Other ids than root's are not mapped.
        if let Some(options) = mount["options"].as_array_mut() {
            let named = |option: &Value| {
                option.as_str().is_some_and(|o| o.starts_with("uid=") || o.starts_with("gid="))
            };
            options.retain(|option| !named(option));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::oci::runtime::Spec;

    #[test]
    fn both_templates_are_configurations() {
        for rootless in [false, true] {
            let text = text(rootless).expect("json");
            serde_json::from_slice::<Spec>(&text).expect("a configuration");
        }
    }

    #[test]
    fn a_user_without_privileges_gets_what_the_kernel_allows() {
        let mut config: Value = serde_json::from_str(TEMPLATE).expect("json");
        for_user(&mut config, 1000, 100);
        let linux = &config["linux"];
        let kinds: Vec<&Value> =
            linux["namespaces"].as_array().into_iter().flatten().map(|one| &one["type"]).collect();
        assert!(kinds.contains(&&json!("user")) && !kinds.contains(&&json!("network")));
        assert_eq!(linux["gidMappings"][0]["hostID"], 100);
        assert!(linux.get("resources").is_none());
        assert!(!config["mounts"].to_string().contains("gid="));
        assert!(config["mounts"].to_string().contains("rbind"));
    }
}
