//! Services whose images are built: by docker-py, and by the stock client, which compose calls if it is not told
//! otherwise.

use std::fs;

use spec::Isolation;
use tests::Host;
use tests::command::{Ran, eventually, run};
use tests::host::IMAGE;

use super::{command, compose, gone, written};

/// One service whose image has a name and all that `build` may say, and one that says where it is built alone.
const PROJECT: &str = r#"
version: "2.4"
services:
  made:
    image: made:1
    isolation: WALL
    build:
      context: ./contexts/made
      dockerfile: sub/Dockerfile.own
      args: {BASE: IMAGE, WHO: us, SHARED: 16384}
      target: wanted
      labels: {kind: built}
      cache_from: [IMAGE]
      shm_size: 16m
      extra_hosts: ["other:10.1.2.3"]
      network: none
      isolation: WALL
  plain:
    isolation: WALL
    build: ./contexts/plain
    depends_on: [made]
"#;

/// Fails unless everything but labels is as the project says.
const MADE: &str = "\
ARG BASE
FROM ${BASE} AS wanted
ARG WHO
ARG SHARED
RUN test \"$(df -k /dev/shm | awk 'END { print $2 }')\" = $SHARED
RUN grep -q '10.1.2.3.*other' /etc/hosts && test ! -e /sys/class/net/eth0
RUN cd /sys/fs/cgroup && test \"$(cat memory/memory.limit_in_bytes memory.max 2>/dev/null)\" = 67108864
COPY greeting /www/index.html
RUN echo \"for $WHO by $(uname -r)\" >> /www/index.html && test ! -e /www/left
CMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]
FROM wanted
RUN false
";

const PLAIN: &str = "\
FROM IMAGE
COPY job /job
CMD [\"sh\", \"/job\"]
";

pub(crate) fn a_service_is_built_as_its_file_says(host: &mut Host, isolation: Isolation) {
    written(host, &PROJECT.replace("WALL", &isolation.to_string()));
    let files = [
        ("made/sub/Dockerfile.own", MADE),
        ("made/greeting", "hello\n"),
        ("plain/Dockerfile", &*PLAIN.replace("IMAGE", IMAGE)),
        ("plain/job", "until wget -qO- http://made/; do sleep 0.2; done; exec sleep 1000\n"),
    ];
    for (path, text) in files {
        let path = host.dir().join("contexts").join(path);
        fs::create_dir_all(path.parent().expect("in a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    let first = built(host, Builder::Python, &[]).ok();
    assert!(first.contains("Successfully tagged made:1"), "{first}");
    assert!(!first.contains("Using cache") && !first.contains("RUN false"), "{first}");
    assert_eq!(built(host, Builder::Python, &[]).ok().matches("Using cache").count(), 9);
    let inspected = host.engine.inspect("made:1");
    assert_eq!(inspected["Config"]["Labels"]["kind"], "built");

    // Its client is not told how much memory is shared.
    let anew = ["--no-cache", "--pull", "--force-rm", "--build-arg", "WHO=them"];
    let by_client = [&anew[..], &["--build-arg", "SHARED=65536"]].concat();
    let other = built(host, Builder::Client, &by_client).ok();
    assert!(!other.contains("Using cache"), "{other}");
    assert_ne!(host.engine.inspect("made:1")["Id"], inspected["Id"]);

    let up = compose(host, &["up", "-d"]);
    assert!(up.code == 0 && up.err.contains("Image for service plain was built because"), "{up}");
    eventually("what was built serves what was built", || {
        let logs = compose(host, &["logs", "--no-color", "plain"]).ok();
        logs.contains("| hello") && logs.contains(&format!("| for them by {}", kernel(host)))
    });
    let is_hosts =
        kernel(host) == fs::read_to_string("/proc/sys/kernel/osrelease").expect("there").trim();
    assert_eq!(is_hosts, isolation.shares_kernel());
    compose(host, &["down", "-t", "0", "--rmi", "all"]).ok();
    for name in ["made:1", "site_plain"] {
        assert_eq!(host.docker(&["images", "-q", name]).ok(), "", "{name}");
    }
    gone(host);
    host.docker(&["image", "prune", "-f"]).ok();
}

/// The kernel of the service that serves.
fn kernel(host: &Host) -> String {
    host.docker(&["exec", "site_made_1", "uname", "-r"]).ok()
}

/// Who builds for compose.
#[derive(Clone, Copy)]
enum Builder {
    Python,
    Client,
}

fn built(host: &Host, by: Builder, more: &[&str]) -> Ran {
    let words = [&["build", "-m", "64m"], more, &["made"]].concat();
    let mut compose = command(host, &words);
    let is_client = matches!(by, Builder::Client);
    compose.env("COMPOSE_DOCKER_CLI_BUILD", if is_client { "1" } else { "0" });
    run(compose, b"")
}
