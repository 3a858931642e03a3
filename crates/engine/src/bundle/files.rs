//! The three small files that connect a container's names with its network.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;

use network::Endpoint;

use crate::config::HostConfig;
use crate::container::Container;
use crate::error::Error;

/// The host's list of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Asked where the host names no server that a container can reach.
const FALLBACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Writes `hosts`, `hostname` and `resolv.conf` of `container`.
pub(super) fn write(container: &Container, gateways: &[IpAddr], served: bool) -> Result<(), Error> {
    let files = &container.files;
    put(&files.hostname, &format!("{}\n", container.config.hostname))?;
    put(&files.hosts, &hosts(container, gateways))?;
    resolve(container, served)
}

/// Writes `resolv.conf`; `served`: whether the container has a name server of ours.
pub(crate) fn resolve(container: &Container, served: bool) -> Result<(), Error> {
    let host = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let connected = !container.endpoints.is_empty();
    let mut text = resolv_conf(&host, &container.host, connected);
    if served {
        let way_out = container.endpoints.values().any(|endpoint| endpoint.gateway.is_some());
        text = with_ours(&text, way_out && !crate::dns::restricts(container));
    }
    put(&container.files.resolv_conf, &text)
}

/// Puts our name server first. The others are for when the engine is away, and of no use without a way
/// out.
fn with_ours(text: &str, way_out: bool) -> String {
    let others = text.lines().filter(|line| way_out || !line.starts_with("nameserver "));
    let mut lines = vec![format!("nameserver {}", spec::NAME_SERVER.ip())];
    lines.extend(others.map(str::to_owned));
    if !text.contains("options ") {
        // A name without a dot is a neighbour's.
        lines.push("options ndots:0".to_owned());
    }
    lines.join("\n") + "\n"
}

/// Tells a container the names and addresses of its neighbours.
pub(crate) fn introduce(
    container: &Container,
    gateways: &[IpAddr],
    neighbours: &[(IpAddr, String)],
) -> Result<(), Error> {
    let mut text = hosts(container, gateways);
    for (address, names) in neighbours {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    }
    change(&container.files.hosts, &text)
}

/// Has the file hold `text`, and writes only what that lacks: whoever reads it meanwhile finds a beginning
/// of the one or of the other, and whoever watches it hears of no change that is none.
fn change(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { action: "write", path: path.to_owned(), source };
    // The container may have written to it, and however much.
    let (length, most) = (fs::metadata(path).map_or(0, |file| file.len()), text.len() as u64);
    let mut old = Vec::new();
    if let Ok(file) = File::open(path) {
        file.take(most).read_to_end(&mut old).map_err(failed)?;
    }
    let same = old.iter().zip(text.as_bytes()).take_while(|(old, new)| old == new).count();
    if same == text.len() && length == most {
        return Ok(());
    }
    let file =
        File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    file.write_all_at(&text.as_bytes()[same..], same as u64).map_err(failed)?;
    if length > most { file.set_len(most).map_err(failed) } else { Ok(()) }
}

/// Writes `text` to `path` in place: the file may be mounted somewhere.
pub(super) fn put(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// `host`: where the host is for containers that have no gateway.
fn hosts(container: &Container, host: &[IpAddr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    let mut endpoints = container.endpoints.values();
    let leading = endpoints.find(|endpoint| endpoint.gateway.is_some());
    let gateways = leading.map_or_else(|| host.to_vec(), |endpoint| endpoint.gateways().collect());
    for entry in &container.host.extra_hosts {
        let Some((name, address)) = split_host(entry) else { continue };
        // Writing to a string cannot fail.
        if address != "host-gateway" {
            let _ = writeln!(text, "{address}\t{name}");
            continue;
        }
        for gateway in &gateways {
            let _ = writeln!(text, "{gateway}\t{name}");
        }
    }
    for (address, _) in container.endpoints.values().flat_map(Endpoint::addresses) {
        let config = &container.config;
        let names = match config.domainname.as_str() {
            "" => config.hostname.clone(),
            domain => format!("{0}.{domain} {0}", config.hostname),
        };
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// Splits `NAME:ADDRESS` or `NAME=ADDRESS`; `None` when there is no name or no address.
pub(crate) fn split_host(entry: &str) -> Option<(&str, &str)> {
    let (name, address) = entry.split_once([':', '='])?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let known = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    let legal = |c: char| c.is_ascii_graphic() && c != '#';
    (known && !name.is_empty() && name.chars().all(legal)).then_some((name, address))
}

/// The client's choice over the host's. Where a container is connected, a server on the host's
/// loopback interface is of no use to it.
fn resolv_conf(host: &str, wanted: &HostConfig, connected: bool) -> String {
    let of_host = |word: &'static str| {
        let lines = host.lines().filter_map(move |line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(word)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        });
        lines.collect::<Vec<_>>()
    };
    let usable = |server: &String| {
        let address = server.split('%').next().unwrap_or(server).parse::<std::net::IpAddr>();
        !connected || address.is_ok_and(|address| !address.is_loopback())
    };
    let mut servers = wanted.dns.clone();
    if servers.is_empty() {
        let firsts = of_host("nameserver").into_iter().filter_map(|words| words.into_iter().next());
        servers = firsts.filter(usable).collect();
        if servers.is_empty() && connected {
            servers = FALLBACK.map(str::to_owned).to_vec();
        }
    }
    let search = match wanted.dns_search.as_slice() {
        [] => of_host("search").pop().unwrap_or_default(),
        // "." is the client's word for "none".
        [dot] if dot == "." => Vec::new(),
        some => some.to_vec(),
    };
    let options = match wanted.dns_options.as_slice() {
        [] => of_host("options").concat(),
        some => some.to_vec(),
    };
    let mut lines: Vec<_> = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (word, values) in [("search", search), ("options", options)] {
        if !values.is_empty() {
            lines.push(format!("{word} {}\n", values.join(" ")));
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_the_hosts_loopback_is_not_for_a_connected_container() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a b\n";
        let wanted = HostConfig::default();
        let text = resolv_conf(host, &wanted, true);
        assert_eq!(text, "nameserver 10.0.0.2\nsearch a b\n");
        assert!(resolv_conf(host, &wanted, false).contains("127.0.0.53"));
        assert!(resolv_conf("nameserver ::1\n", &wanted, true).contains("8.8.8.8"));
    }

    #[test]
    fn only_what_differs_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hosts");
        for text in ["a\nb\n", "a\nb\nc\n", "a\nc\n", "", "a\n"] {
            change(&path, text).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
        }
        let before = fs::metadata(&path).and_then(|file| file.modified()).expect("a time");
        change(&path, "a\n").expect("nothing to write");
        assert_eq!(fs::metadata(&path).and_then(|file| file.modified()).expect("a time"), before);
    }

    #[test]
    fn our_name_server_comes_first_and_alone_where_nothing_gets_out() {
        let text = "nameserver 10.0.0.2\nsearch a\n";
        let want = "nameserver 127.0.0.11\nnameserver 10.0.0.2\nsearch a\noptions ndots:0\n";
        assert_eq!(with_ours(text, true), want);
        let want = "nameserver 127.0.0.11\nsearch a\noptions ndots:0\n";
        assert_eq!(with_ours(text, false), want);
    }

    #[test]
    fn the_clients_choice_replaces_the_hosts() {
        let wanted = HostConfig {
            dns: vec!["1.1.1.1".into()],
            dns_search: vec![".".into()],
            dns_options: vec!["ndots:2".into()],
            ..Default::default()
        };
        let text = resolv_conf("nameserver 10.0.0.2\nsearch a\n", &wanted, true);
        assert_eq!(text, "nameserver 1.1.1.1\noptions ndots:2\n");
    }

    #[test]
    fn an_extra_host_is_a_name_and_an_address() {
        let cases = [
            ("db:10.0.0.9", Some(("db", "10.0.0.9"))),
            ("db=::1", Some(("db", "::1"))),
            ("six:[::1]", Some(("six", "::1"))),
            ("gw:host-gateway", Some(("gw", "host-gateway"))),
            ("db", None),
            ("db:here", None),
            (":10.0.0.9", None),
            ("a\nb:10.0.0.9", None),
        ];
        for (text, want) in cases {
            assert_eq!(split_host(text), want, "{text:?}");
        }
    }
}
