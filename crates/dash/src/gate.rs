//! Who comes in.

use std::fmt::Write;
use std::net::SocketAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, UPGRADE};
use hyper::{Request, StatusCode};

/// Bytes of a token.
const SECRET: usize = 32;
/// A websocket's parameter that holds the token: browsers let a page set no header of it.
const PARAMETER: &str = "token";

/// The address, and the secret of who may use it.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    token: String,
}

/// Why a request is turned away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) &'static str);

impl Gate {
    /// A gate with a new token.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut secret = [0_u8; SECRET];
        let mut rest = &mut secret[..];
        while !rest.is_empty() {
            // Only before the kernel has gathered randomness does it wait, and then a signal may end that.
            let read = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty());
            let read = read.unwrap_or_default();
            rest = &mut rest[read..];
        }
        let mut token = String::with_capacity(2 * SECRET);
        for byte in secret {
            let _ = write!(token, "{byte:02x}");
        }
        Self { address, token }
    }

    /// The page's address, with the token where browsers keep it to themselves.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/#{}", self.address, self.token)
    }

    /// Lets a request to any page through that names this address, and comes from nowhere else.
    pub(crate) fn visitor<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        let named = text(request.headers(), HOST.as_str()).unwrap_or_default();
        let (port, local) = (self.address.port(), ["127.0.0.1", "localhost"]);
        if !local.iter().any(|name| named == format!("{name}:{port}")) {
            return Err(Refused(StatusCode::MISDIRECTED_REQUEST, "this is not the host you name"));
        }
        let origin = text(request.headers(), ORIGIN.as_str());
        if origin.is_some_and(|origin| origin != format!("http://{named}")) {
            return Err(Refused(StatusCode::FORBIDDEN, "another site's page has no business here"));
        }
        Ok(())
    }

    /// Lets a request to the engine through that has the token, and takes that off it.
    pub(crate) fn owner<B>(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let given = if request.headers().contains_key(UPGRADE) {
            take_parameter(request)
        } else {
            let header = request.headers_mut().remove(AUTHORIZATION);
            let header = header.as_ref().and_then(|value| value.to_str().ok());
            header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)
        };
        if given.is_some_and(|given| same(given.as_bytes(), self.token.as_bytes())) {
            Ok(())
        } else {
            Err(Refused(
                StatusCode::UNAUTHORIZED,
                "the token is missing or old: run `hull dash` again",
            ))
        }
    }
}

/// The token in the query, which is left without it.
fn take_parameter<B>(request: &mut Request<B>) -> Option<String> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let mut given = None;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == PARAMETER {
            given = Some(value.into_owned());
        } else {
            rest.append_pair(&name, &value);
        }
    }
    let uri = format!("{path}?{}", rest.finish()).parse().ok()?;
    *request.uri_mut() = uri;
    given
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Whether they are equal, in a time that does not tell how far they are.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new("127.0.0.1:4000".parse().expect("an address"))
    }

    fn request(headers: &[(&str, &str)], uri: &str) -> Request<()> {
        let builder = Request::builder().uri(uri);
        let with = |builder: hyper::http::request::Builder, (name, value): &(&str, &str)| {
            builder.header(*name, *value)
        };
        headers.iter().fold(builder, with).body(()).expect("a request")
    }

    #[test]
    fn a_visitor_names_this_host_and_comes_from_here() {
        let visits = |headers: &[(&str, &str)]| gate().visitor(&request(headers, "/")).err();
        let refused = |headers: &[(&str, &str)]| visits(headers).map(|Refused(status, _)| status);
        assert_eq!(visits(&[("host", "127.0.0.1:4000")]), None);
        assert_eq!(
            visits(&[("host", "localhost:4000"), ("origin", "http://localhost:4000")]),
            None
        );
        for host in ["evil.test:4000", "127.0.0.1:4001", "127.0.0.1", ""] {
            let status = refused(&[("host", host)]);
            assert_eq!(status, Some(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
        for origin in
            ["http://evil.test", "http://127.0.0.1:4001", "null", "https://127.0.0.1:4000"]
        {
            let status = refused(&[("host", "127.0.0.1:4000"), ("origin", origin)]);
            assert_eq!(status, Some(StatusCode::FORBIDDEN), "{origin}");
        }
    }

    #[test]
    fn an_owner_has_the_token_and_it_goes_no_further() {
        let gate = gate();
        let bearer = format!("Bearer {}", gate.token);
        let mut asked = request(&[("authorization", &bearer)], "/info?token=x");
        assert_eq!(gate.owner(&mut asked), Ok(()));
        assert!(!asked.headers().contains_key("authorization"));
        let uri = format!("/exec/1/ws?a=b%20c&token={}", gate.token);
        let mut asked = request(&[("upgrade", "websocket")], &uri);
        assert_eq!(gate.owner(&mut asked), Ok(()));
        assert_eq!(asked.uri(), "/exec/1/ws?a=b+c");
        // In the URL of what is no websocket it would be seen in histories.
        assert!(gate.owner(&mut request(&[], &uri)).is_err());
        for header in
            ["", "Bearer ", "Bearer 00", &bearer[..bearer.len() - 1], &bearer.to_uppercase()]
        {
            assert!(
                gate.owner(&mut request(&[("authorization", header)], "/info")).is_err(),
                "{header}"
            );
        }
        assert_ne!(gate.token, self::gate().token);
    }
}
