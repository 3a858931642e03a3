//! What newcomers get wrong, and the exact words that they are told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use spec::fault::{self, Fault};
use tests::command::{Ran, run};
use tests::host::IMAGE;
use tests::programs::program;
use tests::{Engine, Host};

use crate::hull::typed;

/// This message is told, with its page.
#[track_caller]
fn told(ran: &Ran, code: i32, message: &str, fault: &Fault) {
    let Fault { code: page, why, remedy, .. } = fault;
    let want = format!("{message}\n  why:  {why}\n  do:   {remedy}\n  more: hull explain {page}");
    assert_eq!((ran.code, ran.err.trim()), (code, &*want));
}

pub(crate) fn each_is_told_with_why_and_what_to_do(host: &mut Host) {
    misspelt(host);
    registry_out_of_reach(host);
    taken(host);
    missing_on_the_host(host);
    engine_out_of_reach(host);
}

fn misspelt(host: &Host) {
    let image = typed(host, &["run", "--rm", "127.0.0.1:5000/bussybox", "true"], b"");
    let message = "Unable to find image '127.0.0.1:5000/bussybox:latest' locally\n\
                   hull: manifest for 127.0.0.1:5000/bussybox:latest not found: manifest unknown";
    told(&image, 125, message, &fault::NO_IMAGE);

    let option = typed(host, &["run", "--interactiv", IMAGE], b"");
    let message = "error: unexpected argument '--interactiv' found\n\n  \
                   tip: a similar argument exists: '--interactive'\n";
    assert_eq!(option.code, 2);
    assert!(option.err.starts_with(message), "{}", option.err);
    assert!(option.err.ends_with("More: hull explain H0109\n"), "{}", option.err);

    let binary = typed(host, &["run", "--rm", IMAGE, "bsah"], b"");
    let message =
        "hull: OCI runtime create failed: exec: \"bsah\": executable file not found in $PATH";
    told(&binary, 127, message, &fault::COMMAND_NOT_FOUND);
}

fn registry_out_of_reach(host: &Host) {
    for (name, why) in [
        ("registry.invalid/busybox", "failed to lookup address information: "),
        ("127.0.0.1:5999/busybox", "Connection refused (os error 111)"),
    ] {
        let registry = name.split('/').next().unwrap_or_default();
        let cases: [(&[&str], i32, String); 3] = [
            (
                &["run", "--rm", name, "true"],
                125,
                format!("hull: pull {name}:latest: connect to {registry}: "),
            ),
            (
                &["pull", "-q", name],
                1,
                format!("hull: pull {name}:latest: connect to {registry}: "),
            ),
            (
                &["login", "-u", "me", "-p", "secret", registry],
                1,
                format!("hull: connect to {registry}: "),
            ),
        ];
        for (words, code, begins) in cases {
            let ran = typed(host, words, b"");
            let message = ran.err.split_once("\n  why:").map_or("", |(message, _)| message);
            let last = message.lines().last().unwrap_or_default();
            assert!(last.starts_with(&begins) && last.contains(why), "{words:?}: {ran}");
            told(&ran, code, message, &fault::NO_REGISTRY);
        }
    }
}

fn taken(host: &Host) {
    let first = ["run", "-d", "--name", "web", "-p", "8080:80", IMAGE, "sleep", "1000"];
    let owner = typed(host, &first, b"").ok();
    let name = typed(host, &["run", "-d", "--name", "web", IMAGE, "true"], b"");
    let message = format!(
        "hull: Conflict. The container name \"/web\" is already in use by container \"{owner}\". You \
         have to remove (or rename) that container to be able to reuse that name."
    );
    told(&name, 125, &message, &fault::NAME_IN_USE);

    let other = typed(host, &["create", "--name", "two", "-p", "8080:80", IMAGE, "true"], b"").ok();
    let port = typed(host, &["start", "two"], b"");
    let message = format!(
        "hull: driver failed programming external connectivity on endpoint two ({other}): Bind for \
         0.0.0.0:8080 failed: port is already allocated: container {owner} has it"
    );
    told(&port, 1, &message, &fault::PORT_TAKEN);
}

fn missing_on_the_host(host: &Host) {
    let of = |engine: &Engine, words: &[&str]| {
        run(engine.other_client(&program("hull").to_string_lossy(), words), b"")
    };
    let vm = |engine: &Engine| {
        engine.docker(&["pull", "-q", IMAGE]).ok();
        of(engine, &["run", "--rm", "--isolation=hyperv", IMAGE, "true"])
    };
    let engine = host.another_engine_with_kernel("/nowhere/vmlinuz");
    let message = "hull: OCI runtime create failed: kernel /nowhere/vmlinuz: set --vm-kernel or \
                   HULL_VM_KERNEL to another: No such file or directory (os error 2)";
    told(&vm(&engine), 125, message, &fault::NO_KERNEL);
    drop(engine);

    let engine = host.another_engine_with_only(&["nft", "mkfs.erofs", "mkfs.ext4"]);
    let message = "hull: OCI runtime create failed: no hypervisor qemu-system-x86_64: install \
                   qemu-system-x86 or set --vm-qemu or HULL_VM_QEMU";
    told(&vm(&engine), 125, message, &fault::NO_HYPERVISOR);
    drop(engine);

    let engine = host.another_engine_on_a_disk_of(24 << 20);
    let archive = host.dir().join("mistakes.tar").display().to_string();
    let script = "truncate -s 64M $0.file && tar -cf $0 $0.file && rm $0.file";
    host.engine.on_host("sh", &["-c", script, &archive]).ok();
    let full = of(&engine, &["import", &archive, "large:1"]);
    fs::remove_file(&archive).expect("it is there");
    let message = full.err.lines().next().unwrap_or_default();
    let file = format!("hull: write {}/content/ingest/", engine.data_root().display());
    assert!(message.starts_with(&file), "{message}");
    assert!(message.ends_with(".tmp: no space left on device (os error 28)"), "{message}");
    told(&full, 1, message, &fault::DISK_FULL);
}

fn engine_out_of_reach(host: &Host) {
    let ask = |mut hull: Command, socket: &str| {
        hull.arg(format!("--host=unix://{socket}")).arg("ps");
        run(hull, b"")
    };
    let nobody = host.dir().join("nobody.sock").display().to_string();
    let message =
        format!("hull: no engine answers at {nobody}: no such file or directory (os error 2)");
    told(&ask(Command::new(program("hull")), &nobody), 1, &message, &fault::NO_ENGINE);

    // Where everybody may execute it.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
    let own = dir.path().join("hull");
    fs::copy(program("hull"), &own).expect("copied");
    let mut stranger = Command::new(own);
    stranger.uid(65_534).gid(65_534);
    let socket = host.engine.exec_root().join("hull.sock").display().to_string();
    let message = format!("hull: no engine answers at {socket}: permission denied (os error 13)");
    told(&ask(stranger, &socket), 1, &message, &fault::SOCKET_DENIED);
}
