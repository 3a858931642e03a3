//! Another container's VM, in which a new one is made: `--host`.

use std::path::Path;

use container::{Status, Store};
use serde_json::Value;
use spec::oci::runtime as oci;
use spec::{ContainerId, Kind, annotation};

use super::Error;
use super::record::Machine;

/// A VM with containers in it.
#[derive(Debug)]
pub(super) struct Host {
    /// The one that the VM was made for.
    pub(super) first: ContainerId,
    /// Where its shim is asked.
    pub(super) address: String,
    /// What the section `vm` said when it was made.
    pub(super) section: Option<Value>,
}

impl Host {
    /// The VM that holds container `id` of `store`, which has not ended.
    pub(super) fn find(store: &Store, id: &ContainerId) -> Result<Self, Error> {
        let refused = |kind, why| Error::Host { id: id.clone(), why, kind };
        let Some(machine) = Machine::load(store, id)? else {
            return Err(match store.load(id) {
                Ok(_) => refused(
                    Kind::Unsupported,
                    "it shares the host's kernel: name a container in a VM, or leave --host out",
                ),
                Err(error) if error.kind() == Kind::NotFound => {
                    refused(Kind::NotFound, "there is no such container in this root")
                }
                Err(error) => error.into(),
            });
        };
        match machine.state()?.0 {
            Status::Created | Status::Running | Status::Paused => {}
            Status::Creating => {
                return Err(refused(Kind::Conflict, "its VM is still being made: wait for that"));
            }
            Status::Stopped => {
                let why = "it has stopped: name another in its VM that runs, or leave --host out";
                return Err(refused(Kind::Conflict, why));
            }
        }
        let record = machine.record;
        let first = record.sandbox.unwrap_or(record.id);
        Ok(Self { first, address: record.address, section: record.section })
    }

    /// Refuses a section `vm` that asks for what the VM was not made with. Of memory and processors less
    /// will do: the VM's are there for all.
    pub(super) fn offers(&self, section: Option<&Value>) -> Result<(), Error> {
        for (part, within) in section.and_then(Value::as_object).into_iter().flatten() {
            for (name, asked) in within.as_object().into_iter().flatten() {
                let has = self.section.as_ref().and_then(|own| own.get(part)?.get(name));
                let fits = match (asked.as_u64(), has.and_then(Value::as_u64)) {
                    (Some(asked), Some(has)) => asked <= has,
                    _ => super::bundle::is_empty(asked) || has == Some(asked),
                };
                if !fits {
                    return Err(Error::OtherVm {
                        asked: format!("vm.{part}.{name}: {asked}"),
                        has: has.map_or("what is usual here".to_owned(), Value::to_string),
                    });
                }
            }
        }
        Ok(())
    }

    /// Says in the configuration that it is for this VM, and which namespaces of the others there it joins.
    pub(super) fn enter(&self, spec: &mut oci::Spec) -> Result<(), Error> {
        let mut annotations = spec.annotations().clone().unwrap_or_default();
        let said = annotations.insert(annotation::SANDBOX.to_owned(), self.first.to_string());
        if said.is_some_and(|said| said != self.first.as_str()) {
            let why = "--host names another VM: want one of them".to_owned();
            return Err(Error::Invalid { field: "annotation dev.hull.sandbox", why });
        }
        // Without it every path would stand for a namespace of the first container's.
        let joins = annotations.entry(annotation::NAMESPACES.to_owned()).or_default().clone();
        spec.set_annotations(Some(annotations));
        let joins: Vec<&str> =
            joins.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        spec.linux_mut().as_mut().map_or(Ok(()), |linux| join(linux, &joins))
    }
}

/// Gives the namespaces that are joined a path, by which they are known as such.
fn join(linux: &mut oci::Linux, joins: &[&str]) -> Result<(), Error> {
    use oci::LinuxNamespaceType as Type;
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        let typ = namespace.typ();
        let joined =
            joins.iter().any(|named| (*named).try_into().is_ok_and(|named: Type| named == typ));
        match (joined, namespace.path()) {
            (true, None) => {
                namespace.set_path(Some(Path::new("/proc/self/ns").join(typ.to_string())));
            }
            (false, Some(_)) => {
                let why = "a path on the host means nothing in a VM: leave it out for a namespace of its \
                           own, or name a container there by the annotation dev.hull.namespaces, as \
                           network=ID";
                return Err(Error::unsupported(format!("linux.namespaces: {typ}"), why));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn host(section: Option<Value>) -> Host {
        let first = "web".parse().expect("an id");
        Host { first, address: String::new(), section }
    }

    #[test]
    fn a_section_may_ask_for_what_the_vm_has_and_for_less_memory() {
        let made = json!({"kernel": {"path": "/k"}, "hwConfig": {"memory": 512, "vcpus": 2}});
        let offers = |asked: Value| host(Some(made.clone())).offers(Some(&asked));
        for asked in [
            made.clone(),
            json!({}),
            json!({"hwConfig": {"memory": 256, "vcpus": 1}}),
            json!({"hypervisor": {"path": "", "parameters": []}}),
        ] {
            assert!(offers(asked.clone()).is_ok(), "{asked}");
        }
        for (asked, field) in [
            (json!({"kernel": {"path": "/other"}}), "vm.kernel.path: \"/other\""),
            (json!({"hypervisor": {"path": "/q"}}), "vm.hypervisor.path"),
            (
                json!({"hwConfig": {"memory": 513}}),
                "vm.hwConfig.memory: 513: the VM that --host names has 512",
            ),
            (json!({"hwConfig": {"vcpus": 3}}), "vm.hwConfig.vcpus"),
        ] {
            let error = offers(asked.clone()).expect_err("refused").to_string();
            assert!(error.starts_with(field), "{asked}: {error}");
        }
        let asked = json!({"hwConfig": {"memory": 1}});
        let error = host(None).offers(Some(&asked)).expect_err("refused").to_string();
        assert!(error.contains("has what is usual here"), "{error}");
    }

    #[test]
    fn only_what_the_annotation_names_is_joined() {
        let enter = |network: Value, annotations: Value| {
            let spec = json!({"annotations": annotations, "linux": {"namespaces": [network]}});
            let mut spec = spec::config::spec(spec.to_string().as_bytes()).expect("valid").value;
            host(None).enter(&mut spec).map(|()| spec).map_err(|error| error.to_string())
        };
        let path = |spec: &oci::Spec| {
            let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone());
            list.expect("namespaces")[0].path().clone()
        };
        let own = enter(json!({"type": "network"}), json!({})).expect("valid");
        assert_eq!(annotation::sandbox(&own), Some("web"));
        assert_eq!(path(&own), None);
        let joins = json!({"dev.hull.namespaces": "network=web"});
        assert!(path(&enter(json!({"type": "network"}), joins).expect("valid")).is_some());
        let of_host = json!({"type": "network", "path": "/run/netns/a"});
        let error = enter(of_host, json!({})).expect_err("refused");
        assert!(error.starts_with("linux.namespaces: net: "), "{error}");
        let other = json!({"dev.hull.sandbox": "db"});
        assert!(enter(json!({"type": "network"}), other).is_err());
    }
}
