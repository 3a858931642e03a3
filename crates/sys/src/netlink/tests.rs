//! Against the real kernel, in network namespaces of their own; these need root.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::*;
use crate::netns;

fn address(text: &str, prefix: u8) -> Address {
    Address { ip: text.parse().expect("an address"), prefix }
}

/// Runs `work` in a new namespace, or says why not.
fn in_new_namespace(work: impl FnOnce(&mut Netlink) -> io::Result<()> + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let netns = netns::make().expect("a namespace");
    netns::within(netns.as_fd(), || work(&mut Netlink::open()?)).expect("in the namespace");
}

#[test]
fn a_veth_crosses_to_another_namespace_and_carries_routes() {
    in_new_namespace(|near| {
        let far = netns::make()?;
        let mac = Mac([2, 0x42, 0, 0, 0, 7]);
        near.add_bridge("br0", None)?;
        near.add_veth("v0", &Peer { name: "eth0", mac: Some(mac), netns: Some(far.as_fd()) })?;
        let (bridge, port) = (near.index("br0")?, near.index("v0")?);
        near.set_master(port, bridge)?;
        near.add_address(bridge, address("10.9.0.1", 24))?;
        near.set_up(bridge, true)?;
        near.set_up(port, true)?;
        assert_eq!(near.link("v0")?.map(|link| (link.master, link.up)), Some((Some(bridge), true)));
        assert_eq!(near.addresses(bridge)?, [address("10.9.0.1", 24)]);

        netns::within(far.as_fd(), || {
            let mut far = Netlink::open()?;
            let eth0 = far.link("eth0")?.expect("born there");
            assert_eq!((eth0.mac, eth0.mtu, eth0.up), (Some(mac), 1500, false));
            far.set_up(eth0.index, true)?;
            far.add_address(eth0.index, address("10.9.0.2", 24))?;
            let gateway: IpAddr = "10.9.0.1".parse().expect("an address");
            far.add_route(eth0.index, &Route::default_by(gateway))?;
            assert_eq!(far.routes(eth0.index)?, [Route::default_by(gateway)]);
            far.delete_route(eth0.index, &Route::default_by(gateway))?;
            assert_eq!(far.routes(eth0.index)?, []);
            assert!(far.links()?.iter().any(|link| link.name == "lo"));
            Ok(())
        })?;

        near.delete_link(port)?;
        assert_eq!(near.link("v0")?, None);
        Ok(())
    });
}

#[test]
fn what_is_there_already_is_said_to_exist() {
    in_new_namespace(|net| {
        net.add_bridge("br0", None)?;
        let again = net.add_bridge("br0", None).expect_err("taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(net.index("none").expect_err("absent").raw_os_error(), Some(libc::ENODEV));
        Ok(())
    });
}

#[test]
fn a_redirection_can_be_made_once_and_undone() {
    in_new_namespace(|net| {
        net.add_veth("a", &Peer { name: "b", mac: None, netns: None })?;
        let (a, b) = (net.index("a")?, net.index("b")?);
        net.redirect(a, b)?;
        assert_eq!(net.redirect(a, b).expect_err("twice").kind(), io::ErrorKind::AlreadyExists);
        net.undo_redirect(a)?;
        assert!(net.undo_redirect(a).is_err());
        net.redirect(a, b)
    });
}

#[test]
fn a_shape_holds_back_what_is_more_than_it_lets_through() {
    in_new_namespace(|net| {
        net.add_veth("a", &Peer { name: "b", mac: None, netns: None })?;
        let (a, b) = (net.index("a")?, net.index("b")?);
        net.add_address(a, address("10.9.1.1", 24))?;
        // Whoever it is for is not asked for: its card is known, and does not answer.
        net.set_up(a, true)?;
        net.set_up(b, true)?;
        net.shape(a, Shape { rate: 1000, burst: 3000, waiting: 2000 })?;
        net.shape(a, Shape { rate: 6 << 30, burst: 4000, waiting: 2000 })?;
        net.shape(a, Shape { rate: 1000, burst: 4000, waiting: 2000 })?;
        let socket = std::net::UdpSocket::bind("10.9.1.1:0")?;
        socket.set_broadcast(true)?;
        let started = std::time::Instant::now();
        for _ in 0..100 {
            // What finds no room is dropped, of which a sender may hear.
            let _ = socket.send_to(&[0; 958], "10.9.1.255:9");
        }
        let sent = sent_by("a")?;
        // 1000 bytes each; the kernel itself sends a few.
        let most = 5000 + u64::try_from(started.elapsed().as_millis()).expect("a short time");
        assert!((3000..=most).contains(&sent), "{sent} of at most {most}");
        net.unshape(a)?;
        assert!(net.unshape(a).is_err());
        Ok(())
    });
}

/// The bytes that the interface has sent, as the namespace of the thread counts them.
fn sent_by(name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
    Ok(line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).expect("a count"))
}
