//! A guest that has been taken over: its agent breaks the protocol on every stream that there is. The shim
//! answers with an error and drops the VM, and nothing else notices.

use std::process::Command;
use std::time::{Duration, Instant};

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::detached;

/// How it misbehaves before there is a container, and what is said of that.
const AT_ONCE: [(&str, &str); 8] = [
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
const LATER: [&str; 3] = ["overrun", "credit", "fuse"];

pub(crate) fn a_hostile_agent_harms_its_own_container_alone(host: &mut Host) {
    let dir = host.dir().join("rogue");
    std::fs::create_dir_all(&dir).expect("a directory");
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
    // Thousands of visitors, all to somebody who is not there, and two answers to one call.
    run("flood").fails(7);
    assert_eq!(engine.left_since(&before), Vec::<String>::new());
    assert_eq!(engine.docker(&["exec", &neighbour, "echo", "well"]).ok(), "well");
    assert_eq!(host.docker(&["exec", &other, "echo", "well"]).ok(), "well");
    host.docker(&["rm", "-f", &other]).ok();
}
