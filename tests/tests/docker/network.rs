//! The default bridge, and no network at all.

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field, run};

const ADDRESS: &str = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
const GATEWAY: &str = "{{.NetworkSettings.Networks.bridge.Gateway}}";

pub(crate) fn a_container_without_a_network_has_only_a_loopback(
    host: &mut Host,
    isolation: Isolation,
) {
    let script = "ls /sys/class/net 2>/dev/null || ip -o link | cut -d: -f2 | tr -d ' '; \
                  ping -c 1 -W 5 127.0.0.1 >/dev/null && echo up; ip route | wc -l";
    let seen = run(host, isolation, &["--network", "none", IMAGE, "sh", "-c", script]).ok();
    assert_eq!(seen, "lo\nup\n0");
}

pub(crate) fn a_server_in_a_container_answers_the_host(host: &mut Host, isolation: Isolation) {
    let script = "echo behind the wall >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let id = detached(host, isolation, &[], &["sh", "-c", script]);
    let address = format!("{}:8080", field(host, &id, ADDRESS));
    eventually("httpd answers", || {
        host.engine.fetch(&address).as_deref() == Some("behind the wall\n")
    });
}

pub(crate) fn containers_behind_different_walls_reach_each_other(host: &mut Host) {
    let process = detached(host, Isolation::Process, &[], &["sleep", "1000"]);
    let vm = detached(host, Isolation::Vm, &[], &["sleep", "1000"]);
    for (from, to) in [(&process, &vm), (&vm, &process)] {
        for address in [field(host, to, ADDRESS), field(host, from, GATEWAY)] {
            let ping = host.docker(&["exec", from, "ping", "-c", "1", "-W", "10", &address]);
            assert_eq!(ping.code, 0, "{ping}");
        }
    }
}
