//! The part of `HostConfig` that opens the wall.

use engine::{Blkio, HostConfig, OfDevice, Resources, Share};
use serde_json::{Value, json};

/// Privileges, devices, namespaces of others.
pub(super) fn openings(host: &HostConfig) -> Value {
    let openings = &host.openings;
    let private = |share: &Share| match share {
        Share::Own => "private".to_owned(),
        share => share.to_string(),
    };
    let devices = openings.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.host,
            "PathInContainer": device.container,
            "CgroupPermissions": device.access,
        })
    });
    let requests = (!openings.cdi.is_empty()).then(|| {
        json!([{
            "Driver": "cdi", "Count": 0, "DeviceIDs": openings.cdi, "Capabilities": null,
            "Options": null,
        }])
    });
    json!({
        "DeviceRequests": requests,
        "CgroupnsMode": private(&openings.cgroup),
        "IpcMode": private(&openings.ipc),
        "PidMode": openings.pid.to_string(),
        "UTSMode": openings.uts.to_string(),
        "UsernsMode": if openings.userns_host { "host" } else { "" },
        "Privileged": openings.privileged,
        "Annotations": openings.annotations,
        "CgroupParent": openings.cgroup_parent,
        "Devices": devices.collect::<Vec<_>>(),
        "DeviceCgroupRules": super::some(&openings.device_rules),
        "MaskedPaths": openings.masked(),
        "ReadonlyPaths": openings.readonly(),
    })
}

/// Limits of block devices, and those that only some kernels know.
pub(super) fn rare(limits: &Resources) -> Value {
    let Blkio { weight, weight_device, read_bps, write_bps, read_iops, write_iops } = &limits.blkio;
    let list = |list: &[OfDevice], name: &str| -> Value {
        list.iter().map(|one| json!({ "Path": one.path, name: one.value })).collect()
    };
    let mut document = json!({
        "BlkioWeight": weight.unwrap_or(0),
        "BlkioWeightDevice": list(weight_device, "Weight"),
        "BlkioDeviceReadBps": list(read_bps, "Rate"),
        "BlkioDeviceWriteBps": list(write_bps, "Rate"),
        "BlkioDeviceReadIOps": list(read_iops, "Rate"),
        "BlkioDeviceWriteIOps": list(write_iops, "Rate"),
        "CpuRealtimePeriod": limits.cpu_realtime_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_realtime.unwrap_or(0),
        "MemorySwappiness": limits.swappiness,
        "OomKillDisable": limits.oom_kill_off,
    });
    if let Some(limit) = limits.kernel_tcp {
        document["KernelMemoryTCP"] = json!(limit);
    }
    document
}
