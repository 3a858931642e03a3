//! Registries that may be spoken to without TLS.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Reference;

/// How long a registry may take to show what it speaks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether `entry` of the configuration is a host, with a port or not, or a network.
pub(super) fn is_valid(entry: &str) -> bool {
    let is_host = || !entry.contains('/') && format!("{entry}/x").parse::<Reference>().is_ok();
    network(entry).is_some() || is_host()
}

/// Whether the configuration's `listed`, or its address, lets `registry` be spoken to without TLS.
pub(super) fn is_insecure(listed: &[String], registry: &str) -> bool {
    let host = without_port(registry);
    let address = host.parse::<IpAddr>().ok();
    let covers = |entry: &String| {
        let within =
            || network(entry).is_some_and(|network| address.is_some_and(|a| network.has(a)));
        entry == registry || entry == host || within()
    };
    host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
        || listed.iter().any(covers)
}

/// Whether the registry at `host` answers plain HTTP. A server that wants TLS says 400 to that, or
/// something that is not HTTP at all. One that cannot be reached counts as plain.
pub(super) async fn speaks_plainly(host: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(with_port(host)).await.ok()?;
        let question = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut start = [0; 12];
        Some(stream.read_exact(&mut start).await.is_ok() && is_plain(&start))
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or(true)
}

/// Whether an answer that begins so is one to plain HTTP: `HTTP/1.1 200`.
fn is_plain(start: &[u8; 12]) -> bool {
    start.starts_with(b"HTTP/1.") && !start.ends_with(b" 400")
}

/// Addresses with a common beginning.
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn has(&self, other: IpAddr) -> bool {
        let (own, other, length) = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let different: u128 = own ^ other;
        different.checked_shr(length - self.prefix).unwrap_or(0) == 0
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= longest).then_some(Network { address, prefix })
}

fn without_port(registry: &str) -> &str {
    match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => address,
        _ => registry.split_once(':').map_or(registry, |(host, _)| host),
    }
}

/// A registry that may speak TLS speaks it at port 443; which one does not is not to be told apart there.
fn with_port(host: &str) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { host.to_owned() } else { format!("{host}:80") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_covers_what_begins_as_it_does() {
        let listed = |entry: &str, host: &str| is_insecure(&[entry.to_owned()], host);
        for (entry, host, want) in [
            ("10.0.0.0/8", "10.1.2.3:5000", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1/32", "10.0.0.2", false),
            ("fd00::/8", "[fd12::1]:5000", true),
            ("fd00::/8", "10.0.0.1", false),
            ("10.0.0.0/8", "ten.example", false),
        ] {
            assert!(is_valid(entry), "{entry}");
            assert_eq!(listed(entry, host), want, "{entry} {host}");
        }
        for entry in ["10.0.0.0/33", "a/b", "-", ""] {
            assert!(!is_valid(entry), "{entry}");
        }
    }

    #[test]
    fn a_server_that_wants_tls_says_400_or_no_http() {
        assert!(is_plain(b"HTTP/1.1 200"));
        assert!(is_plain(b"HTTP/1.0 401"));
        assert!(!is_plain(b"HTTP/1.0 400"));
        assert!(!is_plain(b"\x15\x03\x01\x00\x02\x02\x46\x00\x00\x00\x00\x00"));
    }
}
