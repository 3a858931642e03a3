//! The command line: flags, answers, logs and the words that runc's callers look for.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;

use serde_json::{Value, json};
use tests::command::{self, eventually};

use crate::bundle::Bundle;

fn running() -> Option<Bundle> {
    let bundle = Bundle::sh("sleep 1000")?;
    bundle.start();
    Some(bundle)
}

#[test]
fn refusals_have_the_words_that_callers_look_for() {
    let Some(bundle) = running() else { return };
    let id = bundle.id.as_str();
    for (args, code, want) in [
        (vec!["state", "nobody"], 1, "container does not exist"),
        (vec!["kill", "nobody"], 1, "container does not exist"),
        (vec!["delete", "nobody"], 1, "container does not exist"),
        (vec!["exec", "nobody", "true"], 255, "container does not exist"),
        (vec!["state", "../x"], 1, "invalid container ID format"),
        (vec!["state", ""], 1, "container id cannot be empty"),
        (vec!["create", id], 1, "container with given ID already exists"),
        (vec!["start", id], 1, "cannot start an already running container"),
        (vec!["delete", id], 1, "not stopped: running"),
        (vec!["resume", id], 1, "container not paused"),
        (vec!["kill", id, "NOSUCH"], 1, "unknown signal"),
        (vec!["exec", id, "nosuch"], 127, "executable file not found in $PATH"),
        (vec!["exec", id, "/nosuch"], 127, "exec /nosuch: no such file or directory"),
        (vec!["exec", id, "/etc/passwd"], 126, "permission denied"),
        (vec!["exec", "--cwd", "/nosuch", id, "true"], 255, "no such file or directory"),
        (vec!["exec", id], 1, "exec args cannot be empty"),
        (vec!["exec", "-c", "CAP_NONE", id, "true"], 255, "CAP_NONE"),
        (vec!["exec", "--preserve-fds", "1", id, "true"], 255, "bad file descriptor"),
        (vec!["foo"], 1, "No help topic for 'foo'"),
        (vec!["start"], 1, "requires exactly 1 argument"),
        (vec!["state", "--bad", id], 1, "flag provided but not defined: -bad"),
    ] {
        let said = bundle.runtime(&args).fails(code);
        assert!(said.contains(want), "{args:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{args:?}: {said}");
    }
    bundle.runtime(&["pause", id]).ok();
    for (args, want) in [
        (vec!["exec", id, "true"], "cannot exec in a paused container"),
        (vec!["pause", id], "container not running"),
    ] {
        let said = bundle.runtime(&args);
        assert!(said.code != 0 && said.err.contains(want), "{args:?}: {said}");
    }
    bundle.runtime(&["kill", id, "KILL"]).ok();
    eventually("stopped", || bundle.status() == "stopped");
    for (args, want) in [
        (vec!["kill", id], "container not running"),
        (vec!["kill", id, "0"], "container not running"),
        (vec!["start", id], "cannot start a container that has stopped"),
        (vec!["exec", id, "true"], "cannot exec in a stopped container"),
    ] {
        let said = bundle.runtime(&args);
        assert!(said.code != 0 && said.err.contains(want), "{args:?}: {said}");
    }
    bundle.runtime(&["kill", "--all", id, "0"]).ok();
    bundle.runtime(&["kill", "-a", id]).ok();
}

#[test]
fn a_signal_is_a_name_or_a_number() {
    for signal in ["USR1", "sigusr1", "SIGUSR1", "10"] {
        let script = "trap 'exit 9' USR1; touch /tmp/ready; while :; do sleep 0.05; done";
        let Some(bundle) = Bundle::sh(script) else { return };
        bundle.start();
        eventually("ready", || bundle.rootfs().join("tmp/ready").exists());
        bundle.runtime(&["kill", &bundle.id, "0"]).ok();
        bundle.runtime(&["kill", &bundle.id, signal]).ok();
        eventually("stopped", || bundle.status() == "stopped");
    }
}

#[test]
fn a_kill_without_a_pid_namespace_reaches_every_process() {
    let Some(bundle) = Bundle::sh("sleep 1000 & sleep 1000 & wait") else { return };
    let namespaces = json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}]);
    let bundle = bundle.with("/linux/namespaces", namespaces);
    bundle.start();
    let pids = || -> Vec<u64> {
        serde_json::from_str(&bundle.runtime(&["ps", "-f", "json", &bundle.id]).ok()).expect("json")
    };
    eventually("three processes", || pids().len() == 3);
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("nobody", || pids().is_empty());
    assert_eq!(bundle.status(), "stopped");
}

#[test]
fn state_and_list_are_runcs() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    let bundle = bundle.with("/annotations", json!({"b": "2", "a": "1"}));
    bundle.start();
    let text = bundle.runtime(&["state", &bundle.id]).ok();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    let all = "ociVersion id pid status bundle rootfs created annotations owner";
    assert_eq!(names.join(" "), all);
    assert!(text.contains("\"a\": \"1\",\n    \"b\": \"2\""), "{text}");
    let list: Value =
        serde_json::from_str(&bundle.runtime(&["list", "--format=json"]).ok()).expect("json");
    assert_eq!(list[0]["owner"], "root");
    assert_eq!(list[0]["annotations"], json!({"a": "1", "b": "2"}));
    assert_eq!(list[0]["rootfs"], json!(bundle.rootfs()));
}

#[test]
fn ps_is_the_hosts_ps() {
    let Some(bundle) = running() else { return };
    let table = bundle.runtime(&["ps", &bundle.id]).ok();
    let head: Vec<&str> = table.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(head, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(table.lines().skip(1).all(|line| line.contains("sleep")), "{table}");
    let table = bundle.runtime(&["ps", &bundle.id, "-e", "-o", "pid,comm"]).ok();
    let pid = bundle.state()["pid"].to_string();
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec![&*pid, "sleep"]) || rows.contains(&vec![&*pid, "sh"]), "{table}");
    let said = bundle.runtime(&["ps", &bundle.id, "-e", "-o", "comm"]).fails(1);
    assert!(said.contains("PID"), "{said}");
}

#[test]
fn help_is_there_for_every_command() {
    let Some(bundle) = Bundle::sh("") else { return };
    let all = bundle.runtime(&["--help"]).ok();
    assert!(all.starts_with("NAME:\n   hull-runtime - "), "{all}");
    let commands = all.split("COMMANDS:\n").nth(1).expect("a list");
    let names: Vec<&str> = commands
        .lines()
        .take_while(|line| line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.starts_with("help"))
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let help = bundle.runtime(&[name, "--help"]).ok();
        assert!(help.contains(&format!("\n   hull-runtime {name} - ")), "{help}");
        assert_eq!(bundle.runtime(&["help", name]).ok(), help);
    }
    let version = bundle.runtime(&["-v"]).ok();
    assert!(version.starts_with("hull-runtime version "), "{version}");
    assert!(version.contains("\nspec: 1.3.0"), "{version}");
}

#[test]
fn spec_writes_a_configuration_once() {
    let Some(bundle) = Bundle::sh("") else { return };
    let to = bundle.path().join("new");
    std::fs::create_dir(&to).expect("made");
    let bundle_flag = format!("--bundle={}", to.display());
    bundle.runtime(&["spec", &bundle_flag]).ok();
    let said = bundle.runtime(&["spec", &bundle_flag]).fails(1);
    assert!(said.contains("exists. Remove it first"), "{said}");
    std::fs::remove_file(to.join("config.json")).expect("removed");
    bundle.runtime(&["spec", &bundle_flag, "--rootless"]).ok();
    let text = std::fs::read(to.join("config.json")).expect("written");
    let config: Value = serde_json::from_slice(&text).expect("json");
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
}

#[test]
fn without_a_log_messages_go_to_standard_error() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let said = bundle.runtime(&["state", "nobody"]).fails(1);
    let want = r#" level=error msg="state nobody: container does not exist""#;
    assert!(said.starts_with("time=\"") && said.trim().ends_with(want), "{said}");
    let said = bundle.runtime(&["--log-format", "json", "state", "nobody"]).fails(1);
    let line: Value = serde_json::from_str(&said).expect("json");
    assert_eq!((&line["level"], line["time"].as_str().map(str::len)), (&json!("error"), Some(20)));
    let debug = bundle.runtime(&["--debug", "run", &bundle.id]);
    assert!(debug.err.contains("level=debug msg="), "{debug}");
    let file = bundle.path().join("log").display().to_string();
    let debug = bundle.runtime(&["--debug", "--log", &file, "run", &bundle.id]);
    assert_eq!(debug.err, "");
    let log = std::fs::read_to_string(&file).expect("written");
    assert!(log.lines().all(|line| line.starts_with("time=\"") && line.contains("level=debug")));
    bundle.runtime(&["--log", "/nosuch/log", "list"]).fails(1);
}

#[test]
fn a_root_is_made_absolute_and_never_the_machines() {
    let Some(bundle) = running() else { return };
    let mut command = bundle.command(&["state", &bundle.id]);
    command.arg("--").current_dir(bundle.path());
    assert_eq!(command::run(command, b"").code, 0);
    let program = tests::programs::program("hull-runtime");
    let with = |root: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(["--root", root, "list", "-q"]).current_dir(bundle.path());
        command::run(command, b"")
    };
    assert_eq!(with("state").ok(), bundle.id);
    for root in ["/", "", "//"] {
        assert!(with(root).fails(1).contains("--root"), "{root:?}");
    }
}

#[test]
fn a_pid_file_is_where_the_caller_stands() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    let here = bundle.path().join("here");
    std::fs::create_dir(&here).expect("made");
    let mut command = bundle.command(&["run", "-d", "--pid-file=pid", "-b", "..", &bundle.id]);
    command.current_dir(&here);
    assert_eq!(command::run(command, b"").code, 0);
    let pid = std::fs::read_to_string(here.join("pid")).expect("written");
    assert_eq!(bundle.state()["pid"].to_string(), pid);
}

#[test]
fn the_pidfd_is_sent_to_its_socket() {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    let path = bundle.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let receive = || {
        let (socket, _) = listener.accept().expect("connected");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; 64];
        let mut iov = [std::io::IoSliceMut::new(&mut data)];
        recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let fd = fd.expect("a descriptor");
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let info = info.expect("open");
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
        pid.trim().to_owned()
    };
    let socket = path.display().to_string();
    bundle.runtime(&["run", "-d", "--pidfd-socket", &socket, &bundle.id]).ok();
    assert_eq!(receive(), bundle.state()["pid"].to_string());
    let file = bundle.path().join("pid").display().to_string();
    let args = ["exec", "-d", "--pid-file", &file, "--pidfd-socket", &socket];
    bundle.runtime(&[&args[..], &[&bundle.id, "sleep", "100"]].concat()).ok();
    assert_eq!(receive(), std::fs::read_to_string(file).expect("written"));
    bundle.runtime(&["exec", "--pidfd-socket", "/nosuch", &bundle.id, "true"]).fails(255);
}

#[test]
fn preserved_descriptors_and_systemds_sockets_reach_the_program() {
    let Some(bundle) =
        Bundle::sh("cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | wc -l")
    else {
        return;
    };
    let first = bundle.path().join("first");
    std::fs::write(&first, "one\n").expect("written");
    let second = bundle.path().join("second");
    std::fs::write(&second, "two\n").expect("written");
    bundle.write_config();
    // A shell opens them: 3 and 4 must be free of what the test itself has open.
    let script =
        "exec 3<first 4<second; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$@\" --preserve-fds 1 $ID";
    let mut command = std::process::Command::new("sh");
    let program = tests::programs::program("hull-runtime");
    command.args(["-c", script, "sh"]).arg(program).arg("--root").arg(bundle.state_root());
    command.args(["run"]).env("ID", &bundle.id).current_dir(bundle.path());
    let said = command::run(command, b"").ok();
    assert_eq!(said, "one\ntwo\n1 1\n6");
}

#[test]
fn a_terminal_in_the_foreground_leaves_line_ends_alone() {
    let Some(bundle) = Bundle::sh("echo one; echo two") else { return };
    let bundle = bundle.with("/process/terminal", json!(true));
    assert_eq!(bundle.run().out, "one\ntwo\n");
}

#[test]
fn flags_for_terminals_must_fit() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let said = bundle.runtime(&["run", "--console-socket", "/x", &bundle.id]).fails(1);
    assert!(said.contains("cannot use console socket"), "{said}");
    let bundle = bundle.with("/process/terminal", json!(true));
    let said = bundle.runtime(&["create", &bundle.id]).fails(1);
    assert!(said.contains("cannot allocate tty"), "{said}");
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn orphans_of_a_container_without_a_pid_namespace_end_with_it() {
    let Some(bundle) = Bundle::sh("(sleep 1000 &) ; exit 5") else { return };
    let namespaces = json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}]);
    let bundle = bundle.with("/linux/namespaces", namespaces);
    assert_eq!(bundle.run().code, 5);
    assert_eq!(bundle.runtime(&["run", "--no-subreaper", &bundle.id]).code, 5);
}

#[test]
fn the_default_root_of_a_user_is_the_users_own() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let home = bundle.path().join("xdg");
    std::fs::create_dir(&home).expect("made");
    std::os::unix::fs::chown(&home, Some(4321), Some(4321)).expect("owned");
    let program = bundle.path().join("hull-runtime");
    std::fs::copy(tests::programs::program("hull-runtime"), &program).expect("copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bundle.path(), open).expect("passable");
    let mut command = std::process::Command::new(&program);
    command.args(["list", "-q"]).env("XDG_RUNTIME_DIR", &home).uid(4321).gid(4321);
    assert_eq!(command::run(command, b"").ok(), "");
    let mode = std::fs::metadata(home.join("hull-runtime")).expect("made").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o7777, 0o1700);
}

#[test]
fn exec_in_a_paused_container_waits_for_the_end_of_the_pause() {
    let Some(bundle) = running() else { return };
    bundle.runtime(&["pause", &bundle.id]).ok();
    let mut command = bundle.command(&["exec", "--ignore-paused", &bundle.id, "echo", "ok"]);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("starts");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(child.try_wait().expect("waits").is_none());
    bundle.runtime(&["resume", &bundle.id]).ok();
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("read");
    assert!(child.wait().expect("ended").success());
    assert_eq!(said, "ok\n");
}

#[test]
fn exec_runs_in_a_cgroup_beneath_the_containers() {
    let Some(bundle) = running() else { return };
    let pid = bundle.state()["pid"].to_string();
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("alive");
    let unified = cgroups.lines().count() == 1;
    let find = |name: &str| {
        cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let is = fields.next()?.split(',').any(|one| one == name);
            is.then(|| fields.next().unwrap_or_default().to_owned())
        })
    };
    let (flag, path) = if unified {
        ("sub", format!("/sys/fs/cgroup{}", &cgroups.trim()[3..]))
    } else {
        let Some(path) = find("pids") else { return println!("skipped: no pids controller") };
        ("pids:sub", format!("/sys/fs/cgroup/pids{path}"))
    };
    let run = |flag: &str| {
        bundle.runtime(&["exec", "--cgroup", flag, &bundle.id, "cat", "/proc/self/cgroup"])
    };
    assert!(run(flag).err.contains("no such file or directory"), "{}", run(flag));
    std::fs::create_dir(format!("{path}/sub")).expect("made");
    assert!(run(flag).ok().contains("/sub"));
    assert!(!run("/").ok().contains("/sub"));
    for (flag, want) in [("..", "is not a sub cgroup path"), ("none:/", "unknown controller")] {
        let said = run(flag).fails(255);
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn a_signal_ends_a_container_that_was_not_started() {
    for (signal, ends) in [("TERM", true), ("INT", true), ("USR1", true), ("CONT", false)] {
        let Some(bundle) = Bundle::sh("sleep 1000") else { return };
        bundle.create();
        bundle.runtime(&["kill", &bundle.id, signal]).ok();
        if ends {
            eventually("stopped", || bundle.status() == "stopped");
            bundle.runtime(&["delete", &bundle.id]).ok();
        } else {
            bundle.runtime(&["start", &bundle.id]).ok();
            assert_eq!(bundle.status(), "running", "{signal}");
        }
    }
}

#[test]
fn a_container_that_is_deleted_while_it_is_waited_for_ends_as_it_ended() {
    let Some(bundle) = Bundle::sh("touch /tmp/ready; sleep 1000") else { return };
    let running = tests::command::Running::start(bundle.command(&["run", &bundle.id]));
    eventually("ready", || bundle.rootfs().join("tmp/ready").exists());
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(running.wait().code, 137);
}
