//! `update`: other limits for a container that runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use container::Container;
use serde_json::{Value as Json, json};
use spec::ContainerId;
use spec::oci::runtime::{LinuxIntelRdt, LinuxResources};

use super::Error;
use crate::args::{self, Line};
use crate::log::Log;

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) id: ContainerId,
    /// A file with all limits, which makes the others void; `-` is the standard input.
    resources: Option<PathBuf>,
    /// The limits of the other flags, in the form of such a file.
    limits: Json,
    /// Whether limits of kernel memory were asked for.
    kernel_memory: bool,
    /// Shares of caches and memory bandwidth.
    resctrl: Option<LinuxIntelRdt>,
}

/// A flag's name, its place in a file of limits, and what it is.
const FLAGS: [(&str, &str, &str, Kind); 14] = [
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("memory", "memory", "limit", Kind::Bytes),
    ("memory-reservation", "memory", "reservation", Kind::Bytes),
    ("memory-swap", "memory", "swap", Kind::Bytes),
    ("pids-limit", "pids", "limit", Kind::Number),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Bytes,
    Text,
}

/// Reads what follows `update`. An empty value is unset, as runc takes it.
pub(crate) fn flags(id: ContainerId, line: &Line) -> Result<Flags, args::Error> {
    let mut limits = json!({});
    for (flag, group, field, kind) in FLAGS {
        if let Some(value) = line.text(flag)? {
            limits[group][field] = typed(flag, kind, &value)?;
        }
    }
    let mut kernel_memory = false;
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        if let Some(value) = line.text(flag)? {
            typed(flag, Kind::Bytes, &value)?;
            kernel_memory = true;
        }
    }
    let (l3, bandwidth) = (line.text("l3-cache-schema")?, line.text("mem-bw-schema")?);
    let resctrl = (l3.is_some() || bandwidth.is_some()).then(|| {
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_l3_cache_schema(l3).set_mem_bw_schema(bandwidth);
        rdt
    });
    Ok(Flags { id, resources: line.path("resources"), limits, kernel_memory, resctrl })
}

fn typed(flag: &'static str, kind: Kind, value: &str) -> Result<Json, args::Error> {
    let invalid = |what| args::Error::value(flag, value, what);
    match kind {
        Kind::Text => Ok(json!(value)),
        Kind::Number => Ok(json!(value.parse::<i64>().map_err(|_| invalid("a number"))?)),
        Kind::Bytes => Ok(json!(bytes(value).ok_or_else(|| invalid("bytes, such as 64M"))?)),
    }
}

/// Bytes as `512`, `64M`, `1.5GiB`, `10kb`: powers of 1024. `-1` is no limit.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    let scale = 1_i64.checked_shl(10 * u32::try_from(power).ok()?)?;
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a fraction")]
    number
        .parse::<f64>()
        .ok()
        .filter(|n| n.is_finite())
        .map(|number| (number * scale as f64) as i64)
}

/// Does it.
pub(crate) fn run(mut container: Container, flags: &Flags, log: &Log) -> Result<u8, Error> {
    if flags.resctrl.is_some() && !Path::new("/sys/fs/resctrl/info").exists() {
        let text = "Intel RDT is not enabled on this host: there is no /sys/fs/resctrl";
        return Err(Error::Usage(text.to_owned()));
    }
    let change = change(flags, log)?;
    if let Some(rdt) = &flags.resctrl {
        container.update_rdt(rdt).map_err(Error::container("update", &flags.id))?;
    }
    container.update(&change).map_err(Error::container("update", &flags.id))?;
    Ok(0)
}

impl Flags {
    /// Whether shares of caches and memory bandwidth are asked for.
    pub(crate) fn wants_resctrl(&self) -> bool {
        self.resctrl.is_some()
    }
}

/// The limits that are to change.
pub(super) fn change(flags: &Flags, log: &Log) -> Result<LinuxResources, Error> {
    let change: LinuxResources = match &flags.resources {
        Some(path) => {
            let text = if path.as_os_str() == "-" {
                let mut text = Vec::new();
                std::io::stdin().read_to_end(&mut text).map(|_| text)
            } else {
                std::fs::read(path)
            };
            let text = text.map_err(Error::file("read", path))?;
            serde_json::from_slice(&text)
                .map_err(|source| Error::Json { path: path.clone(), source })?
        }
        None => serde_json::from_value(flags.limits.clone())
            .map_err(|source| Error::Json { path: "flags".into(), source })?,
    };
    if flags.kernel_memory && flags.resources.is_none() {
        log.warn("Kernel memory settings are ignored and will be removed");
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, want) in [
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("1.5k", Some(1536)),
            ("2 MiB", Some(2 << 20)),
            ("3gb", Some(3 << 30)),
            ("x", None),
            ("-2", None),
            ("1z", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
    }
}
