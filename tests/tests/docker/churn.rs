//! Networks whose containers come and go all the time, and an engine that does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::client::Client;
use super::detached;

/// How many clients ask at once.
const CLIENTS: usize = 8;
/// What is known of a name that nobody has.
const NOWHERE: [Ipv4Addr; 0] = [];
/// Where each container's name server is.
const NAME_SERVER: &str = "127.0.0.11:53";

/// `HULL_SOAK_CONTAINERS` is how many.
pub(crate) fn a_name_is_known_as_long_as_its_container_runs(host: &mut Host) {
    let count = wanted("HULL_SOAK_CONTAINERS", 30);
    host.docker(&["network", "create", "--internal", "crowd"]).ok();
    let flags = ["--network=crowd", "--name=asker"];
    let asker = detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    let netns = host.engine.exec_root().join("netns").join(&asker);
    let client = Client::of(&host.engine);
    // All come, so many at a time, before the first goes.
    for step in [comes, goes] {
        let next = AtomicUsize::new(0);
        let work = || {
            while let number @ 1.. = count.saturating_sub(next.fetch_add(1, Ordering::Relaxed)) {
                step(&client, &netns, &format!("guest-{number}"));
            }
        };
        thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(work))));
    }
    let known = host.docker(&["exec", "asker", "cat", "/etc/hosts"]).ok();
    assert!(!known.contains("guest-") && known.contains("asker"), "{known}");
    host.docker(&["rm", "-f", "asker"]).ok();
    host.docker(&["network", "rm", "crowd"]).ok();
}

fn comes(client: &Client, netns: &PathBuf, name: &str) {
    let body = json!({
        "Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": { "NetworkMode": "crowd" },
    });
    assert_eq!(addresses(netns, name), NOWHERE, "{name} is not there yet");
    done(client, "POST", &format!("/containers/create?name={name}"), &body);
    assert_eq!(addresses(netns, name), NOWHERE, "{name} does not run yet");
    done(client, "POST", &format!("/containers/{name}/start"), &Value::Null);
    let page = client.page(&format!("/containers/{name}/json"));
    let at = page["NetworkSettings"]["Networks"]["crowd"]["IPAddress"]
        .as_str()
        .map(str::parse::<Ipv4Addr>);
    assert_eq!(addresses(netns, name), [at.expect("it runs").expect("an address")], "{name}");
}

fn goes(client: &Client, netns: &PathBuf, name: &str) {
    assert_eq!(addresses(netns, name).len(), 1, "{name} runs");
    done(client, "DELETE", &format!("/containers/{name}?force=1"), &Value::Null);
    assert_eq!(addresses(netns, name), NOWHERE, "{name} is gone");
}

/// `HULL_SOAK_NETWORKS` is how often.
pub(crate) fn what_is_added_and_removed_leaves_nothing(host: &mut Host, isolation: Isolation) {
    let cycles = wanted("HULL_SOAK_NETWORKS", 20);
    let theirs = "add table ip theirs; add chain ip theirs c { type nat hook postrouting priority 50; }; \
                  add rule ip theirs c ip saddr 192.0.2.0/24 masquerade";
    host.engine.on_host("nft", &[theirs]).ok();
    let box_ = detached(host, isolation, &["--name=box"], &["sleep", "1000"]);
    let seen = |host: &Host| {
        let netns = host.engine.exec_root().join("netns").join(&box_);
        let inside = File::open(netns).expect("it runs");
        let links = || Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?.lines().count());
        let inside = sys::netns::within(inside.as_fd(), links).expect("a list");
        let devices = host.engine.on_host("ip", &["-o", "link"]).ok().lines().count();
        let addresses = host.engine.on_host("ip", &["-o", "addr"]).ok().lines().count();
        let rules = host.engine.on_host("nft", &["list", "ruleset"]).ok();
        (inside, devices, addresses, rules)
    };
    let before = seen(host);
    let client = Client::of(&host.engine);
    let port = |verb: &str| json!({ verb: { "80/tcp": [{ "HostPort": "8077" }] } });
    for _ in 0..cycles {
        done(&client, "POST", "/networks/create", &json!({ "Name": "brief" }));
        let member = json!({ "Container": "box", "EndpointConfig": {
            "DriverOpts": { "egress": "none", "rate-out": "9mbit", "rate-in": "9mbit" },
        }});
        done(&client, "POST", "/networks/brief/connect", &member);
        done(&client, "POST", "/containers/box/ports", &port("Add"));
        done(&client, "POST", "/containers/box/ports", &port("Remove"));
        done(&client, "POST", "/networks/brief/disconnect", &json!({ "Container": "box" }));
        done(&client, "DELETE", "/networks/brief", &Value::Null);
    }
    assert_eq!(seen(host), before);
    host.docker(&["rm", "-f", "box"]).ok();
    host.engine.on_host("nft", &["delete", "table", "ip", "theirs"]).ok();
}

/// No connection breaks and none is refused while the engine ends, be it in order or not, is away, and comes
/// back.
pub(crate) fn traffic_does_not_notice_the_engine(host: &mut Host, isolation: Isolation) {
    // As many letters, as many connections may wait.
    let serve = ["nc", "-llllllll", "-p", "7", "-e", "cat"];
    detached(host, isolation, &["--name=echo", "-p=127.0.0.1:8078:7"], &serve);
    let netns = File::open(format!("/proc/{}/ns/net", host.engine.pid())).expect("a namespace");
    let connect = || sys::netns::within(netns.as_fd(), || TcpStream::connect("127.0.0.1:8078"));
    let echoes = |stream: &mut TcpStream| {
        let mut back = [0; 4];
        stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut back)).map(|()| back)
    };
    eventually("it serves", || {
        connect().and_then(|mut stream| echoes(&mut stream)).is_ok_and(|back| back == *b"ping")
    });
    let (stop, said, called) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let talk = || -> io::Result<()> {
        let mut stream = connect()?;
        while !stop.load(Ordering::Relaxed) {
            echoes(&mut stream)?;
            said.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let call = || -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            echoes(&mut connect()?)?;
            called.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let goes_on = || {
        let before = [said.load(Ordering::Relaxed), called.load(Ordering::Relaxed)];
        eventually("traffic goes on", || {
            said.load(Ordering::Relaxed) > before[0] + 5
                && called.load(Ordering::Relaxed) > before[1] + 5
        });
    };
    thread::scope(|scope| {
        let (talk, call) = (scope.spawn(talk), scope.spawn(call));
        let over = Over(&stop);
        goes_on();
        for killed in [false, true] {
            if killed {
                host.engine.kill();
            } else {
                host.engine.stop();
            }
            goes_on();
            host.engine.start();
            goes_on();
        }
        drop(over);
        talk.join().expect("no panic").expect("the connection stays");
        call.join().expect("no panic").expect("no connection is refused");
    });
    host.docker(&["rm", "-f", "echo"]).ok();
}

/// Ends the threads also when an expectation fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wanted(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn done(client: &Client, method: &str, path: &str, body: &Value) {
    let answer = client.ask(method, path, body).expect("the engine lives");
    assert!(answer.done(), "{path}: {} {}", answer.status, answer.text());
}

/// What the name server of a container answers to whoever is in its network namespace.
fn addresses(netns: &PathBuf, name: &str) -> Vec<Ipv4Addr> {
    let file = File::open(netns).expect("a namespace");
    let ask = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let length = u8::try_from(name.len()).expect("a short name");
        let head = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length];
        socket.send_to(&[&head, name.as_bytes(), &[0, 0, 1, 0, 1]].concat(), NAME_SERVER)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    };
    let answer = sys::netns::within(file.as_fd(), ask).expect("an answer");
    // What is behind the question: a name of two bytes that points to it, ten bytes, and the address.
    let records = answer.get(12 + name.len() + 6..).unwrap_or_default();
    let count = usize::from(answer[7]);
    let record = |bytes: &[u8]| <[u8; 4]>::try_from(&bytes[12..16]).expect("four bytes").into();
    records.chunks_exact(16).take(count).map(record).collect()
}
