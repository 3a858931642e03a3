//! Credentials for registries: `POST /auth`, and the `X-Registry-Auth` header.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use hyper::StatusCode;
use image::Auth;
use image::registry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::call::Call;
use crate::error::Error;
use crate::reply;
use crate::route::Answer;

/// base64 of either alphabet's padding rules: clients leave the padding out at will.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who asks: a login's body, `X-Registry-Auth`, an entry of `X-Registry-Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Given {
    #[serde(deserialize_with = "or_empty")]
    username: String,
    #[serde(deserialize_with = "or_empty")]
    password: String,
    #[serde(deserialize_with = "or_empty")]
    serveraddress: String,
    #[serde(deserialize_with = "or_empty")]
    identitytoken: String,
    #[serde(deserialize_with = "or_empty")]
    registrytoken: String,
}

/// A text; `null` is an empty one, as for Go.
fn or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// `POST /auth`.
pub(crate) async fn login(call: &mut Call) -> Answer {
    let login: Given = call.json().await?;
    let host = host(&login.serveraddress);
    let auth = if login.identitytoken.is_empty() {
        Auth::Basic { username: login.username, password: login.password }
    } else {
        Auth::Identity(login.identitytoken)
    };
    match call.engine.images().log_in(host, auth).await {
        Ok(token) => {
            let token = token.unwrap_or_default();
            Ok(reply::ok(&json!({ "Status": "Login Succeeded", "IdentityToken": token })))
        }
        Err(registry::Error::Denied { host }) => {
            let message =
                format!("login attempt to {host}/v2/ failed with status: 401 Unauthorized");
            Err(Error::new(StatusCode::UNAUTHORIZED, message))
        }
        Err(error @ registry::Error::Unreachable { .. }) => {
            Err(Error::from(engine::Error::from(error)).of_another())
        }
        Err(error) => Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, spec::chain(&error))),
    }
}

/// The registry's host in an address that may be a URL; Docker Hub's where there is none.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// The credentials that came with a request.
pub(crate) fn header(call: &Call) -> Result<Option<Auth>, Error> {
    parse(call.header("X-Registry-Auth").unwrap_or_default())
}

/// The credentials that came with a build, by the registry's host.
pub(crate) fn of_build(call: &Call) -> Result<BTreeMap<String, Auth>, Error> {
    parse_build(call.header("X-Registry-Config").unwrap_or_default())
}

fn parse_build(text: &str) -> Result<BTreeMap<String, Auth>, Error> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Go's client writes `null` for nothing.
    let given: Option<BTreeMap<String, Given>> = decode("X-Registry-Config", text)?;
    let known = given
        .into_iter()
        .flatten()
        .filter_map(|(address, given)| Some((host(&address).to_owned(), given.auth()?)));
    Ok(known.collect())
}

/// Reads base64 of JSON; nothing, and an empty object, mean that no one in particular asks.
fn parse(header: &str) -> Result<Option<Auth>, Error> {
    if header.is_empty() {
        return Ok(None);
    }
    let given: Option<Given> = decode("X-Registry-Auth", header)?;
    Ok(given.and_then(Given::auth))
}

fn decode<T: DeserializeOwned>(name: &str, header: &str) -> Result<T, Error> {
    let invalid = |problem: &str| Error::invalid(format!("invalid {name} header: {problem}"));
    // Some clients write the other alphabet.
    let text = header.replace('+', "-").replace('/', "_");
    let bytes = BASE64.decode(text).map_err(|_| invalid("it is not base64"))?;
    serde_json::from_slice(&bytes).map_err(|_| invalid("it is not JSON"))
}

impl Given {
    /// `None` when no one in particular asks.
    fn auth(self) -> Option<Auth> {
        let Self { username, password, identitytoken, registrytoken, .. } = self;
        if !identitytoken.is_empty() {
            return Some(Auth::Identity(identitytoken));
        }
        if !registrytoken.is_empty() {
            return Some(Auth::Bearer(registrytoken));
        }
        (!username.is_empty()).then_some(Auth::Basic { username, password })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_servers_address_may_be_a_url() {
        for (address, want) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://lab.example:5000/v2/", "lab.example:5000"),
        ] {
            assert_eq!(host(address), want, "{address}");
        }
    }

    #[test]
    fn a_build_may_come_without_credentials() {
        for header in ["", "bnVsbA==", "e30="] {
            assert!(parse_build(header).is_ok_and(|known| known.is_empty()), "{header}");
        }
        assert!(parse_build("W10=").is_err(), "a list names no registry");
    }

    #[test]
    fn credentials_come_in_a_header() {
        let encode = |value: Value| BASE64.encode(value.to_string());
        assert!(matches!(parse(""), Ok(None)));
        assert!(matches!(parse("e30="), Ok(None)));
        assert!(matches!(parse("e30"), Ok(None)));
        let basic = parse(&encode(json!({ "username": "me", "password": "?>~" })));
        let Ok(Some(Auth::Basic { username, password })) = basic else { panic!("basic") };
        assert_eq!((username.as_str(), password.as_str()), ("me", "?>~"));
        let bearer = parse(&encode(json!({ "registrytoken": "t" })));
        assert!(matches!(bearer, Ok(Some(Auth::Bearer(token))) if token == "t"));
        let identity = parse(&encode(json!({ "username": "<token>", "identitytoken": "i" })));
        assert!(matches!(identity, Ok(Some(Auth::Identity(token))) if token == "i"));
        // What some clients make of a password that they do not have.
        let half = parse(&encode(json!({ "username": "me", "password": null })));
        let Ok(Some(Auth::Basic { username, password })) = half else { panic!("basic") };
        assert_eq!((username.as_str(), password.as_str()), ("me", ""));
        assert!(matches!(parse(&encode(Value::Null)), Ok(None)));
        for header in ["%", "AAAA"] {
            assert!(parse(header).is_err(), "{header}");
        }
    }
}
