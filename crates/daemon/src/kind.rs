//! What kind of host this is: a server's containers share its kernel by default, a workstation's do not.
//!
//! The first that answers:
//!
//! ```text
//!   --host-kind  ->  VARIANT_ID of os-release  ->  CHASSIS of machine-info
//!     ->  a graphical session at start  ->  a portable's chassis  ->  server
//! ```
//!
//! A tower's chassis says nothing, as small servers have it; nor does a chassis that a hypervisor made up.
//! `graphical.target` alone says nothing either: it is many a server's default too, and without a display
//! manager it shows nobody anything.
//!
//! Spec: os-release(5); machine-info(5); SMBIOS 3.7, 7.4.1 "System Enclosure or Chassis Types".

use std::fs;
use std::path::Path;

use engine::{HostKind, HostProfile};

/// Editions with a desktop, of Fedora and its relatives.
const WORKSTATIONS: [&str; 14] = [
    "workstation",
    "desktop",
    "silverblue",
    "kinoite",
    "kde",
    "kde-desktop",
    "xfce",
    "cinnamon",
    "budgie",
    "budgie-atomic",
    "sway-atomic",
    "cosmic",
    "cosmic-atomic",
    "steamdeck",
];
/// Those without.
const SERVERS: [&str; 7] = ["server", "cloud", "coreos", "iot", "container", "sap", "micro"];
/// machine-info's words for what a person has before them.
const PERSONAL: [&str; 6] = ["desktop", "laptop", "convertible", "tablet", "handset", "watch"];
/// Its words for what nobody has.
const SHARED: [&str; 4] = ["server", "vm", "container", "embedded"];
/// SMBIOS's numbers of portable, laptop, notebook, sub notebook, tablet, convertible, detachable.
const PORTABLE: [u8; 7] = [8, 9, 10, 14, 30, 31, 32];

/// The kind that a word of the configuration names.
pub(crate) fn named(word: &str) -> Option<HostKind> {
    match word {
        "server" => Some(HostKind::Server),
        "workstation" | "desktop" => Some(HostKind::Workstation),
        _ => None,
    }
}

/// The kind of the host whose files are beneath `root`.
pub(crate) fn detect(root: &Path) -> HostProfile {
    let found = variant(root)
        .or_else(|| machine_info(root))
        .or_else(|| graphical(root))
        .or_else(|| portable(root));
    let (kind, because) = found
        .unwrap_or_else(|| (HostKind::Server, "nothing here speaks of a workstation".to_owned()));
    HostProfile { kind, because }
}

fn variant(root: &Path) -> Option<(HostKind, String)> {
    let file = ["etc/os-release", "usr/lib/os-release"]
        .into_iter()
        .find(|file| root.join(file).exists())?;
    let variant = assigned(&root.join(file), "VARIANT_ID")?;
    let kind = kind(&variant, &WORKSTATIONS, &SERVERS)?;
    Some((kind, format!("VARIANT_ID={variant} in /{file}")))
}

fn machine_info(root: &Path) -> Option<(HostKind, String)> {
    let chassis = assigned(&root.join("etc/machine-info"), "CHASSIS")?;
    let kind = kind(&chassis, &PERSONAL, &SHARED)?;
    Some((kind, format!("CHASSIS={chassis} in /etc/machine-info")))
}

fn kind(word: &str, workstations: &[&str], servers: &[&str]) -> Option<HostKind> {
    if workstations.contains(&word) {
        Some(HostKind::Workstation)
    } else {
        servers.contains(&word).then_some(HostKind::Server)
    }
}

fn graphical(root: &Path) -> Option<(HostKind, String)> {
    // Links that lead to files of the host, wherever `root` is: they are read, not followed.
    let link = |path: &str| fs::read_link(root.join(path)).ok();
    let target = ["etc", "usr/lib", "lib"]
        .iter()
        .find_map(|place| link(&format!("{place}/systemd/system/default.target")))?;
    let manager = link("etc/systemd/system/display-manager.service")?;
    let because = format!("{} is started with it", manager.file_name()?.to_string_lossy());
    (target.file_name()? == "graphical.target").then_some((HostKind::Workstation, because))
}

fn portable(root: &Path) -> Option<(HostKind, String)> {
    let processors = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = processors.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let made_up = flags.split(' ').any(|flag| flag == "hypervisor");
    let text = fs::read_to_string(root.join("sys/class/dmi/id/chassis_type")).ok()?;
    let chassis: u8 = text.trim().parse().ok()?;
    let because = format!("its chassis is a portable's, SMBIOS type {chassis}");
    (!made_up && PORTABLE.contains(&chassis)).then_some((HostKind::Workstation, because))
}

/// The value of a shell-like assignment, as these files hold it.
fn assigned(file: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
