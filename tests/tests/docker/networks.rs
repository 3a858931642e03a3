//! Networks that users make.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use spec::Isolation;
use sys::netlink::Netlink;
use tests::Host;
use tests::command::eventually;
use tests::host::{Engine, IMAGE};

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
        (json!({ "Name": "six", "EnableIPv4": false }), 400, "EnableIPv4: false is not supported"),
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
    assert_eq!(all.as_array().map(Vec::len), Some(3), "{all}");
}

pub(crate) fn a_container_comes_to_networks_and_leaves_them(host: &mut Host, isolation: Isolation) {
    let range = ["--subnet=10.78.0.0/24", "--gateway=10.78.0.254", "--ip-range=10.78.0.128/25"];
    host.docker(&[&["network", "create"], &range[..], &["front"]].concat()).ok();
    host.docker(&["network", "create", "--internal", "back"]).ok();
    let fixed = ["--network=front", "--ip=10.78.0.7", "--mac-address=02:42:00:00:00:07"];
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let flags = [&fixed[..], &["--name=web", "-p=8095:80"]].concat();
    let web = detached(host, isolation, &flags, &["sh", "-c", serve]);
    let inside = |script: &str| host.docker(&["exec", &web, "sh", "-c", script]).ok();
    assert!(inside("ip -o link show eth0").contains("02:42:00:00:00:07"));
    assert!(inside("ip -o -4 addr show eth0").contains("10.78.0.7/24"));
    assert!(inside("ip route").contains("default via 10.78.0.254 dev eth0"));

    host.docker(&["network", "connect", "--alias=store", "back", &web]).ok();
    assert!(inside("ip -o -4 addr show eth1").contains("inet "));
    let fetch = "ip route | grep -c default; wget -q -O- http://store/";
    let network = ["run", "--rm", "--network=back", IMAGE, "sh", "-c", fetch];
    assert_eq!(host.docker(&network).ok(), "0\nhello");
    let said = host.docker(&["network", "connect", "back", &web]).fails(1);
    assert!(said.contains("endpoint with name web already exists in network back"), "{said}");
    assert_eq!(host.engine.fetch("127.0.0.1:8095").as_deref(), Some("hello\n"));

    // Ports follow the way out.
    host.docker(&["network", "connect", "bridge", &web]).ok();
    host.docker(&["network", "disconnect", "front", &web]).ok();
    assert!(inside("ip route").contains("default via 172.30.0.1 dev eth2"));
    assert_eq!(host.engine.fetch("127.0.0.1:8095").as_deref(), Some("hello\n"));
    host.docker(&["network", "rm", "front"]).ok();
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(field(host, &web, networks), "back bridge");
    host.docker(&["restart", "-t=0", &web]).ok();
    assert_eq!(field(host, &web, networks), "back bridge");
    host.docker(&["stop", "-t=0", &web]).ok();
    host.docker(&["network", "disconnect", "back", &web]).ok();
    let said = host.docker(&["network", "disconnect", "back", &web]).fails(1);
    assert!(said.contains("container web is not connected to network back"), "{said}");
    host.docker(&["start", &web]).ok();
    assert_eq!(field(host, &web, networks), "bridge");
    host.docker(&["rm", "-f", &web]).ok();
    host.docker(&["network", "rm", "back"]).ok();
}

pub(crate) fn links_and_extra_hosts_are_names_of_ones_own(host: &mut Host) {
    let process = Isolation::Process;
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    detached(host, process, &["--name=db", "--expose=80"], &["sh", "-c", serve]);
    let address = field(host, "db", "{{.NetworkSettings.IPAddress}}");
    let flags = ["--link=db:store", "--add-host=me:host-gateway", "--add-host=far=10.1.2.3"];
    let script = "wget -q -O- http://store/; grep -E 'me|far' /etc/hosts; echo $STORE_PORT";
    let out = super::run(host, process, &[&flags[..], &[IMAGE, "sh", "-c", script]].concat()).ok();
    let told = format!("hello\n172.30.0.1\tme\n10.1.2.3\tfar\ntcp://{address}:80");
    assert_eq!(out, told);
    let named = ["--hostname=box", "--domainname=test", "--dns=10.9.8.7", "--dns-search=a.b"];
    let script = "hostname -f; cat /etc/resolv.conf; grep -c db /etc/hosts || true";
    let out = super::run(host, process, &[&named[..], &[IMAGE, "sh", "-c", script]].concat()).ok();
    assert_eq!(out, "box.test\nnameserver 10.9.8.7\nsearch a.b\n0");
    host.docker(&["stop", "-t=0", "db"]).ok();
    let said = super::run(host, process, &["--link=db", IMAGE, "true"]).fails(125);
    assert!(said.contains("Cannot link to a non running container: /db AS /"), "{said}");
}

pub(crate) fn a_vm_has_interfaces_for_four_networks(host: &mut Host) {
    for name in ["n0", "n1", "n2", "n3", "n4"] {
        host.docker(&["network", "create", name]).ok();
    }
    let vm = Isolation::Vm;
    let four = ["--network=n0", "--network=n1", "--network=n2", "--network=n3", "--name=box"];
    let id = detached(host, vm, &four, &["sleep", "1000"]);
    let said = host.docker(&["network", "connect", "n4", &id]).fails(1);
    assert!(said.contains("eth4: a VM has 4 interfaces, eth0 to eth3"), "{said}");
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(field(host, &id, networks), "n0 n1 n2 n3");
    host.docker(&["network", "disconnect", "n1", &id]).ok();
    host.docker(&["network", "connect", "n4", &id]).ok();
    let address = field(host, &id, "{{.NetworkSettings.Networks.n4.IPAddress}}");
    let shown = host.docker(&["exec", &id, "ip", "-o", "-4", "addr", "show", "eth1"]).ok();
    assert!(shown.contains(&format!("inet {address}/")), "{shown}");
    host.docker(&["rm", "-f", &id]).ok();
    host.docker(&["network", "prune", "-f"]).ok();
}

pub(crate) fn names_are_served_as_they_come_and_go(host: &mut Host, isolation: Isolation) {
    let process = Isolation::Process;
    host.docker(&["network", "create", "back"]).ok();
    let outside = outside(host);
    let flags = ["--network=back", "--name=asker", "--dns=172.30.0.1"];
    let asker = detached(host, isolation, &flags, &["sleep", "1000"]);
    let script = "cat /etc/resolv.conf; ls -l /etc/hosts >/dev/null";
    let file = host.docker(&["exec", &asker, "sh", "-c", script]).ok();
    assert!(file.starts_with("nameserver 127.0.0.11\n"), "{file}");
    // The server is asked by itself, as what is in /etc/hosts would be known without it.
    let found = |host: &Host, name: &str| {
        let said = host.docker(&["exec", "asker", "nslookup", name, "127.0.0.11"]);
        let answers = said.out.lines().skip_while(|line| !line.is_empty());
        let addresses = answers.filter_map(|line| line.strip_prefix("Address: "));
        let mut addresses: Vec<_> = addresses.map(str::to_owned).collect();
        addresses.sort();
        addresses
    };
    let start = |host: &Host, name: &str| {
        let (name, hostname) = (format!("--name={name}"), format!("--hostname=box-{name}"));
        let flags = ["--network=back", "--network-alias=pool", &name, &hostname];
        let id = detached(host, process, &flags, &["sleep", "1000"]);
        field(host, &id, "{{.NetworkSettings.Networks.back.IPAddress}}")
    };
    let one = start(host, "one");
    assert_eq!(found(host, "one"), [one.as_str()]);
    assert_eq!(found(host, "box-one"), [one.as_str()]);
    let in_file = ["exec", "asker", "grep", "-c", "pool", "/etc/hosts"];
    eventually("the file has what one container has", || host.docker(&in_file).out == "1\n");
    let two = start(host, "two");
    // Of what both have it would always give the same.
    eventually("a name of two is left to the server", || host.docker(&in_file).out == "0\n");
    let mut both = vec![one.clone(), two];
    both.sort();
    assert_eq!(found(host, "pool"), both);
    host.docker(&["rm", "-f", "two"]).ok();
    assert_eq!(found(host, "pool"), [one.as_str()]);
    assert_eq!(found(host, "outside.test"), ["10.1.2.3"]);
    let said = host.docker(&["exec", "asker", "nslookup", &one, "127.0.0.11"]).ok();
    assert!(said.contains("name = one.back"), "{said}");

    host.engine.kill();
    host.engine.start();
    assert_eq!(found(host, "one.back"), [one.as_str()]);
    // A network that is joined later brings its names.
    host.docker(&["network", "create", "--internal", "inner"]).ok();
    let late = detached(host, process, &["--name=late"], &["sleep", "1000"]);
    host.docker(&["network", "connect", "inner", &late]).ok();
    host.docker(&["network", "connect", "inner", "asker"]).ok();
    assert_eq!(found(host, "late").len(), 1);
    host.docker(&["network", "disconnect", "back", "asker"]).ok();
    let said = host.docker(&["exec", "asker", "nslookup", "outside.test", "127.0.0.11"]);
    assert!(said.code != 0 && said.out.contains("REFUSED"), "{said}");
    host.docker(&["rm", "-f", "asker", "one", "late"]).ok();
    host.docker(&["network", "prune", "-f"]).ok();
    drop(outside);
}

/// A name server of the host's. Gone, its port too, when this is dropped.
struct Outside {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// A name server that knows one address for every name.
fn outside(host: &Host) -> Outside {
    let netns = File::open(format!("/proc/{}/ns/net", host.engine.pid())).expect("a namespace");
    let bind = || UdpSocket::bind("172.30.0.1:53");
    let socket = sys::netns::within(netns.as_fd(), bind).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let (stop, stopped) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut query = [0; 512];
        while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
            let mut answer = query[..length].to_vec();
            // A type of 1 is an IPv4 address.
            let known = answer[length - 3] == 1;
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = u8::from(known);
            if known {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3]);
            }
            socket.send_to(&answer, from).expect("it is sent");
        }
    });
    Outside { stop: Some(stop), thread: Some(thread) }
}

/// A link leads to the container and not to its name, and is one more name of it in lists.
pub(crate) fn a_link_is_shown_and_follows_its_container(host: &mut Host) {
    let process = Isolation::Process;
    detached(host, process, &["--name", "db"], &["sleep", "1000"]);
    detached(host, process, &["--name", "web", "--link", "db:store"], &["sleep", "1000"]);
    let names = host.docker(&["ps", "--no-trunc", "--filter", "name=db", "--format", "{{.Names}}"]);
    assert_eq!(names.ok(), "db,web/store");
    host.docker(&["rename", "db", "old"]).ok();
    assert_eq!(field(host, "web", "{{index .HostConfig.Links 0}}"), "/old:/web/store");
    host.docker(&["restart", "-t", "0", "web"]).ok();
    assert_eq!(host.docker(&["exec", "web", "grep", "-c", "store", "/etc/hosts"]).ok(), "1");
}

/// What an engine leaves to the next one is what runs: with nothing there, no device and no rule is.
pub(crate) fn an_engine_that_ends_leaves_only_what_containers_need(host: &mut Host) {
    let mut engine = host.another_engine_with(&[]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    engine.on_host("ip", &["link", "add", "br-theirs", "type", "bridge"]).ok();
    let theirs = ["network", "create", "-o", "com.docker.network.bridge.name=br-theirs", "theirs"];
    engine.docker(&theirs).ok();
    engine
        .docker(&["network", "create", "-o", "com.docker.network.bridge.name=br-ours", "ours"])
        .ok();
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let flags = ["run", "-d", "--name=web", "-p=127.0.0.1:8093:80", "--network=ours", IMAGE];
    engine.docker(&[&flags[..], &["sh", "-c", serve]].concat()).ok();
    let serves = |engine: &Engine| engine.fetch("127.0.0.1:8093").as_deref() == Some("hello\n");
    eventually("it serves", || serves(&engine));
    let there = |engine: &Engine| {
        let links = engine.within(|| Netlink::open()?.links()).expect("links");
        let links = links.into_iter().map(|link| link.name);
        let tables = engine.on_host("nft", &["list", "tables"]).ok();
        let tables = tables.lines().map(|line| line.trim_start_matches("table inet ").to_owned());
        let all = links.chain(tables);
        let mut all: Vec<_> = all
            .filter(|name| {
                let name = name.trim_start_matches("hull-").trim_start_matches("ports-");
                matches!(name, "hull9" | "br-ours" | "br-theirs")
            })
            .collect();
        all.sort();
        all
    };

    engine.stop();
    assert_eq!(there(&engine), ["br-ours", "br-theirs", "hull-br-ours", "hull-ports-hull9"]);
    assert!(serves(&engine), "the container goes on, and its port");
    engine.start();
    assert!(serves(&engine));
    engine.docker(&["rm", "-f", "web"]).ok();
    engine.stop();
    assert_eq!(there(&engine), ["br-theirs"], "nobody else's device is taken away");
    engine.start();
    engine.docker(&["run", "--rm", "--network=ours", IMAGE, "true"]).ok();
    engine.docker(&["network", "rm", "ours", "theirs"]).ok();
    assert_eq!(there(&engine), ["br-theirs", "hull-hull9", "hull9"]);
    engine.on_host("ip", &["link", "delete", "br-theirs"]).ok();
}

/// A network may have the id of another as its name: the id comes first.
pub(crate) fn an_id_comes_before_a_name(host: &mut Host) {
    let first = host.docker(&["network", "create", "first"]).ok();
    let second = host.docker(&["network", "create", &first]).ok();
    host.docker(&["network", "rm", &first]).ok();
    let left = host.docker(&["network", "ls", "-q", "--no-trunc", "--filter", "type=custom"]).ok();
    assert_eq!(left, second);
    let pruned = host
        .engine
        .post("/networks/prune?filters=%7B%22until%22%3A%5B%221h%22%5D%7D", &json!(null));
    assert_eq!(pruned.0, 200, "{}", pruned.1);
    host.docker(&["network", "rm", &second]).ok();
}
