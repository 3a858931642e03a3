//! The page and its files, which are part of the program.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::forward::{Body, Reply, never};

/// Path, type and contents.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/dash.css", "text/css; charset=utf-8", include_str!("../page/dash.css")),
    ("/dash.js", "text/javascript; charset=utf-8", include_str!("../page/dash.js")),
    ("/engine.js", "text/javascript; charset=utf-8", include_str!("../page/engine.js")),
    ("/chart.js", "text/javascript; charset=utf-8", include_str!("../page/chart.js")),
    ("/terminal.js", "text/javascript; charset=utf-8", include_str!("../page/terminal.js")),
];

/// What the browser may do with the page: run its own files, talk to its own address, and be in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file at `path`.
pub(crate) fn file(path: &str) -> Option<Reply> {
    let (_, kind, text) = FILES.iter().find(|(known, ..)| *known == path)?;
    let mut reply = Response::new(whole(text));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(reply)
}

/// An answer of one line.
pub(crate) fn line(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(whole(text));
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, plain);
    reply
}

fn whole(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(never).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_files_that_are_there_and_nothing_from_elsewhere() {
        for (path, _, text) in FILES {
            for (at, _) in text.match_indices("from \"./") {
                let name = text[at + 8..].split('"').next().expect("a name");
                assert!(file(&format!("/{name}")).is_some(), "{path} wants {name}");
            }
            let elsewhere = text.replace("http://www.w3.org/", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path}");
            // Names, labels and logs are whatever an image says.
            assert!(!text.contains("innerHTML") && !text.contains("insertAdjacentHTML"), "{path}");
        }
        assert!(file("/../Cargo.toml").is_none());
    }
}
