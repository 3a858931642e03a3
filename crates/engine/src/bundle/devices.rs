//! Devices: of the host, by path, and the rules for using them.
//!
//! Spec: OCI runtime-spec, config-linux.md "Devices", "Allowed Device list".

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::defaults;
use crate::config::{Device, OfDevice, Openings};
use crate::error::Error;

/// Nodes for the container, and rules for all that it may use.
pub(super) fn of(openings: &Openings) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let (mut nodes, mut rules) = (Vec::new(), defaults::device_rules());
    for device in &openings.devices {
        add(device, &mut nodes, &mut rules)?;
    }
    if openings.privileged {
        return Ok((nodes, vec![json!({ "allow": true, "access": "rwm" })]));
    }
    for rule in &openings.device_rules {
        rules.push(self::rule(rule)?);
    }
    Ok((nodes, rules))
}

fn add(device: &Device, nodes: &mut Vec<Value>, rules: &mut Vec<Value>) -> Result<(), Error> {
    let inside = if device.container.is_empty() { &device.host } else { &device.container };
    let access = if device.access.is_empty() { "rwm" } else { &device.access };
    let found = fs::metadata(&device.host).map_err(|error| unknown(&device.host, &error))?;
    if !found.is_dir() {
        let (node, rule) = node(&found, inside, access)
            .ok_or_else(|| unknown(&device.host, &io::Error::other("not a device node")))?;
        nodes.push(node);
        rules.push(rule);
        return Ok(());
    }
    let entries = fs::read_dir(&device.host).map_err(|error| unknown(&device.host, &error))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let join = |dir: &str| Path::new(dir).join(&name).to_string_lossy().into_owned();
        let one =
            Device { host: join(&device.host), container: join(inside), access: access.to_owned() };
        // Of a directory, what is no device is left out.
        let _ = add(&one, nodes, rules);
    }
    Ok(())
}

fn node(found: &fs::Metadata, inside: &str, access: &str) -> Option<(Value, Value)> {
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () => return None,
    };
    let (major, minor) = numbers(found);
    let node = json!({
        "path": inside, "type": kind, "major": major, "minor": minor,
        "fileMode": found.mode() & 0o777, "uid": found.uid(), "gid": found.gid(),
    });
    let rule = json!({
        "allow": true, "type": kind, "major": major, "minor": minor, "access": access,
    });
    Some((node, rule))
}

fn numbers(found: &fs::Metadata) -> (u32, u32) {
    (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))
}

fn unknown(path: &str, error: &io::Error) -> Error {
    let problem =
        format!("error gathering device information while adding custom device {path:?}: {error}");
    Error::Invalid { field: "HostConfig.Devices", problem }
}

/// The numbers of block devices beside what is said of them.
pub(super) fn rates(list: &[OfDevice], name: &str) -> Result<Vec<Value>, Error> {
    let one = |device: &OfDevice| {
        let found = fs::metadata(&device.path).map_err(|error| unknown(&device.path, &error))?;
        if !found.file_type().is_block_device() {
            let problem = format!("{} is no block device", device.path);
            return Err(Error::Invalid { field: "HostConfig.BlkioDevice", problem });
        }
        let (major, minor) = numbers(&found);
        Ok(json!({ "major": major, "minor": minor, name: device.value }))
    };
    list.iter().map(one).collect()
}

/// Reads `TYPE MAJOR:MINOR ACCESS`; `*` is any number.
pub(crate) fn rule(text: &str) -> Result<Value, Error> {
    let invalid = || Error::Invalid {
        field: "HostConfig.DeviceCgroupRules",
        problem: format!("invalid device cgroup rule format: '{text}'"),
    };
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let known = matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.bytes().all(|byte| b"rwm".contains(&byte));
    let (major, minor) = numbers.split_once(':').filter(|_| known).ok_or_else(invalid)?;
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (name, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            rule[name] = number.parse::<u32>().map_err(|_| invalid())?.into();
        }
    }
    Ok(rule)
}

/// Whether these are letters of an access.
pub(crate) fn is_access(text: &str) -> bool {
    text.len() <= 3 && text.bytes().all(|byte| b"rwm".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_with_its_numbers_and_a_rule() {
        let device =
            Device { host: "/dev/null".into(), container: "/dev/x".into(), access: "r".into() };
        let openings = Openings { devices: vec![device], ..Openings::default() };
        let (nodes, rules) = of(&openings).expect("there is one");
        assert_eq!((&nodes[0]["path"], &nodes[0]["minor"]), (&json!("/dev/x"), &json!(3)));
        let want = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"});
        assert_eq!(rules.last(), Some(&want));
        for host in ["/dev/none", "/etc/hostname"] {
            let device = Device { host: host.into(), ..Device::default() };
            assert!(of(&Openings { devices: vec![device], ..Openings::default() }).is_err());
        }
    }

    #[test]
    fn a_rule_is_a_type_two_numbers_and_an_access() {
        for (text, valid) in [
            ("c 1:3 rwm", true),
            ("b *:* r", true),
            ("x 1:3 r", false),
            ("c 1 r", false),
            ("c 1:3 q", false),
            ("c 1:3", false),
            ("c 1:x r", false),
        ] {
            assert_eq!(rule(text).is_ok(), valid, "{text}");
        }
    }
}
