//! IPv6 beside IPv4: addresses, names, ports, and where subnets come from.

use serde_json::Value;
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field, run};

/// Serves on port 80 who asks.
const SERVE: &str = r"mkdir -p /www/cgi-bin
    cat > /www/cgi-bin/who <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo $REMOTE_ADDR
END
    chmod +x /www/cgi-bin/who
    exec httpd -f -p 80 -h /www";

/// What the container at this address of the host answers to the host.
fn who(host: &Host, at: &str) -> Option<String> {
    let said = host.engine.fetch_page(at, "/cgi-bin/who")?;
    Some(said.trim().to_owned()).filter(|said| !said.is_empty())
}

pub(crate) fn a_network_has_addresses_of_both_families(host: &mut Host, isolation: Isolation) {
    let subnets = ["--ipv6", "--subnet=10.76.0.0/24", "--subnet=fd00:76::/64"];
    host.docker(&[&["network", "create"], &subnets[..], &["six"]].concat()).ok();
    let told =
        host.docker(&["network", "inspect", "-f", "{{.EnableIPv6}} {{.IPAM.Config}}", "six"]);
    assert_eq!(
        told.ok(),
        "true [{10.76.0.0/24  10.76.0.1 map[]} {fd00:76::/64  fd00:76::1 map[]}]"
    );
    let flags = ["--network=six", "--name=web", "--ip6=fd00:76::77", "-p=8076:80"];
    let web = detached(host, isolation, &flags, &["sh", "-c", SERVE]);
    let place = "{{with .NetworkSettings.Networks.six}}{{.GlobalIPv6Address}}/\
                 {{.GlobalIPv6PrefixLen}} {{.IPv6Gateway}} {{.IPAMConfig.IPv6Address}}{{end}}";
    assert_eq!(field(host, &web, place), "fd00:76::77/64 fd00:76::1 fd00:76::77");
    let inside = |script: &str| host.docker(&["exec", "web", "sh", "-c", script]).ok();
    assert!(inside("ip -6 addr show eth0").contains("inet6 fd00:76::77/64 scope global"));
    assert!(inside("ip -6 route").contains("default via fd00:76::1 dev eth0"));
    assert_eq!(inside("cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "0");
    let ports = host.docker(&["port", "web"]).ok();
    assert_eq!(ports, "80/tcp -> 0.0.0.0:8076\n80/tcp -> [::]:8076");

    // A neighbour behind the other wall finds it by name, in both families and backwards.
    let other = match isolation {
        Isolation::Process => Isolation::Vm,
        Isolation::Vm => Isolation::Process,
    };
    detached(host, other, &["--network=six", "--name=asker"], &["sleep", "1000"]);
    let asked = |words: &[&str]| host.docker(&[&["exec", "asker"], words].concat());
    let found = asked(&["nslookup", "web", "127.0.0.11"]).ok();
    for address in ["Address: fd00:76::77", "Address: 10.76.0."] {
        assert!(found.contains(address), "{found}");
    }
    let back = asked(&["nslookup", "fd00:76::77", "127.0.0.11"]).ok();
    assert!(back.contains("name = web.six"), "{back}");
    let names = asked(&["cat", "/etc/hosts"]).ok();
    assert!(names.contains("fd00:76::77\tweb"), "{names}");
    let own = field(host, "asker", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}");
    let direct = ["wget", "-q", "-O-", "http://[fd00:76::77]/cgi-bin/who"];
    eventually("the neighbour is answered", || asked(&direct).out.trim() == format!("[{own}]"));
    let hairpin = ["wget", "-q", "-O-", "http://[fd00:76::1]:8076/cgi-bin/who"];
    assert_eq!(asked(&hairpin).ok(), "[fd00:76::1]");
    assert_eq!(host.docker(&[&["exec", "web"], &hairpin[..]].concat()).ok(), "[fd00:76::1]");

    assert_eq!(who(host, "[fd00:76::1]:8076").as_deref(), Some("[fd00:76::1]"));
    assert!(who(host, "127.0.0.1:8076").is_some());
    loopback(host, isolation);
    elsewhere(host);
    host.engine.kill();
    assert!(who(host, "[fd00:76::1]:8076").is_some());
    host.engine.start();
    assert!(who(host, "[fd00:76::1]:8076").is_some());
    host.docker(&["rm", "-f", "web", "asker"]).ok();
    assert_eq!(who(host, "[fd00:76::1]:8076"), None);
    host.docker(&["network", "rm", "six"]).ok();
    let tables = host.engine.on_host("nft", &["list", "tables"]).ok();
    assert!(!tables.contains("hull-ports") && !tables.contains("hull-br-"), "{tables}");
}

/// `::1` is the host's own, and is answered where the kernel can.
fn loopback(host: &Host, isolation: Isolation) {
    let bridged = "net.bridge.bridge-nf-call-ip6tables";
    host.engine.on_host("sysctl", &["-qw", &format!("{bridged}=1")]).ok();
    let flags = ["--network=six", "-p=[::1]:8077:80", IMAGE, "true"];
    let said = run(host, isolation, &flags).fails(125);
    assert!(said.contains("write 0 to /proc/sys/net/bridge/bridge-nf-call-ip6tables"), "{said}");
    host.engine.on_host("sysctl", &["-qw", &format!("{bridged}=0")]).ok();
    let flags = ["--network=six", "--name=loop", "-p=[::1]:8077:80"];
    detached(host, isolation, &flags, &["sh", "-c", SERVE]);
    eventually("the loopback is answered", || {
        who(host, "[::1]:8077").as_deref() == Some("[fd00:76::1]")
    });
    // The other ports' table was made anew meanwhile.
    assert!(who(host, "[::1]:8076").is_some());
    assert_eq!(who(host, "[fd00:76::1]:8077"), None);
    host.docker(&["rm", "-f", "loop"]).ok();
    host.engine.on_host("sysctl", &["-qw", &format!("{bridged}=1")]).ok();
}

/// A machine elsewhere is seen by its own address, sees the host's, and reaches nothing else.
fn elsewhere(host: &Host) {
    let process = Isolation::Process;
    detached(host, process, &["--name=far", "--network=none"], &["sh", "-c", SERVE]);
    let pid = field(host, "far", "{{.State.Pid}}");
    let ip = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        host.engine.on_host(words[0], &words[1..]).ok()
    };
    ip("ip link add far0 type veth peer name far1");
    ip(&format!("ip link set far1 netns {pid}"));
    ip("ip addr add fd00:98::1/64 dev far0 nodad");
    ip("ip link set far0 up");
    ip(&format!("nsenter -t {pid} -n ip addr add fd00:98::2/64 dev far1 nodad"));
    ip(&format!("nsenter -t {pid} -n ip link set far1 up"));
    ip(&format!("nsenter -t {pid} -n ip route add fd00:76::/64 via fd00:98::1"));
    let fetch = |name: &str, at: &str| {
        let url = format!("http://{at}/cgi-bin/who");
        host.docker(&["exec", name, "timeout", "3", "wget", "-q", "-O-", &url])
    };
    assert_eq!(fetch("far", "[fd00:98::1]:8076").ok(), "[fd00:98::2]");
    assert_eq!(fetch("web", "[fd00:98::2]").ok(), "[fd00:98::1]");
    assert_ne!(fetch("far", "[fd00:76::77]").code, 0, "a port that is not published");
    host.docker(&["rm", "-f", "far"]).ok();
}

pub(crate) fn networks_have_subnets_that_nobody_uses(host: &mut Host) {
    let pools = ["base=10.91.0.0/16,size=24", "base=fd00:91::/48,size=64"];
    let pools = pools.map(|pool| format!("--default-address-pool={pool}"));
    let second = host.another_engine_with(&[&pools[0], &pools[1]]);
    // The host has a route to the first of each, and no address there.
    for route in ["10.91.0.0/25", "fd00:91::/72"] {
        second.on_host("ip", &["route", "add", route, "dev", "lo"]).ok();
    }
    second.docker(&["network", "create", "--ipv6", "own"]).ok();
    let told = second.docker(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
        "own",
    ]);
    assert_eq!(told.ok(), "10.91.1.0/24 fd00:91:0:1::/64");
    let fixed = ["--ip6=fd00:91:0:1::9", "--network=own", "127.0.0.1:5000/busybox", "true"];
    let said = second.docker(&[&["run", "--rm"], &fixed[..]].concat()).fails(125);
    assert!(
        said.contains("only when connecting to networks with user configured subnets"),
        "{said}"
    );
    second.docker(&["network", "rm", "own"]).ok();
    for route in ["10.91.0.0/25", "fd00:91::/72"] {
        second.on_host("ip", &["route", "del", route, "dev", "lo"]).ok();
    }
    // Without a pool of the administrator's it is one of the engine's own.
    let list = |name: &str| {
        let (_, page) = host.engine.get(&format!("/networks/{name}"));
        let page: Value = serde_json::from_str(&page).expect("JSON");
        page["IPAM"]["Config"][1]["Subnet"].as_str().map(str::to_owned)
    };
    host.docker(&["network", "create", "--ipv6", "one"]).ok();
    host.docker(&["network", "create", "--ipv6", "two"]).ok();
    host.docker(&["network", "create", "none6"]).ok();
    let (one, two) = (list("one").expect("a subnet"), list("two").expect("a subnet"));
    assert!(one.starts_with("fd") && one.ends_with("::/64") && one != two, "{one} {two}");
    assert_eq!(list("none6"), None);
    let said = run(host, Isolation::Process, &["--network=none6", "--ip6=fd00::9", IMAGE, "true"]);
    assert!(said.fails(125).contains("network none6 has no IPv6"));
    host.docker(&["network", "rm", "one", "two", "none6"]).ok();
}

pub(crate) fn the_default_network_has_ipv6_if_the_engine_is_told(host: &mut Host) {
    let second = host.another_engine_with(&["--ipv6", "--fixed-cidr-v6=fd00:92::/64"]);
    let script = "ip -6 addr show eth0; ip -6 route; cat /etc/hosts";
    let flags = ["run", "--rm", "--add-host=up:host-gateway", IMAGE, "sh", "-c", script];
    second.docker(&["pull", "-q", IMAGE]).ok();
    let out = second.docker(&flags).ok();
    for want in ["inet6 fd00:92::2/64", "default via fd00:92::1", "fd00:92::1\tup", "10.99.9.1\tup"]
    {
        assert!(out.contains(want), "{want}: {out}");
    }
    let told = second.docker(&["network", "inspect", "-f", "{{.EnableIPv6}}", "bridge"]).ok();
    assert_eq!(told, "true");
}

pub(crate) fn neighbours_are_kept_apart_if_asked(host: &mut Host) {
    let apart = "com.docker.network.bridge.enable_icc=false";
    host.docker(&["network", "create", "--subnet=10.74.0.0/24", "-o", apart, "apart"]).ok();
    let flags = ["--network=apart", "--name=shut", "-p=8074:80"];
    detached(host, Isolation::Process, &flags, &["sh", "-c", SERVE]);
    eventually("it answers the host", || who(host, "127.0.0.1:8074").is_some());
    let fetch = |at: &str| {
        let url = format!("http://{at}/cgi-bin/who");
        let words = ["--network=apart", IMAGE, "timeout", "3", "wget", "-q", "-O-", &url];
        run(host, Isolation::Process, &words)
    };
    assert_ne!(fetch("shut").code, 0);
    host.docker(&["rm", "-f", "shut"]).ok();
    host.docker(&["network", "rm", "apart"]).ok();
}
