//! Known ways out of a container, each of which must stay shut.

use std::fs;
use std::os::unix::fs::symlink;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
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
    let exe = fs::File::open(format!("/proc/{pid}/exe")).expect("alive");
    let mount = rustix::fs::fstatvfs(exe).expect("a file");
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY), "writable");
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

/// CVE-2024-21626, where the caller hands on a directory of the host.
#[test]
fn a_directory_that_is_handed_on_cannot_be_the_working_directory() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    let runtime = bundle.command(&["exec", "--preserve-fds", "1", "--cwd", "/proc/self/fd/3"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 3</"]).arg(runtime.get_program());
    shell.args(runtime.get_args()).args([&bundle.id, "pwd"]).current_dir(bundle.path());
    let ran = tests::command::run(shell, b"");
    assert!(ran.code != 0 && ran.out.is_empty(), "{ran}");
    assert!(ran.err.contains("outside of the container"), "{ran}");
}

/// CVE-2025-31133: masking with a `/dev/null` that is a symlink to something writable.
#[test]
fn a_path_is_masked_with_the_null_device_or_not_at_all() {
    for kind in ["link", "file"] {
        let Some(bundle) = Bundle::sh("cat /tmp/secret") else { return };
        fs::write(bundle.rootfs().join("tmp/secret"), "secret").expect("written");
        fs::write(bundle.rootfs().join("tmp/other"), "other").expect("written");
        let dev = bundle.path().join("dev");
        fs::create_dir(&dev).expect("made");
        match kind {
            "link" => symlink("/tmp/other", dev.join("null")).expect("linked"),
            _ => fs::write(dev.join("null"), "other").expect("written"),
        }
        let bundle = bundle.with("/linux/maskedPaths", json!(["/tmp/secret"])).with(
            "/mounts",
            json!([
                {"destination": "/proc", "type": "proc"},
                {"destination": "/dev", "source": dev, "options": ["bind"]},
            ]),
        );
        let said = bundle.run().fails(1);
        assert!(said.contains("/dev/null is not the null device"), "{kind}: {said}");
    }
}

/// CVE-2025-52565: `/dev/console` as a symlink, onto which the terminal would be mounted.
#[test]
fn the_terminal_is_not_mounted_through_a_symlink() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let (dev, found) = (bundle.path().join("dev"), bundle.path().join("found"));
    fs::create_dir_all(dev.join("pts")).expect("made");
    let host = bundle.path().join("host");
    fs::write(&host, "kept").expect("written");
    symlink(&host, dev.join("console")).expect("linked");
    let looked = bundle.path().join("looked");
    let look = format!(
        ": >{}; grep -q ' {} ' /proc/self/mountinfo && : >{}; true",
        looked.display(),
        host.display(),
        found.display()
    );
    let bundle = bundle
        .with("/process/terminal", json!(true))
        .with("/linux/maskedPaths", json!([]))
        .with("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", look]}]))
        .with("/mounts", json!([
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "source": dev, "options": ["bind"]},
            {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ]));
    let ran = bundle.run();
    assert!(looked.exists(), "the hook did not run: {ran}");
    assert!(!found.exists(), "mounted on the host's file: {ran}");
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

/// CVE-2016-9962: init, which still holds what the launcher gave it, looked into from inside. It waits
/// at the gate with no more capabilities than the program that looks.
#[test]
fn an_init_that_waits_shows_nothing_of_itself() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.create();
    for file in ["exe", "cwd", "root", "environ", "fd/3", "maps"] {
        let path = format!("/proc/1/{file}");
        let link = ["exe", "cwd", "root", "fd/3"].contains(&file);
        let ran = bundle.exec(&[if link { "readlink" } else { "cat" }, &path]);
        assert!(ran.code != 0 && ran.out.is_empty(), "{file}: {ran}");
    }
}

/// CVE-2022-29162: inheritable capabilities that nobody asked for.
#[test]
fn inheritable_capabilities_stay_empty() {
    let show = "grep -E 'Cap(Inh|Amb)' /proc/self/status";
    let Some(bundle) = Bundle::sh(&format!("{show}; sleep 100")) else { return };
    let mut sets = bundle.config["process"]["capabilities"].clone();
    sets.as_object_mut().expect("sets").remove("inheritable");
    sets.as_object_mut().expect("sets").remove("ambient");
    let empty = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000";
    let bundle = bundle.with("/process/capabilities", sets);
    bundle.start();
    assert_eq!(bundle.exec(&["sh", "-c", show]).ok(), empty);
    let ran = bundle.runtime(&[
        "exec",
        "--cap",
        "CAP_SYS_ADMIN",
        "--cap",
        "CAP_NET_RAW",
        &bundle.id,
        "sh",
        "-c",
        show,
    ]);
    assert_eq!(ran.ok(), empty);
    let own = fs::read_to_string(format!("/proc/{}/status", bundle.state()["pid"])).expect("alive");
    assert!(own.contains("CapInh:\t0000000000000000"), "{own}");
}

/// Runs `body` again and again while what two names mean is exchanged, for a bounded time.
fn racing(one: &Path, other: &Path, body: impl Fn()) {
    let done = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("exchanged");
            }
        });
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            while Instant::now() < deadline {
                body();
            }
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// CVE-2021-30465, CVE-2024-45310: a directory on the way to a mount's target that becomes a symlink to
/// the host while the container is made. Nothing may be mounted there, and nothing made.
#[test]
fn a_target_that_is_exchanged_for_a_symlink_does_not_lead_outside() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let (outside, source) = (bundle.path().join("outside"), bundle.path().join("source"));
    let volume = bundle.rootfs().join("volume");
    for directory in [&outside.join("there"), &source, &volume.join("way/there")] {
        fs::create_dir_all(directory).expect("made");
    }
    symlink(&outside, volume.join("link")).expect("linked");
    let found = bundle.path().join("found");
    let look = format!(
        "while read -r a b c d where rest; do case $where in {0}|{0}/*) echo $where >>{1};; esac; \
         done </proc/self/mountinfo",
        outside.display(),
        found.display()
    );
    let mount = |to: &str| json!({"destination": to, "source": source, "options": ["bind"]});
    let bundle = bundle
        .mount(mount("/volume/way/there"))
        .mount(mount("/volume/way/new/directory"))
        .mount(json!({"destination": "/volume/way/tmpfs", "type": "tmpfs"}))
        .with("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", look]}]));
    racing(&volume.join("way"), &volume.join("link"), || {
        // Whether it works is up to the other thread.
        bundle.run();
        let made: Vec<_> = fs::read_dir(&outside).expect("there").flatten().collect();
        assert_eq!(made.len(), 1, "made on the host: {made:?}");
        assert!(!found.exists(), "mounted on the host: {:?}", fs::read_to_string(&found));
    });
}

/// CVE-2025-52881: kernel parameters written to where something else lies at their path.
#[test]
fn kernel_parameters_are_written_to_the_kernel() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let false_proc = bundle.path().join("false");
    let file = false_proc.join("sys/net/ipv4/ip_default_ttl");
    fs::create_dir_all(file.parent().expect("in a directory")).expect("made");
    fs::write(&file, "kept").expect("written");
    let bundle = bundle
        .with(
            "/mounts",
            json!([
                {"destination": "/proc", "source": false_proc, "options": ["bind"]},
                {"destination": "/dev", "type": "tmpfs"},
            ]),
        )
        .with("/linux/maskedPaths", json!([]))
        .with("/linux/readonlyPaths", json!([]))
        .with("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "77"}));
    bundle.run();
    assert_eq!(fs::read_to_string(&file).expect("there"), "kept");
}
