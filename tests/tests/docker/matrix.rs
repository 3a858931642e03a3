//! Who reaches whom: both walls on one bridge, from every place, by both protocols and families.
//!
//! Places are network namespaces, in which the test itself asks. That a datagram arrived and that the
//! answer came back is told by the answer of a port on which nobody listens: it is refused by whoever has
//! the address, and a port of the host's that led nowhere would say nothing.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use spec::Isolation;
use sys::netlink::{Address, Netlink, Peer, Route};
use tests::Host;
use tests::command::eventually;

use super::{detached, field};

/// Servers with the host's port for their 80/tcp and 81/udp.
const SERVERS: [(Isolation, &str, u16); 2] =
    [(Isolation::Process, "walled", 8101), (Isolation::Vm, "boxed", 8102)];
const HOST: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];
const OUTSIDE: [&str; 2] = ["192.0.2.2", "2001:db8:2::2"];

const BRIEFLY: Duration = Duration::from_millis(200);
/// In which a kernel says again that nobody listens.
const ONCE: Duration = Duration::from_millis(300);

/// Where somebody asks, and by which addresses the host is there.
struct Place {
    name: &'static str,
    netns: File,
    host: Vec<IpAddr>,
    /// Whether it reaches containers by their own addresses.
    direct: bool,
}

pub(crate) fn everybody_reaches_what_is_published_and_neighbours_each_other(host: &mut Host) {
    host.docker(&["network", "create", "--ipv6", "mixed"]).ok();
    host.docker(&["network", "create", "--ipv6", "apart"]).ok();
    for (isolation, name, port) in SERVERS {
        let (tcp, udp) = (format!("-p={port}:80"), format!("-p={port}:81/udp"));
        let flags = ["--network=mixed", &format!("--name={name}"), &tcp, &udp];
        let serve =
            format!("mkdir /www; echo {name} >/www/index.html; exec httpd -f -p 80 -h /www");
        detached(host, isolation, &flags, &["sh", "-c", &serve]);
    }
    let places = places(host);
    let own = SERVERS.map(|(_, name, port)| (name, port, addresses_of(host, name, "mixed")));
    for (name, port, _) in &own {
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port);
        eventually("it serves", || within(&places[0].netns, || fetches(at, name, true)));
    }
    let mut wrong = Vec::new();
    let mut probes = 0;
    for place in &places {
        for (name, port, addresses) in &own {
            let by_host = place.host.iter().map(|ip| (*ip, *port, *port, true));
            let direct = addresses.iter().map(|ip| (*ip, 80, 81, place.direct));
            for (ip, tcp, udp, want) in by_host.chain(direct) {
                let (tcp, udp) = (SocketAddr::new(ip, tcp), SocketAddr::new(ip, udp));
                let seen = within(&place.netns, || [fetches(tcp, name, want), refuses(udp, want)]);
                probes += seen.len();
                for (protocol, seen) in ["tcp", "udp"].into_iter().zip(seen) {
                    if seen != want {
                        wrong.push(format!("{name} from {}: {protocol} {ip}: {seen}", place.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "of {probes}:\n{}", wrong.join("\n"));
    println!("    {probes} probes");
    a_vm_reaches_itself_and_its_neighbour(host);
    unplug(&places[4].netns);
    host.docker(&["rm", "-f", "walled", "boxed", "near", "far"]).ok();
    host.docker(&["network", "rm", "mixed", "apart"]).ok();
}

/// What cannot be asked from a namespace: the VM's own view, by names and by the host's port.
fn a_vm_reaches_itself_and_its_neighbour(host: &Host) {
    let gateway = field(host, "boxed", "{{.NetworkSettings.Networks.mixed.Gateway}}");
    let script = format!(
        "for at in walled boxed {gateway}:8101 {gateway}:8102; do wget -q -O- http://$at/; done"
    );
    let seen = host.docker(&["exec", "boxed", "sh", "-c", &script]).ok();
    assert_eq!(seen, "walled\nboxed\nwalled\nboxed");
    let script = "wget -q -O- http://boxed/; wget -q -O- http://walled/";
    for (asker, want) in [("walled", "boxed\nwalled"), ("near", "boxed\nwalled"), ("far", "")] {
        assert_eq!(host.docker(&["exec", asker, "sh", "-c", script]).out.trim(), want, "{asker}");
    }
}

/// The host first, and the machine elsewhere last.
fn places(host: &Host) -> Vec<Place> {
    for (name, network) in [("near", "mixed"), ("far", "apart")] {
        let flags = [format!("--network={network}"), format!("--name={name}")];
        let flags = flags.each_ref().map(String::as_str);
        detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    }
    let of = |name: &str| {
        let id = field(host, name, "{{.Id}}");
        File::open(host.engine.exec_root().join("netns").join(id)).expect("it runs")
    };
    let gateways = |name: &str, network: &str| {
        ["Gateway", "IPv6Gateway"]
            .map(|key| {
                let text = format!("{{{{.NetworkSettings.Networks.{network}.{key}}}}}");
                field(host, name, &text).parse::<IpAddr>().expect("a gateway")
            })
            .to_vec()
    };
    let itself = File::open(format!("/proc/{}/ns/net", host.engine.pid())).expect("it runs");
    let outside = outside(host);
    // The kernel takes no answer to `::1` that was translated back on a bridge.
    let bridged = host.engine.on_host("cat", &["/proc/sys/net/bridge/bridge-nf-call-ip6tables"]);
    let mut loopback = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    if bridged.out.trim() != "1" {
        loopback.push(Ipv6Addr::LOCALHOST.into());
    }
    let addresses = HOST.map(|text| text.parse().expect("an address"));
    loopback.extend(addresses);
    let place = |name, netns, host, direct| Place { name, netns, host, direct };
    vec![
        place("the host", itself, loopback, true),
        place("the same network", of("near"), gateways("near", "mixed"), true),
        place("itself", of("walled"), gateways("near", "mixed"), true),
        place("another network", of("far"), gateways("far", "apart"), false),
        place("elsewhere", outside, addresses.to_vec(), false),
    ]
}

/// A machine that knows no way to containers but the host.
fn outside(host: &Host) -> File {
    let netns = File::from(sys::netns::make().expect("a network namespace"));
    let raise = |device: &str, addresses: [&str; 2]| {
        let mut netlink = Netlink::open()?;
        let index = netlink.index(device)?;
        for (text, prefix) in addresses.into_iter().zip([24, 64]) {
            let ip = text.parse().expect("an address");
            netlink.add_address(index, Address { ip, prefix })?;
        }
        netlink.set_up(index, true)
    };
    let cable = || {
        let peer = Peer { name: "out", mac: None, netns: Some(netns.as_fd()) };
        Netlink::open()?.add_veth("out0", &peer)?;
        raise("out0", HOST)
    };
    host.engine.within(cable).expect("a cable");
    let way = || {
        raise("out", OUTSIDE)?;
        let mut netlink = Netlink::open()?;
        let index = netlink.index("out")?;
        HOST.iter().try_for_each(|text| {
            let gateway = text.parse().expect("an address");
            netlink.replace_route(index, &Route::default_by(gateway))
        })
    };
    sys::netns::within(netns.as_fd(), way).expect("a way to the host");
    netns
}

fn unplug(netns: &File) {
    let delete = || {
        let mut netlink = Netlink::open()?;
        let index = netlink.index("out")?;
        netlink.delete_link(index)
    };
    sys::netns::within(netns.as_fd(), delete).expect("the cable's other end goes with it");
}

fn addresses_of(host: &Host, name: &str, network: &str) -> Vec<IpAddr> {
    let keys = ["IPAddress", "GlobalIPv6Address"];
    let each = keys.map(|key| {
        let text = field(host, name, &format!("{{{{.NetworkSettings.Networks.{network}.{key}}}}}"));
        text.parse().expect("an address")
    });
    each.to_vec()
}

fn within<T: Send>(netns: &File, ask: impl FnOnce() -> T + Send) -> T {
    sys::netns::within(netns.as_fd(), || Ok(ask())).expect("a thread")
}

/// Whether the server there gives the page; nobody waits long for what should not come.
fn fetches(at: SocketAddr, page: &str, wanted: bool) -> bool {
    let time = if wanted { Duration::from_secs(20) } else { BRIEFLY };
    let Ok(mut server) = TcpStream::connect_timeout(&at, time) else {
        return false;
    };
    let mut reply = String::new();
    let asked = server.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = server.set_read_timeout(Some(Duration::from_secs(20)));
    asked.and_then(|()| server.read_to_string(&mut reply)).is_ok()
        && reply.ends_with(&format!("\n{page}\n"))
}

/// Whether somebody there says that nobody listens; a kernel says so only about once a second.
fn refuses(at: SocketAddr, wanted: bool) -> bool {
    let any = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    let (time, times) = if wanted { (ONCE, 20) } else { (BRIEFLY, 1) };
    socket.set_read_timeout(Some(time)).expect("a time");
    socket.connect(at).is_ok()
        && (0..times).any(|_| {
            let told = socket.send(b"?").and_then(|_| socket.recv(&mut [0]));
            told.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
}
