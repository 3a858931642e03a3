//! `--host`: containers made in the VM of another. Driven by `machines`, which has a template for them.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tests::command::eventually;

use crate::bundle::Bundle;

/// A container that runs in a VM, and one that is to be in it too.
struct Two {
    first: Bundle,
    second: Bundle,
}

impl Two {
    fn beside(base: &Bundle) -> Self {
        let first = Bundle::sh("sleep 1000").expect("root, as before").beside(base);
        first.start();
        // The flag asks for a VM already.
        let second = Bundle::sh("sleep 1001").expect("root, as before").beside(base);
        Self { first, second: second.with("/annotations", json!({})) }
    }

    /// The words that make the second in the VM of `host`.
    fn words<'a>(&'a self, more: &[&'a str], host: &'a str) -> Vec<&'a str> {
        let bundle = self.second.path().to_str().expect("a path");
        let words = ["create", "--host", host, "--bundle", bundle];
        [&words, more, &[&self.second.id]].concat()
    }

    #[track_caller]
    fn join(&self, host: &str) {
        self.second.write_config();
        let mut create = self.first.command(&self.words(&[], host));
        create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(create.status().expect("it runs").success());
    }

    /// What is said of a second that cannot be made; nothing of it is left, and the first runs on.
    #[track_caller]
    fn refusal(&self, more: &[&str], host: &str) -> String {
        self.second.write_config();
        let refused = self.first.runtime(&self.words(more, host)).fails(1);
        assert!(!self.first.state_root().join(&self.second.id).exists(), "{refused}");
        assert_eq!(self.first.status(), "running");
        refused
    }

    /// Runs a command about one of them.
    #[track_caller]
    fn ask(&self, words: &[&str], of: &Bundle, more: &[&str]) -> String {
        self.first.runtime(&[words, &[&of.id], more].concat()).ok()
    }

    #[track_caller]
    fn state(&self, of: &Bundle) -> Value {
        serde_json::from_str(&self.ask(&["state"], of, &[])).expect("json")
    }
}

/// Sockets of shims that are there.
fn sockets(base: &Bundle) -> usize {
    fs::read_dir(base.path().join("exec/shim")).expect("the shims' sockets").count()
}

#[track_caller]
pub(crate) fn a_second_container_lives_in_the_vm_of_the_first(base: &Bundle) {
    let two = Two::beside(base);
    let Two { first, second } = &two;
    two.join(&first.id);
    let worker = first.state()["pid"].clone();
    let state = two.state(second);
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &worker));
    two.ask(&["start"], second, &[]);
    assert_eq!(two.state(second)["status"], "running");
    let mut both = [first.id.clone(), second.id.clone()];
    both.sort();
    let listed = first.runtime(&["list", "-q"]).ok();
    assert_eq!(listed.lines().collect::<Vec<_>>(), both);

    // One kernel, and what else they have is their own.
    let boot = ["cat", "/proc/sys/kernel/random/boot_id"];
    assert_eq!(two.ask(&["exec"], first, &boot), two.ask(&["exec"], second, &boot));
    two.ask(&["exec"], second, &["touch", "/tmp/own"]);
    assert!(second.rootfs().join("tmp/own").exists() && !first.rootfs().join("tmp/own").exists());
    let table = two.ask(&["ps"], second, &[]);
    assert!(table.contains("sleep 1001") && !table.contains("sleep 1000"), "{table}");
    two.ask(&["pause"], second, &[]);
    assert_eq!(
        (two.state(second)["status"].clone(), &*first.status()),
        (json!("paused"), "running")
    );
    two.ask(&["exec"], first, &["true"]);
    two.ask(&["resume"], second, &[]);
    two.ask(&["update", "--pids-limit", "77"], second, &[]);
    let events: Value =
        serde_json::from_str(&two.ask(&["events", "--stats"], second, &[])).expect("json");
    assert_eq!(events["data"]["pids"]["limit"], 77, "{events}");

    first.runtime(&["delete", &second.id]).fails(1);
    two.ask(&["kill"], second, &["KILL"]);
    eventually("stopped", || two.state(second)["status"] == "stopped");
    assert_eq!(first.status(), "running");
    two.ask(&["delete"], second, &[]);
    assert_eq!(second.left(), Vec::<String>::new());
    two.ask(&["exec"], first, &["true"]);
    // It is made anew, by a name of the first's VM and not of its shim.
    two.join(&first.id);
    two.ask(&["delete"], second, &[]);
    two.ask(&["delete", "--force"], first, &[]);
    assert!(!Path::new(&format!("/proc/{worker}")).exists());
    assert_eq!(sockets(base), 0);
}

#[track_caller]
pub(crate) fn the_vm_outlives_its_first_container(base: &Bundle) {
    let two = Two::beside(base);
    let Two { first, second } = &two;
    two.join(&first.id);
    let worker = two.state(second)["pid"].clone();
    two.ask(&["start"], second, &[]);
    two.ask(&["delete", "--force"], first, &[]);
    assert_eq!(two.state(second)["status"], "running");
    assert_eq!(two.ask(&["exec"], second, &["echo", "on"]), "on");
    let taken = first.runtime(&["create", &first.id]).fails(1);
    assert!(taken.contains(&format!("runs on for container {}", second.id)), "{taken}");
    // A third, beside the second.
    let third = Bundle::sh("echo third").expect("root, as before").beside(base);
    third.write_config();
    let bundle = third.path().to_str().expect("a path");
    let said = first.runtime(&["run", "--host", &second.id, "--bundle", bundle, &third.id]).ok();
    assert_eq!(said, "third");
    two.ask(&["delete", "--force"], second, &[]);
    assert!(!Path::new(&format!("/proc/{worker}")).exists());
    assert_eq!(sockets(base), 0);
}

/// Whatever one of them has of its own is gone with it; what joins another's has it.
#[track_caller]
pub(crate) fn a_second_container_may_join_namespaces_of_the_first(base: &Bundle) {
    let mut two = Two::beside(base);
    let joins = format!("network={0},pid={0}", two.first.id);
    two.second.config["annotations"] = json!({ "dev.hull.namespaces": joins });
    two.join(&two.first.id);
    two.ask(&["start"], &two.second, &[]);
    let of = |bundle: &Bundle, kind: &str| {
        two.ask(&["exec"], bundle, &["readlink", &format!("/proc/self/ns/{kind}")])
    };
    for kind in ["net", "pid", "ipc"] {
        let same = of(&two.first, kind) == of(&two.second, kind);
        assert_eq!(same, kind != "ipc", "{kind}");
    }
    two.ask(&["delete", "--force"], &two.second, &[]);
}

#[track_caller]
pub(crate) fn a_vm_that_cannot_have_another_says_so(base: &Bundle) {
    let mut two = Two::beside(base);
    let plain = two.second.config.clone();
    let host = two.first.id.clone();
    let of_the_host = json!([{"type": "network", "path": "/proc/1/ns/net"}]);
    for (pointer, value, said) in [
        ("/vm", json!({"kernel": {"path": "/boot/other"}}), "vm.kernel.path: "),
        ("/vm", json!({"hwConfig": {"memory": 1 << 31}}), "vm.hwConfig.memory"),
        ("/linux/resources/memory", json!({"limit": 1 << 30}), "1024 MiB do not fit into the VM"),
        ("/annotations", json!({"dev.hull.kernel.minimum": "99.0"}), "99.0"),
        ("/annotations", json!({"dev.hull.isolation": "process"}), "--host: there is no VM"),
        ("/annotations", json!({"dev.hull.sandbox": "another"}), "--host names another VM"),
        ("/linux/namespaces", of_the_host, "dev.hull.namespaces"),
    ] {
        two.second.config = plain.clone();
        two.second = two.second.with(pointer, value);
        let refused = two.refusal(&[], &host);
        assert!(refused.contains(said), "{said}: {refused}");
    }
    two.second.config = plain;
    let log = two.refusal(&["--vm-log", "log"], &host);
    assert!(log.contains("--vm-log with --host"), "{log}");
    let console = two.refusal(&["--vm-console", "console"], &host);
    assert!(console.contains("--vm-console with --host"), "{console}");
    let unknown = two.refusal(&[], "nobody");
    assert!(unknown.contains("--host nobody: there is no such container"), "{unknown}");

    let process = Bundle::sh("sleep 1000").expect("root, as before");
    process.write_config();
    let bundle = process.path().to_str().expect("a path");
    let mut create = two.first.command(&["create", "--bundle", bundle, &process.id]);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().expect("it runs").success());
    let refused = two.refusal(&[], &process.id);
    assert!(refused.contains("it shares the host's kernel"), "{refused}");
    two.ask(&["delete", "--force"], &process, &[]);

    two.ask(&["kill"], &two.first, &["KILL"]);
    eventually("stopped", || two.first.status() == "stopped");
    let ended = two.first.runtime(&two.words(&[], &host)).fails(1);
    assert!(ended.contains("it has stopped"), "{ended}");
    assert!(!two.first.state_root().join(&two.second.id).exists());
}
