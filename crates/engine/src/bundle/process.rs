//! The OCI spec's `process`: words, environment, user, privileges.
//!
//! Spec: OCI runtime-spec, config.md "Process".

use serde_json::{Value, json};

use super::defaults::{ALL_CAPABILITIES, CAPABILITIES, PATH};
use super::security::Security;
use super::user::Identity;
use crate::config::{HostConfig, Size};
use crate::container::Container;
use crate::error::Error;
use crate::request::ExecCreate;

/// The capabilities of a container: the default ones, those added, without those dropped.
pub(crate) fn capabilities(host: &HostConfig) -> Result<Vec<String>, Error> {
    if host.openings.privileged {
        return Ok(all_capabilities());
    }
    let normal = |name: &String| {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let add: Vec<_> = host.cap_add.iter().map(normal).collect();
    let drop: Vec<_> = host.cap_drop.iter().map(normal).collect();
    let known = |name: &str| name == "ALL" || ALL_CAPABILITIES.contains(&name);
    for (field, names) in [("HostConfig.CapAdd", &add), ("HostConfig.CapDrop", &drop)] {
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(Error::Invalid { field, problem: format!("unknown capability {name:?}") });
        }
    }
    let all = |names: &[String]| names.iter().any(|name| name == "ALL");
    let base: &[&str] = match (all(&add), all(&drop)) {
        (true, _) => &ALL_CAPABILITIES,
        (false, true) => &[],
        (false, false) => &CAPABILITIES,
    };
    let dropped = |name: &str| drop.iter().any(|drop| drop == name);
    let granted = |name: &&&str| {
        (base.contains(*name) && !dropped(name)) || add.iter().any(|add| add == **name)
    };
    Ok(ALL_CAPABILITIES.iter().filter(granted).map(|name| (*name).to_owned()).collect())
}

fn all_capabilities() -> Vec<String> {
    ALL_CAPABILITIES.map(str::to_owned).to_vec()
}

/// The container's own process.
pub(super) fn of_init(
    container: &Container,
    identity: &Identity,
    size: Option<Size>,
    links: &[String],
) -> Result<Value, Error> {
    let mut args = vec![container.path.clone()];
    args.extend(container.args.iter().cloned());
    let config = &container.config;
    let env = environment(container, config.tty, [links, &[]], identity);
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let held = capabilities(&container.host)?;
    let mut process = process(container, identity, &args, &env, cwd, &held)?;
    terminal(&mut process, config.tty, size);
    if let Some(score) = container.host.oom_score_adj {
        process["oomScoreAdj"] = score.into();
    }
    Ok(process)
}

/// Where a container sees the program that is PID 1, if one is asked for; named as Docker's.
pub(crate) const INIT: &str = "/sbin/docker-init";

/// Has the container's program started by [`INIT`].
pub(super) fn put_init_first(process: &mut Value) {
    if let Some(args) = process["args"].as_array_mut() {
        args.splice(0..0, [INIT, "--"].map(Value::from));
    }
}

/// Another process in it.
pub(crate) fn of_exec(
    container: &Container,
    request: &ExecCreate,
    identity: &Identity,
    size: Option<Size>,
    links: &[String],
) -> Result<Value, Error> {
    let env = environment(container, request.tty, [links, &request.env], identity);
    let cwd = [&request.working_dir, &container.config.working_dir]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .map_or("/", String::as_str);
    let held = if request.privileged { all_capabilities() } else { capabilities(&container.host)? };
    let mut process = process(container, identity, &request.cmd, &env, cwd, &held)?;
    terminal(&mut process, request.tty, size);
    Ok(process)
}

fn process(
    container: &Container,
    identity: &Identity,
    args: &[String],
    env: &[String],
    cwd: &str,
    bounding: &[String],
) -> Result<Value, Error> {
    let host = &container.host;
    // A user other than root has them once it executes something that grants them, as execve does.
    let held = if identity.uid == 0 { bounding } else { &[] };
    let limits: Vec<_> = host
        .ulimits
        .iter()
        .map(|limit| {
            json!({
                "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
                "soft": unlimited(limit.soft),
                "hard": unlimited(limit.hard),
            })
        })
        .collect();
    Ok(json!({
        "user": {
            "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups,
        },
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": { "bounding": bounding, "effective": held, "permitted": held },
        "rlimits": limits,
        "noNewPrivileges": Security::parse(&host.security_opt)?.no_new_privileges,
    }))
}

/// setrlimit(2)'s "unlimited" is the largest number, the client's is -1.
fn unlimited(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

fn terminal(process: &mut Value, tty: bool, size: Option<Size>) {
    process["terminal"] = tty.into();
    if let (true, Some(size)) = (tty, size) {
        process["consoleSize"] = json!({ "height": size.rows, "width": size.columns });
    }
}

/// Defaults and `before`, then the container's own, then `after`; a later value of a name replaces an
/// earlier.
fn environment(
    container: &Container,
    tty: bool,
    [before, after]: [&[String]; 2],
    identity: &Identity,
) -> Vec<String> {
    let mut env = vec![format!("PATH={PATH}"), format!("HOSTNAME={}", container.config.hostname)];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in before.iter().chain(&container.config.env).chain(after) {
        set(&mut env, entry);
    }
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    env
}

/// Puts `NAME=value` into `env` in place of an older one; `NAME` alone takes it out.
pub(crate) fn set(env: &mut Vec<String>, entry: &str) {
    let (name, value) = entry.split_once('=').map_or((entry, None), |(n, v)| (n, Some(v)));
    let same = |other: &String| other.split_once('=').map_or(other.as_str(), |(n, _)| n) == name;
    match (env.iter().position(same), value) {
        (Some(at), Some(_)) => entry.clone_into(&mut env[at]),
        (Some(at), None) => drop(env.remove(at)),
        (None, Some(_)) => env.push(entry.to_owned()),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_the_default_ones_with_changes() {
        let count = |add: &[&str], drop: &[&str]| {
            let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let host =
                HostConfig { cap_add: strings(add), cap_drop: strings(drop), ..Default::default() };
            capabilities(&host).map(|capabilities| capabilities.len()).ok()
        };
        assert_eq!(count(&[], &[]), Some(14));
        assert_eq!(count(&["net_admin"], &[]), Some(15));
        assert_eq!(count(&["CAP_CHOWN"], &[]), Some(14));
        assert_eq!(count(&[], &["all"]), Some(0));
        assert_eq!(count(&["SYS_TIME"], &["ALL"]), Some(1));
        assert_eq!(count(&["ALL"], &["MKNOD"]), Some(40));
        assert_eq!(count(&["FLY"], &[]), None);
    }

    #[test]
    fn a_later_variable_replaces_an_earlier_and_a_bare_name_removes_it() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        for entry in ["A=3=4", "B", "C=", "D"] {
            set(&mut env, entry);
        }
        assert_eq!(env, ["A=3=4", "C="]);
    }
}
