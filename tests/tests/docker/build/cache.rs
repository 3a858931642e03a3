//! What is built again, and what is not.

use std::fs;
use std::time::Duration;

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::{Engine, IMAGE};

use super::{build, context};
use crate::hull::typed;

const TWO_STEPS: &str = "FROM BASE\nARG A=1\nRUN date +%N > /made && echo $A > /a\nCOPY f /f\nRUN cat /f /made > /both\n";

pub(crate) fn a_step_is_made_again_only_if_something_changed(host: &mut Host) {
    let dir = context(host, "cached", &[("f", "one"), ("g", "other")]);
    let steps = |host: &Host, arguments: &[&str]| {
        let ran = host
            .docker(&[&["build", "-t", "cached"], arguments, &[&*dir.to_string_lossy()]].concat());
        assert_eq!(ran.code, 0, "{ran}");
        ran.out.matches("Using cache").count()
    };
    fs::write(dir.join("Dockerfile"), TWO_STEPS.replace("BASE", IMAGE)).expect("Dockerfile");
    assert_eq!(steps(host, &[]), 0);
    let first = host.engine.inspect("cached")["Id"].clone();
    assert_eq!(steps(host, &[]), 4);
    assert_eq!(host.engine.inspect("cached")["Id"], first);
    // A time alone is no change, nor is a file that nobody asks for; the engine's restart is none either.
    let file = fs::File::options().write(true).open(dir.join("f")).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).expect("set");
    fs::write(dir.join("g"), "changed").expect("a file");
    host.engine.kill();
    host.engine.start();
    assert_eq!(steps(host, &[]), 4);
    assert_eq!(steps(host, &["--build-arg", "A=2"]), 0);
    assert_eq!(steps(host, &[]), 4);
    fs::write(dir.join("f"), "two").expect("a file");
    assert_eq!(steps(host, &[]), 2);
    assert_eq!(steps(host, &["--no-cache"]), 0);
    // What another engine has built serves as well.
    host.docker(&["tag", "cached", "127.0.0.1:5000/cached"]).ok();
    host.docker(&["push", "127.0.0.1:5000/cached"]).ok();
    host.docker(&["rmi", "cached", "127.0.0.1:5000/cached"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
    host.docker(&["pull", "-q", "127.0.0.1:5000/cached"]).ok();
    let from = ["--cache-from", "127.0.0.1:5000/cached"];
    assert_eq!(steps(host, &[&from[..], &["--build-arg", "BUILDKIT_INLINE_CACHE=1"]].concat()), 4);
    let dir = dir.to_string_lossy();
    let absent = host.docker(&["build", "--cache-from", "absent", &dir]).ok();
    assert!(absent.contains("[Warning] no steps are taken from absent: no such image"), "{absent}");
    let words = [
        "build",
        "--cache-from",
        "type=registry,ref=127.0.0.1:5000/cached",
        "--progress=plain",
        &dir,
    ];
    assert!(!typed(host, &words, b"").ok().contains("[Warning]"));
    host.docker(&["rmi", "cached", "127.0.0.1:5000/cached"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

pub(crate) fn the_same_files_give_the_same_digest(host: &mut Host) {
    let text = "FROM BASE AS made\nRUN mkdir /d && date > /dev/null && echo x > /d/f && chown 5:6 /d/f\n\
                FROM BASE\nWORKDIR /w\nCOPY . /c\nADD f g/\nCOPY --from=made /d /d\nENV A=b\n";
    let dir = context(host, "reproduced", &[("f", "one"), ("s/t", "two")]);
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    let mut ids = Vec::new();
    for isolation in [Isolation::Process, Isolation::Vm] {
        build(host, isolation, &dir, text, &epoch);
        ids.push(host.engine.inspect("built")["Id"].clone());
        std::thread::sleep(Duration::from_millis(1100));
        fs::write(dir.join("f"), "one").expect("a newer file");
    }
    assert_eq!(ids[0], ids[1]);
    let created = host.engine.inspect("built")["Created"].clone();
    assert_eq!(created, "2023-11-14T22:13:20Z");
    // The first step on the base image says which that was.
    let base = host.engine.inspect(IMAGE)["RepoDigests"][0].clone();
    let base = base.as_str().and_then(|name| name.split('@').nth(1)).expect("a digest").to_owned();
    let history =
        host.docker(&["history", "--format", "{{.CreatedBy}}|{{.Comment}}", "--no-trunc", "built"]);
    let history = history.ok();
    let told: Vec<&str> = history.lines().filter(|line| line.contains("|FROM ")).collect();
    assert!(
        matches!(told[..], [only] if only.contains("WORKDIR /w") && only.ends_with(&base)),
        "{base}: {history}"
    );
    host.docker(&["rmi", "built"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

pub(crate) fn a_build_that_nobody_waits_for_ends(host: &mut Host, isolation: Isolation) {
    let dir = context(host, "left", &[]);
    fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\nRUN sleep 1000\n"))
        .expect("Dockerfile");
    let flag = format!("--isolation={isolation}");
    let running = host.engine.begin(&["build", &flag, &dir.to_string_lossy()]);
    let containers = |host: &Host| host.docker(&["ps", "-q"]).ok();
    eventually("the command runs", || !containers(host).is_empty());
    let pid = i32::try_from(running.pid()).expect("a pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).expect("not 0"),
        rustix::process::Signal::KILL,
    )
    .expect("its client");
    running.wait();
    eventually("its container goes", || host.docker(&["ps", "-aq"]).ok().is_empty());
    host.docker(&["image", "prune", "-f"]).ok();
}

/// Two commands see each other in the cache `meet`, have `own` each for itself, and `busy` one by one.
const SHARING: &str = "FROM BASE\n\
    RUN --mount=type=cache,id=meet-WALL,target=/meet --mount=type=cache,id=own-WALL,target=/own,sharing=private \
    mkdir /own/mine && touch /meet/ME && \
    timeout 120 sh -c 'until test -e /meet/one -a -e /meet/two; do sleep 0.2; done' && rmdir /own/mine\n\
    RUN --mount=type=cache,id=busy-WALL,target=/busy,sharing=locked \
    echo ME && mkdir /busy/now && sleep 2 && rmdir /busy/now\n";

pub(crate) fn a_cache_is_shared_as_it_says(host: &mut Host, isolation: Isolation) {
    let flag = format!("--isolation={isolation}");
    let builds: Vec<_> = ["one", "two"]
        .map(|name| {
            let text = SHARING.replace("BASE", IMAGE).replace("WALL", &isolation.to_string());
            let dir = context(host, &format!("sharing-{name}"), &[]);
            fs::write(dir.join("Dockerfile"), text.replace("ME", name)).expect("Dockerfile");
            host.engine.begin(&["build", "--force-rm", &flag, &dir.to_string_lossy()])
        })
        .into();
    for build in builds {
        build.wait().ok();
    }
    host.docker(&["builder", "prune", "-af"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

pub(crate) fn a_prune_takes_steps_and_caches_but_no_image(host: &mut Host) {
    let text = "FROM BASE\nRUN --mount=type=cache,target=/cache head -c 2000000 /dev/zero > /cache/x\nENV A=1\n";
    let dir = context(host, "pruned", &[]);
    build(host, Isolation::Process, &dir, text, &[]);
    let used = host.docker(&["system", "df", "-v", "--format", "{{json .BuildCache}}"]).ok();
    assert!(used.contains("/cache/x"), "{used}");
    let before = host.docker(&["images", "-aq"]).ok().lines().count();
    let said = host.docker(&["builder", "prune", "-f"]).ok();
    assert!(said.contains("Total reclaimed space: 0B"), "{said}");
    assert!(host.docker(&["images", "-aq"]).ok().lines().count() < before);
    let said = host.docker(&["builder", "prune", "-af"]).ok();
    assert!(said.contains("Total reclaimed space: 2MB"), "{said}");
    host.docker(&["run", "--rm", "built", "true"]).ok();
    host.docker(&["rmi", "built"]).ok();
}

pub(crate) fn what_was_not_used_for_longest_goes_first(host: &mut Host) {
    const SIZE: usize = 2_000_000;
    let file = |letter: &str| letter.repeat(SIZE);
    let dir = context(host, "kept", &[("a", &file("a")), ("b", &file("b")), ("c", &file("c"))]);
    fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\nCOPY a /\nCOPY b /\n"))
        .expect("a file");
    fs::write(dir.join("other"), format!("FROM {IMAGE}\nCOPY c /\n")).expect("a file");
    let cached = |engine: &Engine, name: &str| {
        let (file, dir) = (dir.join(name), dir.to_string_lossy());
        let ran = engine.docker(&["build", "-f", &file.to_string_lossy(), &*dir]).ok();
        ran.matches("Using cache").count()
    };
    let prune = |keep: &str| host.docker(&["builder", "prune", "-f", "--keep-storage", keep]).ok();
    host.docker(&["builder", "prune", "-af"]).ok();
    assert_eq!(cached(&host.engine, "Dockerfile"), 0);
    assert_eq!(cached(&host.engine, "other"), 0);
    assert_eq!(cached(&host.engine, "Dockerfile"), 2);
    let said = prune("4500000");
    assert!(said.contains("Total reclaimed space: 2MB"), "{said}");
    assert_eq!(cached(&host.engine, "Dockerfile"), 2);
    assert_eq!(cached(&host.engine, "other"), 0);
    // Of one chain the end goes first.
    let said = prune("4500000");
    assert!(said.contains("Total reclaimed space: 2MB"), "{said}");
    assert_eq!(cached(&host.engine, "other"), 1);
    assert_eq!(cached(&host.engine, "Dockerfile"), 1);
    let said = prune("9000000");
    assert!(said.contains("Total reclaimed space: 0B"), "{said}");
    host.docker(&["builder", "prune", "-af"]).ok();

    let engine = host.another_engine_with(&["--build-cache-limit", "3MB"]);
    assert_eq!(cached(&engine, "Dockerfile"), 0);
    assert_eq!(cached(&engine, "Dockerfile"), 1);
    engine.docker(&["build", "-t", "named", &dir.to_string_lossy()]).ok();
    assert_eq!(cached(&engine, "Dockerfile"), 2, "what an image was made of is not limited");
}
