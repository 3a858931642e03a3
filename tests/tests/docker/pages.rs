//! Pages by raw HTTP: versions, what is not there, lists narrowed down.

use std::io::Read;

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;

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
        ("/nowhere", 404, "{\"message\":\"page not found\"}"),
        ("/plugins/x/json", 404, "plugin \\\"x\\\" not found"),
    ] {
        let (got, body) = host.engine.get(path);
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(want), "{path}: {body}");
    }
    let (status, body) = host.engine.post("/session", &Value::Null);
    assert_eq!(status, 501, "{body}");

    let mut head = String::new();
    let mut line = host.engine.ask("HEAD", "/v1.40/_ping", "Connection: close\r\n", "");
    line.read_to_string(&mut head).expect("text");
    for header in
        ["api-version: 1.51", "ostype: linux", "docker-experimental: false", "swarm: inactive"]
    {
        assert!(head.to_ascii_lowercase().contains(header), "{head}");
    }
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
        let text =
            filters.to_string().replace('"', "%22").replace('^', "%5E").replace(['{', '}'], "");
        let path = format!("/containers/json?size=1&filters=%7B{text}%7D");
        let path = if filters["label"].is_object() {
            "/containers/json?size=1&filters=%7B%22label%22:%7B%22a=b%22:true%7D%7D".to_owned()
        } else {
            path
        };
        let (status, body) = host.engine.get(&path);
        assert_eq!(status, 200, "{filters}: {body}");
        let rows: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(rows.as_array().map(Vec::len), Some(usize::from(want)), "{filters}: {body}");
    }
    let rows = host.docker(&["ps", "-s", "--format", "{{.Names}} {{.Size}}"]).ok();
    assert!(rows.starts_with("found 0B (virtual "), "{rows}");
}
