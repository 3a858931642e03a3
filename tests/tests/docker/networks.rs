//! Networks that users make.

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn containers_on_a_network_find_each_other_by_name(
    host: &mut Host,
    isolation: Isolation,
) {
    let made = host.docker(&["network", "create", "--label", "tier=back", "back"]).ok();
    assert_eq!(made.len(), 64, "{made}");
    let flags = ["--network", "back", "--name", "cache", "--network-alias", "store"];
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let cache = detached(host, isolation, &flags, &["sh", "-c", serve]);
    let address = field(host, &cache, "{{.NetworkSettings.Networks.back.IPAddress}}");
    let fetch = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://store/ && exit; sleep 0.3; done";
    let flag = format!("--isolation={isolation}");
    let got = host.docker(&["run", "--rm", &flag, "--network", "back", IMAGE, "sh", "-c", fetch]);
    assert_eq!(got.ok(), "hello");

    let members = host.docker(&[
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}",
        "back",
    ]);
    assert!(members.ok().starts_with(&format!("cache {address}/")));
    let listed = host.docker(&["network", "ls", "--filter", "label=tier", "--format", "{{.Name}}"]);
    assert_eq!(listed.ok(), "back");
    let refused = host.docker(&["network", "rm", "back"]).fails(1);
    assert!(refused.contains("has active endpoints"), "{refused}");

    // The network outlives the engine.
    host.engine.kill();
    host.engine.start();
    assert_eq!(field(host, &cache, "{{.NetworkSettings.Networks.back.IPAddress}}"), address);
    host.docker(&["rm", "-f", "cache"]).ok();
    assert_eq!(host.docker(&["network", "rm", "back"]).ok(), "back");
}

pub(crate) fn a_network_that_cannot_be_is_refused(host: &mut Host) {
    host.docker(&["network", "create", "--subnet", "10.77.0.0/24", "mine"]).ok();
    for (body, status, want) in [
        (json!({ "Name": "mine" }), 409, "network with name mine already exists"),
        (
            json!({ "Name": "bridge" }),
            403,
            "operation is not permitted on predefined bridge network",
        ),
        (json!({ "Name": "x/y" }), 400, "Invalid network name"),
        (json!({ "Name": "in", "Internal": true }), 400, "Internal is not supported by Hull yet"),
    ] {
        let (got, said) = host.engine.post("/networks/create", &body);
        assert_eq!(got, status, "{said}");
        assert!(said.contains(want), "{said}");
    }
    let lost = host.docker(&["run", "--rm", "--network", "absent", IMAGE, "true"]).fails(125);
    assert!(lost.contains("network absent not found"), "{lost}");
    let pruned = host.docker(&["network", "prune", "-f"]).ok();
    assert!(pruned.contains("mine"), "{pruned}");
    let (status, _) = host.engine.get("/networks/mine");
    assert_eq!(status, 404);
    let (_, all) = host.engine.get("/networks");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
}
