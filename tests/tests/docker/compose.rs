//! docker-compose 1.29, which speaks to the engine as Python clients do.

pub(crate) mod builds;
pub(crate) mod networks;

use std::process::Command;

use spec::Isolation;
use tests::Host;
use tests::command::{Ran, eventually, run};
use tests::host::IMAGE;

/// A server, what it waits for, and a program that asks it once it is healthy, and ends; on the project's
/// own network, with a volume.
const PROJECT: &str = r#"
version: "2.1"
services:
  web:
    image: IMAGE
    isolation: WALL
    command: [sh, -c, "echo web up; exec httpd -f -p 8080 -h /data"]
    volumes: ["data:/data"]
    depends_on: {cache: {condition: service_healthy}}
    environment: [GREETING=hello]
    labels: {tier: front}
    healthcheck: {test: [CMD, wget, -qO-, "http://127.0.0.1:8080/"], interval: 1s}
    restart: always
    mem_limit: 64m
    ulimits: {nofile: 100}
  cache:
    image: IMAGE
    isolation: WALL
    command: [sh, -c, "echo page >/data/index.html; exec sleep 1000"]
    volumes: ["data:/data"]
    healthcheck: {test: [CMD, test, -e, /data/index.html], interval: 1s}
    tmpfs: /scratch
  job:
    image: IMAGE
    isolation: WALL
    command: [sh, -c, "wget -qO- http://web:8080/; echo job done; exit 3"]
    depends_on: {web: {condition: service_healthy}}
volumes: {data: {}}
"#;

fn compose(host: &Host, arguments: &[&str]) -> Ran {
    run(command(host, arguments), b"")
}

/// Compose, about to be run for the project.
fn command(host: &Host, arguments: &[&str]) -> Command {
    let file = host.dir().join("docker-compose.yml").display().to_string();
    let project = ["--ansi", "never", "-p", "site", "-f", &file];
    let arguments = [&project, arguments].concat();
    host.engine.other_client("docker-compose", &arguments)
}

/// Writes the project down that [`compose`] has to do with; `IMAGE` stands for the image.
fn written(host: &Host, project: &str) {
    let file = host.dir().join("docker-compose.yml");
    std::fs::write(file, project.replace("IMAGE", IMAGE)).expect("a file");
}

/// Takes the project away, of which nothing is left then.
fn gone(host: &Host) {
    compose(host, &["down", "-v", "-t", "0"]).ok();
    let left =
        [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-qf", "name=site"]];
    for words in left {
        assert_eq!(host.docker(words).ok(), "", "{words:?}");
    }
}

pub(crate) fn a_project_of_three_services_comes_up_and_goes(host: &mut Host, isolation: Isolation) {
    written(host, &PROJECT.replace("WALL", &isolation.to_string()));
    compose(host, &["up", "-d"]).ok();
    eventually("the job ended and the server is healthy", || {
        let all = compose(host, &["ps"]).ok();
        all.contains("Exit 3") && all.contains("Up (healthy)")
    });
    let running = compose(host, &["ps", "-q", "web", "cache"]).ok();
    assert_eq!(running.lines().count(), 2, "{running}");
    let labelled = ["ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.project=site"];
    assert_eq!(host.docker(&labelled).ok().lines().count(), 2);

    let logs = compose(host, &["logs", "--no-color"]).ok();
    assert!(
        logs.contains("job_1    | page\njob_1    | job done") && logs.contains("| web up"),
        "{logs}"
    );
    let script = "echo $GREETING; ulimit -n; exit 5";
    let ran = compose(host, &["exec", "-T", "web", "sh", "-c", script]);
    assert_eq!((ran.code, &*ran.out), (5, "hello\n100\n"), "{ran}");
    let top = compose(host, &["top"]).ok();
    assert!(top.contains("httpd -f -p 8080") && top.contains("sleep 1000"), "{top}");

    let before = compose(host, &["ps", "-q", "web"]).ok();
    let again = compose(host, &["up", "-d"]);
    assert!(again.err.contains("site_web_1 is up-to-date"), "{again}");
    assert_eq!(compose(host, &["ps", "-q", "web"]).ok(), before, "nothing has changed");
    compose(host, &["up", "-d", "--no-recreate", "--scale", "cache=2", "cache"]).ok();
    assert_eq!(compose(host, &["ps", "-q", "cache"]).ok().lines().count(), 2);
    compose(host, &["restart", "-t", "0", "web"]).ok();
    compose(host, &["stop", "-t", "0"]).ok();
    let until = ["up", "-t", "0", "--abort-on-container-exit", "--exit-code-from", "job"];
    let ran = compose(host, &until);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.out.contains("site_job_1 exited with code 3"), "{ran}");
    gone(host);
}
