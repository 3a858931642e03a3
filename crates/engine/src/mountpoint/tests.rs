use super::*;

#[test]
fn a_bind_is_two_absolute_paths_and_known_options() {
    let cases = [
        ("/a:/b", Some("bind /a /b rbind,rprivate")),
        ("/a:/b//./c/:ro,z", Some("bind /a /b/c rbind,ro,rro,rprivate")),
        ("/a:/b:rshared", Some("bind /a /b rbind,rshared")),
        ("/:/host:ro,rslave", Some("bind / /host rbind,ro,rro,rslave")),
        ("vol:/b", Some("volume vol /b rbind,rprivate")),
        ("vol:/b:nocopy,ro", Some("volume vol /b rbind,ro,rprivate")),
        ("/b", Some("volume  /b rbind,rprivate")),
        ("/a:/", None),
        ("/a:b", None),
        ("/a:/b/../..", None),
        ("/a:/b:what", None),
        ("/a:/b:ro,rw", None),
        ("/a:/b:nocopy", None),
        ("vol:/b:shared", None),
        ("/a:/b:ro:x", None),
        ("v/x:/b", None),
        (":/b", None),
    ];
    for (text, want) in cases {
        let got = MountPoint::parse(text).ok().map(|point| {
            let from = if point.kind == MountKind::Bind { &point.source } else { &point.name };
            let options = point.oci(Path::new("/staged")).2.join(",");
            format!("{} {from} {} {options}", point.kind.name(), point.destination)
        });
        assert_eq!(got.as_deref(), want, "{text}");
    }
}

#[test]
fn an_images_volume_gives_way_to_what_is_asked_for() {
    let volumes = ["/data".to_owned(), "/more/".to_owned(), "/tmpfs".to_owned()];
    let binds = ["/a:/data".to_owned()];
    let tmpfs = vec!["/tmpfs".to_owned()];
    let asked = Asked { binds: &binds, volumes: &volumes, tmpfs, ..Asked::default() };
    let points = resolve(&asked).expect("valid");
    let seen: Vec<_> = points.iter().map(|p| (p.kind.name(), p.destination.as_str())).collect();
    assert_eq!(seen, [("bind", "/data"), ("volume", "/more")]);

    let twice = ["/a:/data".to_owned(), "v1:/data".to_owned()];
    let refused = resolve(&Asked { binds: &twice, ..Asked::default() }).unwrap_err();
    assert_eq!(refused.to_string(), "Duplicate mount point: /data");
}

#[test]
fn mounts_by_fields_are_checked_as_dockers() {
    let mount = |text: serde_json::Value| {
        let mount: Mount = serde_json::from_value(text).expect("a mount");
        MountPoint::from_request(&mount).map_err(|error| error.to_string())
    };
    let json = serde_json::json!({"Type": "bind", "Source": "/nowhere/x", "Target": "/a"});
    assert_eq!(
        mount(json).unwrap_err(),
        "invalid mount config for type \"bind\": bind source path does not exist: /nowhere/x"
    );
    let json = serde_json::json!({"Type": "tmpfs", "Target": "/a",
        "TmpfsOptions": {"SizeBytes": 1024, "Mode": 448}});
    let point = mount(json).expect("valid");
    assert_eq!(
        point.oci(Path::new("/staged")).2.join(","),
        "nosuid,nodev,noexec,size=1024,mode=700"
    );
    let json = serde_json::json!({"Type": "volume", "Source": "web", "Target": "/a",
        "VolumeOptions": {"Subpath": "../x"}});
    assert!(mount(json).is_err());
    let json = serde_json::json!({"Type": "what", "Target": "/a"});
    assert_eq!(
        mount(json).unwrap_err(),
        "invalid mount config for type \"what\": mount type unknown"
    );
    let text = serde_json::json!({"Type": "bind", "Source": "/", "Target": "/a", "ReadOnly": true});
    let round: Mount = serde_json::from_value(text.clone()).expect("a mount");
    assert_eq!(serde_json::to_value(round).expect("json"), text);
}
