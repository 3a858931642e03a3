//! Reading `config.json`, and the file of `exec --process`.
//!
//! Called by whoever is given a bundle, before anything else looks at it. Engines are written in Go, and
//! write what its decoder takes: `null` for what is absent, a member left out or given twice. A
//! document that the types of [`crate::oci`] refuse is therefore put right where the specification does
//! not forbid it, and read again; one that they take at once costs nothing more.
//!
//! Spec: OCI runtime-spec, config.md; for capabilities its "Linux Process".

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value};

use crate::oci::runtime::{Capability, Process, Spec};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    /// The document.
    pub value: T,
    /// What was left out of it, for the log: names that nobody can map to a capability.
    pub warnings: Vec<String>,
}

type Object = Map<String, Value>;

/// Reads a container's configuration.
///
/// # Errors
///
/// What is no JSON, or has a member of the wrong type or with a value that the specification lacks.
pub fn spec(bytes: &[u8]) -> Result<Document<Spec>, serde_json::Error> {
    let mut document = read(bytes, |spec, warnings| {
        if let Some(process) = object(spec, "process") {
            repair_process(process, warnings);
        }
        if let Some(rdt) = object(spec, "linux").and_then(|linux| object(linux, "intelRdt")) {
            rename_monitoring(rdt);
        }
        let resources = object(spec, "linux").and_then(|linux| object(linux, "resources"));
        for rule in resources.map(|resources| objects(resources, "devices")).into_iter().flatten() {
            drop_empty(rule, "type");
        }
    })?;
    let spec: &mut Spec = &mut document.value;
    if spec.linux().is_none() {
        // Nothing of it is required: such a container has the namespaces of its launcher.
        spec.set_linux(Some(serde_json::from_str("{}")?));
    }
    Ok(document)
}

/// Reads a program to execute.
///
/// # Errors
///
/// As for [`spec`].
pub fn process(bytes: &[u8]) -> Result<Document<Process>, serde_json::Error> {
    read(bytes, repair_process)
}

fn read<T: DeserializeOwned>(
    bytes: &[u8],
    repair: impl FnOnce(&mut Object, &mut Vec<String>),
) -> Result<Document<T>, serde_json::Error> {
    let refusal = match serde_json::from_slice(bytes) {
        Ok(_) if MISSED.iter().any(|name| contains(bytes, name)) => None,
        Ok(value) => return Ok(Document { value, warnings: Vec::new() }),
        Err(refusal) if refusal.is_data() => Some(refusal),
        Err(refusal) => return Err(refusal),
    };
    let mut document: Value = serde_json::from_slice(bytes)?;
    let mut warnings = Vec::new();
    drop_null(&mut document);
    if let Value::Object(members) = &mut document {
        if members.contains_key("freebsd") {
            return Err(serde_json::Error::custom("freebsd: set: not supported"));
        }
        repair(members, &mut warnings);
    }
    // Through text: from a `Value` all types would have a second reader in the program.
    match (serde_json::from_slice(&serde_json::to_vec(&document)?), refusal) {
        (Ok(value), _) => Ok(Document { value, warnings }),
        // The first refusal knows the line.
        (Err(again), Some(first)) if reason(&again) == reason(&first) => Err(first),
        (Err(again), _) => Err(again),
    }
}

/// Members that the types do not know, and would leave out without a word.
const MISSED: [&str; 3] = ["\"freebsd\"", "\"enableCMT\"", "\"enableMBM\""];

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Brings the two names that `enableMonitoring` had before 1.3 under this one.
fn rename_monitoring(rdt: &mut Object) {
    let old = ["enableCMT", "enableMBM"].map(|name| rdt.remove(name));
    if old.contains(&Some(Value::Bool(true))) {
        rdt.insert("enableMonitoring".to_owned(), Value::Bool(true));
    }
}

/// What is wrong, without the place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// Takes the members out that are `null`, which means absent.
fn drop_null(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_null),
        _ => {}
    }
}

fn object<'a>(members: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    members.get_mut(name)?.as_object_mut()
}

fn objects<'a>(members: &'a mut Object, name: &str) -> impl Iterator<Item = &'a mut Object> {
    let list = members.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Go leaves out an empty string where it may, or does not: it means absent either way.
fn drop_empty(members: &mut Object, name: &str) {
    if members.get(name).and_then(Value::as_str) == Some("") {
        members.remove(name);
    }
}

fn repair_process(process: &mut Object, warnings: &mut Vec<String>) {
    // Who says nothing of the user means root.
    process.entry("user").or_insert_with(|| Value::Object(Object::new()));
    if let Some(sets) = object(process, "capabilities") {
        keep_capabilities(sets, warnings);
    }
    let flags = object(process, "scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        // The types have two of the specification's names wrong.
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
    if let Some(affinity) = object(process, "execCPUAffinity") {
        for list in affinity.values_mut() {
            if let Value::String(list) = list {
                let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
                *list = parts.collect::<Vec<_>>().join(",");
            }
        }
        affinity.retain(|_, list| list.as_str() != Some(""));
    }
}

/// Leaves out what is no capability, with a warning in runc's words, as the specification asks.
fn keep_capabilities(sets: &mut Object, warnings: &mut Vec<String>) {
    let mut unknown = BTreeSet::new();
    for names in sets.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| {
            let Some(text) = name.as_str() else { return true };
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                unknown.insert(text.to_owned());
            }
            known
        });
    }
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(" ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: &str = r#""user": {}, "cwd": "/", "args": ["true"]"#;

    #[test]
    fn what_go_takes_is_taken() {
        let cases = [
            ("nothing of the user", r#"{"process": {"cwd": "/"}}"#.to_owned()),
            ("user is null", r#"{"process": {"cwd": "/", "user": null}}"#.to_owned()),
            ("null for a string", r#"{"root": {"path": null}}"#.to_owned()),
            ("null for a list", r#"{"mounts": null, "linux": {"devices": null}}"#.to_owned()),
            (
                "null for a number",
                r#"{"linux": {"resources": {"pids": {"limit": null}}}}"#.to_owned(),
            ),
            ("given twice", r#"{"hostname": "a", "hostname": "b"}"#.to_owned()),
            (
                "a device rule of no type",
                r#"{"linux": {"resources": {"devices": [{"allow": false, "type": ""}]}}}"#
                    .to_owned(),
            ),
            (
                "the specification's scheduler flags",
                format!(
                    r#"{{"process": {{{PROCESS}, "scheduler": {{"policy": "SCHED_DEADLINE",
                    "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}}}}}}"#
                ),
            ),
            (
                "spaces and commas too many",
                format!(
                    r#"{{"process": {{{PROCESS},
                    "execCPUAffinity": {{"initial": "0, 1-2,", "final": ""}}}}}}"#
                ),
            ),
        ];
        for (name, text) in cases {
            let read = spec(text.as_bytes());
            assert!(read.as_ref().is_ok_and(|read| read.warnings.is_empty()), "{name}: {read:?}");
        }
    }

    #[test]
    fn what_the_types_do_not_know_is_not_lost() {
        let said = spec(br#"{"freebsd": {}}"#).expect_err("refused").to_string();
        assert_eq!(said, "freebsd: set: not supported");
        assert!(spec(br#"{"freebsd": null, "annotations": {"a": "\"freebsd\""}}"#).is_ok());
        for name in ["enableCMT", "enableMBM"] {
            let text = format!(r#"{{"linux": {{"intelRdt": {{"{name}": true}}}}}}"#);
            let read = spec(text.as_bytes()).expect("valid").value;
            let rdt = read.linux().as_ref().and_then(|linux| linux.intel_rdt().clone());
            assert_eq!(*rdt.expect("given").enable_monitoring(), Some(true), "{name}");
        }
    }

    #[test]
    fn without_linux_nothing_of_it_is_asked_for() {
        let read = spec(br#"{"ociVersion": "1.0.0"}"#).expect("valid");
        let linux = read.value.linux().clone().expect("filled in");
        assert!(linux.namespaces().is_none() && linux.masked_paths().is_none());
    }

    #[test]
    fn the_last_of_two_counts() {
        let read = spec(br#"{"hostname": "a", "hostname": "b"}"#).expect("valid");
        assert_eq!(read.value.hostname().as_deref(), Some("b"));
    }

    #[test]
    fn an_unknown_capability_is_a_warning() {
        let text = format!(
            r#"{{{PROCESS}, "capabilities": {{"bounding": ["CAP_KILL", "CAP_FLY"],
            "effective": ["CAP_FLY"]}}}}"#
        );
        let read = process(text.as_bytes()).expect("valid");
        assert_eq!(read.warnings, ["ignoring unknown or unavailable capabilities: [CAP_FLY]"]);
        let sets = read.value.capabilities().clone().expect("given");
        assert_eq!(sets.bounding().iter().flatten().count(), 1);
        assert_eq!(sets.effective().iter().flatten().count(), 0);
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_line() {
        let cases = [
            ("{]", "key must be a string at line 1 column 2"),
            ("{\n\"hostname\": 1}", "invalid type: integer `1`, expected a string at line 2"),
            (r#"{"process": {"user": {"uid": -1}}}"#, "invalid value: integer `-1`, expected u32"),
            (r#"{"process": {"args": ["a"]}}"#, "missing field `cwd`"),
        ];
        for (text, want) in cases {
            let refusal = spec(text.as_bytes()).expect_err(text).to_string();
            assert!(refusal.starts_with(want), "{text}: {refusal}");
        }
    }
}
