//! What of `HostConfig` opens the wall: privileges, devices, namespaces of others.

use std::collections::BTreeMap;

use engine::{Blkio, Device, OfDevice, Openings, Share};
use serde::Deserialize;

use crate::error::Error;

/// The fields of `HostConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct OpeningsBody {
    annotations: Option<BTreeMap<String, String>>,
    cgroup_parent: Option<String>,
    cgroupns_mode: Option<String>,
    device_cgroup_rules: Option<Vec<String>>,
    devices: Option<Vec<DeviceBody>>,
    device_requests: Option<Vec<RequestBody>>,
    ipc_mode: Option<String>,
    masked_paths: Option<Vec<String>>,
    pid_mode: Option<String>,
    privileged: Option<bool>,
    readonly_paths: Option<Vec<String>>,
    runtime: Option<String>,
    #[serde(rename = "UTSMode")]
    uts_mode: Option<String>,
    userns_mode: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeviceBody {
    path_on_host: String,
    path_in_container: String,
    cgroup_permissions: String,
}

/// One of `DeviceRequests`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RequestBody {
    driver: String,
    count: i64,
    #[serde(rename = "DeviceIDs")]
    device_ids: Option<Vec<String>>,
    capabilities: Option<Vec<Vec<String>>>,
    options: Option<BTreeMap<String, String>>,
}

impl RequestBody {
    /// The names of devices that it asks for. `--gpus` asks a driver of Docker's for some: there is none.
    fn names(self) -> Result<Vec<String>, Error> {
        let refuse =
            |problem: String| Err(Error::invalid(format!("HostConfig.DeviceRequests: {problem}")));
        let names = self.device_ids.unwrap_or_default();
        if self.driver != "cdi" {
            let words = self.capabilities.unwrap_or_default();
            return refuse(format!(
                "could not select device driver {:?} with capabilities: {words:?}: devices are asked \
                 for by the names that CDI files of the host describe, as --device \
                 nvidia.com/gpu=all does once nvidia-ctk has written one",
                self.driver
            ));
        }
        if self.count != 0 || self.options.is_some_and(|options| !options.is_empty()) {
            return refuse("the driver cdi takes neither Count nor Options".to_owned());
        }
        match names.iter().find(|name| !engine::is_cdi_name(name)) {
            Some(name) => refuse(format!("{name:?}: want VENDOR/CLASS=NAME")),
            None => Ok(names),
        }
    }
}

/// Limits of block devices, in `HostConfig` and in an update.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BlkioBody {
    #[serde(rename = "BlkioWeight")]
    weight: Option<u64>,
    #[serde(rename = "BlkioWeightDevice")]
    weight_device: Option<Vec<WeightBody>>,
    #[serde(rename = "BlkioDeviceReadBps")]
    read_bps: Option<Vec<RateBody>>,
    #[serde(rename = "BlkioDeviceWriteBps")]
    write_bps: Option<Vec<RateBody>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    read_iops: Option<Vec<RateBody>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    write_iops: Option<Vec<RateBody>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WeightBody {
    path: String,
    weight: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RateBody {
    path: String,
    rate: u64,
}

impl OpeningsBody {
    pub(super) fn read(self) -> Result<Openings, Error> {
        if let Some(name) = self.runtime.filter(|name| !name.is_empty() && name != "hull") {
            return Err(Error::invalid(format!(
                "HostConfig.Runtime: unknown or invalid runtime name: {name}"
            )));
        }
        let userns = self.userns_mode.unwrap_or_default();
        if !matches!(userns.as_str(), "" | "host") {
            return Err(Error::invalid(format!(
                "HostConfig.UsernsMode: invalid USER mode: {userns}"
            )));
        }
        let annotations = self.annotations.unwrap_or_default();
        if annotations.contains_key("") {
            return Err(Error::invalid(
                "invalid Annotations: the empty string is not permitted as an annotation key",
            ));
        }
        let mut cdi = Vec::new();
        for request in self.device_requests.into_iter().flatten() {
            cdi.extend(request.names()?);
        }
        // Clients of old do not know such names from paths.
        let (named, devices): (Vec<_>, Vec<_>) = self
            .devices
            .unwrap_or_default()
            .into_iter()
            .partition(|device| engine::is_cdi_name(&device.path_on_host));
        cdi.extend(named.into_iter().map(|device| device.path_on_host));
        let devices = devices.into_iter().map(|device| Device {
            host: device.path_on_host,
            container: device.path_in_container,
            access: device.cgroup_permissions,
        });
        Ok(Openings {
            privileged: self.privileged.unwrap_or_default(),
            devices: devices.collect(),
            cdi,
            device_rules: self.device_cgroup_rules.unwrap_or_default(),
            masked_paths: self.masked_paths,
            readonly_paths: self.readonly_paths,
            network: Share::Own,
            ipc: share("IPC", self.ipc_mode)?,
            pid: share("PID", self.pid_mode)?,
            uts: share("UTS", self.uts_mode)?,
            cgroup: share("cgroup namespace", self.cgroupns_mode)?,
            userns_host: userns == "host",
            cgroup_parent: self.cgroup_parent.unwrap_or_default(),
            annotations,
        })
    }
}

/// A network that is not the container's own.
pub(crate) fn network(mode: &str) -> Option<Share> {
    Share::parse(mode).filter(|share| matches!(share, Share::Host | Share::Container(_)))
}

/// Which spellings make sense differs by the namespace's kind.
fn share(kind: &str, text: Option<String>) -> Result<Share, Error> {
    let text = text.unwrap_or_default();
    let allowed = match Share::parse(&text) {
        Some(share @ (Share::Own | Share::Host)) => Some(share),
        Some(share @ Share::Container(_)) if matches!(kind, "IPC" | "PID") => Some(share),
        Some(share @ (Share::Shareable | Share::None)) if kind == "IPC" => Some(share),
        _ => None,
    };
    allowed.ok_or_else(|| Error::invalid(format!("invalid {kind} mode: {text}")))
}

impl BlkioBody {
    pub(super) fn read(self) -> Blkio {
        let weight = |WeightBody { path, weight }| OfDevice { path, value: weight };
        let rates = |list: Option<Vec<RateBody>>| {
            let rate = |RateBody { path, rate }| OfDevice { path, value: rate };
            list.unwrap_or_default().into_iter().map(rate).collect()
        };
        Blkio {
            weight: self.weight.filter(|weight| *weight != 0),
            weight_device: self.weight_device.unwrap_or_default().into_iter().map(weight).collect(),
            read_bps: rates(self.read_bps),
            write_bps: rates(self.write_bps),
            read_iops: rates(self.read_iops),
            write_iops: rates(self.write_iops),
        }
    }
}
