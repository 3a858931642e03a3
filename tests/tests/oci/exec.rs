//! Another process in a running container.

use serde_json::json;
use tests::command::eventually;

use crate::bundle::Bundle;

fn running() -> Option<Bundle> {
    let bundle = Bundle::sh("sleep 1000")?;
    bundle.start();
    Some(bundle)
}

#[test]
fn it_runs_in_the_container_and_gives_its_exit_status() {
    let Some(bundle) = running() else { return };
    assert_eq!(bundle.exec(&["hostname"]).ok(), "hull");
    assert_eq!(bundle.exec(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(bundle.exec(&["no-such-program"]).code, 127);
    assert_eq!(bundle.exec(&["/etc/passwd"]).code, 126);
    assert_eq!(bundle.exec(&["sh", "-c", "kill -9 $$"]).code, 137);
    let pid = bundle.state()["pid"].to_string();
    let inside = bundle.exec(&["sh", "-c", "for n in /proc/self/ns/*; do readlink $n; done"]).ok();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        let init = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("alive");
        assert!(inside.contains(&init.display().to_string()), "{kind} of {inside}");
    }
    let mine = bundle.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert!(mine.lines().all(|line| line.ends_with(":/")), "{mine}");
}

#[test]
pub(crate) fn flags_change_what_the_containers_process_has() {
    let Some(bundle) = running() else { return };
    let run = |flags: &[&str], script: &str| {
        let args = [&["exec"], flags, &[&bundle.id, "sh", "-c", script]].concat();
        bundle.runtime(&args).ok()
    };
    assert_eq!(run(&["--user", "5:6", "-g", "7"], "id -u; id -G"), "5\n6 7");
    assert_eq!(run(&["--cwd", "/etc", "--env", "X=y"], "pwd; echo $X"), "/etc\ny");
    let caps = run(&["--cap", "CAP_NET_ADMIN"], "grep CapEff /proc/self/status");
    assert!(caps.ends_with("20001420"), "{caps}");
    let file = bundle.path().join("process.json");
    let process = json!({"args": ["sh", "-c", "grep CapBnd /proc/self/status; pwd"],
                         "user": {"uid": 0, "gid": 0}, "cwd": "/bin", "env": ["PATH=/bin"]});
    std::fs::write(&file, process.to_string()).expect("written");
    let said = bundle.runtime(&["exec", "-p", &file.display().to_string(), &bundle.id]).ok();
    // What it leaves open is the container's.
    assert!(said.ends_with("0000000020000420\n/bin"), "{said}");
}

#[test]
fn a_detached_one_goes_on() {
    let Some(bundle) = running() else { return };
    let file = bundle.path().join("pid");
    let name = file.display().to_string();
    let args = ["exec", "-d", "--pid-file", &name, &bundle.id, "sleep", "0.3"];
    bundle.runtime(&args).ok();
    let pid = std::fs::read_to_string(&file).expect("written");
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    assert_eq!(comm.trim(), "sleep");
    let pids = || bundle.runtime(&["ps", "-f", "json", &bundle.id]).ok();
    eventually("it ended", || !pids().contains(&pid));
}

#[test]
pub(crate) fn a_container_that_does_not_run_refuses() {
    let Some(bundle) = Bundle::sh("true") else { return };
    bundle.start();
    eventually("stopped", || bundle.status() == "stopped");
    let said = bundle.exec(&["true"]).fails(255);
    assert!(said.contains("cannot exec in a stopped container"), "{said}");
    bundle.runtime(&["exec", "nobody", "true"]).fails(255);
}

#[test]
pub(crate) fn a_working_directory_that_is_missing_is_told_as_chdir() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    let ran = bundle.runtime(&["exec", "--cwd", "/no/such", &bundle.id, "true"]);
    assert!(ran.code != 0 && ran.err.contains("chdir to /no/such"), "{}", ran.err);
}
