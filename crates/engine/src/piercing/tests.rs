use super::*;
use crate::config::{Attachment, Device, HostPort};
use crate::sample;

fn container() -> Container {
    sample::container(&"ab".repeat(32), "web", 1)
}

fn list(container: &Container) -> Vec<Piercing> {
    let volume = |name: &str| match name {
        "etc" => Some([("device".to_owned(), "/etc".to_owned())].into()),
        _ => None,
    };
    let device = |name: &str| vec![format!("/dev/of {name}")];
    let roots = [Path::new("/nowhere/a"); 2];
    let wire = |network: &str| {
        (network == "lan").then(|| ("eth7".to_owned(), network::macvlan::Mode::Private))
    };
    of(container, &Surroundings { roots, volume: &volume, device: &device, wire: &wire })
}

/// Kind, inside, outside and access, and whether it is risky.
fn lines(container: &Container) -> Vec<String> {
    let line = |one: &Piercing| {
        let risk = if one.risk.is_some() { " !" } else { "" };
        format!("{} {} {} {}{risk}", one.kind.name(), one.inside, one.outside, one.access)
    };
    list(container).iter().map(line).collect()
}

#[test]
fn nothing_pierces_the_wall_of_a_plain_container() {
    for isolation in [Isolation::Process, Isolation::Vm] {
        let mut plain = Container { isolation, ..container() };
        assert_eq!(list(&plain), []);
        // Less than the default, or memory of its own, pierces nothing.
        plain.host.cap_drop = vec!["ALL".to_owned()];
        plain.host.cap_add = vec!["chown".to_owned()];
        plain.host.security_opt = vec!["no-new-privileges".to_owned()];
        plain.host.openings.ipc = Share::None;
        let kind = MountKind::Tmpfs;
        plain.mounts = vec![MountPoint { kind, destination: "/t".into(), ..MountPoint::default() }];
        assert_eq!(list(&plain), []);
    }
}

#[test]
fn wires_of_the_host_are_listed_and_bridges_are_not() {
    let mut given = container();
    for network in ["back", "lan"] {
        given.host.attachments.insert(network.to_owned(), Attachment::default());
    }
    assert_eq!(lines(&given), ["wire lan eth7 private"]);
}

#[test]
fn mounts_are_listed_with_their_rights() {
    let point = |kind, source: &str, destination: &str, writable| MountPoint {
        kind,
        name: source.into(),
        source: source.into(),
        destination: destination.into(),
        writable,
        ..MountPoint::default()
    };
    let mut given = container();
    given.mounts = vec![
        point(MountKind::Bind, "/nowhere/x", "/x", true),
        point(MountKind::Bind, "/", "/host", false),
        point(MountKind::Volume, "data", "/data", true),
        point(MountKind::Volume, "etc", "/config", false),
        point(MountKind::Image, "tools:1", "/tools", false),
    ];
    let want = [
        "bind /x /nowhere/x rw",
        "bind /host / ro !",
        "volume /data data rw",
        "volume /config /etc ro !",
        "image /tools tools:1 ro",
    ];
    assert_eq!(lines(&given), want);
}

#[test]
fn sockets_and_fifos_are_told_from_other_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let _listener = std::os::unix::net::UnixListener::bind(at("hull.sock")).expect("a socket");
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).expect("a fifo");
    let mut given = container();
    let point = |name: &str| MountPoint {
        source: at(name),
        destination: format!("/{name}"),
        writable: true,
        ..MountPoint::default()
    };
    given.mounts = vec![point("hull.sock"), point("fifo")];
    let seen = list(&given);
    assert_eq!((seen[0].kind, seen[1].kind), (PiercingKind::Socket, PiercingKind::Fifo));
    assert_eq!((seen[0].risk.is_some(), seen[1].risk.is_some()), (true, false));
}

#[test]
fn ports_are_those_that_are_wanted_until_the_host_has_them() {
    let mut given = container();
    let bound = |address: &str, port: &str| HostPort { address: address.into(), port: port.into() };
    given.host.ports.insert("80/tcp".into(), vec![bound("", "8080"), bound("::1", "")]);
    assert_eq!(lines(&given), ["port 80/tcp *:8080 ", "port 80/tcp [::1]:any "]);
    given.host.network = NetworkMode::None;
    assert_eq!(lines(&given), [""; 0]);
}

#[test]
fn namespaces_devices_and_rights_are_listed() {
    let mut given = container();
    let openings = &mut given.host.openings;
    openings.network = Share::Host;
    openings.pid = Share::Container("cd".into());
    openings.ipc = Share::Shareable;
    let host = "/dev/null".to_owned();
    openings.devices = vec![Device { host, access: "r".into(), ..Device::default() }];
    openings.device_rules = vec!["b 7:* rwm".into()];
    openings.cdi = vec!["a.com/b=c".into()];
    openings.masked_paths = Some(MASKED[1..].iter().map(|&path| path.to_owned()).collect());
    given.host.cap_add = vec!["SYS_ADMIN".into(), "net_admin".into()];
    given.host.security_opt = vec!["seccomp=unconfined".into()];
    given.host.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    let mut want = vec![
        "namespace network host  !",
        "namespace ipc offered to other containers ",
        "namespace pid container:cd ",
        "device /dev/null /dev/null r",
        "device-rule b 7:*  rwm !",
        "cdi a.com/b=c /dev/of a.com/b=c ",
        "capability CAP_NET_ADMIN  ",
        "capability CAP_SYS_ADMIN   !",
        "seccomp unconfined   !",
        "path /proc/asound  seen !",
        "sysctl net.ipv4.ip_forward=1  ",
    ];
    assert_eq!(lines(&given), want);
    assert_eq!(warnings(&list(&given)).len(), 5);

    // Behind the wall of a VM rights are those of its own kernel.
    given.host.openings.network = Share::Own;
    given.isolation = Isolation::Vm;
    want.remove(0);
    let want: Vec<_> = want.iter().map(|line| line.trim_end_matches(" !")).collect();
    assert_eq!(lines(&given), want);
    // Namespaces are shared within the VM; what is left are the devices.
    let far = list(&given).into_iter().filter(|one| one.reach == Reach::Host);
    assert_eq!(far.count(), 2);
}

#[test]
fn a_privileged_container_is_warned_of_in_words_that_fit_its_wall() {
    let mut given = container();
    given.host.openings.privileged = true;
    let shared = warnings(&list(&given));
    given.isolation = Isolation::Vm;
    let own = warnings(&list(&given));
    assert!(shared[0].contains("root on the host"), "{shared:?}");
    assert!(own[0].contains("the VM alone"), "{own:?}");
    assert_eq!((shared.len(), own.len()), (1, 1));
}
