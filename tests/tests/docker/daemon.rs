//! `hulld` as a program: its socket, its configuration, and what it tells systemd.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::Host;
use tests::command::{eventually, wait};
use tests::host::IMAGE;
use tests::programs::{program, source};

pub(crate) fn the_socket_is_the_groups(host: &mut Host) {
    let engine = host.another_engine_with(&["--group", "12"]);
    let socket = fs::metadata(engine.exec_root().join("hull.sock")).expect("it is there");
    assert!(socket.file_type().is_socket());
    assert_eq!((socket.mode() & 0o777, socket.uid(), socket.gid()), (0o660, 0, 12));
}

pub(crate) fn nothing_is_left_of_an_engine_that_is_uninstalled(host: &mut Host) {
    let rules = || host.engine.on_host("nft", &["list", "tables"]).ok();
    let before = (host.engine.snapshot(), rules());
    let engine = host.another_engine_with(&[]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.docker(&["network", "create", "side"]).ok();
    engine.docker(&["volume", "create", "-o", "size=16m", "sized"]).ok();
    for isolation in ["--isolation=process", "--isolation=hyperv"] {
        let flags = ["--restart=always", "--network=side", "-p", "80", "-v", "sized:/v"];
        engine
            .docker(&[&["run", "-d", isolation], &flags[..], &[IMAGE, "sleep", "1000"]].concat())
            .ok();
    }
    let (exec_root, data_root) = (engine.exec_root().to_owned(), engine.data_root().to_owned());
    let script = source().join("scripts/uninstall.sh").display().to_string();
    let variables = [
        format!("HULL_EXEC_ROOT={}", exec_root.display()),
        format!("HULL_DATA_ROOT={}", data_root.display()),
        format!("HULL_BIN_DIR={}", program("hull").parent().expect("a directory").display()),
    ];
    let words: Vec<&str> = variables.iter().map(String::as_str).chain([&*script]).collect();
    let told = host.engine.on_host("env", &words).ok();
    for what in ["containers: 2", "networks: 1", "the engine, process"] {
        assert!(told.contains(&format!("removed {what}")), "{what}: {told}");
    }
    assert!(!exec_root.exists() && !data_root.exists(), "{told}");
    assert_eq!(engine.left_since(&before.0), [""; 0], "{told}");
    assert_eq!(rules(), before.1);
    // There is nothing more to do.
    assert_eq!(host.engine.on_host("env", &words).ok(), "");
}

pub(crate) fn a_hang_up_reads_the_configuration_again(host: &mut Host) {
    let file = host.dir().join("hulld.toml");
    fs::write(&file, "log-format = 'json'\n").expect("a file");
    let engine = host.another_engine_with(&["--config", &file.to_string_lossy()]);
    let hang_up = || {
        let pid = i32::try_from(engine.pid()).ok().and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::HUP).expect("it runs");
    };
    hang_up();
    eventually("it is read again", || engine.log().contains("configuration is read again"));
    fs::write(&file, "log-format = 'text'\nvm-memory = 512\n").expect("a file");
    hang_up();
    eventually("keys that wait are named", || {
        engine.log().contains("\"keys\":\"log-format, vm-memory\"")
    });
    fs::write(&file, "\nno-such-key = 1\n").expect("a file");
    hang_up();
    let told = format!("configuration is kept: configuration {}:2: unknown field", file.display());
    eventually("the key is refused by its line", || engine.log().contains(&told));
    assert_eq!(engine.docker(&["ps", "-q"]).ok(), "", "it goes on");
    for line in engine.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON");
    }
}

pub(crate) fn a_reload_takes_over_registries_and_labels(host: &mut Host) {
    // An address of the host's that is no loopback one, without TLS.
    let address = "172.30.0.1:5080";
    let _registry = host.another_registry(address, "", "");
    let file = host.dir().join("reload.toml");
    let insecure = "insecure-registry = ['172.30.0.1:5080']\n";
    fs::write(&file, "label = ['rack=7']\n").expect("a file");
    let engine = host.another_engine_with(&["--config", &file.to_string_lossy()]);
    let info = |what: &str| engine.docker(&["info", "-f", what]).ok();
    assert_eq!(info("{{.Labels}}"), "[rack=7]");
    let image = format!("{address}/reload:1");
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.docker(&["tag", IMAGE, &image]).ok();
    engine.docker(&["push", &image]).fails(1);

    fs::write(&file, format!("label = ['rack=8', 'tier=a']\n{insecure}")).expect("a file");
    let pid = i32::try_from(engine.pid()).ok().and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::HUP).expect("it runs");
    eventually("labels are taken over", || info("{{.Labels}}") == "[rack=8 tier=a]");
    assert!(info("{{json .RegistryConfig.IndexConfigs}}").contains(address));
    engine.docker(&["push", "-q", &image]).ok();
    assert!(!engine.log().contains("these keys hold from the next start on"), "{}", engine.log());
    let kind = ["--filter", "type=daemon", "--format", "{{.Action}} {{json .Actor}}"];
    let told = [&["events", "--since", "1m", "--until", "0s"], &kind[..]].concat();
    // The client asks for whole seconds.
    eventually("listeners are told", || {
        let told = engine.docker(&told).ok();
        told.starts_with("reload {") && told.contains("rack=8")
    });

    // One that cannot be meant changes nothing, not even what stands beside it.
    fs::write(&file, "label = ['x=1']\ninsecure-registry = ['http://bad/']\n").expect("a file");
    kill_process(pid, Signal::HUP).expect("it runs");
    eventually("it is refused", || engine.log().contains("invalid insecure registry"));
    assert_eq!(info("{{.Labels}}"), "[rack=8 tier=a]");
    engine.docker(&["push", "-q", &image]).ok();
}

/// `systemd-socket-activate`'s part is small enough for a shell.
pub(crate) fn systemd_listens_for_the_engine_and_is_told_of_it(host: &mut Host) {
    let dir = tempfile::Builder::new().prefix("hs").tempdir_in("/run").expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let notify = UnixDatagram::bind(at("notify")).expect("a socket");
    notify.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let passed = std::os::unix::net::UnixListener::bind(at("api.sock")).expect("a socket");
    let log = fs::File::create(at("log")).expect("a file");
    let mut hulld = Command::new("sh");
    hulld
        .args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 </dev/null", "sh"])
        .arg(program("hulld"))
        .args(["--bridge", "hull9", "--subnet", "10.99.9.0/24", "--exec-root"])
        .arg(at("run"))
        .arg("--data-root")
        .arg(at("data"))
        .env("NOTIFY_SOCKET", at("notify"))
        .stdin(std::os::fd::OwnedFd::from(passed))
        .stdout(Stdio::null())
        .stderr(log);
    let mut child = host.engine.spawn_beside(&mut hulld);
    let told = || {
        let mut text = [0; 64];
        let length = notify.recv(&mut text).expect("hulld tells");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    let mut docker = Command::new("docker");
    docker.args(["version", "-f", "{{.Server.Version}}"]);
    docker.env("DOCKER_HOST", format!("unix://{}", at("api.sock").display()));
    tests::command::run(docker, b"").ok();
    assert!(!at("run/hull.sock").exists(), "one socket is enough");

    // The socket stays open, with systemd: the process's end is what is waited for.
    let begun = Instant::now();
    let mut stop = Command::new(program("hull"));
    stop.args(["system", "stop"]).env_remove("HULL_HOST");
    stop.env("DOCKER_HOST", format!("unix://{}", at("api.sock").display()));
    tests::command::run(stop, b"").ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(told(), "STOPPING=1");
    wait(&mut child, Instant::now() + Duration::from_secs(10));
    assert!(at("api.sock").exists(), "systemd's socket stays");
    let _ = host.engine.on_host("ip", &["link", "delete", "hull9"]);
    let _ = host.engine.on_host("nft", &["delete", "table", "inet", "hull-hull9"]);
}

pub(crate) fn tcp_is_for_those_with_a_certificate(host: &mut Host) {
    let at = |name: &str| host.dir().join(name).to_string_lossy().into_owned();
    let make = |name: &str, more: &[&str]| {
        let (key, certificate) = (at(&format!("{name}.key")), at(&format!("{name}.pem")));
        let flags = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"];
        let curve = ["ec_paramgen_curve:prime256v1", "-days", "2", "-keyout", &key, "-out"];
        let subject = format!("/CN={name}");
        let all = [&flags[..], &curve, &[&certificate, "-subj", &subject], more].concat();
        host.engine.on_host("openssl", &all).ok();
    };
    let (ca, ca_key) = (at("tls-ca.pem"), at("tls-ca.key"));
    let signed = ["-CA", &ca, "-CAkey", &ca_key, "-addext", "basicConstraints=critical,CA:FALSE"];
    make("tls-ca", &[]);
    make("tls-stranger", &[]);
    make("tls-client", &signed);
    make("tls-server", &[&signed[..], &["-addext", "subjectAltName=IP:127.0.0.1"]].concat());
    let address = "tcp://127.0.0.1:2376";
    let (certificate, key) = (at("tls-server.pem"), at("tls-server.key"));
    let files = ["--tlscacert", &ca, "--tlscert", &certificate, "--tlskey", &key];
    let _engine =
        host.another_engine_with(&[&["--host", address, "--tlsverify"], &files[..]].concat());

    let docker = |who: &str| {
        let (certificate, key) = (at(&format!("{who}.pem")), at(&format!("{who}.key")));
        let files = ["--tlscacert", &ca, "--tlscert", &certificate, "--tlskey", &key];
        let flags = ["-H", address, "--tlsverify"];
        host.engine.on_host("docker", &[&flags, &files[..], &["ps", "-aq"]].concat())
    };
    assert_eq!(docker("tls-client").ok(), "");
    assert_ne!(docker("tls-stranger").code, 0, "no certificate of the authority");
    let without = host.engine.on_host("docker", &["-H", "tcp://127.0.0.1:2376", "ps"]);
    assert_ne!(without.code, 0, "no TLS at all");
}

pub(crate) fn prometheus_reads_what_the_engine_counts(host: &mut Host) {
    let engine = host.another_engine_with(&["--metrics-addr", "127.0.0.1:9323"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.docker(&["run", IMAGE, "true"]).ok();
    engine.docker(&["run", IMAGE, "sh", "-c", "exit 3"]).fails(3);
    engine.docker(&["inspect", "nobody"]).fails(1);
    let fetch = || engine.fetch_page("127.0.0.1:9323", "/metrics").expect("it answers");
    eventually("what happened is counted", || fetch().contains("hull_container_failures_total 1"));
    let page = fetch();
    for line in [
        "hull_containers{state=\"exited\"} 2",
        "hull_container_starts_total 2",
        "hull_image_pulls_total 1",
    ] {
        assert!(page.lines().any(|one| one == line), "{line} in {page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').expect("a name and a number");
        number.parse::<f64>().expect("a number");
        let family = name.split('{').next().unwrap_or(name);
        assert!(page.contains(&format!("# TYPE {family} ")), "{line}");
    }
    for part in ["process_start_time_seconds ", "process_open_fds ", "hull_build_info{version="] {
        assert!(page.contains(part), "{part} in {page}");
    }
    for part in ["hull_api_requests_total{status=\"404\"} ", "process_resident_memory_bytes "] {
        assert!(page.contains(part), "{part} in {page}");
    }
}
