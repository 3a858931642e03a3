//! `checkpoint` and `restore`: with criu where that works, else with one that only speaks its protocol.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tests::command::{self, Ran, Running, eventually};

use crate::bundle::Bundle;

/// Answers as criu does, keeps what it was asked in `$FAKE`, and restores a `sleep`.
const FAKE: &str = r#"#!/bin/bash
fd=$2
receive() { dd bs=65536 count=1 of="$FAKE/$1" <&"$fd" 2>/dev/null; }
# One write is one message; a newline in it would be two for the shell.
answer() { printf "$1" | dd bs=65536 iflag=fullblock >&"$fd" 2>/dev/null; }
varint() {
  local n=$1
  while [ "$n" -ge 128 ]; do printf '\\x%02x' $((n % 128 + 128)); n=$((n / 128)); done
  printf '\\x%02x' "$n"
}
notify() { # name, pid
  local pid; pid=$(varint "$2")
  local body=$((2 + ${#1} + 1 + ${#pid} / 4))
  answer "\x08\x06\x10\x01\x2a$(varint $body)\x0a$(varint ${#1})$1\x10$pid"
  receive ack
}
receive request
case $(od -An -tu1 -j1 -N1 "$FAKE/request" | tr -d ' ') in
  10) answer '\x08\x0a\x10\x01\x52\x06\x08\x03\x10\x11\x20\x01' ;;
  1)
    mv "$FAKE/request" "$FAKE/dump"
    if [ -e "$FAKE/refuse" ]; then
      echo '(00.1) Error (criu/mount.c:1): mnt: no way' > "$FAKE/images/dump.log"
      answer '\x08\x01\x10\x00\x38\x16'
      exit 1
    fi
    notify network-lock 0
    answer '\x08\x01\x10\x01'
    ;;
  2)
    mv "$FAKE/request" "$FAKE/restore"
    sleep 1000 <&- &
    pid=$!
    notify setup-namespaces "$pid"
    notify post-restore "$pid"
    answer "\x08\x02\x10\x01\x22$(varint $((1 + $(varint $pid | wc -c) / 4)))\x08$(varint $pid)"
    ;;
esac
"#;

fn with_path(bundle: &Bundle, path: &Path, args: &[&str]) -> Ran {
    let mut command = bundle.command(args);
    command.env("PATH", format!("{}:/usr/bin:/bin", path.display())).env("FAKE", path);
    command::run(command, b"")
}

fn fake(bundle: &Bundle) -> std::path::PathBuf {
    let fake = bundle.path().join("fake");
    std::fs::create_dir(&fake).expect("made");
    std::fs::write(fake.join("criu"), FAKE).expect("written");
    std::fs::set_permissions(fake.join("criu"), PermissionsExt::from_mode(0o755)).expect("set");
    fake
}

#[test]
fn without_criu_it_says_so_and_the_container_goes_on() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    bundle.start();
    let mut command = bundle.command(&["checkpoint", &bundle.id]);
    command.env("PATH", "/nowhere");
    let said = command::run(command, b"").fails(1);
    assert!(said.contains("criu is not installed"), "{said}");
    assert_eq!(bundle.status(), "running");
    let mut command = bundle.command(&["restore", "other"]);
    command.env("PATH", "/nowhere");
    assert!(command::run(command, b"").fails(1).contains("criu is not installed"));
}

#[test]
fn what_cannot_be_checkpointed_is_refused() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    bundle.create();
    for (args, want) in [
        (vec!["checkpoint", &bundle.id], "cannot be checkpointed in created state"),
        (vec!["checkpoint", "nobody"], "container does not exist"),
        (vec!["checkpoint", "--manage-cgroups-mode", "x", &bundle.id], "manage-cgroups-mode"),
        (vec!["checkpoint", "--page-server", "x", &bundle.id], "page-server"),
        (vec!["checkpoint", "--parent-path", "/x", &bundle.id], "parent-path"),
        (vec!["checkpoint", "--empty-ns", "pid", &bundle.id], "empty-ns"),
        (vec!["restore", "--image-path", "/nosuch", "other"], "no such file or directory"),
    ] {
        let said = bundle.runtime(&args).fails(1);
        assert!(said.contains(want), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn criu_is_told_what_it_needs_and_the_container_comes_back() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    let hooked = bundle.path().join("hooked").display().to_string();
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {hooked}")]}]);
    let bundle = bundle
        .with("/hooks/createRuntime", hook)
        .mount(json!({"destination": "/mnt", "source": "/usr", "options": ["bind", "ro"]}));
    let fake = fake(&bundle);
    let images = fake.join("images").display().to_string();
    bundle.start();
    let before = bundle.state()["pid"].clone();
    std::fs::remove_file(&hooked).expect("the hook ran");
    let args = ["checkpoint", "--image-path", &images, "--tcp-established", &bundle.id];
    with_path(&bundle, &fake, &args).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    let asked =
        String::from_utf8_lossy(&std::fs::read(fake.join("dump")).expect("kept")).into_owned();
    for want in [
        &*bundle.rootfs().display().to_string(),
        "dump.log",
        "/mnt",
        "/sys/fs/cgroup/",
        "/dev/null",
    ] {
        assert!(asked.contains(want), "{want} of {asked:?}");
    }
    assert!(fake.join("images/descriptors.json").exists());

    let file = bundle.path().join("pid").display().to_string();
    let args = ["restore", "-d", "--image-path", &images, "--pid-file", &file, &bundle.id];
    with_path(&bundle, &fake, &args).ok();
    assert_eq!(bundle.status(), "running");
    let pid = bundle.state()["pid"].clone();
    let text = pid.to_string();
    assert!(pid != before && std::fs::read_to_string(file).expect("written") == text);
    assert!(std::fs::read_to_string(&hooked).expect("the hook ran").contains(&text));
    let asked =
        String::from_utf8_lossy(&std::fs::read(fake.join("restore")).expect("kept")).into_owned();
    for want in ["criu-root", "restore.log", "/mnt", "/usr", &bundle.id] {
        assert!(asked.contains(want), "{want} of {asked:?}");
    }
    bundle.runtime(&["pause", &bundle.id]).ok();
    bundle.runtime(&["resume", &bundle.id]).ok();
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("stopped", || bundle.status() == "stopped");
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());

    // In the foreground; this one's orphan is the runtime's, as what criu restores is.
    let mut command = bundle.command(&["restore", "--image-path", &images, &bundle.id]);
    command.env("PATH", format!("{}:/usr/bin:/bin", fake.display())).env("FAKE", &fake);
    let running = Running::start(command);
    // Any other command would write the configuration that this one is about to read.
    eventually("made", || bundle.state_root().join(&bundle.id).join("state.json").exists());
    eventually("running", || bundle.status() == "running");
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    assert_eq!(running.wait().code, 137);
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn a_checkpoint_that_criu_refuses_leaves_the_container_running() {
    let Some(bundle) = Bundle::sh("sleep 1000") else { return };
    let fake = fake(&bundle);
    let images = fake.join("images").display().to_string();
    std::fs::write(fake.join("refuse"), "").expect("written");
    bundle.start();
    let said =
        with_path(&bundle, &fake, &["checkpoint", "--image-path", &images, &bundle.id]).fails(1);
    assert!(said.contains("type Dump errno 22: mnt: no way; see /"), "{said}");
    assert_eq!(bundle.status(), "running");
}

#[test]
fn criu_itself_saves_and_restores_or_says_what_this_host_lacks() {
    let Some(bundle) =
        Bundle::sh("n=0; while :; do n=$((n+1)); echo $n > /tmp/n; sleep 0.05; done")
    else {
        return;
    };
    let Ok(check) = Command::new("criu").arg("check").output() else {
        return println!("skipped: no criu");
    };
    bundle.start();
    let count = || -> u32 {
        let text = std::fs::read_to_string(bundle.rootfs().join("tmp/n")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    eventually("it counts", || count() > 2);
    let images = bundle.path().join("images").display().to_string();
    let ran = bundle.runtime(&["checkpoint", "--image-path", &images, &bundle.id]);
    if !check.status.success() {
        let said = ran.fails(1);
        assert!(said.contains("criu failed: type Dump") || said.contains("on this host"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(bundle.status(), "running");
        return println!("skipped: {said}");
    }
    ran.ok();
    let before = count();
    bundle.runtime(&["restore", "-d", "--image-path", &images, &bundle.id]).ok();
    eventually("it counts on", || count() > before);
}
