//! A guest that has been taken over: its agent breaks the protocol on every stream that there is. The shim
//! answers with an error and drops the VM, and nothing else notices.

use std::process::Command;
use std::time::{Duration, Instant};

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::detached;

/// How it misbehaves before there is a container, and what is said of that.
const AT_ONCE: [(&str, &str); 11] = [
    ("unasked", "nobody made that call"),
    ("stranger", "stream 4711 was never opened"),
    ("deep", "recursion limit exceeded"),
    ("type", "unknown frame type 9"),
    ("oversized", "frame of type answer with 16777215 bytes"),
    ("call", "frame of type call with 2 bytes"),
    ("nonsense", "is not what was asked for"),
    ("another", "an exit code instead"),
    ("end", "frame of type end with 1 bytes"),
    ("noise", "the other side broke the protocol"),
    ("die", "Attempted to kill init"),
];
/// How it does while the container seems to run.
const LATER: [&str; 5] = ["overrun", "credit", "short", "long", "deaf"];
/// How it does with another process's streams.
const EXECUTING: [&str; 3] = ["exec-late", "exec-flood", "exec-stranger"];

pub(crate) fn a_hostile_agent_harms_its_own_container_alone(host: &mut Host) {
    let dir = host.dir().join("rogue");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("large"), vec![1; 1 << 20]).expect("a file");
    let agent = dir.join("agent");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/rogue/rogue.c");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-static", "-o"]).arg(&agent).arg(source);
    assert!(compile.status().expect("cc is installed: scripts/deps.sh test").success());
    let other = detached(host, Isolation::Vm, &[], &["sleep", "1000"]);
    let agent = format!("--vm-agent={}", agent.display());
    let engine = host.another_engine_with(&[&agent]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let neighbour =
        engine.docker(&["run", "-d", "--isolation=process", IMAGE, "sleep", "1000"]).ok();
    let bind = format!("-v={}:/b", dir.display());
    let run = |how: &str| {
        let name = format!("--hostname={how}");
        let begun = Instant::now();
        let words = ["run", "--rm", "-i", "--isolation=hyperv", &name, &bind, IMAGE, "true"];
        let ran = engine.docker(&words);
        assert!(begun.elapsed() < Duration::from_secs(60), "{how}: {ran}");
        ran
    };
    // The first of all makes what is kept for others.
    run("die").fails(125);
    let before = engine.snapshot();
    for (how, said) in AT_ONCE {
        let ran = run(how).fails(125);
        assert!(ran.contains(said), "{how}: {ran}");
        assert!(!ran.contains('\u{1b}'), "{how}: {ran}");
    }
    for how in LATER {
        let ran = run(how);
        assert!(matches!(ran.code, 125 | 137), "{how}: {ran}");
    }
    for how in EXECUTING {
        let name = format!("--hostname={how}");
        let id = engine.docker(&["run", "-d", "--isolation=hyperv", &name, IMAGE, "true"]).ok();
        let ran = engine.docker(&["exec", &id, "true"]);
        assert_ne!(ran.code, 0, "{how}: {ran}");
        assert_eq!(engine.docker(&["wait", &id]).ok(), "137", "{how}");
        engine.docker(&["rm", &id]).ok();
    }
    // One that says that it kills, and does not.
    let flags = ["run", "-d", "--isolation=hyperv", "--hostname=deathless", IMAGE, "true"];
    let id = engine.docker(&flags).ok();
    engine.docker(&["rm", "-f", &id]).ok();
    // Questions to the file server that no kernel would ask; the status is the first one that it should have
    // answered otherwise.
    run("asks").ok();
    // Thousands of visitors, none of whom finds anybody, and two answers to one call.
    run("flood").fails(7);
    assert_eq!(engine.left_since(&before), Vec::<String>::new());
    assert_eq!(engine.docker(&["exec", &neighbour, "echo", "well"]).ok(), "well");
    assert_eq!(host.docker(&["exec", &other, "echo", "well"]).ok(), "well");
    host.docker(&["rm", "-f", &other]).ok();
}
