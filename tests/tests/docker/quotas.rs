//! Limits of what is written: of volumes, and of containers.

use std::fs;

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, run};

/// No loop device is on a file of the engine's.
fn no_loop_is_left(host: &Host) {
    let root = host.engine.data_root().to_string_lossy().into_owned();
    eventually("loop devices are free again", || {
        let devices = fs::read_dir("/sys/block").expect("sysfs").flatten();
        let files = devices.map(|entry| entry.path().join("loop/backing_file"));
        !files.flat_map(fs::read_to_string).any(|file| file.contains(&root))
    });
}

/// Fills the directory until it is full, and writes again when there is room.
const FILL: &str = "dd if=/dev/zero of=$0/big bs=1M count=80 2>&1 | grep -o 'No space'; rm $0/big; \
                    echo still >$0/small; cat $0/small";

pub(crate) fn a_volume_holds_no_more_than_its_size(host: &mut Host, isolation: Isolation) {
    host.docker(&["volume", "create", "-o", "size=32M", "small"]).ok();
    let size = |host: &Host| {
        let row = host.docker(&["system", "df", "-v", "--format", "{{json .Volumes}}"]).ok();
        let rows: serde_json::Value = serde_json::from_str(&row).expect("JSON");
        rows[0]["Size"].as_str().unwrap_or_default().to_owned()
    };
    let of = ["-v", "small:/v", IMAGE, "sh", "-c"];
    let empty = run(host, isolation, &[&of[..], &["ls -A /v"]].concat()).ok();
    assert_eq!(empty, "");
    let said = run(host, isolation, &[&of[..], &[FILL, "/v"]].concat()).ok();
    assert_eq!(said, "No space\nstill");
    assert_eq!(size(host), "6B");
    // Two at once have the same files.
    let id = detached(host, isolation, &["-v", "small:/v"], &["sleep", "1000"]);
    let both =
        run(host, Isolation::Process, &[&of[..], &["cat /v/small; echo more >/v/more"]].concat());
    assert_eq!(both.ok(), "still");
    assert_eq!(host.docker(&["exec", &id, "cat", "/v/more"]).ok(), "more");
    // It grows while it is used, where the kernel lets the engine do that: not without CAP_SYS_RESOURCE.
    let grow = |host: &Host, size: &str| {
        host.engine.post("/volumes/small/resize", &json!({ "Size": size }))
    };
    let (status, said) = grow(host, "64M");
    assert!(status == 200 || said.contains("Permission denied to resize"), "{said}");
    assert_eq!(host.docker(&["exec", &id, "cat", "/v/more"]).ok(), "more");
    host.docker(&["rm", "-f", &id]).ok();
    let (status, said) = grow(host, "96M");
    assert_eq!(status, 200, "{said}");
    let script = "dd if=/dev/zero of=/v/big bs=1M count=60 2>/dev/null && rm /v/big && cat /v/more";
    assert_eq!(run(host, isolation, &[&of[..], &[script]].concat()).ok(), "more");
    let seen = host.docker(&["volume", "inspect", "-f", "{{.Options.size}}", "small"]).ok();
    assert_eq!(seen, "96M");
    let (status, said) = grow(host, "16M");
    assert!(status == 400 && said.contains("no number of bytes above"), "{said}");
    assert_eq!(host.docker(&["volume", "rm", "small"]).ok(), "small");
    no_loop_is_left(host);
}

pub(crate) fn a_volume_with_a_size_is_filled_and_copied_from(host: &mut Host) {
    host.docker(&["volume", "create", "-o", "size=16M", "etc"]).ok();
    let mount = ["create", "-v", "etc:/etc", IMAGE, "true"];
    let id = host.docker(&mount).ok();
    let out = host.dir().join("passwd");
    host.docker(&["cp", &format!("{id}:/etc/passwd"), &out.to_string_lossy()]).ok();
    assert!(fs::read_to_string(&out).expect("a file").contains("root:"));
    fs::remove_file(out).expect("removed");
    host.docker(&["rm", &id]).ok();
    host.docker(&["volume", "rm", "etc"]).ok();
    for (option, want) in [
        ("size=1M", "less than 16 MiB"),
        ("size=x", "invalid size"),
        ("size=1G -o type=tmpfs -o device=tmpfs", "size limits a volume of files of its own"),
    ] {
        let words = option.split(' ');
        let arguments: Vec<_> = ["volume", "create", "-o"].into_iter().chain(words).collect();
        let said = host.docker(&arguments).fails(1);
        assert!(said.contains(want), "{said}");
    }
    no_loop_is_left(host);
}

pub(crate) fn a_volume_with_a_size_outlives_a_killed_engine(host: &mut Host) {
    host.docker(&["volume", "create", "-o", "size=16M", "kept"]).ok();
    let id = detached(host, Isolation::Process, &["-v", "kept:/v"], &["sleep", "1000"]);
    host.docker(&["exec", &id, "sh", "-c", "echo one >/v/f"]).ok();
    host.engine.kill();
    host.engine.start();
    let of = ["-v", "kept:/v", IMAGE, "sh", "-c", "cat /v/f; echo two >/v/f"];
    assert_eq!(run(host, Isolation::Process, &of).ok(), "one");
    assert_eq!(host.docker(&["exec", &id, "cat", "/v/f"]).ok(), "two");
    host.docker(&["rm", "-f", &id]).ok();
    host.docker(&["volume", "rm", "kept"]).ok();
    no_loop_is_left(host);
}

pub(crate) fn what_a_container_writes_is_limited(host: &mut Host, isolation: Isolation) {
    let id = {
        let script = format!("df -m / | tail -1 | awk '{{print ($2 > 20 && $2 <= 64)}}'; {FILL}");
        let flags = ["--storage-opt=size=64M"];
        detached(host, isolation, &flags, &["sh", "-c", &script, "/root"])
    };
    host.docker(&["wait", &id]).ok();
    assert_eq!(host.docker(&["logs", &id]).ok(), "1\nNo space\nstill");
    // What it wrote is there when it does not run, and when it runs again.
    let out = host.dir().join("small");
    host.docker(&["cp", &format!("{id}:/root/small"), &out.to_string_lossy()]).ok();
    assert_eq!(fs::read_to_string(&out).expect("a file"), "still\n");
    fs::write(&out, "put\n").expect("a file");
    host.docker(&["cp", &out.to_string_lossy(), &format!("{id}:/root/put")]).ok();
    fs::remove_file(out).expect("removed");
    let seen = host.docker(&["diff", &id]).ok();
    assert!(seen.contains("A /root/small") && seen.contains("A /root/put"), "{seen}");
    host.docker(&["start", "-a", &id]).ok();
    let seen = host.docker(&["commit", &id, "limited"]).ok();
    assert!(seen.starts_with("sha256:"), "{seen}");
    assert_eq!(run(host, isolation, &["limited", "cat", "/root/put"]).ok(), "put");
    host.docker(&["rm", &id]).ok();
    host.docker(&["rmi", "limited"]).ok();
    for (option, want) in [("size=1M", "less than 16 MiB"), ("colour=red", "unknown option")] {
        let flag = format!("--storage-opt={option}");
        let said = run(host, isolation, &[&flag, IMAGE, "true"]).fails(125);
        assert!(said.contains(want), "{said}");
    }
    no_loop_is_left(host);
}
