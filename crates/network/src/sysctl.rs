//! The kernel's settings for IPv6, of the calling thread's network namespace.
//!
//! Spec: the kernel's ip-sysctl.rst, "/proc/sys/net/ipv6/*".

use std::fs;
use std::io;

use spec::Kind;

const CONF: &str = "/proc/sys/net/ipv6/conf";
/// Whether what bridges pass goes through the packet filter.
const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";

/// A setting is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no IPv6.
    #[error("this host has no IPv6: it is turned off by ipv6.disable, or the kernel is without it")]
    None,
    /// The file cannot be written.
    #[error("write {value} to {path}")]
    Write {
        /// The setting.
        path: String,
        /// What it should be.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::None => Kind::Unsupported,
            Self::Write { .. } => Kind::Internal,
        }
    }
}

/// Lets packets pass from one interface to another. Interfaces that take routes from routers go on doing
/// so, which those of a router do not by themselves.
pub(crate) fn forward_ipv6() -> Result<(), Error> {
    if !fs::exists(CONF).unwrap_or(false) {
        return Err(Error::None);
    }
    if is("all", "forwarding", "1") {
        return Ok(());
    }
    for entry in fs::read_dir(CONF).into_iter().flatten().flatten() {
        let Ok(interface) = entry.file_name().into_string() else { continue };
        let listens = is(&interface, "accept_ra", "1") && !is(&interface, "forwarding", "1");
        if listens && !matches!(interface.as_str(), "all" | "default" | "lo") {
            write(&interface, "accept_ra", "2")?;
        }
    }
    write("all", "forwarding", "1")
}

/// Has the interface learn no address or route from neighbours that call themselves routers.
pub(crate) fn trust_no_router(interface: &str) -> io::Result<()> {
    match fs::write(path(interface, "accept_ra"), "0") {
        // Without IPv6 nobody is listened to.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Gives the interface IPv6 or takes it away, its link-local address too; new ones have what the kernel's
/// `default` says.
pub(crate) fn set_ipv6(interface: &str, on: bool) -> io::Result<()> {
    let disabled = if on { "0" } else { "1" };
    match fs::write(path(interface, "disable_ipv6"), disabled) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !on => Ok(()),
        written => written,
    }
}

/// Whether an answer of a container's can become one to the host's own `::1`. It cannot where it is
/// translated back on the bridge: the kernel then takes it for one that came so from outside.
pub(crate) fn answers_loopback() -> bool {
    fs::read_to_string(BRIDGED).map_or(true, |text| text.trim() == "0")
}

fn is(interface: &str, setting: &str, value: &str) -> bool {
    fs::read_to_string(path(interface, setting)).is_ok_and(|text| text.trim() == value)
}

fn write(interface: &str, setting: &str, value: &'static str) -> Result<(), Error> {
    let path = path(interface, setting);
    fs::write(&path, value).map_err(|source| Error::Write { path, value, source })
}

fn path(interface: &str, setting: &str) -> String {
    format!("{CONF}/{interface}/{setting}")
}
