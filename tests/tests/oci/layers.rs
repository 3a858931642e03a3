//! A root filesystem of layers and a scratch space: `windows.layerFolders`, REQUIREMENTS F8. Behind a VM's
//! wall: `machines`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A bundle of these layers, by their names in its directory, over its `rootfs`; each is made, with a note of its
/// name in it.
fn layered(script: &str, names: &[&str]) -> Option<Bundle> {
    let bundle = Bundle::sh(script)?;
    for name in names {
        let layer = bundle.path().join(name);
        fs::create_dir(&layer).expect("a directory");
        fs::write(layer.join("note"), format!("of {name}\n")).expect("a file");
    }
    fs::create_dir(bundle.path().join("scratch")).expect("a directory");
    let folders = [names, &["rootfs", "scratch"]].concat();
    Some(with_folders(bundle, &folders))
}

fn with_folders(mut bundle: Bundle, folders: &[&str]) -> Bundle {
    bundle.config.as_object_mut().expect("an object").remove("root");
    bundle.with("/windows", json!({ "layerFolders": folders }))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_in_the_scratch_space_and_no_layer_changes() {
    let script = "cat /note; echo written >/note; rm /etc/passwd; echo more >/tmp/more";
    let Some(bundle) = layered(script, &["top", "middle"]) else { return };
    let top = bundle.path().join("top");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o751)).expect("changed");
    chown(&top, Some(7), Some(8)).expect("given");
    assert_eq!(bundle.run().ok(), "of top");
    assert_eq!(bundle.left(), Vec::<String>::new());

    let script = "cat /note /tmp/more; ls /etc; stat -c '%a %u %g' /";
    let next = bundle.program(&["sh", "-c", script]);
    assert_eq!(next.run().ok(), "written\nmore\n751 7 8");
    assert_eq!(fs::read_to_string(top.join("note")).expect("a file"), "of top\n");
    assert!(next.rootfs().join("etc/passwd").exists() && !next.rootfs().join("tmp/more").exists());
    assert_eq!(names_in(&next.path().join("scratch")), ["upper", "work"]);
    let written = fs::read_to_string(next.path().join("scratch/upper/note"));
    assert_eq!(written.expect("kept"), "written\n");
}

#[test]
fn a_root_of_layers_lives_as_any_other_and_its_mount_goes_with_it() {
    let Some(bundle) = layered("sleep 100", &["top"]) else { return };
    bundle.create();
    assert_eq!(bundle.exec(&["cat", "/note"]).ok(), "of top");
    bundle.runtime(&["start", &bundle.id]).ok();
    let state = bundle.state();
    let rootfs = PathBuf::from(state["rootfs"].as_str().expect("a path"));
    // Only the container sees what is mounted there.
    assert_eq!(names_in(&rootfs), Vec::<String>::new());
    let said = bundle.runtime(&["checkpoint", &bundle.id]).fails(1);
    assert!(said.contains("windows.layerFolders"), "{said}");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());

    let mut readonly = bundle.program(&["touch", "/new"]);
    readonly.config["root"] = json!({ "readonly": true });
    assert_ne!(readonly.run().code, 0);
    // In the runtime's own mount namespace the mount must be taken away.
    readonly.config["root"] = json!({ "readonly": false });
    let namespaces = readonly.config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "mount");
    let own = readonly.program(&["sleep", "100"]);
    own.start();
    assert_eq!(own.exec(&["cat", "/note"]).ok(), "of top");
    own.runtime(&["delete", "--force", &own.id]).ok();
    assert_eq!(own.left(), Vec::<String>::new());
    let failing = own.program(&["/no/such/program"]);
    failing.run().fails(127);
    assert_eq!(failing.left(), Vec::<String>::new());
}

#[test]
fn no_name_of_a_layer_is_an_option() {
    let hostile = ["a:b", "c,d", r"e\f", "g h", "upperdir=x", r"end\"];
    let Some(bundle) = layered("cat /note; cat /a/*; echo kept >/kept", &hostile) else { return };
    for name in hostile {
        let inner = bundle.path().join(name).join("a");
        fs::create_dir(&inner).expect("a directory");
        fs::write(inner.join(name), format!("{name}\n")).expect("a file");
    }
    let scratch = bundle.path().join("x:y,lowerdir=z\\");
    fs::create_dir(&scratch).expect("a directory");
    symlink("a:b", bundle.path().join("link")).expect("a link");
    let mut folders: Vec<&str> = hostile.to_vec();
    folders[0] = "link";
    folders.extend(["rootfs", "x:y,lowerdir=z\\"]);
    let bundle = with_folders(bundle, &folders);
    let said = bundle.run().ok();
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.remove(0), "of a:b");
    lines.sort_unstable();
    let mut want = hostile;
    want.sort_unstable();
    assert_eq!(lines, want);
    assert!(scratch.join("upper/kept").exists());
}

#[test]
fn five_hundred_layers_are_one_root_and_more_are_refused() {
    let names: Vec<String> = (1..500).map(|number| format!("layer-{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(bundle) = layered("cat /note; ls / | wc -l", &names) else { return };
    for name in &names {
        fs::write(bundle.path().join(name).join(name), "").expect("a file");
    }
    let said = bundle.run().ok();
    let inside: usize = said.lines().last().and_then(|n| n.trim().parse().ok()).expect("a number");
    assert!(said.starts_with("of layer-1\n") && inside > 499, "{said}");
    names.extend(["rootfs", "top", "scratch"]);
    fs::create_dir(bundle.path().join("top")).expect("a directory");
    let said = with_folders(bundle, &names).run().fails(1);
    assert!(said.contains("501 layers: overlayfs takes 500"), "{said}");
}

#[test]
fn layers_that_make_no_root_are_refused_and_leave_nothing() {
    let Some(mut bundle) = layered("true", &["top"]) else { return };
    fs::create_dir(bundle.path().join("top/inner")).expect("a directory");
    fs::write(bundle.path().join("file"), "").expect("a file");
    let plain = bundle.config.clone();
    let folders = |list: &[&str]| json!({ "layerFolders": list });
    let cases: [(&str, Value, &str); 10] = [
        ("/windows", folders(&["scratch"]), "one layer or more"),
        ("/windows", folders(&[]), "one layer or more"),
        ("/windows", folders(&["top", "", "scratch"]), "a list of paths"),
        ("/windows", folders(&["top", "missing", "scratch"]), "missing: no such file"),
        ("/windows", folders(&["top", "rootfs", "missing"]), "missing: no such file"),
        ("/windows", folders(&["file", "rootfs", "scratch"]), "file is no directory"),
        ("/windows", folders(&["top", "rootfs", "top/inner"]), "top/inner is inside"),
        ("/windows", folders(&["top", "top", "rootfs", "scratch"]), "top is there twice"),
        ("/windows", json!({"hyperv": {}, "layerFolders": []}), "windows.hyperv"),
        ("/root", json!({"path": "rootfs"}), "root.path"),
    ];
    for (pointer, value, want) in cases {
        bundle.config = plain.clone();
        bundle = bundle.with(pointer, value);
        let said = bundle.run().fails(1);
        assert!(said.contains(want) && said.lines().count() == 1, "{want}: {said}");
        assert_eq!(bundle.left(), Vec::<String>::new(), "{want}");
    }
    // What fails later takes what it made of the scratch space with it.
    bundle.config = plain;
    let mount = json!({"destination": "/x", "source": "/no/such", "options": ["bind"]});
    bundle = bundle.mount(mount);
    bundle.run().fails(1);
    let scratch = bundle.path().join("scratch");
    assert_eq!(names_in(&scratch), Vec::<String>::new());

    // A guest wrote that disk: the host does not mount it.
    fs::write(scratch.join("scratch.ext4"), "").expect("a file");
    let said = bundle.run().fails(1);
    assert!(said.contains("scratch.ext4") && said.contains("name another"), "{said}");
}

#[test]
fn create_scratch_makes_a_space_for_either_wall_or_with_a_limit_for_vms() {
    let Some(bundle) = layered("echo kept >/kept", &["top"]) else { return };
    let made = bundle.path().join("made");
    let name = made.display().to_string();
    let create =
        |more: &[&str]| bundle.runtime(&[&["create-scratch", "--destpath", &name], more].concat());
    create(&[]).ok();
    assert_eq!(fs::metadata(&made).expect("made").mode() & 0o7777, 0o700);
    let said = create(&[]).fails(1);
    assert!(said.contains(&name) && said.contains("file exists"), "{said}");
    let said = bundle.runtime(&["create-scratch"]).fails(1);
    assert!(said.contains("--destpath"), "{said}");
    let said = bundle.runtime(&["create-scratch", "--destpath", "/no/such/place"]).fails(1);
    assert!(said.contains("/no/such/place: no such file"), "{said}");
    let bundle = with_folders(bundle, &["top", "rootfs", "made"]);
    bundle.run().ok();
    assert!(made.join("upper/kept").exists());

    fs::remove_dir_all(&made).expect("removed");
    let create = ["create-scratch", "--destpath", &name, "--sizeGB", "2"];
    bundle.runtime(&create).ok();
    let said = bundle.run().fails(1);
    assert!(said.contains("2048 MiB") && said.contains("without a limit"), "{said}");
    assert_eq!(names_in(&made), ["limit-mib"]);
}

#[test]
fn a_scratch_space_is_one_containers_at_a_time() {
    let Some(first) = layered("sleep 100", &["top"]) else { return };
    first.start();
    let other = format!("{}-other", first.id);
    let said = first.runtime(&["run", &other]).fails(1);
    assert!(said.contains("uses the scratch space") && said.contains(&first.id), "{said}");
    first.runtime(&["kill", &first.id, "KILL"]).ok();
    tests::command::eventually("stopped", || first.status() == "stopped");
    let first = first.program(&["cat", "/note"]);
    assert_eq!(first.runtime(&["run", &other]).ok(), "of top");
}

#[test]
fn a_root_of_layers_may_be_another_users() {
    const BASE: u32 = 100_000;
    let script = "echo kept >/kept; rm /note; id -u; stat -c %u /kept";
    let Some(bundle) = layered(script, &["top"]) else { return };
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    for name in ["top", "top/note", "rootfs/tmp", "rootfs/dev", "rootfs/proc", "rootfs/sys"] {
        chown(bundle.path().join(name), Some(BASE), Some(BASE)).expect("given");
    }
    let map = json!([{"containerID": 0, "hostID": BASE, "size": 65536}]);
    let bundle = bundle
        .namespace(json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map);
    assert_eq!(bundle.run().ok(), "0\n0");
    let kept = fs::metadata(bundle.path().join("scratch/upper/kept")).expect("kept");
    assert_eq!(kept.uid(), BASE);
    assert!(bundle.path().join("top/note").exists());
}
