//! Which walls and which kernels containers have here.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

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
    asks_by_its_os_version(host, &own);
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

/// An image says it in OCI's words too: `os.version`.
fn asks_by_its_os_version(host: &Host, own: &str) {
    let load = |version: &str| {
        let archive = image_with(host, version);
        let said = host.docker(&["load", "-q", "-i", archive.to_str().expect("text")]).ok();
        said.rsplit_once("sha256:").map(|(_, id)| id.trim().to_owned()).expect("an id")
    };
    let newer = load("99.1");
    let said = run(host, Isolation::Process, &[&newer, "true"]).fails(125);
    assert!(said.contains("Linux 99.1 or newer, and this kernel is"), "{said}");
    assert!(said.contains(own) && said.contains("hyperv"), "{said}");
    let said = run(host, Isolation::Vm, &[&newer, "true"]).fails(125);
    assert!(said.contains("no kernel for the VM among") && said.contains("99.1"), "{said}");
    let enough = load("5.0");
    for isolation in [Isolation::Process, Isolation::Vm] {
        run(host, isolation, &[&enough, "true"]).ok();
    }
    let strange = load("jammy");
    let made = host.docker(&["create", &strange]);
    assert!(made.err.contains("\"jammy\", is no version of Linux: not checked"), "{made}");
    host.docker(&["rm", &made.ok()]).ok();
    host.docker(&["rmi", &newer, &enough, &strange]).ok();
}

/// The sample image in Docker's archive, its configuration with this `os.version`.
fn image_with(host: &Host, version: &str) -> PathBuf {
    let dir = host.dir().join(format!("os-{version}"));
    std::fs::create_dir_all(&dir).expect("a directory");
    let at = |name: &str| dir.join(name);
    let tar = |flags: &[&str]| host.engine.on_host("tar", flags).ok();
    let place = dir.to_str().expect("text");
    let saved = at("saved.tar").to_string_lossy().into_owned();
    host.docker(&["save", "-o", &saved, IMAGE]).ok();
    tar(&["-xf", &saved, "-C", place]);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(at(name)).expect("a file")).expect("JSON")
    };
    let mut manifest = read("manifest.json");
    let mut config = read(manifest[0]["Config"].as_str().expect("a name"));
    config["os.version"] = version.into();
    manifest[0]["Config"] = "config.json".into();
    manifest[0]["RepoTags"] = serde_json::json!([]);
    std::fs::write(at("config.json"), config.to_string()).expect("written");
    std::fs::write(at("manifest.json"), manifest.to_string()).expect("written");
    let changed = at("changed.tar");
    let path = changed.to_str().expect("text");
    tar(&["-cf", path, "-C", place, "manifest.json", "config.json", "blobs"]);
    changed
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

pub(crate) fn a_workstations_containers_have_kernels_of_their_own(host: &mut Host) {
    let wall = "{{.HostConfig.Isolation}}";
    let warned = "{{range .Warnings}}{{println .}}{{end}}";
    let engine = host.another_engine_with(&["--host-kind=workstation"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    for flag in ["--isolation=", "--isolation=default"] {
        let made = engine.docker(&["create", flag, IMAGE]);
        assert_eq!(made.err, "", "{made}");
        assert_eq!(engine.docker(&["inspect", "-f", wall, &made.ok()]).ok(), "hyperv");
    }
    let made = engine.docker(&["create", "--isolation=process", IMAGE]);
    assert!(made.err.contains("shares the host's kernel: this host's default, hyperv"), "{made}");
    assert_eq!(engine.docker(&["info", "-f", "{{.Isolation}}"]).ok(), "hyperv");
    let info = engine.get("/info").1;
    assert!(info.contains(r#""HostKind":"workstation""#), "{info}");
    drop(engine);

    // Where none can be started, who gets less is told why.
    let flags = ["--host-kind=desktop", "--vm-qemu=/nowhere/qemu"];
    let engine = host.another_engine_with(&flags);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let made = engine.docker(&["create", IMAGE]);
    let why = "but no VM can be started: no hypervisor /nowhere/qemu";
    assert!(made.err.contains(why), "{made}");
    assert_eq!(engine.docker(&["inspect", "-f", wall, &made.ok()]).ok(), "process");
    let said = engine.docker(&["info", "-f", warned]).ok();
    assert!(said.contains(why), "{said}");
    drop(engine);

    // What its operator wants is told of the host, not of each container: as Docker's file says it.
    let file = host.dir().join("daemon.json");
    std::fs::write(&file, r#"{ "exec-opts": ["isolation=process"] }"#).expect("written");
    let config = format!("--config-file={}", file.display());
    let engine = host.another_engine_with(&[&config, "--host-kind=workstation"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let made = engine.docker(&["create", IMAGE]);
    assert_eq!(made.err, "", "{made}");
    assert_eq!(engine.docker(&["inspect", "-f", wall, &made.ok()]).ok(), "process");
    let said = engine.docker(&["info", "-f", warned]).ok();
    assert!(said.contains("that of a workstation (--host-kind workstation) is hyperv"), "{said}");
    drop(engine);

    let engine = host.another_engine_with(&["--exec-opt=isolation=hyperv"]);
    assert_eq!(engine.docker(&["info", "-f", "{{.Isolation}}"]).ok(), "hyperv");
}
