//! A project on two networks: who knows whom by which name, while servers are added, restarted, removed.

use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::{compose, gone, written};
use crate::field;

/// A store behind servers, which are on both networks, and a client in front of them.
const PROJECT: &str = r#"
version: "2.4"
services:
  store:
    image: IMAGE
    isolation: WALL
    command: [sh, -c, "echo kept >>/data/index.html; exec httpd -f -p 80 -h /data"]
    volumes: ["data:/data"]
    networks: {back: {aliases: [records]}}
    healthcheck: {test: [CMD, wget, -qO-, "http://127.0.0.1/"], interval: 1s, retries: 60}
  web:
    image: IMAGE
    isolation: WALL
    command: [sh, -c, "mkdir /www; wget -qO /www/index.html http://records/; exec httpd -f -p 80 -h /www"]
    depends_on: {store: {condition: service_healthy}}
    networks: {front: {aliases: [www]}, back: {aliases: [within]}}
    volumes: ["data:/seen:ro"]
  client:
    image: IMAGE
    isolation: WALL
    command: [sleep, "1000"]
    depends_on: [web]
    networks: [front]
networks: {front: {}, back: {internal: true}}
volumes: {data: {}}
"#;

pub(crate) fn services_are_known_on_their_networks_alone(host: &mut Host, isolation: Isolation) {
    written(host, &PROJECT.replace("WALL", &isolation.to_string()));
    compose(host, &["up", "-d"]).ok();
    assert_eq!(field(host, "site_web_1", "{{.HostConfig.Isolation}}"), isolation.to_string());
    names_and_ways_are_those_of_the_networks(host);
    servers_come_and_go(host);

    compose(host, &["restart", "-t", "0", "store"]).ok();
    let page = "wget -qO- http://store/";
    eventually("the store serves what it had, by its name", || {
        inside(host, "site_web_1", page).as_deref() == Ok("kept\nkept")
    });
    let want = format!("records {}", address(host, "site_store_1", "back"));
    assert_eq!(known(host, "site_web_1", &["records"]), [want]);
    assert_eq!(inside(host, "site_web_1", "cat /seen/index.html"), Ok("kept\nkept".to_owned()));
    gone(host);
}

fn names_and_ways_are_those_of_the_networks(host: &Host) {
    let web = ["front", "back"].map(|network| address(host, "site_web_1", network));
    let store = address(host, "site_store_1", "back");
    let (web, store) = (web.each_ref().map(String::as_str), &*store);
    let client = [
        ("web", web[0]),
        ("www", web[0]),
        ("site_web_1", web[0]),
        ("within", ""),
        ("store", ""),
        ("records", ""),
    ];
    let records = [("within", web[1]), ("web", web[1]), ("www", ""), ("client", "")];
    for (asker, table) in [
        ("site_client_1", &client[..]),
        ("site_store_1", &records),
        ("site_web_1", &[("records", store)]),
    ] {
        let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
        let want: Vec<_> = table.iter().map(|(name, at)| format!("{name} {at}")).collect();
        assert_eq!(known(host, asker, &names), want, "as {asker} knows them");
    }
    // The server has asked once, as it began: compose waits until the store is healthy.
    let page = "wget -qO- http://www/";
    eventually("the page comes", || inside(host, "site_client_1", page).as_deref() == Ok("kept"));
    for (asker, seconds, reached) in [("site_web_1", 20, true), ("site_client_1", 1, false)] {
        let connect = inside(host, asker, &format!("nc -w {seconds} {store} 80 </dev/null"));
        assert_eq!(connect.is_ok(), reached, "{asker} and the store: {connect:?}");
    }
}

fn servers_come_and_go(host: &Host) {
    for count in [2, 1] {
        let scale = format!("web={count}");
        compose(host, &["up", "-d", "-t", "0", "--no-recreate", "--scale", &scale, "web"]).ok();
        let servers = (1..=count).map(|number| format!("site_web_{number}"));
        let mut all: Vec<_> = servers.map(|name| address(host, &name, "front")).collect();
        all.sort();
        let want = ["web", "www"].map(|name| format!("{name} {}", all.join(" ")));
        assert_eq!(known(host, "site_client_1", &["web", "www"]), want);
    }
}

fn address(host: &Host, container: &str, network: &str) -> String {
    let networks = format!("(index .NetworkSettings.Networks \"site_{network}\")");
    field(host, container, &format!("{{{{{networks}.IPAddress}}}}"))
}

/// What a command in a container prints, or how it complains.
fn inside(host: &Host, container: &str, script: &str) -> Result<String, String> {
    let ran = host.docker(&["exec", container, "sh", "-c", script]);
    if ran.code == 0 { Ok(ran.out.trim().to_owned()) } else { Err(ran.to_string()) }
}

/// Each name with its addresses as the container's name server has them, in order; none where it knows no
/// such name.
fn known(host: &Host, asker: &str, names: &[&str]) -> Vec<String> {
    let each = "do echo \"? $name\"; nslookup -type=a $name 127.0.0.11 2>&1; done";
    let script = format!("for name in {}; {each}", names.join(" "));
    let said = host.docker(&["exec", asker, "sh", "-c", &script]).out;
    let answers = said.split("? ").skip(1);
    let found: Vec<_> =
        answers.filter_map(|answer| answer.split_once('\n')).map(answered).collect();
    assert_eq!(found.len(), names.len(), "{said}");
    found
}

/// A name and its addresses, in order, in what nslookup says of it.
fn answered((name, said): (&str, &str)) -> String {
    let answer = said.split_once(&format!("Name:\t{name}\n")).map_or("", |(_, answer)| answer);
    assert!(!answer.is_empty() || said.contains("can't find"), "{name}: {said}");
    let addresses = answer.lines().filter_map(|line| line.strip_prefix("Address: "));
    let mut found: Vec<_> = addresses.collect();
    found.sort_unstable();
    format!("{name} {}", found.join(" "))
}
