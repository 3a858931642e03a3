//! What containers may send to, and that they send nowhere else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use spec::Isolation;
use sys::netlink::{Address, Netlink, Peer, Route};
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field};

/// What the world's name server knows: a name, its address and seconds to keep it.
const NAMES: [(&str, [u8; 4], u8); 5] = [
    ("good.test", [203, 0, 113, 10], 60),
    ("a.wild.test", [203, 0, 113, 11], 60),
    ("brief.test", [203, 0, 113, 12], 2),
    ("other.test", [203, 0, 113, 10], 60),
    ("rebound.test", [172, 30, 0, 1], 60),
];

/// The same of IPv6.
const SIX: [(&str, &str, u8); 2] =
    [("six.test", "2001:db8:99::10", 60), ("rebound6.test", "fd00:77::1", 60)];

pub(crate) fn what_is_not_allowed_is_not_reached(host: &mut Host, isolation: Isolation) {
    let world = World::new(host);
    let policy = "allow:good.test:80,*.wild.test,brief.test,rebound.test,203.0.113.20,\
                  203.0.113.32/28:80/tcp";
    let network = format!("--network=name=bridge,\"driver-opt=egress={policy}\"");
    let flags = [&network, "--name=box", "--cap-add=NET_ADMIN", "--dns=203.0.113.10"];
    let tries = "while :; do timeout 1 wget -q -O- http://203.0.113.66/ && echo LEAK; \
                 timeout 1 wget -q -O- http://203.0.113.20/; sleep 0.5; done";
    detached(host, isolation, &flags, &["sh", "-c", tries]);
    let reached = |host: &Host| {
        let script = "for at in good.test a.wild.test:81 203.0.113.20:81 203.0.113.33 \
             other.test good.test:81 203.0.113.33:81 203.0.113.11:9 203.0.113.66 rebound.test; do \
             timeout 1 wget -q -O /dev/null http://$at/ 2>/dev/null && echo $at; done; true";
        host.docker(&["exec", "box", "sh", "-c", script]).ok()
    };
    let allowed = "good.test\na.wild.test:81\n203.0.113.20:81\n203.0.113.33";
    assert_eq!(reached(host), allowed);

    // Other name servers are not asked, and an address is good for as long as its name has it.
    let script = "timeout 2 nslookup good.test 203.0.113.66 2>&1 | grep -c 203.0.113.10; \
         timeout 1 wget -q -O- http://brief.test/; sleep 3; timeout 1 wget -q -O- http://203.0.113.12/ || echo late";
    assert_eq!(host.docker(&["exec", "box", "sh", "-c", script]).ok(), "0\nhello\nlate");
    // The host's own services are none that a name leads to.
    let to_host = "timeout 1 wget -q -O- http://172.30.0.1:5000/ || echo no";
    assert_eq!(host.docker(&["exec", "box", "sh", "-c", to_host]).ok(), "no");
    let dropped = dropped(host);
    for kind in ["Refused", "Host", "Names", "Addresses"] {
        assert_ne!(dropped[kind], 0, "{kind}: {dropped}");
    }

    holds_without_an_engine(host);
    assert_eq!(reached(host), allowed);
    host.docker(&["rm", "-f", "box"]).ok();
    no_rules_are_left(host);
    drop(world);
}

pub(crate) fn another_address_is_no_way_out(host: &mut Host, isolation: Isolation) {
    let world = World::new(host);
    let flags = [
        "--network=name=bridge,driver-opt=egress=allow:203.0.113.20",
        "--name=box",
        "--cap-add=NET_ADMIN",
    ];
    detached(host, isolation, &flags, &["sleep", "1000"]);
    let ping = "ping -c 1 -W 1 $from 203.0.113.20 >/dev/null && echo yes || echo no";
    let script = format!(
        "{ping}; ip addr add 172.30.7.7/16 dev eth0; from='-I 172.30.7.7'; {ping}; from=; {ping}; \
         ip link set eth0 address 02:42:00:00:00:99; {ping}"
    );
    assert_eq!(host.docker(&["exec", "box", "sh", "-c", &script]).ok(), "yes\nno\nyes\nno");
    let forged = dropped(host)["Forged"].as_u64();
    // It has no address of IPv6, so there is nothing that it may send by it.
    let six = "ip -6 addr add fd00::2/64 dev eth0; sleep 2; ping -6 -c 1 -W 1 fd00::1 || true";
    host.docker(&["exec", "box", "sh", "-c", six]).ok();
    assert!(dropped(host)["Forged"].as_u64() > forged, "{forged:?}");
    host.docker(&["rm", "-f", "box"]).ok();
    no_rules_are_left(host);
    drop(world);
}

pub(crate) fn a_network_says_what_its_containers_may(host: &mut Host, isolation: Isolation) {
    let world = World::new(host);
    let said = host.docker(&["network", "create", "-o", "egress=some", "shut"]).fails(1);
    assert!(said.contains("invalid egress \"some\": want none, or allow:"), "{said}");
    host.docker(&["network", "create", "-o", "egress=none", "shut"]).ok();
    let serve = "mkdir /www; echo near > /www/index.html; exec httpd -f -p 80 -h /www";
    detached(host, Isolation::Process, &["--network=shut", "--name=web"], &["sh", "-c", serve]);
    detached(host, isolation, &["--network=shut", "--name=box"], &["sleep", "1000"]);
    let get = "for at in web 203.0.113.20 good.test; do \
               timeout 1 wget -q -O- http://$at/ 2>/dev/null || echo no; done";
    assert_eq!(host.docker(&["exec", "box", "sh", "-c", get]).ok(), "near\nno\nno");
    let option = "{{.NetworkSettings.Networks.shut.DriverOpts.egress}}";
    assert_eq!(field(host, "box", option), "none");

    // Whoever shares the network of one is held like it, and does not outlive the rules.
    let shared = ["--network=container:box", "--name=guest"];
    if isolation == Isolation::Process {
        detached(host, isolation, &shared, &["sleep", "1000"]);
        assert_eq!(host.docker(&["exec", "guest", "sh", "-c", get]).ok(), "near\nno\nno");
        host.docker(&["rm", "-f", "box"]).ok();
        let gone = "ip -o link show eth0 2>/dev/null || echo gone";
        assert_eq!(host.docker(&["exec", "guest", "sh", "-c", gone]).ok(), "gone");
    }
    // Left and joined again: by a rule of its own then.
    host.docker(&["network", "disconnect", "shut", "web"]).ok();
    let own = ["network", "connect", "--driver-opt=egress=allow:203.0.113.20", "shut", "web"];
    host.docker(&own).ok();
    assert_eq!(host.docker(&["exec", "web", "sh", "-c", get]).ok(), "near\nhello\nno");
    host.docker(&["rm", "-f", "web"]).ok();
    let _ = host.docker(&["rm", "-f", "box", "guest"]);
    no_rules_are_left(host);
    host.docker(&["network", "rm", "shut"]).ok();
    drop(world);
}

pub(crate) fn ipv6_is_held_as_ipv4_is(host: &mut Host, isolation: Isolation) {
    let world = World::new(host);
    let create = |words: &[&str]| host.docker(&[&["network", "create"], words].concat());
    let said = create(&["-o", "egress=allow:2001:db8::/32", "six"]).fails(1);
    assert!(said.contains("2001:db8::: network six has no IPv6"), "{said}");
    create(&["--ipv6", "--subnet=10.77.0.0/24", "--subnet=fd00:77::/64", "six"]).ok();
    let policy = "allow:six.test:80,rebound6.test,2001:db8:99::20,[2001:db8:99::30/124]:80/tcp";
    let network = format!("--network=name=six,\"driver-opt=egress={policy}\"");
    let flags = [&network, "--name=box", "--cap-add=NET_ADMIN", "--dns=203.0.113.10"];
    let tries = "while :; do timeout 1 wget -q -O- http://[2001:db8:99::66]/ && echo LEAK; \
                 timeout 1 wget -q -O- http://[2001:db8:99::20]/; sleep 0.5; done";
    detached(host, isolation, &flags, &["sh", "-c", tries]);
    let inside = |host: &Host, name: &str, script: &str| {
        host.docker(&["exec", name, "sh", "-c", script]).ok()
    };
    let script = "for at in six.test [2001:db8:99::20]:81 [2001:db8:99::33] six.test:81 other.test \
         [2001:db8:99::33]:81 [2001:db8:99::66] rebound6.test 203.0.113.20 [fd00:77::1]:5000; do \
         timeout 1 wget -q -O /dev/null http://$at/ 2>/dev/null && echo $at; done; true";
    let allowed = "six.test\n[2001:db8:99::20]:81\n[2001:db8:99::33]";
    assert_eq!(inside(host, "box", script), allowed);
    let counted = dropped(host);
    for kind in ["Refused", "Host", "Names", "Addresses"] {
        assert_ne!(counted[kind], 0, "{kind}: {counted}");
    }

    // What its neighbours send is no matter of its rules.
    detached(host, Isolation::Process, &["--network=six", "--name=free"], &["sleep", "1000"]);
    let get = "timeout 5 wget -q -O- http://[2001:db8:99::66]/";
    assert_eq!(inside(host, "free", get), "hello");
    let address = |name| field(host, name, "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}");
    let ping = |from: &str| format!("ping -6 -c 1 -W 2 {from} >/dev/null && echo yes || echo no");
    assert_eq!(inside(host, "free", &ping(&address("box"))), "yes");
    assert_eq!(inside(host, "box", &ping(&address("free"))), "yes");

    // Another address is no way out, nor is that of a neighbour.
    let forged = counted["Forged"].as_u64();
    let claim = format!(
        "ip -6 addr add fd00:77::7777/64 dev eth0; sleep 2; {}; ip -6 addr del fd00:77::7777/64 dev eth0",
        ping("-I fd00:77::7777 2001:db8:99::20")
    );
    assert_eq!(inside(host, "box", &claim), "no");
    assert!(dropped(host)["Forged"].as_u64() > forged, "{forged:?}");
    assert_eq!(inside(host, "box", &ping("2001:db8:99::20")), "yes");

    holds_without_an_engine(host);
    assert_eq!(inside(host, "box", script), allowed);
    host.docker(&["rm", "-f", "box", "free"]).ok();
    no_rules_are_left(host);
    host.docker(&["network", "rm", "six"]).ok();
    drop(world);
}

/// What `box` says all the time is heard, and nothing else, while there is no engine.
#[track_caller]
fn holds_without_an_engine(host: &mut Host) {
    let hello = |host: &Host| host.docker(&["logs", "box"]).ok().matches("hello").count();
    let before = hello(host);
    host.engine.kill();
    thread::sleep(Duration::from_secs(4));
    host.engine.start();
    assert!(hello(host) > before, "what is allowed is allowed without an engine");
    assert!(!host.docker(&["logs", "box"]).ok().contains("LEAK"));
}

pub(crate) fn prometheus_reads_what_was_sent_in_vain(host: &mut Host, isolation: Isolation) {
    let engine = host.another_engine_with(&["--metrics-addr", "127.0.0.1:9324"]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let wall = format!("--isolation={isolation}");
    let words = ["run", "-d", &wall, "--name=box", "--network=name=bridge,driver-opt=egress=none"];
    engine.docker(&[&words[..], &[IMAGE, "sleep", "1000"]].concat()).ok();
    let to_host = "timeout 1 wget -q -O- http://10.99.9.1:9/; timeout 1 nslookup other.test; true";
    engine.docker(&["exec", "box", "sh", "-c", to_host]).ok();
    let page = engine.fetch_page("127.0.0.1:9324", "/metrics").expect("it answers");
    let number = |line: &str| {
        let line = page.lines().find_map(|one| one.strip_prefix(line));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    let host_services =
        "hull_egress_dropped_packets_total{container=\"box\",network=\"bridge\",reason=\"host\"}";
    let names = "hull_egress_untold_total{container=\"box\",what=\"names\"}";
    assert!(number(host_services) > Some(0) && number(names) > Some(0), "{page}");
}

fn dropped(host: &Host) -> Value {
    let (status, page) = host.engine.get("/containers/box/egress");
    assert_eq!(status, 200, "{page}");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    page[0]["Dropped"].clone()
}

#[track_caller]
fn no_rules_are_left(host: &Host) {
    let tables = host.engine.on_host("nft", &["list", "tables"]).ok();
    assert!(!tables.contains("hull-egress"), "{tables}");
}

/// What is beyond the host: a network with servers, to which the host forwards.
struct World {
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
    netns: File,
}

impl World {
    fn new(host: &Host) -> Self {
        let netns = File::from(sys::netns::make().expect("a network namespace"));
        let cable = || {
            let mut netlink = Netlink::open()?;
            netlink
                .add_veth("world0", &Peer { name: "w", mac: None, netns: Some(netns.as_fd()) })?;
            raise(&mut netlink, "world0", &[1], &[1])
        };
        host.engine.within(cable).expect("a cable to the world");
        let inside = || {
            let mut netlink = Netlink::open()?;
            raise(&mut netlink, "w", &[10, 11, 12, 20, 33, 66], &[0x10, 0x20, 0x33, 0x66])?;
            let device = netlink.index("w")?;
            netlink.replace_route(device, &Route::default_by([203, 0, 113, 1].into()))?;
            let streams = [80, 81].map(|port| TcpListener::bind(("::", port)));
            Ok((streams, UdpSocket::bind("203.0.113.10:53")?, UdpSocket::bind("203.0.113.66:53")?))
        };
        let (streams, first, second) =
            sys::netns::within(netns.as_fd(), inside).expect("servers of the world");
        let stop = Arc::<AtomicBool>::default();
        let mut servers = Vec::new();
        for listener in streams {
            let (listener, stop) = (listener.expect("a port"), Arc::clone(&stop));
            servers.push(thread::spawn(move || greet(&listener, &stop)));
        }
        for socket in [first, second] {
            let stop = Arc::clone(&stop);
            servers.push(thread::spawn(move || tell(&socket, &stop)));
        }
        Self { stop, servers, netns }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for server in self.servers.drain(..) {
            let _ = server.join();
        }
        // Its other end goes with it.
        let unplug = || {
            let mut netlink = Netlink::open()?;
            let device = netlink.index("w")?;
            netlink.delete_link(device)
        };
        let _ = sys::netns::within(self.netns.as_fd(), unplug);
    }
}

fn raise(netlink: &mut Netlink, device: &str, addresses: &[u8], six: &[u16]) -> io::Result<()> {
    let index = netlink.index(device)?;
    for (setting, value) in [("disable_ipv6", "0"), ("accept_dad", "0")] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/{setting}"), value)?;
    }
    for last in six {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, *last).into();
        netlink.add_address(index, Address { ip, prefix: 64 })?;
    }
    for last in addresses {
        netlink.add_address(index, Address { ip: [203, 0, 113, *last].into(), prefix: 24 })?;
    }
    netlink.set_up(index, true)
}

fn greet(listener: &TcpListener, stop: &AtomicBool) {
    listener.set_nonblocking(true).expect("a socket");
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
    }
}

fn tell(socket: &UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let mut query = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
        let mut answer = query[..length].to_vec();
        let known = known(&answer[12..]);
        answer[2..4].copy_from_slice(&[0x81, if known.is_some() { 0x80 } else { 0x83 }]);
        // Without the query's additional records.
        if let Some((length, kind, address, seconds)) = known {
            let end = 12 + length;
            answer.truncate(end + 4);
            answer[10..12].copy_from_slice(&[0, 0]);
            let asked = answer[end + 1] == kind;
            answer[7] = u8::from(asked);
            if asked {
                let size = u8::try_from(address.len()).expect("a few bytes");
                answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, seconds, 0, size]);
                answer.extend(address);
            }
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// What is known of the name that a query begins with: its length there, the type of its address, the
/// address and how many seconds that holds.
fn known(query: &[u8]) -> Option<(usize, u8, Vec<u8>, u8)> {
    let four = NAMES.iter().map(|(name, ip, seconds)| (*name, 1, ip.to_vec(), *seconds));
    let six = SIX.iter().map(|(name, ip, seconds)| {
        let ip: Ipv6Addr = ip.parse().expect("an address");
        (*name, 28, ip.octets().to_vec(), *seconds)
    });
    let mut all = four.chain(six);
    let (name, kind, address, seconds) = all.find(|(name, ..)| query.starts_with(&wire(name)))?;
    Some((wire(name).len(), kind, address, seconds))
}

/// A name as messages have it.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
