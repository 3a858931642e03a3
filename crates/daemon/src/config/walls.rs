//! Which walls containers have here: by the configuration, else by the kind of host.
//!
//! ```text
//!   --isolation, or --exec-opt isolation=   said: that one
//!   else what the kind of host wants        a server process, a workstation hyperv
//!     not among --allowed-isolation         the first of those
//!     hyperv, and no VM can be started      process, and every container that gets it is told why
//! ```

use std::path::Path;

use engine::{HostProfile, Settings, Walls, Weakened};
use spec::Isolation;

use super::{Error, value};
use crate::kind;

/// What was said of walls.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    /// `--isolation`.
    pub(super) isolation: Option<&'a str>,
    /// `--exec-opt`, Docker's `NAME=VALUE`.
    pub(super) exec: &'a [String],
    /// `--allowed-isolation`.
    pub(super) allowed: &'a [String],
    /// `--host-kind`.
    pub(super) kind: Option<&'a str>,
}

impl Said<'_> {
    /// The walls, as if VMs could be started.
    pub(super) fn walls(&self) -> Result<Walls, Error> {
        let allowed = self.allowed.iter().map(|text| parse("allowed-isolation", text));
        let allowed: Vec<Isolation> = allowed.collect::<Result<_, _>>()?;
        let host = self.host()?;
        let wanted = host.kind.wall();
        let may = |wall: &Isolation| allowed.is_empty() || allowed.contains(wall);
        let said = self.isolation()?;
        if let Some((flag, wall)) = said.filter(|(_, wall)| !may(wall)) {
            let problem = "it is not among --allowed-isolation";
            return Err(value(flag, &wall.to_string(), problem));
        }
        let by_host = || Some(wanted).filter(may).or_else(|| allowed.first().copied());
        let usual = said.map(|(_, wall)| wall).or_else(by_host).unwrap_or(wanted);
        let weaker = usual.shares_kernel() && !wanted.shares_kernel();
        let weakened = weaker.then_some(Weakened::Configured);
        Ok(Walls { usual, allowed, host, said: said.is_some(), weakened })
    }

    fn host(&self) -> Result<HostProfile, Error> {
        let word = self.kind.unwrap_or("auto");
        match kind::named(word) {
            Some(kind) => Ok(HostProfile { kind, because: format!("--host-kind {word}") }),
            None if word == "auto" => Ok(kind::detect(Path::new("/"))),
            None => Err(value("host-kind", word, "want auto, server or workstation")),
        }
    }

    /// The wall that was said, and by which flag.
    fn isolation(&self) -> Result<Option<(&'static str, Isolation)>, Error> {
        let mut all = Vec::new();
        if let Some(text) = self.isolation.filter(|text| *text != "default") {
            all.push(("isolation", parse("isolation", text)?));
        }
        for option in self.exec {
            match option.split_once('=') {
                // Containers' cgroups are our own to make; systemd is told of none.
                Some(("isolation", "default") | ("native.cgroupdriver", "cgroupfs")) => {}
                Some(("isolation", text)) => all.push(("exec-opt", parse("exec-opt", text)?)),
                Some(("native.cgroupdriver", other)) => {
                    return Err(value("exec-opt", other, "native.cgroupdriver is cgroupfs here"));
                }
                _ => {
                    let problem = "want isolation=WALL or native.cgroupdriver=cgroupfs";
                    return Err(value("exec-opt", option, problem));
                }
            }
        }
        let first = all.first().copied();
        match all.iter().find(|(_, wall)| first.is_some_and(|(_, other)| other != *wall)) {
            Some((flag, wall)) => {
                Err(value(flag, &wall.to_string(), "another isolation was said too"))
            }
            None => Ok(first),
        }
    }
}

fn parse(flag: &'static str, text: &str) -> Result<Isolation, Error> {
    text.parse()
        .map_err(|error: spec::isolation::InvalidIsolation| value(flag, text, error.to_string()))
}

/// Takes the wall of VMs back where nobody asked for it and none can be started.
pub(super) fn fall_back(settings: &mut Settings) {
    let walls = &settings.walls;
    if walls.said || walls.usual.shares_kernel() || !walls.may(Isolation::Process) {
        return;
    }
    let mut options = settings.shim_options();
    // The shim, not this program, is what it has to be beside.
    options.vm.agent.get_or_insert_with(|| settings.shim.with_file_name("hull-agent"));
    if let Err(error) = vmm::Config::locate(&options) {
        settings.walls.usual = Isolation::Process;
        settings.walls.weakened = Some(Weakened::NoVm(spec::chain(&error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[String] = &[];

    fn kind(kind: &str) -> Said<'_> {
        Said { kind: Some(kind), ..Said::default() }
    }

    fn usual(said: &Said<'_>) -> Result<Isolation, String> {
        said.walls().map(|walls| walls.usual).map_err(|error| error.to_string())
    }

    #[test]
    fn a_kind_of_host_has_its_wall_unless_another_is_said() {
        use Isolation::{Process, Vm};
        let (vm, process) = (vec!["hyperv".to_owned()], vec!["process".to_owned()]);
        let exec = vec!["isolation=process".to_owned(), "native.cgroupdriver=cgroupfs".to_owned()];
        let cases = [
            (kind("server"), Process, false),
            (kind("workstation"), Vm, false),
            (Said { isolation: Some("default"), ..kind("desktop") }, Vm, false),
            (Said { isolation: Some("hyperv"), ..kind("server") }, Vm, false),
            (Said { isolation: Some("process"), ..kind("workstation") }, Process, true),
            (Said { exec: &exec, ..kind("workstation") }, Process, true),
            (Said { isolation: Some("process"), exec: &exec, ..kind("server") }, Process, false),
            (Said { allowed: &vm, ..kind("server") }, Vm, false),
            (Said { allowed: &process, ..kind("workstation") }, Process, true),
            (Said { allowed: NONE, ..kind("workstation") }, Vm, false),
        ];
        for (said, want, weaker) in cases {
            let walls = said.walls().expect("valid");
            assert_eq!(walls.usual, want, "{said:?}");
            assert_eq!(walls.weakened.is_some(), weaker, "{said:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let exec = |text: &str| vec![text.to_owned()];
        let (vm, odd) = (exec("isolation=hyperv"), exec("native.cgroupdriver=systemd"));
        let (kata, alone) = (exec("isolation=kata"), exec("isolation"));
        let allowed = vec!["process".to_owned()];
        let cases = [
            (kind("mainframe"), "--host-kind mainframe: want auto, server or workstation"),
            (
                Said { isolation: Some("process"), exec: &vm, ..kind("server") },
                "--exec-opt hyperv: another isolation was said too",
            ),
            (
                Said { exec: &vm, allowed: &allowed, ..kind("server") },
                "--exec-opt hyperv: it is not among --allowed-isolation",
            ),
            (Said { exec: &odd, ..kind("server") }, "--exec-opt systemd: native.cgroupdriver is"),
            (Said { exec: &kata, ..kind("server") }, "--exec-opt kata: invalid isolation"),
            (Said { exec: &alone, ..kind("server") }, "--exec-opt isolation: want isolation=WALL"),
        ];
        for (said, want) in cases {
            let error = usual(&said).expect_err(want);
            assert!(error.starts_with(want), "{error}");
        }
    }
}
