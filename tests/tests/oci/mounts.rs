//! Every option of a mount does what it says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bundle::Bundle;

/// The options that a program finds on its mount at `/m`.
const OPTIONS: &str = "grep ' /m ' /proc/self/mountinfo | cut -d' ' -f6";

#[test]
fn attributes_are_those_of_the_options() {
    for (options, want) in [
        (vec!["bind"], "rw,relatime"),
        (vec!["bind", "ro"], "ro,relatime"),
        (vec!["bind", "ro", "rw"], "rw,relatime"),
        (vec!["bind", "nosuid", "nodev", "noexec"], "rw,nosuid,nodev,noexec,relatime"),
        (vec!["bind", "noatime"], "rw,noatime"),
        (vec!["bind", "strictatime"], "rw"),
        (vec!["bind", "nodiratime", "nosymfollow"], "rw,nodiratime,relatime,nosymfollow"),
        (vec!["bind", "defaults", "silent", "loud"], "rw,relatime"),
    ] {
        let Some(bundle) = Bundle::sh(OPTIONS) else { return };
        let mounted = Mounted::tmpfs();
        let mount = json!({"destination": "/m", "source": mounted.path(), "options": options});
        let said = bundle.mount(mount).run().ok();
        assert!(same(&said, want), "{options:?}: {said}");
    }
}

fn same(left: &str, right: &str) -> bool {
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.trim().split(',').map(str::to_owned).collect();
        words.sort();
        words
    };
    sorted(left) == sorted(right)
}

#[test]
fn recursive_attributes_reach_what_is_mounted_beneath() {
    for (options, outer, inner) in [
        (vec!["rbind"], "rw", "rw"),
        (vec!["rbind", "ro"], "ro", "rw"),
        (vec!["rbind", "rro"], "ro", "ro"),
        (vec!["rbind", "rro", "rw"], "rw", "ro"),
        (vec!["rbind", "rnosuid", "rnodev", "rnoexec"], "nosuid", "noexec"),
        (vec!["rbind", "rnoatime", "rnosymfollow"], "nosymfollow", "noatime"),
    ] {
        let script =
            "for m in /m /m/inner; do grep \" $m \" /proc/self/mountinfo | cut -d' ' -f6; done";
        let Some(bundle) = Bundle::sh(script) else { return };
        let source = Mounted::with_inner();
        let mount = json!({"destination": "/m", "source": source.path(), "options": options});
        let said = bundle.mount(mount).run().ok();
        let mut lines = said.lines();
        for want in [outer, inner] {
            let line = lines.next().expect("a mount");
            assert!(line.split(',').any(|word| word == want), "{options:?}: {said}");
        }
    }
}

/// A tmpfs of the host, gone with its test, with another in `inner` when asked for.
struct Mounted(TempDir);

impl Mounted {
    /// The host's own filesystem may not know how to map ids, or may be shared or not.
    fn tmpfs() -> Self {
        let mounted = Self(TempDir::with_prefix("hull-oci-").expect("a scratch directory"));
        tmpfs(mounted.path());
        mounted
    }

    fn with_inner() -> Self {
        let mounted = Self::tmpfs();
        fs::create_dir(mounted.path().join("inner")).expect("made");
        tmpfs(&mounted.path().join("inner"));
        mounted
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn shared(self) -> Self {
        rustix::mount::mount_change(self.path(), MountPropagationFlags::SHARED).expect("shared");
        self
    }
}

fn tmpfs(path: &Path) {
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), None).expect("mounted");
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

#[test]
pub(crate) fn remount_changes_what_is_mounted_already() {
    let Some(bundle) = Bundle::sh(OPTIONS) else { return };
    let bundle = bundle
        .mount(json!({"destination": "/m", "type": "tmpfs", "options": ["nosuid", "size=1m"]}))
        .mount(json!({"destination": "/m", "options": ["remount", "bind", "ro", "noexec"]}));
    let said = bundle.run().ok();
    assert!(same(&said, "ro,nosuid,noexec,relatime"), "{said}");
    let Some(bundle) = Bundle::sh("grep ' /m ' /proc/self/mounts") else { return };
    let bundle = bundle
        .mount(json!({"destination": "/m", "type": "tmpfs", "options": ["size=1m"]}))
        .mount(json!({"destination": "/m", "type": "tmpfs", "options": ["remount", "size=2m"]}));
    let said = bundle.run().ok();
    assert!(said.contains("size=2048k"), "{said}");
}

#[test]
fn tmpcopyup_fills_a_tmpfs_with_what_it_covers() {
    let script = "cd /m; stat -c '%n %F %a %u:%g' . file dir dir/inner fifo | sort; readlink link; cat dir/inner; touch new";
    let Some(bundle) = Bundle::sh(script) else { return };
    let covered = bundle.rootfs().join("m");
    fs::create_dir_all(covered.join("dir")).expect("made");
    fs::write(covered.join("file"), "x").expect("written");
    fs::set_permissions(covered.join("file"), fs::Permissions::from_mode(0o4750)).expect("set");
    chown(covered.join("dir"), Some(5), Some(6)).expect("given");
    fs::set_permissions(covered.join("dir"), fs::Permissions::from_mode(0o751)).expect("set");
    fs::write(covered.join("dir/inner"), "inner").expect("written");
    symlink("/etc/passwd", covered.join("link")).expect("linked");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        covered.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("made");
    let mount = json!({"destination": "/m", "type": "tmpfs", "options": ["tmpcopyup", "nosuid"]});
    let bundle = bundle.mount(mount);
    assert_eq!(
        bundle.run().ok().lines().collect::<Vec<_>>(),
        [
            ". directory 755 0:0",
            "dir directory 751 5:6",
            "dir/inner regular file 644 0:0",
            "fifo fifo 400 0:0",
            "file regular file 4750 0:0",
            "/etc/passwd",
            "inner",
        ]
    );
    assert!(!covered.join("new").exists());
    let Some(bundle) = Bundle::sh("true") else { return };
    let bad = json!({"destination": "/m", "type": "proc", "options": ["tmpcopyup"]});
    let said = bundle.mount(bad).run().fails(1);
    assert!(said.contains("tmpcopyup"), "{said}");
}

#[test]
fn a_mounts_owners_are_shown_as_others() {
    let map =
        |inside: u32, outside: u32| json!([{"containerID": inside, "hostID": outside, "size": 10}]);
    let cases: [(Value, &str); 3] = [
        (
            json!({"options": ["bind", "idmap"], "uidMappings": map(0, 1000), "gidMappings": map(0, 2000)}),
            "1003:2004",
        ),
        (
            json!({"options": ["bind"], "uidMappings": map(0, 1000), "gidMappings": map(0, 2000)}),
            "1003:2004",
        ),
        (
            json!({"options": ["rbind", "ridmap"], "uidMappings": map(3, 7), "gidMappings": map(4, 8)}),
            "7:8",
        ),
    ];
    for (mut mount, want) in cases {
        let Some(bundle) = Bundle::sh("stat -c %u:%g /m/file") else { return };
        let mounted = Mounted::tmpfs();
        let source = mounted.path();
        fs::write(source.join("file"), "").expect("written");
        chown(source.join("file"), Some(3), Some(4)).expect("given");
        mount["destination"] = json!("/m");
        mount["source"] = json!(source);
        assert_eq!(bundle.mount(mount.clone()).run().ok(), want, "{mount}");
        let outside = fs::metadata(source.join("file")).expect("there");
        assert_eq!((outside.uid(), outside.gid()), (3, 4));
    }
}

#[test]
fn a_mount_is_mapped_as_the_containers_user_namespace_unless_told() {
    let Some(bundle) = Bundle::sh("stat -c %u:%g /m/file; touch /m/new") else { return };
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    let mounted = Mounted::tmpfs();
    let source = mounted.path();
    fs::write(source.join("file"), "").expect("written");
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for name in ["", "tmp", "etc", "dev"] {
        chown(bundle.rootfs().join(name), Some(100_000), Some(100_000)).expect("given");
    }
    let bundle = bundle
        .namespace(json!({"type": "user"}))
        .with("/linux/uidMappings", map.clone())
        .with("/linux/gidMappings", map)
        .mount(json!({"destination": "/m", "source": source, "options": ["bind", "idmap"]}));
    assert_eq!(bundle.run().ok(), "0:0");
    let made = fs::metadata(source.join("new")).expect("made");
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

#[test]
fn maps_of_a_mount_that_make_no_sense_are_refused() {
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    for (mount, want) in [
        (json!({"source": "/etc", "options": ["bind", "idmap"]}), "idmap needs mappings"),
        (json!({"source": "/etc", "options": ["bind"], "uidMappings": map}), "one of both"),
        (json!({"type": "tmpfs", "uidMappings": map, "gidMappings": map}), "not a bind mount"),
    ] {
        let Some(bundle) = Bundle::sh("true") else { return };
        let mut mount = mount;
        mount["destination"] = json!("/m");
        let said = bundle.mount(mount.clone()).run().fails(1);
        assert!(said.contains(want), "{mount}: {said}");
    }
}

#[test]
fn propagation_is_that_of_the_options() {
    for (option, want) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", "master:"),
        ("unbindable", "unbindable"),
    ] {
        let Some(bundle) = Bundle::sh("grep ' /m ' /proc/self/mountinfo | cut -d' ' -f7") else {
            return;
        };
        let mounted = Mounted::tmpfs().shared();
        let source = mounted.path();
        let mount = json!({"destination": "/m", "source": source, "options": ["rbind", option]});
        let said = bundle.mount(mount).run().ok();
        let field = if said == "-" { "" } else { said.as_str() };
        assert!(field.starts_with(want) && field.is_empty() == want.is_empty(), "{option}: {said}");
    }
}

/// What a container mounts beneath a shared mount shows on the host, and nothing else does.
#[test]
fn a_shared_rootfs_propagation_lets_shared_mounts_be_shared() {
    let Some(bundle) = Bundle::sh("mount -t tmpfs x /m/inner && touch /m/inner/seen") else {
        return;
    };
    let mounted = Mounted::tmpfs().shared();
    let source = mounted.path();
    let inner = source.join("inner");
    fs::create_dir(&inner).expect("made");
    let all = json!(["CAP_SYS_ADMIN"]);
    let bundle = bundle
        .with("/linux/rootfsPropagation", json!("shared"))
        .with("/process/capabilities", json!({"bounding": all, "effective": all, "permitted": all}))
        .mount(json!({"destination": "/m", "source": source, "options": ["rbind", "rshared"]}));
    bundle.run().ok();
    assert!(inner.join("seen").exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
    let rootfs = bundle.rootfs().display().to_string();
    assert!(!mounts.contains(&rootfs), "{mounts}");
}

/// As systemd leaves them, all mounts of a host are shared: what a container lets go of stays there.
#[test]
fn a_shared_rootfs_propagation_leaves_the_hosts_mounts_alone() {
    for words in [&["run"][..], &["run", "--no-pivot"]] {
        let Some(bundle) = Bundle::sh("true") else { return };
        let bundle = bundle.with("/linux/rootfsPropagation", json!("shared"));
        let here = bundle.path().display().to_string();
        // Mounts of others come and go.
        let mine = |line: &&str| line.contains(&here) || line.contains(" / /proc ");
        let mounts = || -> std::io::Result<Vec<String>> {
            let all = fs::read_to_string("/proc/thread-self/mountinfo")?;
            Ok(all.lines().filter(mine).map(str::to_owned).collect())
        };
        let (before, after) = sys::mntns::within_own(|| {
            let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", shared)?;
            let before = mounts()?;
            bundle.runtime(&[words, &[&bundle.id]].concat()).ok();
            Ok((before, mounts()?))
        })
        .expect("a mount namespace");
        assert!(before.len() == 1 && before == after, "{words:?}: {before:?}, then {after:?}");
    }
}
