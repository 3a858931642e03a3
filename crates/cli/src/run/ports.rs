//! `--publish`.

use serde_json::{Map, Value, json};

use crate::error::Error;

/// Bindings by the container's port, from `[[IP:]HOSTPORT:]PORT[/PROTOCOL]` with ranges `FIRST-LAST`.
pub(crate) fn parse(given: &[String]) -> Result<Map<String, Value>, Error> {
    let mut bindings = Map::new();
    for text in given {
        let invalid = || Error::Argument {
            option: "--publish",
            value: text.clone(),
            want: "[[IP:]HOSTPORT:]PORT[/PROTOCOL], ranges of one length".into(),
        };
        for (port, address, host) in bind(text).ok_or_else(invalid)? {
            let list = bindings.entry(port).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!({ "HostIp": address, "HostPort": host }));
            }
        }
    }
    Ok(bindings)
}

/// Port with protocol, address and port of the host.
type Binding = (String, String, String);

fn bind(text: &str) -> Option<Vec<Binding>> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, inside) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = match rest.rsplit_once(':') {
        // An address of IPv6 is in brackets.
        Some((address, host)) if !rest.ends_with(']') => (address, host),
        _ if rest.starts_with('[') => (rest, ""),
        _ if rest.contains('.') => (rest, ""),
        _ => ("", rest),
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let inside = range(inside)?;
    let host = if host.is_empty() { None } else { Some(range(host)?) };
    let count = inside.1 - inside.0;
    let outside = |at: u16| match host {
        None => Some(String::new()),
        Some((first, last)) if last - first == count => Some((first + at).to_string()),
        // Any of several, for one.
        Some((first, last)) if count == 0 => Some(format!("{first}-{last}")),
        Some(_) => None,
    };
    let binding =
        |at| Some((format!("{}/{protocol}", inside.0 + at), address.to_owned(), outside(at)?));
    (0..=count).map(binding).collect()
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_as_dockers_are() {
        for (text, want) in [
            ("80", "80/tcp  "),
            ("8080:80", "80/tcp  8080"),
            ("53:53/udp", "53/udp  53"),
            ("127.0.0.1:8080:80", "80/tcp 127.0.0.1 8080"),
            ("127.0.0.1::80", "80/tcp 127.0.0.1 "),
            ("[::1]:8080:80", "80/tcp ::1 8080"),
            ("8000-8001:80-81", "80/tcp  8000,81/tcp  8001"),
            ("8000-8005:80", "80/tcp  8000-8005"),
        ] {
            let bound = bind(text).expect(text);
            let shown = bound.iter().map(|(port, ip, host)| format!("{port} {ip} {host}"));
            assert_eq!(shown.collect::<Vec<_>>().join(","), want, "{text}");
        }
        for text in ["", "x", "1:x", "99999", "81-80", "1-2:1-3"] {
            assert!(bind(text).is_none(), "{text}");
        }
    }
}
