//! How a registry lets us in.
//!
//! ```text
//!   WWW-Authenticate: Basic    the user's password, with every request
//!   WWW-Authenticate: Bearer   a token for the repository, from the service that the registry names:
//!                                by the user's password, by an identity token, or for anybody
//! ```
//!
//! A token is kept until the registry refuses it.
//!
//! Spec: OCI distribution-spec; distribution's "Token Authentication Specification" and "OAuth 2.0
//! Token Authentication"; RFC 9110, "WWW-Authenticate".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::session::Session;
use super::{Auth, Error};

/// The name by which a token service knows us.
const CLIENT: &str = "hull";
/// The most bytes of a token service's answer.
const MAX_ANSWER: u64 = 1 << 20;

/// One registry's door, with the key that fitted last.
pub(super) struct Door {
    auth: Option<Auth>,
    key: Mutex<Option<HeaderValue>>,
    /// Whether passwords may go to a token service without TLS: where the registry itself has none.
    is_plain: bool,
}

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// What a token service gives.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    token: String,
    access_token: String,
    refresh_token: String,
}

impl Door {
    pub(super) fn new(auth: Option<Auth>, is_plain: bool) -> Self {
        let key = match &auth {
            Some(Auth::Bearer(token)) => header(&format!("Bearer {token}")),
            _ => None,
        };
        Self { auth, key: Mutex::new(key), is_plain }
    }

    /// What opened it last.
    pub(super) async fn key(&self) -> Option<HeaderValue> {
        self.key.lock().await.clone()
    }

    /// A key for what the registry refused to open with `tried`; none when there is no other.
    pub(super) async fn open(
        &self,
        session: &Session,
        refusal: &Response,
        tried: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let mut key = self.key.lock().await;
        // Another request has been here meanwhile.
        if key.as_ref() != tried {
            return Ok(key.clone());
        }
        let found = match (challenge(refusal), &self.auth) {
            (Some(Challenge::Basic), Some(Auth::Basic { username, password })) => {
                basic(username, password)
            }
            (_, Some(Auth::Bearer(_))) | (Some(Challenge::Basic) | None, _) => None,
            (Some(bearer), _) => {
                let tokens = self.ask(session, &bearer, false).await?;
                header(&format!("Bearer {}", tokens.access()))
            }
        };
        // The same password once more will not do.
        let new = found.filter(|found| Some(found) != tried);
        key.clone_from(&new);
        Ok(new)
    }

    /// An identity token in exchange for the password, where the registry has such; none where the
    /// password itself opens the door.
    pub(super) async fn enter(
        &self,
        session: &Session,
        refusal: &Response,
    ) -> Result<Option<String>, Error> {
        if let Some(bearer @ Challenge::Bearer { .. }) = challenge(refusal) {
            let tokens = self.ask(session, &bearer, true).await?;
            return Ok(Some(tokens.refresh_token).filter(|token| !token.is_empty()));
        }
        let key = self.open(session, refusal, None).await?;
        let page = session.request(Method::GET, &session.base);
        let answer = session.once(page, key.as_ref()).await?;
        session.good(answer).await.map(|_| None)
    }

    /// Asks the token service; with `keep`, for an identity token too.
    async fn ask(&self, session: &Session, to: &Challenge, keep: bool) -> Result<Tokens, Error> {
        let Challenge::Bearer { realm, service, scope } = to else { return Ok(Tokens::default()) };
        let mut url = Url::parse(realm).map_err(|_| session.nonsense("a token service nowhere"))?;
        if url.scheme() != "https" && !(self.is_plain && url.scheme() == "http") {
            return Err(session.nonsense("a token service without TLS"));
        }
        let mut query = Vec::new();
        query.extend(service.as_deref().map(|service| ("service", service)));
        query.extend(scope.iter().flat_map(|all| all.split(' ')).map(|scope| ("scope", scope)));
        let (request, key) = match &self.auth {
            Some(Auth::Identity(token)) => {
                query.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                    ("client_id", CLIENT),
                ]);
                let mut form = Url::parse("form:").map_err(|_| session.nonsense("no form"))?;
                form.query_pairs_mut().extend_pairs(&query);
                let form = form.query().unwrap_or_default().to_owned();
                let request = session.request(Method::POST, &url);
                (request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form), None)
            }
            Some(Auth::Basic { username, password }) => {
                query.push(("account", username));
                if keep {
                    query.extend([("offline_token", "true"), ("client_id", CLIENT)]);
                }
                url.query_pairs_mut().extend_pairs(&query);
                (session.request(Method::GET, &url), basic(username, password))
            }
            Some(Auth::Bearer(_)) | None => {
                url.query_pairs_mut().extend_pairs(&query);
                (session.request(Method::GET, &url), None)
            }
        };
        let answer = session.good(session.once(request, key.as_ref()).await?).await;
        // A service that knows nothing of us does not let us in either.
        let answer = answer.map_err(|error| match error {
            Error::NotFound { host } | Error::Answer { host, status: 400, .. } => {
                Error::Denied { host }
            }
            error => error,
        })?;
        let bytes = session.whole(answer, MAX_ANSWER, "a token larger than 1 MiB").await?;
        let tokens: Tokens =
            serde_json::from_slice(&bytes).map_err(|_| session.nonsense("no token"))?;
        if tokens.access().is_empty() { Err(session.nonsense("no token")) } else { Ok(tokens) }
    }
}

impl Tokens {
    /// The older name and the newer one mean the same.
    fn access(&self) -> &str {
        if self.token.is_empty() { &self.access_token } else { &self.token }
    }
}

fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    header(&format!("Basic {}", BASE64.encode(format!("{username}:{password}"))))
}

/// A header that no log shows.
fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The first challenge of a refusal that is understood.
fn challenge(refusal: &Response) -> Option<Challenge> {
    let all = refusal.headers().get_all(WWW_AUTHENTICATE).iter();
    all.filter_map(|header| header.to_str().ok()).find_map(parse)
}

fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut rest = rest;
    let (mut realm, mut service, mut scope) = (None, None, None);
    while let Some((key, value, after)) = parameter(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
        rest = after;
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// `key="value"` or `key=value` in front, and what is behind it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.trim_start_matches([' ', ',']).split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(',').unwrap_or(rest.len());
        return Some((key, rest[..end].trim().to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((key, value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_token_service() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        let cases = [
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://a/t",service="r",scope="repository:a:pull,push""#,
                bearer("https://a/t", Some("r"), Some("repository:a:pull,push")),
            ),
            (r#"bearer Realm=https://a/t , x="a\"b""#, bearer("https://a/t", None, None)),
            (r#"Bearer service="r""#, None),
            (r#"Bearer realm="open"#, None),
            ("Negotiate", None),
        ];
        for (header, want) in cases {
            assert_eq!(parse(header), want, "{header}");
        }
    }
}
