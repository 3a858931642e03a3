//! The dashboard: who comes in, and what a browser shows.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::browser::Browser;
use tests::command::Ran;

use super::detached;
use super::hull::typed;

fn hull(host: &Host, words: &[&str]) -> Ran {
    typed(host, words, b"")
}

/// `hull dash`: the address and the token.
fn open(host: &Host) -> (String, String) {
    let url = hull(host, &["dash"]).ok();
    let rest = url.strip_prefix("http://").expect("a URL");
    let (address, token) = rest.split_once("/#").expect("a token");
    (address.to_owned(), token.to_owned())
}

/// What is answered at the address, head and body.
fn ask(host: &Host, address: &str, request: &str) -> String {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let asked = host.engine.within(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    });
    asked.expect("it answers")
}

pub(crate) fn only_who_has_the_token_comes_in(host: &mut Host) {
    let (at, token) = open(host);
    assert_eq!(open(host), (at.clone(), token.clone()), "it is open already");
    assert_eq!(token.len(), 64);
    let get = |page: &str, headers: &str| {
        let head = format!("GET {page} HTTP/1.1\r\nConnection: close\r\n");
        ask(host, &at, &format!("{head}{headers}\r\n"))
    };
    let here = format!("Host: {at}\r\n");
    let bearer = format!("{here}Authorization: Bearer {token}\r\n");
    let page = get("/", &here);
    assert!(page.starts_with("HTTP/1.1 200 ") && !page.contains(&token), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    let info = get("/v1.51/info", &bearer);
    assert!(info.starts_with("HTTP/1.1 200 ") && info.contains("\"ServerVersion\""), "{info}");
    let wrong = bearer.replace(&token, &token.chars().rev().collect::<String>());
    let evil = bearer.replace(&format!("Host: {at}"), "Host: evil.test");
    let beside = format!("{bearer}Origin: http://127.0.0.1:1\r\n");
    let upgrade = format!("{bearer}Connection: Upgrade\r\nUpgrade: tcp\r\n");
    for (page, headers, status) in [
        ("/v1.51/info", &here, "401"),
        ("/v1.51/info", &wrong, "401"),
        (&format!("/v1.51/info?token={token}"), &here, "401"),
        ("/v1.51/info", &evil, "421"),
        ("/", &evil, "421"),
        ("/v1.51/info", &beside, "403"),
        // Only websockets, and those have the token elsewhere.
        ("/v1.51/events", &upgrade, "401"),
        ("/info", &bearer, "404"),
        ("/../etc/passwd", &bearer, "404"),
    ] {
        let said = get(page, headers);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{page} {headers}: {said}");
    }

    let said = hull(host, &["dash", "--port", "5000"]).fails(1);
    assert!(said.contains("is open at") && said.contains("hull dash --close"), "{said}");
    hull(host, &["dash", "--close"]).ok();
    assert!(hull(host, &["dash", "--close"]).fails(1).contains("is not open"));
    let said = hull(host, &["dash", "--port", "5000"]).fails(1);
    assert!(said.contains("cannot listen at 127.0.0.1:5000"), "the registry is there: {said}");
    let (again, other) = open(host);
    assert_ne!(token, other);
    let said = ask(
        host,
        &again,
        &format!(
            "GET /v1.51/info HTTP/1.1\r\nConnection: close\r\n{}\r\n",
            bearer.replace(&at, &again)
        ),
    );
    assert!(said.starts_with("HTTP/1.1 401 "), "an old token is worth nothing: {said}");
    hull(host, &["dash", "--close"]).ok();
}

pub(crate) fn a_browser_shows_containers_and_has_a_terminal(host: &mut Host, isolation: Isolation) {
    let script = "echo '<b>to out</b>'; echo to err >&2; exec sleep 1000";
    let id = detached(host, isolation, &["--name=shown"], &["sh", "-c", script]);
    let kernel = host.docker(&["exec", "shown", "uname", "-r"]).ok();
    let (at, token) = open(host);
    let dir = host.dir().join("browser");
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut browser = Browser::open(&host.engine, &dir, &format!("http://{at}/#{token}"));
    browser.shows("shown");
    let own = if isolation == Isolation::Vm { "own kernel" } else { "process" };
    browser.shows(own);
    // The token has left the address bar.
    browser.becomes("location.hash", &json!(""));

    browser.click("a", "shown");
    browser.shows("What was let through");
    browser.shows(if isolation == Isolation::Vm { &kernel } else { "What holds it" });
    browser.click("button", "Logs");
    browser.shows("<b>to out</b>");
    browser.becomes("document.querySelector('.logs .err').textContent", &json!("to err\n"));
    browser.click("button", "Charts");
    browser.shows("Network");
    // Two samples make a point.
    browser.shows("at most");
    for (width, scheme) in [(1280, "light"), (400, "dark")] {
        browser.looks(width, scheme);
        let wide =
            browser.value("document.documentElement.scrollWidth").as_u64().expect("a number");
        assert!(wide <= u64::from(width), "at {width} it is {wide} wide");
        if let Some(album) = std::env::var_os("HULL_PICTURES") {
            std::fs::create_dir_all(&album).expect("a directory");
            let name = format!("dash-{isolation}-{width}-{scheme}.png.base64");
            std::fs::write(std::path::Path::new(&album).join(name), browser.picture())
                .expect("a file");
        }
    }

    browser.click("button", "Terminal");
    browser.shows("/ #");
    browser.types("echo $((40+2)).$(uname -r)\n");
    browser.shows(&format!("42.{kernel}"));
    browser.types("stty size; exit 3\n");
    let (rows, columns) = (browser.value("document.querySelectorAll('.terminal div').length"), 20);
    let rows = rows.as_u64().expect("a number");
    assert!(rows > columns, "it fits its window: {rows}");
    browser.shows(&format!("\n{rows} "));
    browser.shows("[the shell has ended]");

    browser.click("button", "Stop");
    browser.shows("exited");
    host.engine.until(&id, "exited");
    drop(browser);
    hull(host, &["dash", "--close"]).ok();
    host.docker(&["rm", "-f", "shown"]).ok();
}
