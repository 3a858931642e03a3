//! How fast a container may receive and send.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::{detached, field};

const ADDRESS: &str = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
const OPTIONS: &str = "{{json .NetworkSettings.Networks.bridge.DriverOpts}}";
/// 4 mbit, in bytes a second.
const RATE: u64 = 500_000;
/// What is sent, in bytes.
const SIZE: usize = 1000 << 10;

pub(crate) fn a_container_receives_and_sends_no_faster_than_it_may(
    host: &mut Host,
    isolation: Isolation,
) {
    let network = "--network=name=bridge,driver-opt=rate-in=4mbit,driver-opt=rate-out=4mbit";
    let serve = "mkdir /www; dd if=/dev/zero of=/www/index.html bs=1024 count=1000 2>/dev/null; \
                 httpd -p 80 -h /www; while :; do nc -l -p 9 | wc -c >/new; mv /new /got; done";
    detached(host, isolation, &[network, "--name=box"], &["sh", "-c", serve]);
    assert_eq!(options(host), json!({ "rate-in": "4mbit", "rate-out": "4mbit" }));
    let address = field(host, "box", ADDRESS);
    let at = |port: u16| format!("{address}:{port}");
    eventually("it serves", || host.engine.within(|| TcpStream::connect(at(80))).is_ok());
    // What a second lets through may go at once; no time can be too long.
    let least = Duration::from_millis((SIZE as u64 - RATE) * 1000 / RATE);
    let begun = Instant::now();
    let page = host.engine.fetch(&at(80)).expect("a page");
    let took = begun.elapsed();
    assert!(page.len() == SIZE && took >= least, "{} bytes sent in {took:?}", page.len());
    let begun = Instant::now();
    give(host, &at(9));
    assert!(begun.elapsed() >= least, "{SIZE} bytes received in {:?}", begun.elapsed());

    // Others hold at once, also when another engine takes over, and none when none is wanted.
    update(host, &json!({ "Out": "none", "In": "1gbit" }));
    assert_eq!(options(host), json!({ "rate-in": "1gbit" }));
    assert!(!tables(host).contains("hull-rate"), "{}", tables(host));
    update(host, &json!({ "Out": "20mbit" }));
    host.engine.kill();
    host.engine.start();
    assert_eq!(options(host), json!({ "rate-in": "1gbit", "rate-out": "20mbit" }));
    let disciplines = host.engine.on_host("tc", &["qdisc", "show"]).ok();
    assert!(
        disciplines.contains("tbf 1: dev veth-") && disciplines.contains("rate 1Gbit"),
        "{disciplines}"
    );
    assert!(tables(host).contains("hull-rate-hull0-veth-"), "{}", tables(host));
    let wrong = json!({ "NetworkRates": { "In": "fast" } });
    let (status, said) = host.engine.post("/containers/box/update", &wrong);
    assert!(
        status == 400 && said.contains("invalid rate \\\"fast\\\": want bits a second"),
        "{said}"
    );
    host.docker(&["rm", "-f", "box"]).ok();
    assert!(!tables(host).contains("hull-rate"), "{}", tables(host));
}

/// Has the server take in so much, and waits until it has.
fn give(host: &Host, at: &str) {
    let mut server = host.engine.within(|| TcpStream::connect(at)).expect("it listens");
    server.write_all(&vec![0; SIZE]).expect("it reads");
    server.shutdown(Shutdown::Write).expect("it is connected");
    let got = SIZE.to_string();
    eventually("all of it is there", || {
        host.docker(&["exec", "box", "cat", "/got"]).out.trim() == got
    });
}

fn update(host: &Host, rates: &Value) {
    let (status, said) =
        host.engine.post("/containers/box/update", &json!({ "NetworkRates": rates }));
    assert_eq!(status, 200, "{said}");
}

fn options(host: &Host) -> Value {
    serde_json::from_str(&field(host, "box", OPTIONS)).expect("JSON")
}

fn tables(host: &Host) -> String {
    host.engine.on_host("nft", &["list", "tables"]).ok()
}
