//! Bridges and namespaces against the kernel, in a network namespace of each test's own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use network::{Bridge, Endpoint, Layout, Namespace, Namespaces, Plan, Subnet, Wish};
use spec::{ContainerId, Kind};
use sys::netlink::{Address, Netlink, Peer, Route};

const PORT: u16 = 7;
const NO_RATES: network::Rates = network::Rates { into: None, out: None };
const WISH: Wish<'static> = Wish {
    interface: "eth0",
    address: None,
    address6: None,
    mac: None,
    egress: None,
    rates: NO_RATES,
};

/// Runs `test` in a fresh "host": a network namespace with `lo` alone, and a directory for the
/// containers' namespaces.
fn on_a_host(test: impl FnOnce(&Namespaces) + Send) {
    if !is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::at(dir.path().join("netns")).expect("a directory");
    let host = sys::netns::make().expect("a namespace");
    sys::netns::within(host.as_fd(), || {
        let mut netlink = Netlink::open()?;
        let lo = netlink.index("lo")?;
        netlink.set_up(lo, true)?;
        test(&namespaces);
        Ok(())
    })
    .expect("inside");
    assert_eq!(namespaces.list().expect("a directory"), [], "namespaces left behind");
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.contains("\nUid:\t0\t0\t"))
}

fn id(text: &str) -> ContainerId {
    text.parse().expect("legal")
}

fn bridge(name: &str) -> Bridge {
    Bridge::ensure(&name.parse().expect("legal"), plan("10.77.0.0/24")).expect("a bridge")
}

fn plan(subnet: &str) -> Plan {
    Layout::from(subnet.parse::<Subnet>().expect("legal")).into()
}

fn join(bridge: &Bridge, namespaces: &Namespaces, name: &str) -> (Namespace, Endpoint) {
    let namespace = namespaces.create(&id(name)).expect("a namespace");
    let endpoint = bridge.attach(&id(name), &namespace, &WISH).expect("a place");
    namespace.set_gateway(&id(name), &endpoint).expect("a way out");
    (namespace, endpoint)
}

fn leave(bridge: &Bridge, namespaces: &Namespaces, name: &str, endpoint: &Endpoint) {
    namespaces.delete(&id(name)).expect("deleted");
    bridge.detach(&id(name), None, endpoint);
}

fn links() -> Vec<String> {
    let links = Netlink::open().and_then(|mut netlink| netlink.links()).expect("links");
    links.into_iter().map(|link| link.name).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 5 s: {what}");
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Connects from namespace `from` to a listener at `to` in namespace `at`, and gives the address
/// that the listener saw. A busy machine may need seconds for what takes it microseconds at rest.
fn call(from: BorrowedFd<'_>, at: BorrowedFd<'_>, to: Ipv4Addr) -> io::Result<SocketAddr> {
    call_within(Duration::from_secs(20), from, at, to)
}

fn call_within(
    limit: Duration,
    from: BorrowedFd<'_>,
    at: BorrowedFd<'_>,
    to: Ipv4Addr,
) -> io::Result<SocketAddr> {
    let (ready, listening) = mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let listener = sys::netns::within(at, || TcpListener::bind((to, PORT)))?;
            listener.set_nonblocking(true)?;
            ready.send(()).expect("the caller waits");
            let deadline = Instant::now() + limit;
            while Instant::now() < deadline {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        stream.write_all(b"x")?;
                        return Ok(peer);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(10));
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(io::ErrorKind::TimedOut.into())
        });
        if listening.recv().is_ok() {
            let to = SocketAddr::from((to, PORT));
            let connect = || TcpStream::connect_timeout(&to, limit);
            if let Ok(mut stream) = sys::netns::within(from, connect) {
                stream.read_exact(&mut [0])?;
            }
        }
        server.join().expect("no panic")
    })
}

/// A machine beyond the host: a namespace with 10.99.0.2, the host being 10.99.0.1, its router.
fn world() -> io::Result<OwnedFd> {
    let at = |last| Address { ip: Ipv4Addr::new(10, 99, 0, last).into(), prefix: 24 };
    let world = sys::netns::make()?;
    let mut host = Netlink::open()?;
    host.add_veth("uplink", &Peer { name: "eth0", mac: None, netns: Some(world.as_fd()) })?;
    let uplink = host.index("uplink")?;
    host.add_address(uplink, at(1))?;
    host.set_up(uplink, true)?;
    sys::netns::within(world.as_fd(), || {
        let mut netlink = Netlink::open()?;
        let eth0 = netlink.index("eth0")?;
        netlink.add_address(eth0, at(2))?;
        netlink.set_up(eth0, true)?;
        netlink.add_route(eth0, &Route::default_by(at(1).ip))
    })?;
    Ok(world)
}

fn here() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace").into()
}

#[test]
fn containers_reach_each_other_and_their_gateway() {
    on_a_host(|namespaces| {
        let bridge = bridge("hull0");
        let (a, at_a) = join(&bridge, namespaces, "a");
        let (b, at_b) = join(&bridge, namespaces, "b");
        assert_eq!(at_a.address, Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(at_b.address, Ipv4Addr::new(10, 77, 0, 3));

        let seen = call(a.as_fd(), b.as_fd(), at_b.address).expect("a to b");
        assert_eq!(seen.ip(), at_a.address, "no translation between containers");
        call(b.as_fd(), here().as_fd(), at_b.gateway.expect("a way out")).expect("b to the host");
        call(here().as_fd(), a.as_fd(), at_a.address).expect("the host to a");

        leave(&bridge, namespaces, "a", &at_a);
        leave(&bridge, namespaces, "b", &at_b);
    });
}

#[test]
fn the_world_sees_the_host_and_cannot_call_a_container() {
    on_a_host(|namespaces| {
        let world = world().expect("a world");
        let bridge = bridge("hull0");
        let (a, at_a) = join(&bridge, namespaces, "a");

        let seen = call(a.as_fd(), world.as_fd(), Ipv4Addr::new(10, 99, 0, 2)).expect("a out");
        assert_eq!(seen.ip(), Ipv4Addr::new(10, 99, 0, 1), "masqueraded");
        let soon = Duration::from_secs(2);
        let answer = call_within(soon, world.as_fd(), a.as_fd(), at_a.address);
        assert!(answer.is_err(), "{answer:?}");

        leave(&bridge, namespaces, "a", &at_a);
    });
}

#[test]
fn nothing_is_left_once_all_is_removed_and_foreign_rules_are_untouched() {
    on_a_host(|namespaces| {
        nft(&[
            "add table inet mine; add chain inet mine c { type filter hook forward priority 5; }",
        ]);
        let foreign = nft(&["list", "ruleset"]);
        let bridge = bridge("hull0");
        assert!(nft(&["list", "tables"]).contains("hull-hull0"));
        let (a, at_a) = join(&bridge, namespaces, "a");
        drop(a);
        assert_eq!(bridge.remove().map_err(|e| e.to_string()), Ok(false), "it is in use");

        leave(&bridge, namespaces, "a", &at_a);
        leave(&bridge, namespaces, "a", &at_a); // once more changes nothing
        assert_eq!(bridge.remove().map_err(|e| e.to_string()), Ok(true));
        until("the kernel destroyed the namespace's devices", || links() == ["lo"]);
        assert_eq!(nft(&["list", "ruleset"]), foreign);
    });
}

#[test]
fn a_namespace_without_a_network_has_only_a_loopback_that_works() {
    on_a_host(|namespaces| {
        let namespace = namespaces.create(&id("none")).expect("a namespace");
        let names = sys::netns::within(namespace.as_fd(), || Ok(links())).expect("inside");
        assert_eq!(names, ["lo"]);
        call(namespace.as_fd(), namespace.as_fd(), Ipv4Addr::LOCALHOST).expect("lo is up");
        namespaces.delete(&id("none")).expect("deleted");
        let error = namespaces.open(&id("none")).expect_err("it is gone");
        assert_eq!(error.kind(), Kind::NotFound);
    });
}

#[test]
fn a_restarted_engine_finds_the_bridge_and_keeps_addresses_apart() {
    on_a_host(|namespaces| {
        let first = bridge("hull0");
        let (a, at_a) = join(&first, namespaces, "a");
        drop(first);

        let second = bridge("hull0");
        second.adopt(&id("a"), &at_a).expect("a's own");
        let (b, at_b) = join(&second, namespaces, "b");
        assert_ne!(at_a.address, at_b.address);
        call(b.as_fd(), a.as_fd(), at_a.address).expect("the old one still answers");
        let error = second.adopt(&id("c"), &at_b).expect_err("it is b's");
        assert_eq!(error.kind(), Kind::Conflict);

        leave(&second, namespaces, "a", &at_a);
        leave(&second, namespaces, "b", &at_b);
    });
}

#[test]
fn what_a_dead_engine_left_half_made_is_replaced() {
    on_a_host(|namespaces| {
        let first = bridge("hull0");
        let (stale, _) = join(&first, namespaces, "a");
        drop(first);

        // Nothing was recorded: the same address, device and namespace are made anew.
        let second = bridge("hull0");
        let (a, at_a) = join(&second, namespaces, "a");
        assert_eq!(at_a.veth, "veth-0a4d0002");
        call(here().as_fd(), a.as_fd(), at_a.address).expect("the new one answers");
        drop(stale);
        leave(&second, namespaces, "a", &at_a);
    });
}

#[test]
fn a_bridge_never_takes_a_device_or_a_network_that_the_host_uses() {
    on_a_host(|_| {
        let mut netlink = Netlink::open().expect("netlink");
        netlink.add_veth("taken", &Peer { name: "other", mac: None, netns: None }).expect("veth");
        let taken = netlink.index("taken").expect("it is there");
        let address = Address { ip: Ipv4Addr::new(10, 77, 8, 1).into(), prefix: 24 };
        netlink.add_address(taken, address).expect("an address");

        let ensure = |name: &str, subnet: &str| {
            let name = name.parse().expect("legal");
            let error = Bridge::ensure(&name, plan(subnet)).expect_err("refused");
            assert_eq!(error.kind(), Kind::Conflict);
            error.to_string()
        };
        assert_eq!(
            ensure("hull0", "10.77.0.0/16"),
            "10.77.0.0/16 is in use by taken (10.77.8.1/24); choose another with --subnet"
        );
        assert_eq!(
            ensure("taken", "10.78.0.0/16"),
            "taken exists and is no bridge; name another with --bridge"
        );
        assert!(!links().contains(&"hull0".to_owned()), "refused before anything was made");
    });
}
