use std::os::unix::fs::symlink;

use super::*;

/// Paths and what they hold.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A host with these files, and with links where the text begins with `->`.
fn host(files: Files<'_>) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        match text.strip_prefix("->") {
            Some(to) => symlink(to, path).expect("a link"),
            None => fs::write(path, text).expect("written"),
        }
    }
    root
}

const TARGET: (&str, &str) = ("usr/lib/systemd/system/default.target", "->graphical.target");
const GREETER: (&str, &str) =
    ("etc/systemd/system/display-manager.service", "->/usr/lib/systemd/system/gdm.service");
const LAPTOP: (&str, &str) = ("sys/class/dmi/id/chassis_type", "10\n");
const METAL: (&str, &str) = ("proc/cpuinfo", "processor : 0\nflags : fpu vme\n");
const GUEST: (&str, &str) = ("proc/cpuinfo", "processor : 0\nflags : fpu hypervisor vme\n");

#[test]
fn the_first_that_speaks_of_the_kind_decides() {
    use HostKind::{Server, Workstation};
    let release = |text: &'static str| ("etc/os-release", text);
    let cases: [(Files<'_>, HostKind, &str); 14] = [
        (&[], Server, "nothing here"),
        (&[release("ID=debian\nVARIANT_ID=workstation\n")], Workstation, "VARIANT_ID=workstation"),
        (&[release("VARIANT_ID='server'"), TARGET, GREETER, LAPTOP], Server, "VARIANT_ID=server"),
        (&[("usr/lib/os-release", "VARIANT_ID=\"kde\"")], Workstation, "in /usr/lib/os-release"),
        (&[release("VARIANT_ID=toaster"), TARGET, GREETER], Workstation, "gdm.service"),
        (&[release("VARIANT_ID="), ("etc/machine-info", "CHASSIS=tablet")], Workstation, "CHASSIS"),
        (&[("etc/machine-info", "CHASSIS=vm\n"), TARGET, GREETER], Server, "CHASSIS=vm"),
        (&[TARGET], Server, "nothing here"),
        (&[GREETER], Server, "nothing here"),
        (
            &[TARGET, GREETER, ("etc/systemd/system/default.target", "->/x/multi-user.target")],
            Server,
            "nothing here",
        ),
        (&[LAPTOP, METAL], Workstation, "SMBIOS type 10"),
        (&[LAPTOP, GUEST], Server, "nothing here"),
        (&[("sys/class/dmi/id/chassis_type", "3"), METAL], Server, "nothing here"),
        (&[("sys/class/dmi/id/chassis_type", "x"), METAL], Server, "nothing here"),
    ];
    for (files, kind, because) in cases {
        let found = detect(host(files).path());
        assert_eq!(found.kind, kind, "{files:?}");
        assert!(found.because.contains(because), "{files:?}: {found:?}");
    }
}

#[test]
fn a_kind_has_a_name_or_two() {
    assert_eq!(named("server"), Some(HostKind::Server));
    assert_eq!(named("desktop"), named("workstation"));
    assert_eq!(named("mainframe"), None);
}
