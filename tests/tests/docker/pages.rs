//! Pages by raw HTTP: versions, what is not there, lists narrowed down.

use std::io::Read;

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::detached;

pub(crate) fn a_version_says_what_a_page_holds(host: &mut Host) {
    let id = detached(host, Isolation::Process, &[], &["sleep", "1000"]);
    let page = |path: &str| -> Value {
        let (status, body) = host.engine.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        // A chunked body has lengths around the JSON.
        serde_json::from_str(body.trim()).unwrap_or_else(|error| panic!("{error}: {body}"))
    };
    for (version, field, pointer, there) in [
        ("1.43", "DNSNames", "/NetworkSettings/Networks/bridge", false),
        ("1.44", "DNSNames", "/NetworkSettings/Networks/bridge", true),
        ("1.47", "GwPriority", "/NetworkSettings/Networks/bridge", false),
        ("1.48", "GwPriority", "/NetworkSettings/Networks/bridge", true),
        ("1.41", "ConsoleSize", "/HostConfig", false),
        ("1.51", "ConsoleSize", "/HostConfig", true),
        ("1.51", "IPAddress", "/NetworkSettings", true),
    ] {
        let document = page(&format!("/v{version}/containers/{id}/json?size=1"));
        let object = document.pointer(pointer).and_then(Value::as_object).expect(pointer);
        assert_eq!(object.contains_key(field), there, "{version} {field}");
        assert!(document["SizeRootFs"].as_u64() > Some(0));
        let masked = document["HostConfig"]["MaskedPaths"].as_array().expect("a list");
        assert!(masked.contains(&json!("/proc/kcore")), "{masked:?}");
    }
    assert!(page("/v1.47/networks/bridge").get("EnableIPv4").is_none());
    assert_eq!(page("/v1.49/info")["FirewallBackend"]["Driver"], "nftables");
    assert!(page("/v1.48/info").get("FirewallBackend").is_none());

    for (path, status, want) in [
        (
            "/v1.23/info",
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24",
        ),
        (
            "/v1.52/info",
            400,
            "client version 1.52 is too new. Maximum supported API version is 1.51",
        ),
        ("/swarm", 503, "This node is not a swarm manager."),
        ("/secrets", 503, "This node is not a swarm manager."),
        ("/nowhere", 404, "\"kind\":\"not-found\",\"message\":\"page not found\""),
        ("/plugins/x/json", 404, "plugin \\\"x\\\" not found"),
    ] {
        let (got, body) = host.engine.get(path);
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(want), "{path}: {body}");
    }

    let mut head = String::new();
    let mut line = host.engine.ask("HEAD", "/v1.40/_ping", "Connection: close\r\n", "");
    line.read_to_string(&mut head).expect("text");
    // Scripts look for them letter by letter.
    for header in [
        "Api-Version: 1.51",
        "Ostype: linux",
        "Docker-Experimental: false",
        "Swarm: inactive",
        "Builder-Version: 1",
        "Content-Length: 0",
        "Cache-Control: no-cache, no-store, must-revalidate",
    ] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{header}: {head}");
    }
}

pub(crate) fn a_name_among_aliases_is_a_matter_of_the_version(host: &mut Host) {
    host.docker(&["network", "create", "named"]).ok();
    let id = detached(host, Isolation::Process, &["--network", "named"], &["sleep", "1000"]);
    for (version, want) in [("1.44", json!([id[..12]])), ("1.45", Value::Null)] {
        let (_, body) = host.engine.get(&format!("/v{version}/containers/{id}/json"));
        let document: Value = serde_json::from_str(&body).expect("JSON");
        let endpoint = &document["NetworkSettings"]["Networks"]["named"];
        assert_eq!(endpoint["Aliases"], want, "{version}");
        let names = endpoint["DNSNames"].as_array().expect("a list");
        assert!(names.contains(&json!(id[..12])), "{version}: {endpoint}");
    }
    host.docker(&["rm", "-f", &id]).ok();
    host.docker(&["network", "rm", "named"]).ok();
}

/// Bytes of files, or of a VM's disk, which holds more than those.
pub(crate) fn a_prune_tells_how_much_it_reclaimed(host: &mut Host, isolation: Isolation) {
    let wall = format!("--isolation={isolation}");
    let write = "yes | head -c 3000000 > /big; sync";
    host.docker(&["run", &wall, IMAGE, "sh", "-c", write]).ok();
    let said = host.docker(&["container", "prune", "-f"]).ok();
    let (_, told) = said.rsplit_once("Total reclaimed space: ").expect("it is told");
    let megabytes: f64 = told.trim().trim_end_matches("MB").parse().expect("megabytes");
    match isolation {
        Isolation::Process => assert!((2.9..3.1).contains(&megabytes), "{said}"),
        Isolation::Vm => assert!((3.0..100.0).contains(&megabytes), "{said}"),
    }
}

/// As Docker does, whose clients look for the reason there.
pub(crate) fn an_archive_that_is_broken_is_told_of_in_the_stream(host: &mut Host) {
    let (status, body) = host.engine.send("POST", "/images/load", "not an archive");
    assert_eq!(status, 200, "{body}");
    let said: Value = serde_json::from_str(body.lines().nth(1).expect("a chunk")).expect("JSON");
    let reason = said["errorDetail"]["message"].as_str().expect("a reason");
    assert!(reason.starts_with("read the archive") && said["error"] == reason, "{said}");
}

pub(crate) fn containers_are_found_by_what_they_have(host: &mut Host) {
    let flags = ["--name", "found", "--expose", "8080", "-v", "/srv:/data:ro", "--label", "a=b"];
    detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    for (filters, want) in [
        (json!({ "expose": ["8080"] }), true),
        (json!({ "expose": ["8081/tcp"] }), false),
        (json!({ "publish": ["8080"] }), false),
        (json!({ "volume": ["/data"] }), true),
        (json!({ "volume": ["/dat"] }), false),
        (json!({ "name": ["^/found$"] }), true),
        (json!({ "name": ["^oun"] }), false),
        (json!({ "label": { "a=b": true } }), true),
        (json!({ "isolation": ["process"], "network": ["bridge"] }), true),
    ] {
        // As curl sends it: nothing is escaped.
        let path = format!("/containers/json?size=1&filters={filters}");
        let (status, body) = host.engine.get(&path);
        assert_eq!(status, 200, "{filters}: {body}");
        let rows: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(rows.as_array().map(Vec::len), Some(usize::from(want)), "{filters}: {body}");
    }
    let rows = host.docker(&["ps", "-s", "--format", "{{.Names}} {{.Size}}"]).ok();
    assert!(rows.starts_with("found 0B (virtual "), "{rows}");
}
