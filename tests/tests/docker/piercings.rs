//! The one list of what crosses a container's wall.

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::command::{Ran, run};
use tests::host::IMAGE;
use tests::programs::program;

use super::detached;

fn hull(host: &Host, words: &[&str]) -> Ran {
    run(host.engine.other_client(&program("hull").to_string_lossy(), words), b"")
}

pub(crate) fn nothing_crosses_the_wall_of_a_plain_container(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["--name=plain"], &["sleep", "1000"]);
    assert_eq!(host.engine.inspect(&id)["Hull"]["Piercings"], json!([]));
    let said = hull(host, &["inspect", "--walls", "plain"]).ok();
    assert_eq!(said, format!("plain ({isolation}): nothing crosses its wall"));
    host.docker(&["rm", "-f", &id]).ok();
    let made = host.docker(&["create", &format!("--isolation={isolation}"), IMAGE, "true"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{made}");
}

pub(crate) fn what_crosses_a_wall_is_listed_and_warned_of(host: &mut Host, isolation: Isolation) {
    let flag = format!("--isolation={isolation}");
    let port = if isolation == Isolation::Vm { "8091:80" } else { "8090:80" };
    let words = [
        "create",
        &flag,
        "--name=open",
        "-v=/:/host:ro",
        "-v=data:/data",
        "--tmpfs=/t",
        "-p",
        port,
        "--cap-add=SYS_ADMIN",
        "--security-opt=seccomp=unconfined",
        "--sysctl=net.ipv4.ip_forward=1",
        IMAGE,
        "true",
    ];
    let made = host.docker(&words);
    let seen = host.engine.inspect("open")["Hull"]["Piercings"].clone();
    let of = |kind: &str| -> Vec<Value> {
        seen.as_array().into_iter().flatten().filter(|one| one["Kind"] == kind).cloned().collect()
    };
    let bind = &of("bind")[0];
    assert_eq!((&bind["Outside"], &bind["Access"]), (&json!("/"), &json!("ro")));
    assert!(made.err.contains("WARNING: bind /host (/): these are all files"), "{made}");
    assert_eq!(of("volume")[0]["Outside"], "data");
    assert_eq!(of("port")[0]["Inside"], "80/tcp");
    assert_eq!(of("sysctl")[0]["Inside"], "net.ipv4.ip_forward=1");
    // What a kernel grants is the host's to lose only where it is the host's kernel.
    let shared = isolation == Isolation::Process;
    let reach = if shared { "host" } else { "guest" };
    for (kind, name) in [("capability", "CAP_SYS_ADMIN"), ("seccomp", "unconfined")] {
        let found = &of(kind)[0];
        assert_eq!((&found["Inside"], &found["Reach"]), (&json!(name), &json!(reach)));
        assert_eq!(made.err.contains(&format!("WARNING: {kind} {name}")), shared, "{made}");
    }
    assert_eq!(seen.as_array().map(Vec::len), Some(6), "{seen}");

    let table = hull(host, &["container", "inspect", "--walls", "open"]).ok();
    assert!(
        table.lines().any(|line| line.starts_with("port ") && line.contains("80/tcp")),
        "{table}"
    );
    let json = hull(host, &["inspect", "--walls", "--json", "open"]).ok();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json[0]["Name"], &json[0]["Piercings"]), (&json!("open"), &seen));
    host.docker(&["rm", "-v", "open"]).ok();
    host.docker(&["volume", "rm", "data"]).ok();
}
