//! Parts of volumes, and images, as mounts: what is asked for is seen, and nothing beside it.

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

/// What no container may see: a file of the host's.
const SECRET: &str = "secret-of-the-host";

pub(crate) fn a_part_of_a_volume_is_all_that_is_seen(host: &mut Host, isolation: Isolation) {
    let script = "cd /v; echo foo >file; mkdir -p sub bin hack; echo world >sub/in; \
                  ln -s / hack/root; ln -s root hack/bad; ln -s ../sub hack/good";
    run(host, isolation, &["-v", "parts:/v", IMAGE, "sh", "-c", script]).ok();
    let part = |subpath: &str, target: &str, command: &[&str]| {
        let mount = format!("--mount=type=volume,src=parts,dst={target},volume-subpath={subpath}");
        run(host, isolation, &[&[&mount, IMAGE], command].concat())
    };
    assert_eq!(part("sub", "/p", &["cat", "/p/in"]).ok(), "world");
    assert_eq!(part("hack/good", "/p", &["ls", "/p"]).ok(), "in");
    assert_eq!(part("file", "/p", &["cat", "/p"]).ok(), "foo");
    // An empty part is filled as a volume is.
    assert_eq!(part("bin", "/bin", &["ls", "/bin/busybox"]).ok(), "/bin/busybox");
    for (subpath, want) in [
        ("../../etc", "subpath must be a relative path within the volume"),
        ("/sub", "subpath must be a relative path within the volume"),
        ("hack/root", "path concatenation escapes the base directory"),
        ("hack/bad/etc", "path concatenation escapes the base directory"),
        ("nothing", "cannot access path"),
    ] {
        let said = part(subpath, "/p", &["ls", "/p"]).fails(125);
        assert!(said.contains(want), "{subpath}: {said}");
    }
    host.docker(&["volume", "rm", "parts"]).ok();
}

pub(crate) fn a_stopped_containers_part_is_reached_by_cp(host: &mut Host, isolation: Isolation) {
    let script = "mkdir /v/sub; echo world >/v/sub/in";
    run(host, isolation, &["-v", "parts:/v", IMAGE, "sh", "-c", script]).ok();
    let flag = format!("--isolation={isolation}");
    let part = "--mount=type=volume,src=parts,dst=/p,volume-subpath=sub";
    let id = host.docker(&["create", &flag, part, IMAGE]).ok();
    let out = host.dir().join("out");
    host.docker(&["cp", &format!("{id}:/p/in"), &out.to_string_lossy()]).ok();
    assert_eq!(std::fs::read_to_string(&out).expect("a file"), "world\n");
    host.docker(&["rm", &id]).ok();
    host.docker(&["volume", "rm", "parts"]).ok();
    std::fs::remove_file(out).expect("removed");
}

pub(crate) fn a_part_that_becomes_a_link_shows_nothing_of_the_host(host: &mut Host) {
    let outside = host.dir().join("outside");
    std::fs::create_dir_all(&outside).expect("a directory");
    std::fs::write(outside.join(SECRET), "").expect("a file");
    let script = format!(
        "cd /v; mkdir d; ln -s {} l; while :; do mv d t; mv t d; mv l t; mv t l; done",
        outside.display()
    );
    let flags = ["-v", "race:/v"];
    let racer = detached(host, Isolation::Process, &flags, &["sh", "-c", &script]);
    let part = "--mount=type=volume,src=race,dst=/p,volume-subpath=t";
    let mut begun = 0;
    for _ in 0..40 {
        let ran = run(host, Isolation::Process, &[part, IMAGE, "ls", "-a", "/p"]);
        assert!(!ran.out.contains(SECRET), "{ran}");
        begun += usize::from(ran.code == 0);
    }
    assert!(begun > 0, "the directory was never there: nothing was tried");
    host.docker(&["rm", "-f", &racer]).ok();
    host.docker(&["volume", "rm", "race"]).ok();
    std::fs::remove_dir_all(outside).expect("removed");
}

pub(crate) fn an_image_is_mounted_and_nobody_writes_it(host: &mut Host, isolation: Isolation) {
    let script = "mkdir -p /part/in; echo bar >/foo; echo world >/part/in/hello; ln -s /foo /abs; \
                  ln -s ../../.. /part/up";
    host.docker(&["run", "--name", "seed", IMAGE, "sh", "-c", script]).ok();
    host.docker(&["commit", "seed", "mounted:v1"]).ok();
    host.docker(&["rm", "seed"]).ok();
    let mount = |more: &str, command: &[&str]| {
        let mount = format!("--mount=type=image,src=mounted:v1,dst=/image{more}");
        run(host, isolation, &[&[&mount, IMAGE], command].concat())
    };
    let script = "cat /image/foo; ls /image/bin/busybox; touch /image/x || mount -o remount,rw /image; \
                  touch /image/foo; ls -a / | grep -c '^image$'";
    let ran = mount("", &["sh", "-c", script]);
    assert!(ran.out.starts_with("bar\n/image/bin/busybox\n"), "{ran}");
    assert_eq!(ran.err.matches("Read-only file system").count(), 2, "{ran}");
    assert_eq!(mount(",image-subpath=part/in", &["cat", "/image/hello"]).ok(), "world");
    assert_eq!(mount(",image-subpath=foo", &["cat", "/image"]).ok(), "bar");
    for (subpath, want) in [
        ("part/up", "path concatenation escapes the base directory"),
        ("abs", "path concatenation escapes the base directory"),
        ("../x", "subpath must be a relative path within the volume"),
        ("none", "cannot access path"),
    ] {
        let said = mount(&format!(",image-subpath={subpath}"), &["ls", "/image"]).fails(125);
        assert!(said.contains(want), "{subpath}: {said}");
    }
    let said = mount(",image-subpath=foo,readonly=false,volume-nocopy", &["true"]).fails(125);
    assert!(said.contains("volume") || said.contains("Volume"), "{said}");

    let flag = "--mount=type=image,src=mounted:v1,dst=/image";
    let id = detached(host, isolation, &[flag], &["sh", "-c", "cat /image/foo; sleep 1000"]);
    let seen = field(host, &id, "{{range .Mounts}}{{.Type}} {{.Name}} {{.RW}}{{end}}");
    assert_eq!(seen, "image mounted:v1 false");
    let said = host.docker(&["rmi", "mounted:v1"]).fails(1);
    assert!(said.contains("is using its referenced image"), "{said}");
    let has_said = |words: &str| host.docker(&["logs", &id]).out == words;
    tests::command::eventually("it reads the image", || has_said("bar\n"));
    // Stopped, it keeps what it mounts even if the image is forced away.
    host.docker(&["kill", &id]).ok();
    host.docker(&["rmi", "-f", "mounted:v1"]).ok();
    host.docker(&["start", &id]).ok();
    tests::command::eventually("it reads the image again", || has_said("bar\nbar\n"));
    host.docker(&["rm", "-f", &id]).ok();
    let said = mount("", &["true"]).fails(125);
    assert!(said.contains("No such image: mounted:v1"), "{said}");
}

pub(crate) fn what_is_beneath_a_bind_is_as_it_was_asked(host: &mut Host) {
    let dir = host.dir().join("beneath");
    std::fs::create_dir_all(dir.join("sub")).expect("a directory");
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("beneath", dir.join("sub"), "tmpfs", none, None).expect("a tmpfs");
    let write = "touch /b/x 2>/dev/null && echo top; touch /b/sub/x 2>/dev/null && echo sub; \
                 grep -c ' /b/sub ' /proc/self/mountinfo";
    let bind = |isolation: Isolation, more: &str| {
        let mount = format!("--mount=type=bind,src={},dst=/b{more}", dir.display());
        run(host, isolation, &[&mount, IMAGE, "sh", "-c", write])
    };
    let process = Isolation::Process;
    for (more, want) in [
        ("", "top\nsub\n1"),
        (",readonly", "1"),
        (",readonly,bind-recursive=writable", "sub\n1"),
        (",readonly,bind-recursive=readonly,bind-propagation=rprivate", "1"),
        (",bind-recursive=disabled", "top\nsub\n0"),
        (",bind-nonrecursive", "top\nsub\n0"),
    ] {
        assert_eq!(bind(process, more).out.trim(), want, "{more}");
    }
    let said = bind(Isolation::Vm, ",readonly,bind-recursive=writable").fails(125);
    assert!(said.contains("all of it read-only or none"), "{said}");
    rustix::mount::unmount(dir.join("sub"), rustix::mount::UnmountFlags::DETACH).expect("ours");
    std::fs::remove_dir_all(dir).expect("removed");
}

pub(crate) fn no_name_and_no_mount_leads_out(host: &mut Host) {
    let post = |page: &str, body: &Value| host.engine.post(page, body).1;
    for name in ["../out", "a/b", "..", ".hidden", "a\0b", "x.tmp", "a\nb"] {
        let said = post("/v1.50/volumes/create", &json!({ "Name": name }));
        assert!(said.contains("invalid characters for a local volume name"), "{name:?}: {said}");
        let mount = json!({ "Type": "volume", "Source": name, "Target": "/v" });
        let body = json!({ "Image": IMAGE, "HostConfig": { "Mounts": [mount] } });
        let said = post("/v1.50/containers/create", &body);
        assert!(said.contains("invalid characters for a local volume name"), "{name:?}: {said}");
    }
    let mount = |mount: Value| {
        let body = json!({ "Image": IMAGE, "HostConfig": { "Mounts": [mount] } });
        post("/v1.50/containers/create", &body)
    };
    for (asked, want) in [
        (
            json!({"Type": "volume", "Target": "/v", "VolumeOptions": {"Subpath": "a"}}),
            "must not set Subpath when using anonymous volumes",
        ),
        (
            json!({"Type": "volume", "Target": "/v", "ReadOnly": true}),
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            json!({"Type": "tmpfs", "Target": "/v", "TmpfsOptions": {"Options": [["suid"]]}}),
            "invalid option: suid",
        ),
        (
            json!({"Type": "bind", "Source": "/tmp", "Target": "/v",
                "BindOptions": {"ReadOnlyForceRecursive": true}}),
            "mount options conflict",
        ),
        (json!({"Type": "image", "Target": "/v"}), "field Source must not be empty"),
    ] {
        let said = mount(asked.clone());
        assert!(said.contains(want), "{asked}: {said}");
    }
    let body = json!({ "Image": IMAGE, "HostConfig": { "Mounts": [
        {"Type": "image", "Source": IMAGE, "Target": "/v"}] } });
    let said = post("/v1.47/containers/create", &body);
    assert!(said.contains("needs API v1.48 or newer"), "{said}");
}
