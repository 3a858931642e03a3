//! `hull info --pods`: what it tells of pods is what can be had.

use std::fs;

use serde_json::Value;
use tests::command::{Ran, run};
use tests::host::IMAGE;
use tests::programs::{kernel, program};
use tests::{Engine, Host};

use crate::hull::typed;

/// The matrix by an engine beside the suite's.
fn matrix(engine: &Engine, format: &str) -> Ran {
    let words = ["info", "--pods", "--format", format];
    run(engine.other_client(&program("hull").to_string_lossy(), &words), b"")
}

/// Wall and answer of each row.
fn rows(ran: &Ran) -> Vec<[String; 2]> {
    let matrix: Value = serde_json::from_str(&ran.out).expect("JSON");
    let text = |row: &Value, key: &str| row[key].as_str().expect(key).to_owned();
    let rows = matrix["Rows"].as_array().expect("rows").iter();
    rows.map(|row| [text(row, "Isolation"), text(row, "Pods")]).collect()
}

/// G8: rows of the matrix, each by what this host does just now.
pub(crate) fn a_hosts_pods_are_told_as_they_can_be_had(host: &mut Host) {
    let ran = typed(host, &["info", "--pods", "--format", "json"], b"");
    let found = rows(&ran);
    let id = host.docker(&["run", "-d", "--isolation=hyperv", IMAGE, "sleep", "1000"]).ok();
    let accelerator = host.docker(&["inspect", "-f", "{{.Hull.Isolation.Accelerator}}", &id]).ok();
    let release = host.docker(&["exec", &id, "uname", "-r"]).ok();
    host.docker(&["rm", "-f", &id]).ok();
    let hardware = if accelerator == "kvm" { "yes" } else { "no" };
    let want = [
        ["process", "yes"],
        ["hyperv", hardware],
        ["hyperv (software)", "yes"],
        ["hyperv", "not here"],
        ["process", "not here"],
    ];
    assert_eq!(found, want, "{ran}");
    let told = typed(host, &["info", "--pods"], b"").ok();
    let both = format!("the container asks for Linux 99.0 or newer, and this kernel is {release}");
    for part in [
        "yes, multi-container; no hardware isolation",
        "hyperv-only policy, process: the engine allows process and hyperv",
        "is refused with both versions:",
        &both,
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    let engine = host.another_engine_with(&["--allowed-isolation=hyperv"]);
    let ran = matrix(&engine, "json");
    let refused: Vec<_> = rows(&ran).into_iter().map(|[_, pods]| pods == "refused").collect();
    assert_eq!(refused, [true, false, false, false, true], "{ran}");
}

/// A guest's kernel without SCSI finds no disk that its VM gets while it runs.
pub(crate) fn a_minimal_vm_has_one_container_and_that_is_told(host: &mut Host) {
    let (_, whole) = kernel();
    let modules = host.dir().join("modules");
    fs::create_dir(&modules).expect("a directory");
    std::os::unix::fs::symlink(whole.join("kernel"), modules.join("kernel")).expect("a link");
    fs::copy(whole.join("modules.builtin"), modules.join("modules.builtin")).expect("copied");
    let list = fs::read_to_string(whole.join("modules.dep")).expect("a list");
    let without = list.lines().filter(|line| !line.contains("/virtio_scsi.ko"));
    let without: String = without.flat_map(|line| [line, "\n"]).collect();
    fs::write(modules.join("modules.dep"), without).expect("written");

    let engine = host.another_engine_with_modules(&modules);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let first = ["run", "-d", "--isolation=hyperv", "--name=one", IMAGE, "sleep", "1000"];
    engine.docker(&first).ok();
    let join = ["run", "--isolation=hyperv", "--network=container:one", IMAGE, "true"];
    let said = engine.docker(&join).fails(125);
    let want = "the VM can have no further disk, and so no second container";
    assert!(said.contains(want) && said.contains("lack virtio_scsi"), "{said}");
    assert_eq!(engine.docker(&["exec", "one", "echo", "on"]).ok(), "on");

    let ran = matrix(&engine, "{{range .Rows}}{{.Pods}};{{end}}");
    let kvm = ran.out.starts_with("yes;partial;");
    let want = if kvm { "yes;partial;partial;partial;" } else { "yes;no;partial;partial;" };
    assert_eq!(ran.ok(), format!("{want}not here;"));
    engine.docker(&["rm", "-f", "one"]).ok();
}
