//! Networks whose containers are on a network of the host's by themselves.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::json;
use spec::Isolation;
use sys::netlink::{Address, Netlink, Peer};
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field, run};

const SERVE: &str = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";

pub(crate) fn containers_are_on_the_network_of_the_parent(host: &mut Host, isolation: Isolation) {
    let lan = Lan::new(host, "lan0");
    let addresses = ["--subnet=192.168.50.0/24", "--gateway=192.168.50.1"];
    let range = ["--ip-range=192.168.50.128/25", "-o=parent=lan0", "-o=macvlan_mode=bridge"];
    let create = ["network", "create", "-d=macvlan"];
    host.docker(&[&create[..], &addresses[..], &range[..], &["lan"]].concat()).ok();
    let told = "{{.Driver}} {{.Internal}} {{.Options.parent}} {{.Options.macvlan_mode}}";
    let told = host.docker(&["network", "inspect", "-f", told, "lan"]).ok();
    assert_eq!(told, "macvlan false lan0 bridge");

    let flag = format!("--isolation={isolation}");
    let web =
        ["create", &flag, "--network=lan", "--name=web", "-p=8097:80", IMAGE, "sh", "-c", SERVE];
    let made = host.docker(&web);
    let warning = "Published ports are discarded when using macvlan networks";
    assert!(made.err.contains(warning), "{made}");
    let pierced = host.engine.inspect("web")["Hull"]["Piercings"].clone();
    let wire = json!({
        "Kind": "wire", "Inside": "lan", "Outside": "lan0", "Access": "bridge", "Reach": "host",
    });
    assert!(pierced.as_array().is_some_and(|all| all.contains(&wire)), "{pierced}");
    host.docker(&["start", "web"]).ok();
    let address = field(host, "web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    assert!(address.starts_with("192.168.50.1"), "{address}");
    let mac = field(host, "web", "{{.NetworkSettings.Networks.lan.MacAddress}}");
    let inside = |host: &Host, script: &str| host.docker(&["exec", "web", "sh", "-c", script]).ok();
    assert!(inside(host, "ip -o link show eth0").contains(&mac));
    assert!(inside(host, "ip route").contains("default via 192.168.50.1 dev eth0"));
    assert_eq!(host.docker(&["port", "web"]).ok(), "");

    // A neighbour behind the other wall finds it by name, and who is outside by its address.
    let other = match isolation {
        Isolation::Process => Isolation::Vm,
        Isolation::Vm => Isolation::Process,
    };
    detached(host, other, &["--network=lan", "--name=asker"], &["sleep", "1000"]);
    eventually("its name leads to it", || ask(host, "http://web/") == "hello");
    eventually("its address leads to it", || ask(host, &format!("http://{address}/")) == "hello");
    assert_eq!(inside(host, "ping -c 1 -W 5 asker >/dev/null && echo yes"), "yes");
    eventually("it is reached from outside", || lan.fetch(&address) == Some("hello".to_owned()));
    // Its address is its own there, and its Ethernet address too.
    let own =
        lan.caller(|| drop(host.docker(&["exec", "web", "nc", "-w", "5", "192.168.50.1", "7"])));
    assert_eq!(own, address);

    // Started anew it has the address again at once, and lives on when the engine does not.
    host.docker(&["restart", "-t=0", "web"]).ok();
    assert_eq!(field(host, "web", "{{.NetworkSettings.Networks.lan.MacAddress}}").len(), mac.len());
    eventually("it serves again", || ask(host, "http://web/") == "hello");
    host.engine.kill();
    host.engine.start();
    let address = field(host, "web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    eventually("it still serves", || lan.fetch(&address) == Some("hello".to_owned()));
    host.docker(&["network", "disconnect", "lan", "web"]).ok();
    assert_eq!(host.docker(&["exec", "web", "ip", "-o", "link", "show", "eth0"]).out, "");
    let same = format!("--ip={address}");
    host.docker(&["network", "connect", &same, "lan", "web"]).ok();
    eventually("it serves again", || ask(host, "http://web/") == "hello");

    let said = host.docker(&["network", "rm", "lan"]).fails(1);
    assert!(said.contains("has active endpoints"), "{said}");
    host.docker(&["rm", "-f", "web", "asker"]).ok();
    host.docker(&["network", "rm", "lan"]).ok();
    assert!(links(host).contains("lan0"), "{}", links(host));
    drop(lan);
}

pub(crate) fn a_network_without_a_parent_leads_nowhere(host: &mut Host) {
    host.docker(&["network", "create", "-d=macvlan", "shut"]).ok();
    let id = host.docker(&["network", "inspect", "-f", "{{.Id}} {{.Internal}}", "shut"]).ok();
    let parent = format!("dm-{}", &id[..12]);
    assert!(id.ends_with(" true") && links(host).contains(&parent), "{id}: {}", links(host));
    let process = Isolation::Process;
    detached(host, process, &["--network=shut", "--name=web"], &["sh", "-c", SERVE]);
    assert_eq!(host.engine.inspect("web")["Hull"]["Piercings"], json!([]), "it leads nowhere");
    let ask = "ip route | grep -c default; for i in 1 2 3 4 5 6 7 8 9; do \
               timeout 2 wget -q -O- http://web/ && exit; sleep 0.3; done";
    assert_eq!(run(host, process, &["--network=shut", IMAGE, "sh", "-c", ask]).ok(), "0\nhello");
    // The device goes with the network, and with an engine that ends if nobody is on it.
    host.docker(&["rm", "-f", "web"]).ok();
    host.engine.stop();
    assert!(!links(host).contains("dm-"), "{}", links(host));
    host.engine.start();
    assert!(links(host).contains(&parent), "{}", links(host));
    host.docker(&["network", "rm", "shut"]).ok();
    assert!(!links(host).contains("dm-"), "{}", links(host));
}

pub(crate) fn a_parent_has_one_network_and_in_mode_passthru_one_container(host: &mut Host) {
    let lan = Lan::new(host, "lan0");
    let create = |more: &[&str]| {
        host.docker(&[&["network", "create", "-d=macvlan"], more, &["lan"]].concat())
    };
    let bridged = Lan::new(host, "lan1");
    host.engine.on_host("ip", &["link", "set", "lan1", "master", "hull0"]).ok();
    for (flags, want) in [
        (&["-o=parent=lan7"][..], "parent lan7 was not found on the host"),
        (&["-o=parent=lan7.10"], "parent lan7.10 was not found on the host"),
        (&["-o=parent=lan0.5000"], "parent lan0.5000 was not found on the host"),
        (&["-o=parent=lo"], "loopback interface lo is not a valid macvlan parent link"),
        (&["-o=parent=lan1"], "parent lan1 is a port of hull0: name hull0 in its place"),
        (&["-o=parent=a/b"], "invalid interface name \"a/b\""),
        (&["-o=macvlan_mode=l2"], "requested macvlan mode 'l2' is not valid"),
        (&["-o=com.docker.network.bridge.name=x"], "is none of driver macvlan"),
        (&["-o=egress=none"], "egress is for bridges: network lan is of driver macvlan"),
        (&["-o=parent=lan0", "--internal"], "leave out the parent, or --internal"),
    ] {
        let said = create(flags).fails(1);
        assert!(said.contains(want), "{flags:?}: {said}");
    }
    let said = host.docker(&["network", "create", "-d=ipvlan", "lan"]).fails(1);
    assert!(said.contains("driver ipvlan is not supported by Hull: use macvlan"), "{said}");

    let subnet = "--subnet=192.168.50.0/24";
    create(&["-o=parent=lan0", "-o=macvlan_mode=passthru", subnet]).ok();
    for (flags, want) in [
        (["-d=macvlan", "-o=parent=lan0"], "network lan is already using parent interface lan0"),
        (["-d=bridge", "--subnet=192.168.50.128/25"], "Pool overlaps with other one"),
    ] {
        let said = host.docker(&[&["network", "create"], &flags[..], &["two"]].concat()).fails(1);
        assert!(said.contains(want), "{flags:?}: {said}");
    }
    let process = Isolation::Process;
    detached(host, process, &["--network=lan", "--name=one"], &["sleep", "1000"]);
    let mac = field(host, "one", "{{.NetworkSettings.Networks.lan.MacAddress}}");
    let parent = host.engine.on_host("ip", &["-o", "link", "show", "lan0"]).ok();
    assert!(parent.contains(&mac), "{mac}: {parent}");
    assert!(host.docker(&["exec", "one", "ip", "link", "show", "eth0"]).ok().contains(&mac));
    let said = run(host, process, &["--network=lan", IMAGE, "true"]).fails(125);
    assert!(said.contains("lan0 is the parent of its one container already"), "{said}");
    let rate = "--network=name=lan,driver-opt=rate-in=1mbit";
    let said = run(host, process, &[rate, IMAGE, "true"]).fails(125);
    assert!(said.contains("rate-in or rate-out is for bridges"), "{said}");
    host.docker(&["rm", "-f", "one"]).ok();
    host.docker(&["network", "rm", "lan"]).ok();
    drop((lan, bridged));
}

/// What the neighbour is answered.
fn ask(host: &Host, what: &str) -> String {
    let got = host.docker(&["exec", "asker", "timeout", "2", "wget", "-q", "-O-", what]);
    got.out.trim().to_owned()
}

/// The devices of the engine's host.
fn links(host: &Host) -> String {
    host.engine.on_host("ip", &["-o", "link"]).ok()
}

/// A network of the engine's host, by a device of it, with somebody at its other end.
struct Lan {
    netns: File,
}

impl Lan {
    fn new(host: &Host, device: &str) -> Self {
        let netns = File::from(sys::netns::make().expect("a network namespace"));
        let cable = || {
            let mut netlink = Netlink::open()?;
            let peer = Peer { name: "far", mac: None, netns: Some(netns.as_fd()) };
            netlink.add_veth(device, &peer)?;
            let index = netlink.index(device)?;
            netlink.set_up(index, true)
        };
        host.engine.within(cable).expect("a cable");
        let inside = || {
            let mut netlink = Netlink::open()?;
            let far = netlink.index("far")?;
            netlink.add_address(far, Address { ip: [192, 168, 50, 1].into(), prefix: 24 })?;
            netlink.set_up(far, true)
        };
        sys::netns::within(netns.as_fd(), inside).expect("an address");
        Self { netns }
    }

    /// The page of a container.
    fn fetch(&self, address: &str) -> Option<String> {
        let mut stream =
            sys::netns::within(self.netns.as_fd(), || TcpStream::connect((address, 80))).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.split("\r\n\r\n").nth(1).map(|page| page.trim().to_owned())
    }

    /// Whom a connection is from that `call` makes to port 7.
    fn caller(&self, call: impl FnOnce() + Send) -> String {
        let listen = || TcpListener::bind("192.168.50.1:7");
        let listener = sys::netns::within(self.netns.as_fd(), listen).expect("a port");
        std::thread::scope(|scope| {
            scope.spawn(call);
            let (_, from) = listener.accept().expect("somebody calls");
            from.ip().to_string()
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // Its other end goes with it.
        let unplug = || {
            let mut netlink = Netlink::open()?;
            let far = netlink.index("far")?;
            netlink.delete_link(far)
        };
        let _ = sys::netns::within(self.netns.as_fd(), unplug);
    }
}
