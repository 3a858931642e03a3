//! Kernel parameters: how they are spelled, and to which namespace each belongs.
//!
//! Spec: sysctl(8); namespaces(7); runc's rules for which parameter is whose.

use std::path::{Path, PathBuf};

use crate::oci::runtime::LinuxNamespaceType as Type;

/// The parameters of a System V IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The parameter's name with dots, however `key` is spelled; `None` when it leads anywhere but to a file
/// beneath `/proc/sys`.
#[must_use]
pub fn name(key: &str) -> Option<String> {
    let path = path(key);
    let text = path.to_str()?;
    let names = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (names && !text.contains('\0')).then(|| text.replace('/', "."))
}

/// The type of namespace that the parameter belongs to; `None` for one of the whole host.
#[must_use]
pub fn owner(key: &str) -> Option<Type> {
    let name = name(key)?;
    if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
        Some(Type::Ipc)
    } else if name.starts_with("net.") {
        Some(Type::Network)
    } else if name == "kernel.domainname" {
        Some(Type::Uts)
    } else if name.starts_with("user.") {
        Some(Type::User)
    } else {
        None
    }
}

/// The file beneath `/proc/sys`: dots separate names, unless a slash comes first, see sysctl(8).
#[must_use]
pub fn path(key: &str) -> PathBuf {
    let slash_first = key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('/'));
    if slash_first {
        return key.into();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    Path::new(&key.chars().map(swap).collect::<String>()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_belongs_to_a_namespace_or_to_the_host() {
        for (key, want) in [
            ("kernel.shmmax", Some(Type::Ipc)),
            ("fs/mqueue/msg_max", Some(Type::Ipc)),
            ("net.ipv4.conf.eth0/1.forwarding", Some(Type::Network)),
            ("kernel.domainname", Some(Type::Uts)),
            ("user.max_user_namespaces", Some(Type::User)),
            ("kernel.panic", None),
            ("net.../../kernel/panic", None),
            ("/net.ipv4", None),
            ("net.a\0b", None),
        ] {
            assert_eq!(owner(key), want, "{key:?}");
        }
    }
}
