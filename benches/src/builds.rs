//! `docker build` by hulld and by Debian's dockerd, classic builder both, the same client; `hull build` by
//! the same hulld, and `podman build`, which is buildah, beside them.
//!
//! ```text
//!   twelve steps             cold: nothing is known; warm: everything; changed: a file of the last steps is new
//!   50,000 files, 200 MB     one COPY of them; cold and warm
//! ```
//!
//! What is timed is the whole command, with the client's reading and sending of the context. What the stock client
//! needs for that alone is timed in the same rounds, with a daemon that builds nothing, and taken off in a second
//! table. Each builder has a file system of its own.
//!
//! For a look at whether it works, `HULL_BENCH_FILES` is another number of files.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tests::Host;
use tests::host::{Engine, IMAGE};
use tests::programs::program;

use crate::contest::{Contestant, race};
use crate::disk::Disk;
use crate::nobody::Nobody;
use crate::peers::{Dockerd, Podman, finish};

const ROUNDS: usize = 5;
/// Of the large context, whose builds take the better part of a minute.
const LARGE_ROUNDS: usize = 3;
const FILES: u32 = 50_000;
/// Files in one directory.
const EACH: u32 = 500;
/// Bytes of one file.
const SIZE: usize = 4000;

/// Twelve steps; `BASE` stands for the image.
const STEPS: &str = "\
FROM BASE
LABEL maintainer=bench
ENV APP=/app
WORKDIR /app
RUN echo one > one
COPY lib lib
RUN cat lib/* > all
RUN mkdir -p out && cp all out/
EXPOSE 80
COPY main main
RUN cat main all > out/app
CMD [\"cat\", \"/app/out/app\"]
";

const BY_DOCKER: &str = "hulld, docker build";
const DOCKERD: &str = "dockerd, docker build";
const CLIENT: &str = "docker build alone";

/// Who builds.
struct Field {
    hulld: Engine,
    dockerd: Dockerd,
    podman: Podman,
    nobody: Nobody,
    /// Theirs. Dropped when they have ended.
    _disks: [Disk; 3],
}

/// Prints how they compare.
pub(crate) fn compare(host: &Host) {
    let disks = [Disk::new(), Disk::new(), Disk::new()];
    let field = Field {
        hulld: host.another_engine_beneath(&disks[0].path()),
        dockerd: Dockerd::start_beneath(&disks[1].path()),
        podman: Podman::start_beneath(&disks[2].path()),
        nobody: Nobody::start(),
        _disks: disks,
    };
    finish(field.hulld.client(&["pull", "-q", IMAGE]));
    let small = steps(host);
    field.race(ROUNDS, "build of 12 steps, cold", &small, &["--no-cache"], || ());
    field.race(ROUNDS, "build of 12 steps, all known", &small, &[], || ());
    let main = small.join("main");
    let count = AtomicU32::new(0);
    field.race(ROUNDS, "build of 12 steps, one file changed", &small, &[], || {
        let text = format!("version {}", count.fetch_add(1, Ordering::Relaxed));
        fs::write(&main, text).expect("a file");
    });
    let given = std::env::var("HULL_BENCH_FILES").ok();
    let count = given.and_then(|count| count.parse().ok()).unwrap_or(FILES);
    let large = files(host, count);
    let title = format!("build of {count} files of {SIZE} bytes");
    field.race(LARGE_ROUNDS, &format!("{title}, cold"), &large, &["--no-cache"], || ());
    field.race(LARGE_ROUNDS, &format!("{title}, all known"), &large, &[], || ());
    fs::remove_dir_all(large).expect("removed");
}

impl Field {
    /// What was built before the first round that counts is known in all of them.
    fn race(&self, rounds: usize, title: &str, context: &Path, flags: &[&str], before: impl Fn()) {
        let context = context.display().to_string();
        let words = |image: &str| -> Vec<String> {
            let base = format!("--build-arg=BASE={image}");
            let own = ["build", "-q", "-t", "built", &base];
            let words = [&own[..], flags, &[&*context]].concat();
            words.into_iter().map(str::to_owned).collect()
        };
        let (docker, podman) = (words(IMAGE), words(Podman::IMAGE));
        let (docker, podman): (Vec<&str>, Vec<&str>) = (
            docker.iter().map(String::as_str).collect(),
            podman.iter().map(String::as_str).collect(),
        );
        let own = program("hull").to_string_lossy().into_owned();
        let by = |client: &str| {
            before();
            finish(self.hulld.other_client(client, &docker));
        };
        let dockerd = || {
            before();
            self.dockerd.docker(&docker);
        };
        let podman = || {
            before();
            self.podman.build(&podman);
        };
        let nobody = || {
            before();
            finish(self.nobody.client(&docker));
        };
        let contestants = vec![
            Contestant::new(BY_DOCKER, || by("docker")),
            Contestant::new("hulld, hull build", || by(&own)),
            Contestant::new(DOCKERD, dockerd),
            Contestant::new("podman build", podman),
            Contestant::new(CLIENT, nobody),
        ];
        let times = race(rounds, contestants);
        times.print(title);
        times
            .without(CLIENT, &[BY_DOCKER, DOCKERD])
            .print(&format!("{title}, without the client's own time"));
    }
}

/// The context of twelve steps.
fn steps(host: &Host) -> std::path::PathBuf {
    let dir = host.dir().join("steps");
    fs::create_dir_all(dir.join("lib")).expect("a directory");
    for number in 0..20 {
        fs::write(dir.join(format!("lib/{number}")), vec![b'x'; SIZE]).expect("a file");
    }
    fs::write(dir.join("main"), "version").expect("a file");
    let text = format!("ARG BASE\n{}", STEPS.replace("BASE", "${BASE}"));
    fs::write(dir.join("Dockerfile"), text).expect("a file");
    dir
}

/// A context of many files, no two alike.
fn files(host: &Host, count: u32) -> std::path::PathBuf {
    let dir = host.dir().join("files");
    for number in 0..count {
        let within = dir.join(format!("src/{}", number / EACH));
        if number % EACH == 0 {
            fs::create_dir_all(&within).expect("a directory");
        }
        let line = format!("{number:08}\n");
        fs::write(within.join(number.to_string()), line.repeat(SIZE / line.len())).expect("a file");
    }
    fs::write(dir.join("Dockerfile"), "ARG BASE\nFROM ${BASE}\nCOPY src /src\n").expect("a file");
    dir
}
