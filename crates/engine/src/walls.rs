//! Which walls containers have on this host, and what is said where one is weaker than such a host's.

use std::fmt;

use spec::Isolation;

use crate::error::Error;

/// What a host is for, which decides the wall of containers that ask for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// It runs what its operators chose: containers share its kernel.
    Server,
    /// A person works at it: containers have kernels of their own.
    Workstation,
}

impl HostKind {
    /// The wall that its containers have unless they ask for another.
    #[must_use]
    pub fn wall(self) -> Isolation {
        match self {
            Self::Server => Isolation::Process,
            Self::Workstation => Isolation::Vm,
        }
    }
}

impl fmt::Display for HostKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Workstation => "workstation",
        })
    }
}

/// The kind of this host, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProfile {
    /// The kind.
    pub kind: HostKind,
    /// What says so.
    pub because: String,
}

/// Why the default is weaker than what such a host's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weakened {
    /// Its operator wants it so.
    Configured,
    /// No VM can be started, for this reason.
    NoVm(String),
}

/// The walls of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walls {
    /// That of a container that asks for none.
    pub usual: Isolation,
    /// Whether the configuration, not the kind of host, names that one.
    pub said: bool,
    /// Those that containers may have; none means all.
    pub allowed: Vec<Isolation>,
    /// What this host is.
    pub host: HostProfile,
    /// Whether the usual one is weaker than its kind wants.
    pub weakened: Option<Weakened>,
}

impl Walls {
    /// Whether containers may have this wall here.
    #[must_use]
    pub fn may(&self, wall: Isolation) -> bool {
        self.allowed.is_empty() || self.allowed.contains(&wall)
    }

    /// Refuses a wall that containers may not have here.
    pub(crate) fn check(&self, isolation: Isolation) -> Result<(), Error> {
        if self.may(isolation) {
            return Ok(());
        }
        let allowed: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
        Err(Error::IsolationForbidden { isolation, allowed: allowed.join(", ") })
    }

    /// What a client is told of a container with this wall: nothing where it is what is usual here by
    /// its operator's word.
    pub(crate) fn of_container(&self, wall: Isolation) -> Option<String> {
        if !wall.shares_kernel() {
            return None;
        }
        let usual = self.usual;
        match &self.weakened {
            _ if !usual.shares_kernel() => Some(format!(
                "{wall} isolation shares the host's kernel: this host's default, {usual}, does not"
            )),
            Some(Weakened::NoVm(why)) => Some(self.without_vm(why)),
            _ => None,
        }
    }

    /// What is said of the host itself.
    #[must_use]
    pub fn of_host(&self) -> Option<String> {
        match self.weakened.as_ref()? {
            Weakened::NoVm(why) => Some(self.without_vm(why)),
            Weakened::Configured => {
                let HostProfile { kind, because } = &self.host;
                let (usual, wanted) = (self.usual, kind.wall());
                Some(format!(
                    "{usual} isolation, the default by configuration, shares the host's kernel: \
                     that of a {kind} ({because}) is {wanted}"
                ))
            }
        }
    }

    fn without_vm(&self, why: &str) -> String {
        let HostProfile { kind, because } = &self.host;
        let (usual, wanted) = (self.usual, kind.wall());
        format!(
            "{usual} isolation shares the host's kernel: the default of a {kind} ({because}) is \
             {wanted}, but no VM can be started: {why}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Isolation::{Process, Vm};

    fn walls(usual: Isolation, weakened: Option<Weakened>) -> Walls {
        let host = HostProfile { kind: HostKind::Workstation, because: "of its lid".to_owned() };
        Walls { usual, said: false, allowed: Vec::new(), host, weakened }
    }

    #[test]
    fn who_gets_less_than_is_usual_is_told() {
        let none = || Some(Weakened::NoVm("no hypervisor".to_owned()));
        let cases = [
            (walls(Vm, None), Vm, None, None),
            (walls(Vm, None), Process, Some("this host's default, hyperv"), None),
            (walls(Process, None), Process, None, None),
            (
                walls(Process, Some(Weakened::Configured)),
                Process,
                None,
                Some("that of a workstation (of its lid) is hyperv"),
            ),
            (walls(Process, none()), Vm, None, Some("no VM can be started: no hypervisor")),
            (
                walls(Process, none()),
                Process,
                Some("no VM can be started: no hypervisor"),
                Some("no VM can be started: no hypervisor"),
            ),
        ];
        for (walls, asked, container, host) in cases {
            for (said, want) in [(walls.of_container(asked), container), (walls.of_host(), host)] {
                let fits = match (&said, want) {
                    (Some(said), Some(want)) => said.contains(want),
                    (said, want) => said.is_none() && want.is_none(),
                };
                assert!(fits, "{walls:?} {asked}: {said:?} for {want:?}");
            }
        }
    }

    #[test]
    fn only_what_is_allowed_may_be_had() {
        let only = Walls { allowed: vec![Vm], ..walls(Vm, None) };
        assert!(only.may(Vm) && only.check(Vm).is_ok());
        let refused = only.check(Process).expect_err("not allowed").to_string();
        assert_eq!(refused, "isolation process is not allowed on this host: allowed is hyperv");
        assert!(walls(Vm, None).may(Process), "all of them");
    }
}
