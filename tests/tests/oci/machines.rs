//! The same commands for a container in a VM: by the annotation, or by a section `vm`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use serde_json::{Value, json};
use tests::command::{Ran, Running, Seen, eventually, run};
use tests::programs::kernel;

use crate::bundle::{Bundle, behind};
use crate::terminal::master;
use crate::{exec, life, mounts, process, rootfs, seccomp, shared, sysctl, terminal};

/// The release of the kernel that guests have.
fn release() -> String {
    let (kernel, _) = kernel();
    let name = kernel.file_name().expect("a name").to_string_lossy();
    name.strip_prefix("vmlinuz-").expect("a kernel").to_owned()
}

/// Cases of processes of the host that hold in a VM as well, one VM or two each.
const COMMON: &[fn()] = &[
    process::user_groups_umask_and_home,
    process::the_five_capability_sets,
    process::no_capabilities_are_none_at_all,
    process::the_environment_is_the_configurations_and_a_home,
    rootfs::the_default_devices_and_links_are_there,
    rootfs::a_read_only_root_is_read_only_and_its_mounts_are_not,
    rootfs::masked_paths_are_empty_and_readonly_paths_cannot_be_written,
    sysctl::parameters_are_set_by_names_with_dots_and_with_slashes,
    exec::flags_change_what_the_containers_process_has,
    exec::a_working_directory_that_is_missing_is_told_as_chdir,
    life::a_created_container_is_deleted_without_force_and_a_running_one_with,
    life::an_id_is_taken_once_for_each_root,
    process::what_an_engine_in_go_leaves_out_or_null_is_absent,
    process::of_two_variables_the_last_counts_and_an_empty_home_is_none,
    process::every_kind_of_limit_is_set_for_the_container_and_an_exec,
    process::a_seccomp_profile_filters_with_and_without_no_new_privileges,
    rootfs::bind_mounts_of_directories_and_files_with_options,
    rootfs::nothing_of_the_hosts_mounts_is_seen,
    mounts::remount_changes_what_is_mounted_already,
    sysctl::the_two_ways_to_name_the_domain_must_agree,
    seccomp::arguments_decide_and_unknown_names_do_not,
    exec::a_container_that_does_not_run_refuses,
    life::pause_stops_everything_and_resume_goes_on,
    life::kill_all_reaches_every_process,
    life::run_passes_signals_on,
    terminal::an_exec_has_a_terminal_of_its_own,
    terminal::in_the_foreground_the_output_arrives_though_nobody_has_a_terminal,
];

/// One template serves them all: to make it takes longer than each.
#[test]
fn containers_in_vms_are_driven_by_the_same_commands() {
    let Some(base) = Bundle::sh("true").and_then(Bundle::in_vm) else { return };
    a_vm_runs_to_its_end_in_the_foreground(&base);
    a_vms_root_may_be_of_layers_and_a_scratch_space(&base);
    what_a_vm_cannot_have_is_refused_by_name(&base);
    the_log_of_a_vm_is_the_callers(&base);
    the_console_of_a_vm_is_read_at_its_socket(&base);
    a_vm_lives_as_any_other_container(&base);
    a_killed_worker_or_shim_leaves_a_stopped_container(&base);
    a_vm_has_a_terminal_at_the_console_socket(&base);
    shared::a_second_container_lives_in_the_vm_of_the_first(&base);
    shared::the_vm_outlives_its_first_container(&base);
    shared::a_second_container_may_join_namespaces_of_the_first(&base);
    shared::a_vm_that_cannot_have_another_says_so(&base);
    a_signal_ends_the_making_of_a_vm(&base);
    for case in COMMON {
        behind(&base, *case);
    }
}

/// A bundle that runs `sh -c SCRIPT` in a VM of the same kind.
fn beside(base: &Bundle, script: &str) -> Bundle {
    Bundle::sh(script).expect("root, as before").beside(base)
}

/// Runs the bundle with another program.
#[track_caller]
fn run_with(bundle: &mut Bundle, args: &[&str], input: &[u8]) -> Ran {
    bundle.config["process"]["args"] = json!(args);
    let ran = run(bundle.command(&["run", &bundle.id]), input);
    assert_eq!(bundle.left(), Vec::<String>::new(), "{args:?}");
    ran
}

#[track_caller]
fn a_vm_runs_to_its_end_in_the_foreground(base: &Bundle) {
    let mut bundle = beside(base, "");
    let script = "cat /proc/sys/kernel/osrelease; cat; echo to stderr >&2; exit 7";
    let ran = run_with(&mut bundle, &["sh", "-c", script], b"typed\n");
    assert_eq!((&*ran.out, &*ran.err), (&*format!("{}\ntyped\n", release()), "to stderr\n"));
    assert_eq!(ran.code, 7);

    // The root is the bundle's own directory.
    run_with(&mut bundle, &["sh", "-c", "echo kept > /tmp/note"], b"").ok();
    let note = bundle.rootfs().join("tmp/note");
    assert_eq!(fs::read_to_string(&note).expect("written"), "kept\n");
    bundle.config["root"]["readonly"] = json!(true);
    assert_ne!(run_with(&mut bundle, &["sh", "-c", "echo again > /tmp/note"], b"").code, 0);
    assert_eq!(fs::read_to_string(note).expect("still there"), "kept\n");
    bundle.config["root"]["readonly"] = json!(false);

    // Several pipes' worth reaches its reader before the end is told.
    let ran = run_with(&mut bundle, &["head", "-c", "300000", "/dev/zero"], b"");
    assert_eq!((ran.code, ran.out.len()), (0, 300_000));
    for (program, want) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let ran = run_with(&mut bundle, &[program], b"");
        assert_eq!(ran.code, want, "{program}: {ran}");
    }
}

/// REQUIREMENTS F8: what is written is in the scratch space, and there for the next container; no layer changes.
#[track_caller]
fn a_vms_root_may_be_of_layers_and_a_scratch_space(base: &Bundle) {
    let mut bundle = beside(base, "");
    let (top, scratch) = (bundle.path().join("top"), bundle.path().join("scratch"));
    fs::create_dir(&top).expect("a directory");
    let create = ["create-scratch", "--sizeGB", "1", "--destpath", "scratch"];
    bundle.runtime(&create).ok();
    fs::write(top.join("note"), "of the top layer\n").expect("a file");
    bundle.config.as_object_mut().expect("an object").remove("root");
    bundle.config["windows"] = json!({ "layerFolders": [top, bundle.rootfs(), scratch] });
    let script = "cat /note; echo written >/note; echo more >/tmp/more";
    assert_eq!(run_with(&mut bundle, &["sh", "-c", script], b"").ok(), "of the top layer");
    let said = run_with(&mut bundle, &["cat", "/note", "/tmp/more"], b"").ok();
    assert_eq!(said, "written\nmore");
    assert_eq!(fs::read_to_string(top.join("note")).expect("a file"), "of the top layer\n");
    assert!(!bundle.rootfs().join("tmp/more").exists());
    let disk = fs::metadata(scratch.join("scratch.ext4")).expect("the scratch space's disk");
    assert_eq!(disk.len(), 1 << 30);
    // What was written without a VM is not in its disk.
    fs::create_dir_all(scratch.join("upper/etc")).expect("a directory");
    let refused = bundle.run().fails(1);
    assert!(refused.contains("written without a VM"), "{refused}");
}

/// What the shim says goes to the caller's file, which outlives the container.
#[track_caller]
fn the_log_of_a_vm_is_the_callers(base: &Bundle) {
    let bundle = beside(base, "true");
    let id = bundle.id.clone();
    let run = ["run", "--vm-log", "vm.log", &id];
    bundle.runtime(&run).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    assert!(bundle.path().join("vm.log").is_file());
    let refused = bundle.runtime(&["run", "--vm-log", "/no/such/log", &bundle.id]).fails(1);
    assert!(refused.contains("/no/such/log: no such file"), "{refused}");
    assert_eq!(bundle.left(), Vec::<String>::new());
    let bundle = bundle.with("/annotations", json!({}));
    let refused = bundle.runtime(&run).fails(1);
    assert!(refused.contains("--vm-log: there is no VM"), "{refused}");
}

/// Several may read, one that comes late the last of it; the socket goes with the VM, also with one that is killed.
#[track_caller]
fn the_console_of_a_vm_is_read_at_its_socket(base: &Bundle) {
    let bundle = beside(base, "sleep 1000").with("/linux/readonlyPaths", json!([]));
    let (id, socket) = (bundle.id.clone(), bundle.path().join("console"));
    let run = ["run", "-d", "--vm-console", "console", &id];
    let seen = || Seen::of(UnixStream::connect(&socket).expect("it is served"));
    let start = || {
        let mut run = bundle.command(&run);
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(run.status().expect("it runs").success());
    };
    start();
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let early = seen();
    bundle.exec(&["sh", "-c", "echo h >/proc/sysrq-trigger"]).ok();
    early.expect("sysrq: HELP");
    let late = seen();
    late.expect("sysrq: HELP");
    let _ = bundle.exec(&["sh", "-c", "echo c >/proc/sysrq-trigger"]);
    for reader in [early, late] {
        reader.expect("Kernel panic - not syncing: sysrq triggered crash");
    }
    eventually("stopped", || bundle.status() == "stopped");
    eventually("the socket is gone", || !socket.exists());
    bundle.runtime(&["delete", &id]).ok();

    fs::write(&socket, "kept").expect("a file");
    let refused = bundle.runtime(&run).fails(1);
    assert!(refused.contains("console for the VM's console: address"), "{refused}");
    assert_eq!(fs::read_to_string(&socket).expect("still there"), "kept");
    assert_eq!(bundle.left(), Vec::<String>::new());
    fs::remove_file(&socket).expect("removed");

    start();
    let shim = fs::read_to_string(bundle.state_root().join(&id).join("shim.pid"));
    let shim = shim.expect("a pid file").trim().parse().ok();
    let shim = shim.and_then(rustix::process::Pid::from_raw).expect("a number");
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).expect("killed");
    eventually("stopped", || bundle.status() == "stopped");
    bundle.runtime(&["delete", &id]).ok();
    assert!(!socket.exists());
    let bundle = bundle.with("/annotations", json!({}));
    let refused = bundle.runtime(&run).fails(1);
    assert!(refused.contains("--vm-console: there is no VM"), "{refused}");
}

#[track_caller]
fn what_a_vm_cannot_have_is_refused_by_name(base: &Bundle) {
    let mut bundle = beside(base, "true");
    let plain = bundle.config.clone();
    let kernel = |more: Value| json!({"kernel": more});
    for (pointer, value, said) in [
        ("/vm", kernel(json!({"path": "/k", "parameters": ["quiet"]})), "vm.kernel.parameters"),
        ("/vm", kernel(json!({"path": "/nowhere/vmlinuz"})), "/nowhere/vmlinuz"),
        ("/hooks", json!({"prestart": [{"path": "/bin/true"}]}), "hooks"),
        ("/linux/namespaces", json!([{"type": "pid", "path": "/proc/1/ns/pid"}]), "pid"),
        ("/windows", json!({"layerFolders": ["/usr", "/tmp"]}), "root.path"),
    ] {
        bundle.config = plain.clone();
        bundle = bundle.with(pointer, value);
        let refused = bundle.run().fails(1);
        assert!(refused.contains(said), "{said}: {refused}");
        assert_eq!(bundle.left(), Vec::<String>::new(), "{said}");
    }
    bundle.config = plain;
    for flag in ["--no-pivot", "--no-new-keyring", "--pidfd-socket=/x"] {
        let refused = bundle.runtime(&["run", flag, &bundle.id]).fails(1);
        assert!(refused.contains(flag.split('=').next().expect("a flag")), "{refused}");
    }
}

#[track_caller]
fn a_vm_lives_as_any_other_container(base: &Bundle) {
    let mut bundle = beside(base, "sleep 1000");
    // The section alone asks for a VM too.
    bundle.config["annotations"] = json!({"org.example": "kept"});
    bundle.config["vm"] = json!({"hwConfig": {"vcpus": 1}});
    let id = bundle.id.clone();
    let pid_file = bundle.path().join("pid");
    let mut create = bundle.command(&["create", "--pid-file", "pid", &id]);
    create.stdin(Stdio::null()).stdout(Stdio::null());
    assert!(create.status().expect("it runs").success());
    let state = bundle.state();
    assert_eq!((&state["status"], &state["bundle"]), (&json!("created"), &json!(bundle.path())));
    assert_eq!(state["annotations"]["org.example"], "kept");
    let worker = fs::read_to_string(pid_file).expect("a pid file");
    assert_eq!(state["pid"].to_string(), worker);
    let name = fs::read_to_string(format!("/proc/{worker}/comm")).expect("it runs");
    assert_eq!(name.trim(), "hull-vmwp");
    let taken = bundle.runtime(&["create", &id]).fails(1);
    assert!(taken.contains("already exists"), "{taken}");

    bundle.runtime(&["start", &id]).ok();
    assert_eq!(bundle.status(), "running");
    let again = bundle.runtime(&["start", &id]).fails(1);
    assert!(again.contains("cannot start an already running container"), "{again}");
    assert_eq!(bundle.runtime(&["list", "--quiet"]).ok(), id);
    assert!(bundle.runtime(&["list"]).ok().contains("running"));

    let ran = run(bundle.command(&["exec", "--env", "WORD=said", &id, "sh", "-c", EXEC]), b"in\n");
    assert_eq!((&*ran.out, ran.code), (&*format!("{}\nsaid in\n", release()), 4), "{ran}");
    bundle.exec(&["/no/such/program"]).fails(127);
    let table = bundle.runtime(&["ps", &id]).ok();
    assert!(table.contains("PID") && table.contains("sleep 1000"), "{table}");
    let pids: Vec<u64> =
        serde_json::from_str(&bundle.runtime(&["ps", "--format", "json", &id]).ok()).expect("json");
    assert!(!pids.is_empty());

    bundle.runtime(&["pause", &id]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.exec(&["true"]).fails(255);
    bundle.runtime(&["resume", &id]).ok();
    bundle.runtime(&["update", "--pids-limit", "77", &id]).ok();
    let events: Value =
        serde_json::from_str(&bundle.runtime(&["events", "--stats", &id]).ok()).expect("json");
    assert_eq!(events["data"]["pids"]["limit"], 77, "{events}");
    let refused = bundle.runtime(&["checkpoint", &id]).fails(1);
    assert!(refused.contains("criu"), "{refused}");

    let refused = bundle.runtime(&["delete", &id]).fails(1);
    assert!(refused.contains("running"), "{refused}");
    bundle.runtime(&["kill", &id, "KILL"]).ok();
    eventually("stopped", || bundle.status() == "stopped");
    bundle.runtime(&["kill", &id]).fails(1);
    bundle.runtime(&["delete", &id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    bundle.runtime(&["state", &id]).fails(1);
}

/// What tells where an exec runs, what it was given and how it ends.
const EXEC: &str = "cat /proc/sys/kernel/osrelease; read line; echo $WORD $line; exit 4";

#[track_caller]
fn a_killed_worker_or_shim_leaves_a_stopped_container(base: &Bundle) {
    let bundle = beside(base, "sleep 1000");
    for file in ["worker", "shim"] {
        bundle.start();
        let path = bundle.state_root().join(&bundle.id).join("shim.pid");
        let pid = match file {
            "shim" => fs::read_to_string(path).expect("a pid file"),
            _ => bundle.state()["pid"].to_string(),
        };
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let kill = rustix::process::Signal::KILL;
        rustix::process::kill_process(pid.expect("a number"), kill).expect("killed");
        eventually("stopped", || bundle.status() == "stopped");
        bundle.runtime(&["delete", &bundle.id]).ok();
        assert_eq!(bundle.left(), Vec::<String>::new(), "{file}");
    }
}

#[track_caller]
fn a_signal_ends_the_making_of_a_vm(base: &Bundle) {
    let bundle = beside(base, "true");
    // This one never says that it is there.
    let qemu = bundle.path().join("qemu");
    fs::write(&qemu, "#!/bin/sh\nexec sleep 1000\n").expect("a script");
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).expect("changed");
    let bundle = bundle.with("/vm", json!({"hypervisor": {"path": qemu}}));
    let running = Running::start(bundle.command(&["run", &bundle.id]));
    let record = bundle.state_root().join(&bundle.id).join("vm.json");
    let asked = || fs::read_to_string(&record).is_ok_and(|text| text.contains("unix://"));
    eventually("the shim is asked", asked);
    let pid = rustix::process::Pid::from_raw(running.pid().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    let ran = running.wait();
    assert_eq!(ran.code, 128 + 15, "{ran}");
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[track_caller]
fn a_vm_has_a_terminal_at_the_console_socket(base: &Bundle) {
    let script = "test -t 0 -a -t 1 -a -t 2 && echo all; read line; echo got $line; stty size";
    let bundle = beside(base, script);
    let bundle = bundle.with("/process/terminal", json!(true));
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let receiver = std::thread::spawn(move || master(&listener));
    let name = path.display().to_string();
    bundle.runtime(&["run", "-d", "--console-socket", &name, &bundle.id]).ok();
    let pty = fs::File::from(receiver.join().expect("received"));
    let seen = Seen::of(pty.try_clone().expect("cloned"));
    seen.expect("all");
    bundle.runtime(&["resize-tty", &bundle.id, "100", "30"]).ok();
    (&pty).write_all(b"hello\n").expect("written");
    seen.expect("got hello");
    seen.expect("30 100");
    eventually("stopped", || bundle.status() == "stopped");
}
