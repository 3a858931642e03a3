//! Bad input and missing parts: one clear line each, and nothing left behind.

use serde_json::{Value, json};
use spec::Isolation;
use tests::command::Ran;
use tests::host::IMAGE;
use tests::{Engine, Host};

use super::{detached, field, run};

/// What the daemon said, without the client's words around it; panics unless it is one line.
#[track_caller]
fn one_line(ran: Ran, code: i32) -> String {
    let said = ran.fails(code);
    let mut lines = said.lines().filter(|line| {
        !line.trim().is_empty()
            && !line.starts_with("Unable to find image")
            && !line.starts_with("Run 'docker")
            && !line.starts_with("See 'docker")
            && !line.starts_with("Error: failed to start containers")
    });
    let line = lines.next().expect("a reason").to_owned();
    assert_eq!(lines.next(), None, "{said}");
    println!("    {line}");
    line
}

#[track_caller]
fn holds(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{line:?} lacks {word:?}");
    }
}

pub(crate) fn a_wrong_isolation_is_refused_with_the_legal_ones(host: &mut Host) {
    let line = one_line(host.docker(&["run", "--rm", "--isolation=chroot", IMAGE, "true"]), 125);
    holds(&line, &["chroot", "default", "process", "hyperv"]);

    let body = json!({ "Image": IMAGE, "HostConfig": { "Isolation": "chroot" } });
    let (status, reply) = host.engine.post("/v1.50/containers/create", &body);
    assert_eq!(status, 400, "{reply}");
    for isolation in ["", "default", "process", "HyperV", "vm"] {
        let body = json!({ "Image": IMAGE, "HostConfig": { "Isolation": isolation } });
        let (status, reply) = host.engine.post("/v1.50/containers/create", &body);
        assert_eq!(status, 201, "{isolation:?}: {reply}");
    }
}

pub(crate) fn an_image_that_is_nowhere_is_one_clear_line(host: &mut Host) {
    let line = one_line(host.docker(&["run", "--rm", "127.0.0.1:5000/absent", "true"]), 125);
    holds(&line, &["127.0.0.1:5000/absent", "not found"]);
    let line = one_line(host.docker(&["pull", "-q", "127.0.0.1:5000/busybox:absent"]), 1);
    holds(&line, &["127.0.0.1:5000/busybox:absent", "not found"]);
    let line = one_line(host.docker(&["create", "Not//A:Name"]), 1);
    holds(&line, &["invalid reference format"]);
}

pub(crate) fn a_registry_that_is_down_is_one_clear_line(host: &mut Host) {
    host.stop_registry();
    let ran = host.docker(&["run", "--rm", "127.0.0.1:5000/other", "true"]);
    host.start_registry();
    let line = one_line(ran, 125);
    holds(&line, &["127.0.0.1:5000", "onnection refused"]);
}

pub(crate) fn a_name_in_use_is_refused_with_its_owner(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["--name", "taken"], &["sleep", "1000"]);
    let line = one_line(run(host, isolation, &["--name", "taken", IMAGE, "true"]), 125);
    holds(&line, &["Conflict", "\"/taken\"", &id]);
}

pub(crate) fn too_little_memory_is_refused(host: &mut Host, isolation: Isolation) {
    let line = one_line(run(host, isolation, &["--memory", "1m", IMAGE, "true"]), 125);
    holds(&line, &["memory", "6"]);
}

pub(crate) fn what_does_not_exist_is_not_found(host: &mut Host, isolation: Isolation) {
    let command_line: [&[&str]; 5] =
        [&["start"], &["stop"], &["logs"], &["exec", "absent"], &["rm"]];
    for words in command_line {
        let last = if words[0] == "exec" { "true" } else { "absent" };
        let line = one_line(host.docker(&[words, &[last]].concat()), 1);
        holds(&line, &["No such container: absent"]);
    }
    let line = one_line(run(host, isolation, &["-u", "stranger", IMAGE, "true"]), 125);
    holds(&line, &["stranger"]);
}

pub(crate) fn a_vm_without_a_kernel_is_one_clear_line(host: &mut Host) {
    let engine = host.another_engine_with_kernel("/nowhere/vmlinuz");
    refuses_a_vm(&engine, &["kernel", "/nowhere/vmlinuz"]);
}

pub(crate) fn a_vm_without_qemu_is_one_clear_line(host: &mut Host) {
    let tools = ["nft", "mkfs.erofs", "mkfs.ext4"];
    let engine = host.another_engine_with_only(&tools);
    refuses_a_vm(&engine, &["qemu-system-x86_64"]);
}

/// A VM cannot be had, for a reason with these words, nor a look at the files of its container; process mode
/// goes on, and nothing is left.
fn refuses_a_vm(engine: &Engine, why: &[&str]) {
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.docker(&["run", "--rm", "--isolation=process", IMAGE, "true"]).ok();
    let before = engine.snapshot();
    let ran = engine.docker(&["run", "--rm", "--isolation=hyperv", IMAGE, "true"]);
    holds(&one_line(ran, 125), why);
    let id = engine.docker(&["create", "--isolation=hyperv", IMAGE]).ok();
    holds(&one_line(engine.docker(&["export", &id]), 1), why);
    engine.clear();
    assert_eq!(engine.left_since(&before), Vec::<String>::new());
}

/// Statuses and texts that clients, and suites written for Docker, look for.
pub(crate) fn a_request_is_refused_in_dockers_words(host: &mut Host) {
    let name = detached(host, Isolation::Process, &["--name", "asked"], &["sleep", "1000"]);
    let create = "/containers/create";
    let with = |config: Value| json!({ "Image": IMAGE, "HostConfig": config }).to_string();
    let image = json!({ "Image": IMAGE }).to_string();
    let goes = with(json!({ "AutoRemove": true }));
    let gone = host.engine.send("POST", "/containers/create?name=goes", &goes);
    assert_eq!(gone.0, 201, "{gone:?}");
    let always = json!({ "RestartPolicy": { "Name": "always" } }).to_string();
    for (path, body, status, want) in [
        (create, String::new(), 400, "config cannot be empty in order to create a container"),
        (create, "{".into(), 400, "invalid JSON: "),
        (create, "{} {}".into(), 400, "unexpected content after JSON"),
        (create, with(json!({ "IpcMode": "x" })), 400, "invalid IPC mode: x"),
        (create, with(json!({ "PidMode": "container" })), 400, "invalid PID mode: container"),
        (create, with(json!({ "CpuShares": -1 })), 400, "invalid CPU shares (-1): value must be"),
        (
            create,
            with(json!({ "Annotations": { "": "a" } })),
            400,
            "the empty string is not permitted",
        ),
        (create, with(json!({ "Tmpfs": { "a": "" } })), 400, "mount path must be absolute"),
        (create, with(json!({ "Tmpfs": { "//": "" } })), 400, "destination can't be '/'"),
        (
            "/containers/create?platform=linux/s390x",
            image,
            404,
            "was found but does not match the specified platform: wanted linux/s390x",
        ),
        ("/containers/asked/kill?signal=0", String::new(), 400, "invalid signal: 0"),
        (
            "/containers/asked/resize?h=x&w=1",
            String::new(),
            400,
            "invalid resize height \\\"x\\\": invalid syntax",
        ),
        (
            "/containers/asked/resize?h=1&w=-1",
            String::new(),
            400,
            "invalid resize width \\\"-1\\\": value out of range",
        ),
        ("/containers/goes/update", always, 409, "AutoRemove is enabled"),
        (
            "/images/127.0.0.1:5000/busybox/tag?repo=sha256&tag=x",
            String::new(),
            400,
            "refusing to create an ambiguous tag",
        ),
    ] {
        let (got, said) = host.engine.send("POST", path, &body);
        assert!(got == status && said.contains(want), "{path} {body}: {got} {said}");
    }

    let limit = "{{.HostConfig.PidsLimit}} {{.HostConfig.CpuQuota}}";
    for (pids, quota, want) in [(16, 20_000, "16 20000"), (-2, -1, "0 -1")] {
        let update = json!({ "PidsLimit": pids, "CpuQuota": quota });
        let (status, said) = host.engine.post("/containers/asked/update", &update);
        assert_eq!(status, 200, "{update}: {said}");
        assert_eq!(field(host, &name, limit), want);
    }
}
