//! What crosses the wall, and what is refused by name.

use spec::annotation::ENGINE_FILES;

use super::*;

fn bind(source: &Path, destination: &str) -> oci::Mount {
    let mut mount = oci::Mount::default();
    mount.set_source(Some(source.to_owned())).set_destination(destination.into());
    mount.set_typ(Some("bind".into())).set_options(Some(vec!["rbind".into(), "ro".into()]));
    mount
}

fn with_mounts(engine_files: &str, mounts: Vec<oci::Mount>) -> oci::Spec {
    let mut spec = oci::Spec::default();
    spec.set_annotations(Some([(ENGINE_FILES.to_owned(), engine_files.to_owned())].into()));
    spec.mounts_mut().get_or_insert_default().extend(mounts);
    spec
}

fn with_namespace(typ: oci::LinuxNamespaceType, path: Option<&str>) -> oci::Spec {
    let mut spec = oci::Spec::default();
    let linux = spec.linux_mut().get_or_insert_default();
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        if namespace.typ() == typ {
            namespace.set_path(path.map(PathBuf::from));
        }
    }
    spec
}

fn refusal(spec: &oci::Spec) -> (Kind, String) {
    let error = translate(spec).expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn the_engines_files_are_copied_and_stay_mounted_where_they_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").expect("a file");
    let spec = with_mounts("/etc/hostname:/etc/hosts", vec![bind(&hosts, "/etc/hosts")]);
    let guest = translate(&spec).expect("translated");
    let [file] = guest.files.as_slice() else { panic!("one file: {:?}", guest.files) };
    assert_eq!((file.file.path.as_str(), &file.from), ("/etc/hosts", &hosts));
    assert_eq!(file.text(), "127.0.0.1 localhost\n");
    assert_eq!(guest.spec.mounts(), spec.mounts());
}

#[test]
fn every_other_bind_mount_is_shared_if_it_can_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |source: &Path| translate(&with_mounts("/etc/hosts", vec![bind(source, "/data")]));
    let share = Share { source: dir.path().to_owned(), recursive: true, readonly: true };
    let wanted = [Bind { share, destination: "/data".into() }];
    assert_eq!(of(dir.path()).expect("translated").binds, wanted);
    let error = of(&dir.path().join("none")).expect_err("refused");
    assert_eq!(error.kind(), Kind::NotFound);
    let error = of(Path::new("/dev/null")).expect_err("refused");
    assert_eq!(error.kind(), Kind::Unsupported);
    let (message, start) = (error.to_string(), "bind mount of /dev/null on /data: it is a device");
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn mounts_that_would_spread_are_refused() {
    let mut mount = bind(Path::new("/"), "/data");
    mount.set_options(Some(vec!["rbind".into(), "rslave".into()]));
    let (kind, message) = refusal(&with_mounts("/etc/hosts", vec![mount]));
    assert_eq!(kind, Kind::Unsupported);
    assert!(message.starts_with("bind mount on /data: rslave: "), "{message}");
}

#[test]
fn only_small_regular_files_are_copied() {
    let dir = tempfile::tempdir().expect("a directory");
    let large = dir.path().join("large");
    File::create(&large).and_then(|file| file.set_len(MAX_FILE + 1)).expect("a sparse file");
    let cases = [
        (large, Kind::Invalid),
        (dir.path().to_owned(), Kind::Invalid),
        (PathBuf::from("/dev/zero"), Kind::Invalid),
        (dir.path().join("none"), Kind::NotFound),
    ];
    for (source, kind) in cases {
        let spec = with_mounts("/etc/hosts", vec![bind(&source, "/etc/hosts")]);
        assert_eq!(refusal(&spec).0, kind, "{}", source.display());
    }
}

#[test]
fn the_network_namespace_becomes_a_cable_and_others_stay_outside() {
    use oci::LinuxNamespaceType as Type;
    let spec = with_namespace(Type::Network, Some("/run/hull/netns/web"));
    let guest = translate(&spec).expect("translated");
    assert_eq!(guest.netns.as_deref(), Some(Path::new("/run/hull/netns/web")));
    let namespaces = guest.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    assert!(namespaces.into_iter().flatten().all(|namespace| namespace.path().is_none()));

    let (kind, message) = refusal(&with_namespace(Type::Pid, Some("/proc/1/ns/pid")));
    assert_eq!(kind, Kind::Unsupported);
    assert!(message.contains("joining pid /proc/1/ns/pid"), "{message}");
}

#[test]
fn a_namespace_of_the_host_cannot_be_shared() {
    use oci::LinuxNamespaceType as Type;
    for typ in [Type::Network, Type::Pid, Type::Ipc, Type::Uts] {
        let mut spec = oci::Spec::default();
        let linux = spec.linux_mut().get_or_insert_default();
        linux.namespaces_mut().get_or_insert_default().retain(|namespace| namespace.typ() != typ);
        assert_eq!(refusal(&spec).0, Kind::Unsupported, "{typ}");
    }
}

#[test]
fn devices_of_the_host_are_refused_and_the_default_ones_are_not() {
    use oci::LinuxDeviceType::C;
    let device = |path: &str, typ, major, minor| {
        let mut device = oci::LinuxDevice::default();
        device.set_path(path.into()).set_typ(typ).set_major(major).set_minor(minor);
        device
    };
    for (device, refused) in [
        (device("/dev/null", C, 1, 3), false),
        (device("/dev/tty", C, 5, 0), false),
        (device("/dev/kvm", C, 10, 232), true),
    ] {
        let path = device.path().clone();
        let mut spec = oci::Spec::default();
        spec.linux_mut().get_or_insert_default().set_devices(Some(vec![device]));
        assert_eq!(translate(&spec).is_err(), refused, "{}", path.display());
    }
}

#[test]
fn a_block_device_is_a_disk_with_the_rights_that_the_rules_leave() {
    let config = |access: &str| {
        let text = format!(
            r#"{{"ociVersion": "1.2.0", "linux": {{
                "namespaces": [{{"type": "network"}}, {{"type": "pid"}}, {{"type": "ipc"}}, {{"type": "uts"}}],
                "devices": [{{"path": "/dev/data", "type": "b", "major": 7, "minor": 3}}],
                "resources": {{"devices": [
                    {{"allow": false, "access": "rwm"}},
                    {{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}},
                    {{"allow": true, "type": "b", "major": 7, "minor": 3, "access": "{access}"}}
                ]}}
            }}}}"#
        );
        serde_json::from_str::<oci::Spec>(&text).expect("a configuration")
    };
    for (access, want) in [("rwm", "rwm"), ("r", "r")] {
        let guest = translate(&config(access)).expect("translated");
        let path = PathBuf::from("/dev/data");
        let disk = HostDisk { path, numbers: (7, 3), access: want.to_owned() };
        assert_eq!(guest.disks, [disk]);
        let linux = guest.spec.linux().as_ref().expect("linux");
        // What the host's numbers mean is the host's.
        let device = &linux.devices().as_ref().expect("devices")[0];
        assert_eq!((device.major(), device.minor()), (0, 0));
        let rules = linux.resources().as_ref().and_then(|all| all.devices().clone());
        assert_eq!(rules.map(|rules| rules.len()), Some(2));
    }
}

#[test]
fn hooks_are_refused_for_they_are_the_hosts_programs() {
    let mut hook = oci::Hook::default();
    hook.set_path("/bin/true".into());
    let mut hooks = oci::Hooks::default();
    hooks.set_poststop(Some(vec![hook]));
    let mut spec = oci::Spec::default();
    assert!(translate(&spec).is_ok());
    spec.set_hooks(Some(hooks));
    assert_eq!(refusal(&spec).0, Kind::Unsupported);
}
