//! Fields of a request that Hull does not act on.
//!
//! Nothing that a client asks for is passed over in silence. Every field that the API defines is either
//! *mapped* to something the engine does, or listed in a table here and then accepted only where its
//! value asks for nothing: `null`, `false`, `0`, `""`, nothing in it, or one of the values that its row
//! names, because clients send those for "not set".
//!
//! Fields that the API does not define are ignored, as by Docker.

use serde_json::{Map, Value};

use crate::error::Error;

/// A field and the JSON values, besides blank ones, that ask for nothing.
pub(crate) type Row = (&'static str, &'static [&'static str]);

/// Fields of a table at one place of a request.
pub(crate) struct Table {
    /// What stands in front of a field's name in messages: `HostConfig.`.
    pub(crate) prefix: &'static str,
    /// Fields that the engine acts on.
    pub(crate) mapped: &'static [&'static str],
    /// Fields that it does not act on.
    pub(crate) unset: &'static [Row],
    /// Fields of which even a blank value asks for something: only `null` does not.
    pub(crate) null: &'static [&'static str],
}

impl Table {
    /// Gives the object's keys the spelling of the API, whose letter case does not matter, and checks
    /// every field that is not mapped.
    ///
    /// # Errors
    ///
    /// 400 that names the field.
    pub(crate) fn check(&self, object: &mut Map<String, Value>) -> Result<(), Error> {
        let given = std::mem::take(object);
        for (key, value) in given {
            let Some(name) = self.name(&key) else { continue };
            if !self.asks_nothing(name, &value) {
                return Err(Error::invalid(format!(
                    "{}{name} is not supported by Hull yet (given {value})",
                    self.prefix
                )));
            }
            object.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// The API's spelling of a field that it defines.
    fn name(&self, key: &str) -> Option<&'static str> {
        let unset = self.unset.iter().map(|(name, _)| name);
        let mut names = self.mapped.iter().chain(unset).chain(self.null).copied();
        names.find(|name| name.eq_ignore_ascii_case(key))
    }

    fn asks_nothing(&self, name: &str, value: &Value) -> bool {
        if self.null.contains(&name) {
            return value.is_null();
        }
        match self.unset.iter().find(|(field, _)| *field == name) {
            None => true,
            Some((_, allowed)) => {
                is_blank(value)
                    || allowed
                        .iter()
                        .any(|text| serde_json::from_str(text).is_ok_and(|v: Value| v == *value))
            }
        }
    }
}

/// True for a value that says nothing, however deep.
pub(crate) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_blank),
    }
}

/// The body of `containers/create`, but for `HostConfig` and `NetworkingConfig`.
pub(crate) const CONFIG: Table = Table {
    prefix: "",
    mapped: &[
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Cmd",
        "Domainname",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "HostConfig",
        "Hostname",
        "Image",
        "Labels",
        "MacAddress",
        "NetworkingConfig",
        "OpenStdin",
        "Shell",
        "StdinOnce",
        "StopSignal",
        "StopTimeout",
        "Tty",
        "User",
        "Volumes",
        "WorkingDir",
    ],
    unset: &[("ArgsEscaped", &[]), ("NetworkDisabled", &[]), ("OnBuild", &[])],
    null: &[],
};

/// `HostConfig`.
pub(crate) const HOST_CONFIG: Table = Table {
    prefix: "HostConfig.",
    mapped: &[
        "Annotations",
        "AutoRemove",
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "BlkioWeight",
        "BlkioWeightDevice",
        "CapAdd",
        "CapDrop",
        "CgroupParent",
        "CgroupnsMode",
        "ConsoleSize",
        "CpuPeriod",
        "CpuQuota",
        "CpuRealtimePeriod",
        "CpuRealtimeRuntime",
        "CpuShares",
        "CpusetCpus",
        "CpusetMems",
        "DeviceCgroupRules",
        "DeviceRequests",
        "Devices",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "ExtraHosts",
        "GroupAdd",
        "Init",
        "IpcMode",
        "Isolation",
        "KernelMemoryTCP",
        "Links",
        "LogConfig",
        "MaskedPaths",
        "Memory",
        "MemoryReservation",
        "MemorySwap",
        "MemorySwappiness",
        "Mounts",
        "NanoCpus",
        "NetworkMode",
        "OomKillDisable",
        "OomScoreAdj",
        "PidMode",
        "PidsLimit",
        "PortBindings",
        "Privileged",
        "PublishAllPorts",
        "ReadonlyPaths",
        "ReadonlyRootfs",
        "RestartPolicy",
        "Runtime",
        "SecurityOpt",
        "ShmSize",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "UTSMode",
        "Ulimits",
        "UsernsMode",
        "VolumeDriver",
        "VolumesFrom",
        // The client writes this file; the API only carries its name.
        "ContainerIDFile",
    ],
    unset: &[
        ("Cgroup", &[]),
        ("CpuCount", &[]),
        ("CpuPercent", &[]),
        ("IOMaximumBandwidth", &[]),
        ("IOMaximumIOps", &[]),
        ("KernelMemory", &[]),
    ],
    null: &[],
};

/// The body of `containers/ID/update`.
pub(crate) const UPDATE: Table = Table {
    prefix: "",
    mapped: &[
        "BlkioWeight",
        "CpuRealtimePeriod",
        "CpuRealtimeRuntime",
        "CpuPeriod",
        "CpuQuota",
        "CpuShares",
        "CpusetCpus",
        "CpusetMems",
        "Memory",
        "MemoryReservation",
        "MemorySwap",
        "NanoCpus",
        "NetworkRates",
        "PidsLimit",
        "RestartPolicy",
    ],
    unset: &[
        ("BlkioDeviceReadBps", &[]),
        ("BlkioDeviceReadIOps", &[]),
        ("BlkioDeviceWriteBps", &[]),
        ("BlkioDeviceWriteIOps", &[]),
        ("BlkioWeightDevice", &[]),
        ("CgroupParent", &[]),
        ("CpuCount", &[]),
        ("CpuPercent", &[]),
        ("DeviceCgroupRules", &[]),
        ("DeviceRequests", &[]),
        ("Devices", &[]),
        ("IOMaximumBandwidth", &[]),
        ("IOMaximumIOps", &[]),
        ("KernelMemory", &[]),
        ("KernelMemoryTCP", &[]),
        ("MemorySwappiness", &["-1"]),
        ("OomKillDisable", &[]),
        ("Ulimits", &[]),
    ],
    null: &[],
};

/// The body of `containers/ID/exec`.
pub(crate) const EXEC: Table = Table {
    prefix: "",
    mapped: &[
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Cmd",
        "ConsoleSize",
        "Env",
        "Privileged",
        "Tty",
        "User",
        "WorkingDir",
        // Said again at the start, which is what counts.
        "Detach",
        // Clients look for these keys themselves.
        "DetachKeys",
    ],
    unset: &[],
    null: &[],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(table: &Table, mut value: Value) -> Result<Value, Error> {
        let object = value.as_object_mut().expect("an object");
        table.check(object)?;
        Ok(value)
    }

    #[test]
    fn every_field_has_one_place() {
        for table in [CONFIG, HOST_CONFIG, EXEC] {
            let unset = table.unset.iter().map(|(name, _)| *name);
            let mut names: Vec<&str> = table
                .mapped
                .iter()
                .copied()
                .chain(unset)
                .chain(table.null.iter().copied())
                .collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }

    #[test]
    fn every_field_of_the_api_is_mapped_or_checked() {
        // The properties of ContainerConfig and HostConfig (with Resources) in Docker's v1.51.yaml.
        let config = "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty \
            OpenStdin StdinOnce Env Cmd Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint \
            NetworkDisabled MacAddress OnBuild Labels StopSignal StopTimeout Shell HostConfig \
            NetworkingConfig";
        let host = "CpuShares Memory CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps \
            BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota \
            CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules \
            DeviceRequests KernelMemoryTCP MemoryReservation MemorySwap MemorySwappiness NanoCpus \
            OomKillDisable Init PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps \
            IOMaximumBandwidth Binds ContainerIDFile LogConfig NetworkMode PortBindings \
            RestartPolicy AutoRemove VolumeDriver VolumesFrom Mounts ConsoleSize Annotations CapAdd \
            CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links \
            OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt StorageOpt \
            Tmpfs UTSMode UsernsMode ShmSize Sysctls Runtime Isolation MaskedPaths ReadonlyPaths";
        for (table, names) in [(CONFIG, config), (HOST_CONFIG, host)] {
            for name in names.split_whitespace() {
                assert_eq!(table.name(name), Some(name));
            }
        }
    }

    #[test]
    fn a_field_that_asks_for_something_is_refused_by_name() {
        let cases = [
            (json!({"CpuCount": 1}), "HostConfig.CpuCount"),
            (json!({"iomaximumiops": 1}), "HostConfig.IOMaximumIOps"),
        ];
        for (body, name) in cases {
            let message = check(&HOST_CONFIG, body).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{name} is not supported by Hull yet")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_field_that_asks_for_nothing_passes() {
        let body = json!({
            "Privileged": false, "IpcMode": "private", "MaskedPaths": null, "MemorySwappiness": -1,
            "LogConfig": {"Type": "", "Config": {}},
            "Init": null, "Devices": [], "PortBindings": {},
        });
        assert_eq!(check(&HOST_CONFIG, body.clone()), Ok(body));
    }

    #[test]
    fn the_case_of_names_does_not_matter_and_strangers_are_dropped() {
        let body = json!({"memory": 7, "PIDSLIMIT": 3, "Fantasy": true});
        assert_eq!(check(&HOST_CONFIG, body), Ok(json!({"Memory": 7, "PidsLimit": 3})));
    }
}
