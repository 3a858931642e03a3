//! What the text behind a key means, and what of it makes no sense.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use engine::{AddressPool, Logging};
use serde::{Deserialize, Deserializer};
use spec::options::Accel;
use tracing_subscriber::EnvFilter;

use super::{Error, Format, value};

pub(super) fn pools(given: &[String]) -> Result<Vec<AddressPool>, Error> {
    let parse = |text: &String| {
        text.parse().map_err(|error: engine::InvalidPool| {
            value("default-address-pool", text, error.to_string())
        })
    };
    given.iter().map(parse).collect()
}

/// A root directory, absolute. Overlayfs splits its options at `:` and `,`.
pub(super) fn root(
    flag: &'static str,
    path: Option<PathBuf>,
    usual: &str,
) -> Result<PathBuf, Error> {
    let path = path.unwrap_or_else(|| usual.into());
    let text = path.to_string_lossy();
    if text.contains([':', ',', '\\']) {
        return Err(value(flag, &text, "the path must not hold ':', ',' or '\\'"));
    }
    std::path::absolute(&path).map_err(|error| value(flag, &text, error.to_string()))
}

/// A file that shims, which run elsewhere, must find too.
pub(super) fn absolute(
    flag: &'static str,
    path: Option<PathBuf>,
) -> Result<Option<PathBuf>, Error> {
    let whole = |path: PathBuf| {
        std::path::absolute(&path)
            .map_err(|error| value(flag, &path.to_string_lossy(), error.to_string()))
    };
    path.map(whole).transpose()
}

/// A string, or a list of them.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Strings {
        One(String),
        More(Vec<String>),
    }
    Ok(match Strings::deserialize(from)? {
        Strings::One(string) => vec![string],
        Strings::More(strings) => strings,
    })
}

/// The socket, if one is named, and the addresses.
pub(super) fn hosts(hosts: &[String]) -> Result<(Option<PathBuf>, Vec<SocketAddr>), Error> {
    let (mut path, mut tcp) = (None, Vec::new());
    for host in hosts {
        if let Some(text) = host.strip_prefix("tcp://") {
            let address = text.parse::<SocketAddr>();
            tcp.push(address.map_err(|error| value("host", host, error.to_string()))?);
        } else if path.replace(socket(host)?).is_some() {
            return Err(value("host", host, "there is one socket"));
        }
    }
    Ok((path, tcp))
}

/// Numbers are for this machine: nobody is asked who they are.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, Error> {
    let address = text.parse::<SocketAddr>();
    let address = address.map_err(|error| value("metrics-addr", text, error.to_string()))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(value("metrics-addr", text, "want a loopback address"))
    }
}

fn socket(host: &str) -> Result<PathBuf, Error> {
    let path = host.strip_prefix("unix://").unwrap_or(host);
    if path.contains("://") {
        return Err(value("host", host, "want unix://PATH or tcp://ADDRESS:PORT"));
    }
    std::path::absolute(path).map_err(|error| value("host", host, error.to_string()))
}

pub(super) fn level(text: Option<String>, debug: bool) -> Result<EnvFilter, Error> {
    let usual = if debug { "debug" } else { "info" };
    let level = text.unwrap_or_else(|| usual.to_owned());
    // Each frame of a client of BuildKit's API is a line of these, unless they are asked for by name.
    EnvFilter::try_new(format!("h2=info,{level}"))
        .map_err(|error| value("log-level", &level, error.to_string()))
}

pub(super) fn format(text: Option<&str>) -> Result<Format, Error> {
    match text {
        None | Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(value("log-format", other, "want text or json")),
    }
}

pub(super) fn logging(driver: Option<&str>, options: &[String]) -> Result<Logging, Error> {
    let pair = |option: &String| {
        let pair = option.split_once('=');
        let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| value("log-opt", option, "want NAME=VALUE"))
    };
    let options = options.iter().map(pair).collect::<Result<_, _>>()?;
    let driver = driver.unwrap_or("json-file");
    Logging::new(driver, options).map_err(|error| value("log-driver", driver, error.to_string()))
}

/// Labels as they were given; of a key there is one value.
pub(super) fn labels(labels: Vec<String>) -> Result<Vec<String>, Error> {
    let mut values = BTreeMap::new();
    for label in &labels {
        let (key, text) = label
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| value("label", label, "want KEY=VALUE"))?;
        if values.insert(key, text).is_some_and(|before| before != text) {
            return Err(value("label", label, format!("{key} has another value too")));
        }
    }
    Ok(labels)
}

/// A size that is not nothing.
pub(super) fn limit(text: &str) -> Result<u64, Error> {
    let bytes = engine::size::bytes(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| value("build-cache-limit", text, "want a size such as 20GB"))
}

pub(super) fn accel(text: Option<&str>) -> Result<Accel, Error> {
    match text {
        None | Some("auto") => Ok(Accel::Auto),
        Some("kvm") => Ok(Accel::Kvm),
        Some("tcg") => Ok(Accel::Tcg),
        Some(other) => Err(value("vm-accel", other, "want auto, kvm or tcg")),
    }
}
