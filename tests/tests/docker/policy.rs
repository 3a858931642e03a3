//! Which walls and which kernels containers have here.

use std::os::unix::fs::symlink;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

/// A label: the oldest kernel that will do.
const LEAST: &str = "dev.hull.kernel.minimum";

pub(crate) fn an_image_that_asks_for_a_newer_kernel_has_one_or_none(host: &mut Host) {
    let own = rustix::system::uname().release().to_string_lossy().into_owned();
    let asks = |version: &str| format!("--label={LEAST}={version}");
    let enough = asks("5.0");
    for isolation in [Isolation::Process, Isolation::Vm] {
        run(host, isolation, &[&enough, IMAGE, "true"]).ok();
    }
    // An image says so by the same label.
    let id = host.docker(&["create", IMAGE]).ok();
    let label = format!("LABEL {LEAST}=99.1");
    host.docker(&["commit", "-c", &label, &id, "asks:much"]).ok();
    let said = run(host, Isolation::Process, &["asks:much", "true"]).fails(125);
    assert!(said.contains("Linux 99.1 or newer, and this kernel is"), "{said}");
    assert!(said.contains(&own) && said.contains("hyperv"), "{said}");
    let said = run(host, Isolation::Vm, &["asks:much", "true"]).fails(125);
    assert!(said.contains("no kernel for the VM among") && said.contains("99.1"), "{said}");
    host.docker(&["rmi", "asks:much"]).ok();
    let said = run(host, Isolation::Process, &[&asks("soon"), IMAGE, "true"]).fails(125);
    assert!(said.contains("is no version"), "{said}");

    // A VM gets another kernel than usual where that one will do.
    let (kernel, modules) = tests::programs::kernel();
    let name = kernel.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let release = name.strip_prefix("vmlinuz-").expect("a release");
    let dir = host.dir().join("kernels");
    std::fs::create_dir_all(dir.join("boot")).expect("a directory");
    std::fs::create_dir_all(dir.join("lib/modules")).expect("a directory");
    let old = dir.join("boot/vmlinuz-5.0.1-old");
    for copy in [&old, &dir.join("boot").join(&name)] {
        std::fs::copy(&kernel, copy).expect("copied");
    }
    symlink(modules, dir.join("lib/modules").join(release)).expect("a link");
    let engine = host.another_engine_with_kernel(old.to_str().expect("text"));
    engine.docker(&["pull", "-q", IMAGE]).ok();
    for (label, want) in [
        (asks("5.0"), "5.0.1-old"),
        (asks("6.0"), release),
        (format!("--label=dev.hull.kernel={release}"), release),
    ] {
        let words = ["run", "-d", "--isolation=hyperv", &label, IMAGE, "sleep", "1000"];
        let id = engine.docker(&words).ok();
        let told = engine.docker(&["inspect", "-f", "{{.Hull.Isolation.Kernel}}", &id]).ok();
        assert_eq!(told, want, "{label}");
        assert_eq!(engine.docker(&["exec", &id, "uname", "-r"]).ok(), release, "{label}");
        engine.docker(&["rm", "-f", &id]).ok();
    }
    host.docker(&["rm", &id]).ok();
}

pub(crate) fn only_walls_that_are_allowed_are_had(host: &mut Host) {
    let engine = host.another_engine_with(&["--allowed-isolation=hyperv"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let said = engine.docker(&["run", "--rm", "--isolation=process", IMAGE, "true"]).fails(125);
    let want = "isolation process is not allowed on this host: allowed is hyperv";
    assert!(said.contains(want), "{said}");
    let body = serde_json::json!({ "Image": IMAGE, "HostConfig": { "Isolation": "process" } });
    assert_eq!(engine.post("/containers/create", &body).0, 403);
    let id = engine.docker(&["create", IMAGE]).ok();
    let wall = engine.docker(&["inspect", "-f", "{{.HostConfig.Isolation}}", &id]).ok();
    assert_eq!(wall, "hyperv");
    drop(engine);

    let engine = host.another_engine_with(&["--isolation=hyperv"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let made = engine.docker(&["create", "--isolation=process", IMAGE]);
    assert!(made.err.contains("shares the host's kernel: this host's default, hyperv"), "{made}");
    assert!(!engine.docker(&["create", IMAGE]).err.contains("shares"), "the default is no risk");
    drop(engine);
    let id = detached(host, Isolation::Process, &[], &["true"]);
    assert_eq!(field(host, &id, "{{.HostConfig.Isolation}}"), "process");
    host.docker(&["rm", "-f", &id]).ok();
}
