//! Commands that only print: `state`, `list`, version and help.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use container::features::Features;
use container::{Container, Store};
use serde::Serialize;

use super::Error;
use crate::args::{Command, Format};
use crate::log::timestamp;
use crate::table::layout;
use crate::vm::{self, Machine};

/// Whether `checkpoint` and `restore` are there.
const CHECKPOINT: &str = "true";

/// What `create` and `run` take for a container in a VM, as runhcs does.
const VM_FLAGS: &str = "--host,--vm-console,--vm-log";

/// The version of the runtime specification that this program implements.
pub(super) const SPECIFICATION: &str = "1.3.0";

/// The specification's document with what runc adds, in runc's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    oci_version: String,
    id: String,
    pid: i32,
    status: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

/// Prints and ends well, or tells why the answer could not be written.
pub(super) fn print(text: &str) -> Result<u8, Error> {
    io::stdout().write_all(text.as_bytes()).map_err(Error::step("write the answer"))?;
    Ok(0)
}

pub(super) fn print_json(value: &impl Serialize) -> Result<u8, Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::step("write the answer")(error.into()))?;
    print(&(text + "\n"))
}

/// Prints a value as one line of JSON.
pub(super) fn print_json_line(value: &impl Serialize) -> Result<u8, Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::step("write the answer")(error.into()))?;
    print(&(text + "\n"))
}

/// The state document of a container in a VM.
pub(super) fn machine(machine: &Machine) -> Result<u8, Error> {
    let id = &machine.record.id;
    print_json(&listed_machine(machine, String::new()).map_err(Error::vm("state", id))?)
}

fn listed_machine(machine: &Machine, owner: String) -> Result<Listed, vm::Error> {
    let (status, pid) = machine.state()?;
    let record = &machine.record;
    Ok(Listed {
        oci_version: record.oci_version.clone(),
        id: record.id.to_string(),
        pid: pid.unwrap_or(0),
        status: status.name().to_owned(),
        bundle: record.bundle.clone(),
        rootfs: record.rootfs.clone(),
        created: timestamp(record.created),
        annotations: record.annotations.clone(),
        owner,
    })
}

fn listed(container: &Container, owner: String) -> Result<Listed, container::Error> {
    let state = container.state()?;
    let record = container.record();
    Ok(Listed {
        oci_version: state.oci_version,
        id: state.id,
        // runc prints 0 where there is no process.
        pid: state.pid.unwrap_or(0),
        status: state.status,
        bundle: state.bundle,
        rootfs: record.rootfs.clone(),
        created: timestamp(record.created),
        annotations: state.annotations.into_iter().collect(),
        owner,
    })
}

/// The state document.
pub(super) fn state(container: &Container) -> Result<u8, Error> {
    let id = &container.record().id;
    print_json(&listed(container, String::new()).map_err(Error::container("state", id))?)
}

/// Every container of the store.
pub(super) fn list(store: &Store, format: Format, quiet: bool) -> Result<u8, Error> {
    let containers = store.list().map_err(Error::List)?;
    let machines = Machine::list(store).map_err(Error::List)?;
    if quiet {
        let ids = containers.iter().map(|container| &container.record().id);
        let mut ids: Vec<_> = ids.chain(machines.iter().map(|one| &one.record.id)).collect();
        ids.sort();
        return print(&ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect::<String>());
    }
    // One that is deleted meanwhile is no longer there.
    let mut all: Vec<Listed> =
        containers.iter().filter_map(|one| listed(one, owner(one.directory())).ok()).collect();
    let behind = |one: &Machine| listed_machine(one, owner(one.directory())).ok();
    all.extend(machines.iter().filter_map(behind));
    all.sort_by(|a, b| a.id.cmp(&b.id));
    match format {
        Format::Json if all.is_empty() => print("null\n"),
        Format::Json => print_json_line(&all),
        Format::Table => {
            let mut rows = vec![
                ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec(),
            ];
            rows.extend(all.into_iter().map(|one| {
                let bundle = one.bundle.display().to_string();
                vec![one.id, one.pid.to_string(), one.status, bundle, one.created, one.owner]
            }));
            print(&layout(&rows))
        }
    }
}

/// The name of whoever owns the container's directory, else `#` and the number.
fn owner(directory: &Path) -> String {
    let Ok(metadata) = std::fs::metadata(directory) else { return String::new() };
    let uid = metadata.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user(&passwd, &uid).map_or_else(|| format!("#{uid}"), str::to_owned)
}

/// The user's name in a passwd(5) file.
fn user<'a>(passwd: &'a str, uid: &str) -> Option<&'a str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

/// The features document, with what runc's readers look for.
pub(super) fn features() -> Result<u8, Error> {
    let mut features = Features::find();
    let facts = [
        ("dev.hull.version", env!("CARGO_PKG_VERSION")),
        ("dev.hull.vm.flags", VM_FLAGS),
        ("org.opencontainers.runc.checkpoint.enabled", CHECKPOINT),
    ];
    features.annotations.extend(facts.map(|(name, fact)| (name, fact.to_owned())));
    print_json(&features)
}

/// What `runc --version` prints, of this program.
pub(super) fn version() -> Result<u8, Error> {
    print(&format!("hull-runtime version {}\nspec: {SPECIFICATION}\n", env!("CARGO_PKG_VERSION")))
}

/// Help for one command, or for all.
pub(super) fn help(command: Option<&Command>) -> Result<u8, Error> {
    print(&crate::args::help(command))
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn an_owner_is_named_as_passwd_has_it() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad\nu:x:1000:7::/:/bin/sh\n";
        assert_eq!(user(passwd, "0"), Some("root"));
        assert_eq!(user(passwd, "1000"), Some("u"));
        assert_eq!(user(passwd, "7"), None);
    }
}
