//! User, groups, capabilities and the seccomp filter.
//!
//! Capabilities that this process or kernel does not have are left out, with a warning, as runc does.
//! Without no_new_privs the filter needs `CAP_SYS_ADMIN`, which is then kept until the filter is there.
//!
//! Spec: OCI runtime-spec, config.md "Linux Process"; capabilities(7).

use rustix::fs::{Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use spec::oci::runtime::{Capabilities, Process};

use super::Error;
use crate::capability::set_of;
use crate::request::Request;

/// Becomes the user, with the user's capabilities, and `CAP_SYS_ADMIN` beyond them where a filter is
/// still to be installed.
pub(super) fn assume(
    process: &Process,
    filtered: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    if process.no_new_privileges() == Some(true) {
        thread::set_no_new_privs(true).map_err(Error::step("set no_new_privs"))?;
    }
    let wanted = Wanted::of(process, warnings)?;
    sys::bounding::limit(wanted.bounding)
        .map_err(Error::step("limit the bounding capabilities"))?;
    thread::set_keep_capabilities(true).map_err(Error::step("keep capabilities"))?;
    become_user(process, warnings)?;
    let mut sets = wanted.sets;
    if filtered && process.no_new_privileges() != Some(true) {
        sets.permitted |= CapabilitySet::SYS_ADMIN;
        sets.effective |= CapabilitySet::SYS_ADMIN;
    }
    thread::set_capabilities(None, sets).map_err(Error::step("set capabilities"))?;
    thread::set_keep_capabilities(false).map_err(Error::step("stop keeping capabilities"))?;
    raise_ambient(wanted.ambient, warnings)
}

/// The last restrictions before execve: the filter, and without what it needed to be installed.
pub(super) fn restrict(request: &Request<'_>) -> Result<(), Error> {
    let Some(filter) = &request.filter else { return Ok(()) };
    let process = &request.process;
    // What the filter forbids must be done before; it need allow no more than capset and execve.
    let wanted = Wanted::of(process, &mut Vec::new())?;
    filter.install().map_err(Error::step("install the seccomp filter"))?;
    let admin = CapabilitySet::SYS_ADMIN;
    let extra = process.no_new_privileges() != Some(true)
        && !(wanted.sets.permitted & wanted.sets.effective).contains(admin);
    if extra {
        thread::set_capabilities(None, wanted.sets).map_err(Error::step("set capabilities"))?;
    }
    Ok(())
}

/// The five sets of `process.capabilities`, as far as this process can have them.
struct Wanted {
    sets: CapabilitySets,
    bounding: CapabilitySet,
    ambient: CapabilitySet,
}

impl Wanted {
    fn of(process: &Process, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let held = thread::capabilities(None).map_err(Error::step("read capabilities"))?.permitted;
        let mut lacking = CapabilitySet::empty();
        let mut take = |list: Option<&Capabilities>| {
            let wanted = list.map_or(CapabilitySet::empty(), set_of);
            lacking |= wanted & !held;
            wanted & held
        };
        let own = process.capabilities().as_ref();
        let sets = CapabilitySets {
            effective: take(own.and_then(|c| c.effective().as_ref())),
            permitted: take(own.and_then(|c| c.permitted().as_ref())),
            inheritable: take(own.and_then(|c| c.inheritable().as_ref())),
        };
        let bounding = take(own.and_then(|c| c.bounding().as_ref()));
        let ambient = take(own.and_then(|c| c.ambient().as_ref()));
        if !lacking.is_empty() {
            let names = crate::capability::names(lacking);
            warnings.push(format!("process.capabilities: {names} not held; left out"));
        }
        Ok(Self { sets, bounding, ambient })
    }
}

fn become_user(process: &Process, warnings: &mut Vec<String>) -> Result<(), Error> {
    let user = process.user();
    let groups: Vec<Gid> =
        user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    match thread::set_thread_groups(&groups) {
        // In a user namespace that was made without privileges, see user_namespaces(7).
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        Err(rustix::io::Errno::PERM) => {
            let reason = "setgroups(2) is denied in this user namespace; left out";
            warnings.push(format!("process.user.additionalGids: {reason}"));
        }
        result => result.map_err(Error::step("set process.user.additionalGids"))?,
    }
    thread::set_thread_res_gid(gid, gid, gid).map_err(Error::step("set process.user.gid"))?;
    thread::set_thread_res_uid(uid, uid, uid).map_err(Error::step("set process.user.uid"))
}

fn raise_ambient(ambient: CapabilitySet, warnings: &mut Vec<String>) -> Result<(), Error> {
    thread::clear_ambient_capability_set().map_err(Error::step("clear ambient capabilities"))?;
    for capability in ambient.iter() {
        if thread::configure_capability_in_ambient_set(capability, true).is_err() {
            let name = crate::capability::names(capability);
            warnings.push(format!(
                "process.capabilities.ambient: {name} is not both permitted and inheritable; left out"
            ));
        }
    }
    Ok(())
}
