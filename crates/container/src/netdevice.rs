//! Interfaces of the launcher's network namespace that the container takes over.
//!
//! ```text
//!   addresses -> down -> moved and renamed at once -> addresses again -> up
//! ```
//!
//! They are the namespace's from then on and end with it, or go back to the host, as the kernel does.
//!
//! Spec: OCI runtime-spec, config-linux.md "Network Devices".

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use spec::oci::runtime::LinuxNetDevice;
use sys::netlink::{Address, Link, Netlink};

use crate::check;

/// An interface could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("linux.netDevices: {name}: {step}")]
pub struct Error {
    /// Its name in the launcher's namespace.
    name: String,
    /// The step that failed.
    step: &'static str,
    /// Why.
    source: io::Error,
}

/// Names must be such as the kernel takes. `apart`: whether the container has a network namespace that
/// is not the launcher's.
pub(crate) fn check(
    devices: &HashMap<String, LinuxNetDevice>,
    apart: bool,
) -> Result<(), check::Error> {
    let invalid = |reason: String| Err(check::Error::invalid("linux.netDevices", reason));
    if !devices.is_empty() && !apart {
        return invalid("needs a network namespace that is not the runtime's".to_owned());
    }
    let names = devices.iter().flat_map(|(name, device)| [name, inner_name(name, device)]);
    match names.into_iter().find(|name| !is_valid(name)) {
        Some(name) => invalid(format!("{name:?} is no interface's name")),
        None => Ok(()),
    }
}

/// See `dev_valid_name` of the kernel.
fn is_valid(name: &str) -> bool {
    let forbidden = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\0';
    (1..16).contains(&name.len()) && name != "." && name != ".." && !name.contains(forbidden)
}

fn inner_name<'a>(name: &'a String, device: &'a LinuxNetDevice) -> &'a String {
    device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name)
}

/// Moves all of them into `netns`, in order of their names.
pub(crate) fn take_over(
    devices: &HashMap<String, LinuxNetDevice>,
    netns: &OwnedFd,
) -> Result<(), Error> {
    let mut list: Vec<_> = devices.iter().collect();
    list.sort_by_key(|(name, _)| *name);
    list.into_iter().try_for_each(|(name, device)| {
        take(name, inner_name(name, device), netns).map_err(|(step, source)| Error {
            name: name.clone(),
            step,
            source,
        })
    })
}

/// What failed, and why.
type Failure = (&'static str, io::Error);

fn at(step: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| (step, source)
}

fn take(name: &str, inner: &str, netns: &OwnedFd) -> Result<(), Failure> {
    let mut here = Netlink::open().map_err(at("ask the kernel"))?;
    let link = here.link(name).map_err(at("find"))?;
    let link = link.ok_or_else(|| ("find", io::Error::from_raw_os_error(libc::ENODEV)))?;
    // Those of IPv6 are gone once it is down.
    let addresses = here.permanent_addresses(link.index).map_err(at("read its addresses"))?;
    let enter = || Netlink::open();
    let mut there = sys::netns::within(netns.as_fd(), enter).map_err(at("enter the namespace"))?;
    let before = there.links().map_err(at("list the container's"))?;
    // The kernel would move it first and find out afterwards.
    if before.iter().any(|other| other.name == inner) {
        return Err(("name in the container", io::Error::from_raw_os_error(libc::EEXIST)));
    }
    here.set_up(link.index, false).map_err(at("set down"))?;
    if let Err(source) = here.move_as(link.index, netns.as_fd(), inner) {
        restore(&mut here, &link, &addresses);
        return Err(("move into the container's namespace", source));
    }
    let after = there.links().map_err(at("list the container's"))?;
    let is_new = |link: &&Link| !before.iter().any(|old| old.index == link.index);
    let moved = after.iter().find(is_new);
    let moved = moved.ok_or_else(|| ("find again", io::Error::from_raw_os_error(libc::ENODEV)))?;
    for address in &addresses {
        there.add_address(moved.index, *address).map_err(at("give its addresses back"))?;
    }
    there.set_up(moved.index, true).map_err(at("set up"))
}

/// Leaves an interface that stays as it was, as far as that goes.
fn restore(here: &mut Netlink, link: &Link, addresses: &[Address]) {
    if link.up {
        let _ = here.set_up(link.index, true);
    }
    for address in addresses {
        // Those of IPv4 are still there.
        let _ = here.add_address(link.index, *address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for (name, valid) in [
            ("eth0", true),
            ("eth%d", true),
            ("fifteen-letters", true),
            ("", false),
            ("sixteen-letters!", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a:b", false),
            ("a b", false),
        ] {
            assert_eq!(is_valid(name), valid, "{name:?}");
        }
    }

    #[test]
    fn a_namespace_of_its_own_is_needed() {
        let devices = HashMap::from([("eth0".to_owned(), LinuxNetDevice::default())]);
        assert!(check(&devices, true).is_ok());
        assert!(check(&devices, false).is_err());
        assert!(check(&HashMap::new(), false).is_ok());
    }
}
