//! Known ways out of a container, each of which must stay shut.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::bundle::Bundle;

/// CVE-2019-5736: the runtime's own file written through `/proc/PID/exe`.
#[test]
fn the_runtimes_file_cannot_be_opened_for_writing_by_way_of_init() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.create();
    let pid = bundle.state()["pid"].to_string();
    let open = fs::File::options().write(true).open(format!("/proc/{pid}/exe"));
    let error = open.expect_err("a read-only mount");
    let errno = error.raw_os_error();
    assert!(errno == Some(libc::EROFS) || errno == Some(libc::ETXTBSY), "{error}");
    // The mount, not only the running program, must forbid it.
    let options = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("alive");
    let own = tests::programs::program("hull-runtime");
    assert!(!options.contains(&own.display().to_string()), "seen in its mounts");
}

/// CVE-2024-21626: a working directory outside, by a leaked descriptor.
#[test]
fn the_working_directory_cannot_be_a_leaked_descriptor() {
    for number in 3..20 {
        let Some(bundle) = Bundle::sh("ls ../../..") else { return };
        let cwd = format!("/proc/self/fd/{number}");
        let ran = bundle.with("/process/cwd", json!(cwd)).run();
        assert_eq!(ran.code, 1, "{cwd}: {ran}");
    }
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let ran = bundle.runtime(&["exec", "--cwd", &cwd, &bundle.id, "ls"]);
        assert_eq!(ran.code, 255, "{cwd}: {ran}");
    }
}

/// CVE-2021-30465 and older: a mount's target that a symlink leads out of the root filesystem.
#[test]
fn a_symlink_in_the_image_does_not_lead_a_mount_outside() {
    let Some(bundle) = Bundle::sh("cat /inner/mark") else { return };
    let outside = bundle.path().join("outside");
    let source = bundle.path().join("source");
    fs::create_dir(&outside).expect("made");
    fs::create_dir(&source).expect("made");
    fs::write(source.join("mark"), "mark").expect("written");
    fs::create_dir(bundle.rootfs().join("inner")).expect("made");
    symlink("/inner", bundle.rootfs().join("absolute")).expect("linked");
    symlink("../../../../../../../../../../../..", bundle.rootfs().join("up")).expect("linked");
    let bundle = bundle
        .mount(json!({"destination": "/absolute", "source": source, "options": ["bind"]}))
        .mount(json!({"destination": format!("/up{}", outside.display()), "source": source, "options": ["bind"]}));
    assert_eq!(bundle.run().ok(), "mark");
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
    // What the link named was made inside.
    let inside = bundle.rootfs().join(outside.strip_prefix("/").expect("absolute"));
    assert!(inside.is_dir());
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: `/proc` as a symlink, to where masks do not reach.
#[test]
fn proc_and_sys_are_not_mounted_through_a_symlink() {
    for name in ["proc", "sys"] {
        let Some(bundle) = Bundle::sh("true") else { return };
        fs::remove_dir(bundle.rootfs().join(name)).expect("empty");
        fs::create_dir(bundle.rootfs().join("elsewhere")).expect("made");
        symlink("elsewhere", bundle.rootfs().join(name)).expect("linked");
        let said = bundle.run().fails(1);
        assert!(said.contains(&format!(" /{name}")), "{said}");
        assert!(said.contains("must be mounted on ordinary directory"), "{said}");
    }
}

/// CVE-2019-16884, CVE-2025-52881: something mounted over what the kernel shows in `/proc`.
#[test]
fn nothing_is_bound_into_proc() {
    for target in ["/proc/self/attr/exec", "/proc/sys", "/link/self/exe", "/proc/sysrq-trigger"] {
        let Some(bundle) = Bundle::sh("true") else { return };
        symlink("proc", bundle.rootfs().join("link")).expect("linked");
        let source = if target == "/proc/sys" { "rootfs/etc" } else { "rootfs/etc/passwd" };
        let mount = json!({"destination": target, "source": source, "options": ["bind"]});
        let said = bundle.mount(mount).run().fails(1);
        assert!(said.contains(target), "{said}");
    }
    let Some(bundle) = Bundle::sh("cat /proc/uptime") else { return };
    fs::write(bundle.path().join("uptime"), "1 2\n").expect("written");
    let mount = json!({"destination": "/proc/uptime", "source": "uptime", "options": ["bind"]});
    assert_eq!(bundle.mount(mount).run().ok(), "1 2");
}

/// CVE-2025-31133: masking with a `/dev/null` that is a symlink to something writable.
#[test]
fn a_path_is_masked_with_the_null_device_or_not_at_all() {
    let Some(bundle) = Bundle::sh("cat /tmp/secret") else { return };
    fs::write(bundle.rootfs().join("tmp/secret"), "secret").expect("written");
    fs::write(bundle.path().join("other"), "other").expect("written");
    let bundle = bundle
        .with("/linux/maskedPaths", json!(["/tmp/secret"]))
        .mount(json!({"destination": "/dev/null", "source": "other", "options": ["bind"]}));
    let said = bundle.run().fails(1);
    assert!(said.contains("/dev/null"), "{said}");
}

/// CVE-2025-52565: `/dev/console` as a symlink, onto which the terminal would be mounted.
#[test]
fn the_terminal_is_not_mounted_through_a_symlink() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let dev = bundle.path().join("dev");
    fs::create_dir_all(dev.join("pts")).expect("made");
    symlink("/tmp/target", dev.join("console")).expect("linked");
    fs::write(bundle.rootfs().join("tmp/target"), "kept").expect("written");
    let bundle = bundle.with("/process/terminal", json!(true)).with("/mounts", json!([
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "source": dev, "options": ["bind"]},
        {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    ]));
    bundle.run();
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/target")).expect("there"), "kept");
}

/// CVE-2016-9962: init traced from inside before it is confined.
#[test]
fn what_enters_a_container_cannot_be_traced_from_inside() {
    let script = "for i in $(ls /proc | grep -E '^[0-9]+$'); do \
                  [ $i != 1 ] && [ $i != $$ ] && readlink /proc/$i/exe | grep hull && echo seen; done; true";
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    for _ in 0..5 {
        let mut other = bundle.command(&["exec", &bundle.id, "true"]);
        let mut child = other.spawn().expect("starts");
        let said = bundle.exec(&["sh", "-c", script]).ok();
        child.wait().expect("waited");
        assert!(!said.contains("seen"), "{said}");
    }
}

/// CVE-2023-25809: cgroups of the host writable through `/sys/fs/cgroup`.
#[test]
fn cgroups_are_read_only_inside() {
    let script = "for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do \
                  [ -e $f ] && echo 1 > $f && echo wrote; done; mkdir /sys/fs/cgroup/x && echo made; true";
    let Some(bundle) = Bundle::sh(script) else { return };
    assert_eq!(bundle.run().ok(), "");
}
