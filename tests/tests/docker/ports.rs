//! `-p` and `-P`: ports of the host that lead to containers.

use std::net::UdpSocket;

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, run};

/// Serves on port 80 who asks, whom the server calls `[::ffff:172.30.0.1]`.
const SERVE: &str = r"mkdir -p /www/cgi-bin
    cat > /www/cgi-bin/who <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
ip=${REMOTE_ADDR##*:}
echo ${ip%]}
END
    chmod +x /www/cgi-bin/who
    exec httpd -f -p 80 -h /www";
/// The host, as containers see it.
const GATEWAY: &str = "172.30.0.1";

/// What the container at this address of the host answers to the host.
fn who(host: &Host, at: &str) -> Option<String> {
    let said = host.engine.fetch_page(at, "/cgi-bin/who")?;
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}

pub(crate) fn a_published_port_leads_to_its_container(host: &mut Host, isolation: Isolation) {
    let foreign = "add table ip mine; add chain ip mine c { type filter hook input priority 0; }; \
                   add rule ip mine c tcp dport 1 drop";
    host.engine.on_host("nft", &[foreign]).ok();
    let mine = host.engine.on_host("nft", &["list", "table", "ip", "mine"]).ok();
    let flags = ["--name=web", "-p=8080:80", "-p=127.0.0.1:8081:80", "-p=5353:53/udp", "-p=80"];
    detached(host, isolation, &flags, &["sh", "-c", SERVE]);

    let told = host.docker(&["port", "web"]).ok();
    let any = told.lines().find_map(|line| {
        let port = line.strip_prefix("80/tcp -> 0.0.0.0:")?;
        (port != "8080").then(|| port.to_owned())
    });
    let any = any.unwrap_or_else(|| panic!("no port was chosen: {told}"));
    for line in ["80/tcp -> 0.0.0.0:8080", "80/tcp -> 127.0.0.1:8081", "53/udp -> 0.0.0.0:5353"] {
        assert!(told.contains(line), "{told}");
    }
    let row = host.docker(&["ps", "--filter=publish=8080", "--format", "{{.Ports}}"]).ok();
    assert!(row.contains("0.0.0.0:8080->80/tcp"), "{row}");

    // The host by its loopback and by another address, where that is published.
    eventually("the server answers", || who(host, "127.0.0.1:8080").is_some());
    for (at, want) in [
        ("127.0.0.1:8080".to_owned(), Some(GATEWAY)),
        (format!("{GATEWAY}:8080"), Some(GATEWAY)),
        ("127.0.0.1:8081".to_owned(), Some(GATEWAY)),
        (format!("{GATEWAY}:8081"), None),
        (format!("127.0.0.1:{any}"), Some(GATEWAY)),
    ] {
        assert_eq!(who(host, &at).as_deref(), want, "{at}");
    }
    // Neighbours, and the container itself.
    let url = format!("http://{GATEWAY}:8080/cgi-bin/who");
    let fetch = ["wget", "-q", "-O-", &url];
    let neighbour = run(host, Isolation::Process, &[&[IMAGE], &fetch[..]].concat()).ok();
    assert_eq!(neighbour, GATEWAY);
    assert_eq!(host.docker(&[&["exec", "web"], &fetch[..]].concat()).ok(), GATEWAY);
    the_clients_address_is_kept(host);

    assert_eq!(host.engine.on_host("nft", &["list", "table", "ip", "mine"]).ok(), mine);
    host.engine.on_host("nft", &["delete", "table", "ip", "mine"]).ok();
    // An engine's end closes nothing.
    host.engine.kill();
    assert!(who(host, "127.0.0.1:8080").is_some());
    host.engine.start();
    assert!(who(host, "127.0.0.1:8080").is_some());
    host.docker(&["rm", "-f", "web"]).ok();
    assert_eq!(who(host, "127.0.0.1:8080"), None);
    let tables = host.engine.on_host("nft", &["list", "tables"]).ok();
    assert!(!tables.contains("hull-ports"), "{tables}");
}

/// A machine elsewhere: a namespace with a cable to the host.
fn the_clients_address_is_kept(host: &Host) {
    let flags = ["--name=far", "--network=none"];
    detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    let pid = super::field(host, "far", "{{.State.Pid}}");
    let ip = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        host.engine.on_host(words[0], &words[1..]).ok()
    };
    ip("ip link add far0 type veth peer name far1");
    ip(&format!("ip link set far1 netns {pid}"));
    ip("ip addr add 10.98.0.1/24 dev far0");
    ip("ip link set far0 up");
    ip(&format!("nsenter -t {pid} -n ip addr add 10.98.0.2/24 dev far1"));
    ip(&format!("nsenter -t {pid} -n ip link set far1 up"));
    let url = "http://10.98.0.1:8080/cgi-bin/who";
    let seen = host.docker(&["exec", "far", "wget", "-q", "-O-", url]).ok();
    assert_eq!(seen, "10.98.0.2");
    host.docker(&["rm", "-f", "far"]).ok();
}

pub(crate) fn a_port_that_is_taken_names_its_owner(host: &mut Host) {
    let process = Isolation::Process;
    let id = detached(host, process, &["-p=8090:80"], &["sleep", "1000"]);
    let again = ["--name=second", "-p=127.0.0.1:8090:80", IMAGE, "true"];
    let said = run(host, process, &again).fails(125);
    let want =
        format!("Bind for 127.0.0.1:8090 failed: port is already allocated: container {id} has it");
    assert!(said.contains("failed programming external connectivity on endpoint second"), "{said}");
    assert!(said.contains(&want), "{said}");
    let said = run(host, process, &["-p=5000:80", IMAGE, "true"]).fails(125);
    assert!(said.contains("port is already allocated: docker-registry (pid "), "{said}");
    // A range has room as long as one of it is free.
    let ranged = ["-p=8090-8091:80"];
    let second = detached(host, process, &ranged, &["sleep", "1000"]);
    assert_eq!(host.docker(&["port", &second]).ok(), "80/tcp -> 0.0.0.0:8091");
    let said = run(host, process, &["-p=8090-8091:80", IMAGE, "true"]).fails(125);
    assert!(said.contains("all ports from 8090 to 8091 are allocated"), "{said}");
    for (flag, want) in [
        (
            "-p=[::1]:8092:80",
            "the container has no IPv6 address: its network, hull0, was made without --ipv6",
        ),
        ("--network=container:x", "conflicting options: port publishing"),
    ] {
        let said = run(host, process, &["-p=8093:80", flag, IMAGE, "true"]).fails(125);
        assert!(said.contains(want), "{flag}: {said}");
    }
}

/// Ports come and go while it runs, outlive the engine, and belong to the next run too.
pub(crate) fn ports_change_while_it_runs(host: &mut Host, isolation: Isolation) {
    detached(host, isolation, &["--name=web", "-p=8080:80"], &["sh", "-c", SERVE]);
    let add = r#"{"Add":{"80":[{"HostPort":"8085"}],"53/udp":[{"HostPort":"8085"}]}}"#;
    change(host, 200, add);
    eventually("the new port leads there", || who(host, "127.0.0.1:8085").is_some());
    assert!(host.docker(&["port", "web"]).ok().contains("53/udp -> 0.0.0.0:8085"));
    a_change_happens_whole_or_not_at_all(host);
    host.engine.kill();
    assert!(who(host, "127.0.0.1:8085").is_some());
    host.engine.start();
    change(host, 200, r#"{"Remove":{"80/tcp":[{"HostPort":"8080"}],"53/udp":[]}}"#);
    assert_eq!(host.docker(&["port", "web"]).ok(), "80/tcp -> 0.0.0.0:8085");
    assert_eq!(who(host, "127.0.0.1:8080"), None);
    host.docker(&["restart", "-t=0", "web"]).ok();
    assert_eq!(host.docker(&["port", "web"]).ok(), "80/tcp -> 0.0.0.0:8085");
    eventually("it serves again", || who(host, "127.0.0.1:8085").is_some());
    let said = change(host, 404, r#"{"Remove":{"9/tcp":[]}}"#);
    assert!(said.contains("container web has not published port 9/tcp"), "{said}");
    host.docker(&["rm", "-f", "web"]).ok();
    assert_eq!(who(host, "127.0.0.1:8085"), None);
}

/// With a port that is taken, by itself or a program of the host, nothing else is changed; one that is
/// given up by the same request is free.
fn a_change_happens_whole_or_not_at_all(host: &Host) {
    let before = host.docker(&["port", "web"]).ok();
    let said = change(host, 500, r#"{"Add":{"81/tcp":[{"HostPort":"8085"}]}}"#);
    assert!(said.contains("port is already allocated: container"), "{said}");
    let swap = r#"{"Remove":{"80/tcp":[{"HostPort":"8080"}]},"Add":{"81/tcp":[{"HostPort":"8086"}],"82/tcp":[{"HostPort":"5000"}]}}"#;
    let said = change(host, 500, swap);
    assert!(said.contains("port is already allocated: docker-registry (pid "), "{said}");
    assert_eq!(host.docker(&["port", "web"]).ok(), before);
    assert!(who(host, "127.0.0.1:8080").is_some());
    // The engine's socket keeps 8080 again, and none is left on 8086.
    let sockets = host.engine.on_host("cat", &["/proc/net/tcp"]).ok();
    assert!(sockets.contains("00000000:1F90 00000000:0000 0A"), "{sockets}");
    assert!(!sockets.contains("00000000:1F96"), "{sockets}");
    let narrow = r#"{"Remove":{"80/tcp":[{"HostPort":"8080"}]},"Add":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}}"#;
    change(host, 200, narrow);
    assert!(host.docker(&["port", "web"]).ok().contains("80/tcp -> 127.0.0.1:8080"));
    assert!(who(host, "127.0.0.1:8080").is_some());
}

/// What the page says to that change of `web`.
#[track_caller]
/// A client keeps its socket, and a connection of UDP has no end that the kernel could see.
pub(crate) fn a_client_of_udp_is_led_to_the_container_that_is(
    host: &mut Host,
    isolation: Isolation,
) {
    let client = host.engine.within(|| UdpSocket::bind("127.0.0.1:0")).expect("a socket");
    let send = |port: u16| client.send_to(b"?", ("127.0.0.1", port)).is_ok();
    // It comes before anybody is there.
    assert!(send(8086) && send(8087));
    for name in ["one", "two"] {
        let flag = format!("--name={name}");
        detached(host, isolation, &[&flag, "-p=8086:81/udp"], &["sleep", "1000"]);
        eventually("what is sent arrives", || send(8086) && arrived(host, name) > 0);
        if name == "one" {
            host.docker(&["rm", "-f", "one"]).ok();
            assert!(send(8086));
        }
    }
    let before = arrived(host, "two");
    let add = json!({ "Add": { "81/udp": [{ "HostPort": "8087" }] } });
    let (status, said) = host.engine.post("/containers/two/ports", &add);
    assert_eq!(status, 200, "{said}");
    eventually("what is sent arrives", || send(8087) && arrived(host, "two") > before);
    host.docker(&["rm", "-f", "two"]).ok();
}

/// How many datagrams came to a container, where nobody listens.
fn arrived(host: &Host, name: &str) -> u64 {
    let counts = host.docker(&["exec", name, "awk", "/^Udp: [0-9]/{print $3}", "/proc/net/snmp"]);
    counts.ok().parse().expect("a number")
}

fn change(host: &Host, want: u16, body: &str) -> String {
    let (status, said) = host.engine.send("POST", "/containers/web/ports", body);
    assert_eq!(status, want, "{body}: {said}");
    said
}

pub(crate) fn all_exposed_ports_are_published_if_asked(host: &mut Host, isolation: Isolation) {
    let flags = ["-P", "--expose=80", "--expose=81/udp", "--name=open"];
    detached(host, isolation, &flags, &["sh", "-c", SERVE]);
    let told = host.docker(&["port", "open", "80"]).ok();
    let port = told.strip_prefix("0.0.0.0:").expect("an address");
    eventually("it answers", || who(host, &format!("127.0.0.1:{port}")).is_some());
    assert!(host.docker(&["port", "open"]).ok().contains("81/udp -> 0.0.0.0:"));
    host.docker(&["stop", "-t=0", "open"]).ok();
    assert_eq!(host.docker(&["port", "open"]).ok(), "");
    host.docker(&["start", "open"]).ok();
    assert_ne!(host.docker(&["port", "open"]).ok(), "");
}
