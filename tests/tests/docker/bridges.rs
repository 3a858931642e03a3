//! Options of bridges, as Docker spells them.

use spec::Isolation;
use tests::Host;
use tests::command::{Ran, eventually, run as begin};
use tests::host::IMAGE;
use tests::programs::program;

use super::{detached, run};

const SERVE: &str = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
const IFNAME: &str = "driver-opt=com.docker.network.endpoint.ifname";

fn create(host: &Host, words: &[&str]) -> Ran {
    host.docker(&[&["network", "create"], words].concat())
}

pub(crate) fn ports_are_where_their_network_says(host: &mut Host, isolation: Isolation) {
    let option = "com.docker.network.bridge.host_binding_ipv4";
    let said = create(host, &["-o", &format!("{option}=here"), "near"]).fails(1);
    assert!(said.contains(&format!("{option}: \"here\" is no IPv4 address")), "{said}");
    let subnet = "--subnet=10.78.0.0/24";
    create(host, &[subnet, "-o", &format!("{option}=127.0.0.1"), "near"]).ok();
    let flags = ["--network=near", "--name=web", "-p=8093:80", "-p=10.78.0.1:8094:80"];
    detached(host, isolation, &flags, &["sh", "-c", SERVE]);
    let ports = |host: &Host| {
        let all = host.docker(&["port", "web"]).ok();
        let mut all: Vec<_> = all.lines().map(str::to_owned).collect();
        all.sort();
        all.join(", ")
    };
    let said = "80/tcp -> 10.78.0.1:8094, 80/tcp -> 127.0.0.1:8093";
    assert_eq!(ports(host), said);
    let hello = |host: &Host, at: &str| host.engine.fetch(at).as_deref() == Some("hello\n");
    eventually("it is where the network says", || hello(host, "127.0.0.1:8093"));
    assert!(!hello(host, "10.78.0.1:8093") && hello(host, "10.78.0.1:8094"));

    // Those that come later are there too, and are found again.
    let hull = |words: &[&str]| {
        begin(host.engine.other_client(&program("hull").to_string_lossy(), words), b"")
    };
    hull(&["port", "add", "web", "8095:80"]).ok();
    assert_eq!(ports(host), format!("{said}, 80/tcp -> 127.0.0.1:8095"));
    hull(&["port", "rm", "web", "8095:80"]).ok();
    assert_eq!(ports(host), said);
    host.docker(&["restart", "-t=0", "web"]).ok();
    assert_eq!(ports(host), said);
    host.docker(&["rm", "-f", "web"]).ok();
    host.docker(&["network", "rm", "near"]).ok();
}

pub(crate) fn a_bridge_may_be_without_the_host(host: &mut Host, isolation: Isolation) {
    let mode = "com.docker.network.bridge.gateway_mode_ipv4=isolated";
    let said = create(host, &["-o", mode, "bare"]).fails(1);
    assert!(said.contains("\"isolated\" is for internal networks: add --internal"), "{said}");
    let six = "com.docker.network.bridge.gateway_mode_ipv6=isolated";
    for words in [
        &["-o", "com.docker.network.bridge.inhibit_ipv4=true"][..],
        &["--internal", "--ipv6", "-o", mode, "-o", six],
    ] {
        let id = create(host, &[words, &["bare"]].concat()).ok();
        let bridge = format!("br-{}", &id[..12]);
        detached(host, isolation, &["--network=bare", "--name=web"], &["sh", "-c", SERVE]);
        let families = if words.contains(&six) { &["-4", "-6"][..] } else { &["-4"] };
        for family in families {
            let show = [*family, "-o", "addr", "show", "dev", &bridge];
            assert_eq!(host.engine.on_host("ip", &show).ok(), "", "{words:?}");
        }
        let ask = "for i in 1 2 3 4 5 6 7 8 9; do timeout 2 wget -q -O- http://web/ && exit; \
                   sleep 0.3; done";
        let answer = run(host, Isolation::Process, &["--network=bare", IMAGE, "sh", "-c", ask]);
        assert_eq!(answer.ok(), "hello", "{words:?}");
        host.docker(&["rm", "-f", "web"]).ok();
        host.docker(&["network", "rm", "bare"]).ok();
    }
}

pub(crate) fn devices_are_called_as_wished(host: &mut Host, isolation: Isolation) {
    create(host, &["-o", "com.docker.network.container_iface_prefix=net", "front"]).ok();
    create(host, &["back"]).ok();
    let wish = |network: &str, name: &str| format!("--network=name={network},{IFNAME}={name}");
    let said = run(host, isolation, &[&wish("back", "lo"), IMAGE, "true"]).fails(125);
    assert!(said.contains("lo: that is another device's"), "{said}");
    if isolation == Isolation::Vm {
        let said = run(host, isolation, &["--network=front", IMAGE, "true"]).fails(125);
        assert!(said.contains("net0: on network front behind the wall of a VM"), "{said}");
        let said = run(host, isolation, &[&wish("back", "uplink"), IMAGE, "true"]).fails(125);
        assert!(said.contains("its interfaces are called eth0, eth1"), "{said}");
        let show = ["ip", "-o", "link", "show", "eth1"];
        let second = wish("back", "eth1");
        let words = [&[&second, IMAGE], &show[..]].concat();
        assert!(run(host, isolation, &words).ok().contains("eth1: "));
    } else {
        let (one, other) = (wish("back", "net0"), "--network=front");
        let flags = ["--name=box", &one, other];
        detached(host, isolation, &flags, &["sleep", "1000"]);
        let addresses = |host: &Host| {
            host.docker(&["exec", "box", "sh", "-c", "ip -o -4 addr | cut -d' ' -f2"]).ok()
        };
        // Who wishes for none leaves what others wish for.
        assert_eq!(addresses(host), "lo\nnet0\nnet1");
        create(host, &["side"]).ok();
        let taken = format!("{}=net1", IFNAME.trim_start_matches("driver-opt="));
        let connect = ["network", "connect", "--driver-opt", &taken, "side", "box"];
        let said = host.docker(&connect).fails(1);
        assert!(said.contains("net1 is taken: the container's device on network front"), "{said}");
        host.docker(&["network", "connect", "side", "box"]).ok();
        assert_eq!(addresses(host), "lo\nnet0\nnet1\neth0");
        host.docker(&["restart", "-t=0", "box"]).ok();
        let inspect = "{{index .NetworkSettings.Networks.back.DriverOpts \"com.docker.network.endpoint.ifname\"}}";
        assert_eq!(super::field(host, "box", inspect), "net0");
        host.docker(&["rm", "-f", "box"]).ok();
        host.docker(&["network", "rm", "side"]).ok();
    }
    host.docker(&["network", "rm", "front", "back"]).ok();
}
