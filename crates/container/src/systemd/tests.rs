use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;

use super::property::{annotated, bits, devices, limits};
use super::*;

#[test]
fn paths_of_systemd_are_slice_prefix_and_name() {
    let unit = |path: &str| Unit::parse(Some(Path::new(path)), "c");
    let good = unit("machine.slice:libpod:abc").expect("valid");
    assert_eq!((good.name.as_str(), good.slice.as_str()), ("libpod-abc.scope", "machine.slice"));
    assert_eq!(Unit::parse(None, "web").expect("valid").name, "runc-web.scope");
    for path in ["/a/b", "a:b", "a:b:c:d", "a:b:", "a:b/c:d"] {
        assert!(unit(path).is_err(), "{path}");
    }
    for (slice, want) in [
        ("system.slice", Some("system.slice")),
        ("a-b-c.slice", Some("a.slice/a-b.slice/a-b-c.slice")),
        ("-.slice", Some("")),
        ("a--b.slice", None),
        ("-a.slice", None),
        ("a", None),
        (".slice", None),
    ] {
        assert_eq!(slice_path(slice).ok(), want.map(PathBuf::from), "{slice}");
    }
}

fn resources(json: serde_json::Value) -> LinuxResources {
    serde_json::from_value(json).expect("resources")
}

#[test]
fn limits_become_properties_as_runc_names_them() {
    let resources = resources(serde_json::json!({
        "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
        "cpu": {"shares": 1024, "quota": 5001, "period": 10000, "cpus": "0,9"},
        "pids": {"limit": -1},
        "unified": {"memory.high": "max", "io.max": "x"},
    }));
    let u64s = |list: Vec<(String, Value)>| -> Vec<String> {
        list.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    };
    assert_eq!(
        u64s(limits(&resources, true).expect("valid")),
        [
            "MemoryMax=U64(1000)",
            "MemoryLow=U64(500)",
            "MemorySwapMax=U64(500)",
            "CPUWeight=U64(100)",
            "CPUQuotaPeriodUSec=U64(10000)",
            "CPUQuotaPerSecUSec=U64(510000)",
            "AllowedCPUs=Bytes([1, 2])",
            "TasksMax=U64(18446744073709551615)",
            "MemoryHigh=U64(18446744073709551615)",
        ]
    );
    assert_eq!(bits("0-3,16").expect("a list"), [15, 0, 1]);
    assert!(bits("").is_none() && bits("3-1").is_none() && bits("x").is_none());
}

#[test]
fn devices_become_a_strict_list_unless_all_are_allowed() {
    let list = devices(None).expect("valid");
    assert_eq!(list[1], ("DevicePolicy".to_owned(), Value::Text("strict".to_owned())));
    let Value::Pairs(pairs) = &list[2].1 else { panic!("{list:?}") };
    assert!(pairs.contains(&("/dev/char/1:3".to_owned(), "rwm".to_owned())), "{pairs:?}");
    assert!(pairs.contains(&("char-136".to_owned(), "rwm".to_owned())), "{pairs:?}");
    let all = resources(serde_json::json!({"devices": [{"allow": true, "access": "rwm"}]}));
    let list = devices(Some(&all)).expect("valid");
    assert_eq!(list[1].1, Value::Text("auto".to_owned()));
}

#[test]
fn annotations_are_properties_with_a_type() {
    let one = |name: &str, text: &str| {
        annotated(&HashMap::from([(format!("org.systemd.property.{name}"), text.to_owned())]))
    };
    for (name, text, want) in [
        ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", Value::U64(5))),
        ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", Value::U64(5_000_000))),
        (
            "CollectMode",
            "'inactive-or-failed'",
            ("CollectMode", Value::Text("inactive-or-failed".into())),
        ),
        ("Ok", "true", ("Ok", Value::Bool(true))),
    ] {
        let got = one(name, text).expect("valid");
        assert_eq!(got, [(want.0.to_owned(), want.1)], "{name}");
    }
    assert!(one("Bad-Name", "true").is_err() && one("Ok", "what").is_err());
    assert!(
        annotated(&HashMap::from([("other".to_owned(), "x".to_owned())])).expect("none").is_empty()
    );
}

/// A systemd that knows three answers: a job's path, its end, and an error.
fn serve(listener: &UnixListener) -> Vec<String> {
    let (stream, _) = listener.accept().expect("a client");
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut writer = stream;
    let mut line = String::new();
    reader.read_line(&mut line).expect("auth");
    assert!(line.starts_with("\0AUTH EXTERNAL "), "{line:?}");
    writer.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").expect("written");
    line.clear();
    reader.read_line(&mut line).expect("begin");
    assert_eq!(line, "BEGIN\r\n");
    let mut seen = Vec::new();
    for serial in 1_u32..=2 {
        let mut fixed = [0; 16];
        reader.read_exact(&mut fixed).expect("a header");
        let size =
            |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("four")) as usize;
        assert_eq!((fixed[0], fixed[1], size(8)), (b'l', 1, serial as usize));
        let mut rest = vec![0; size(12).next_multiple_of(8) + size(4)];
        reader.read_exact(&mut rest).expect("a message");
        seen.push(String::from_utf8_lossy(&rest).into_owned());
        if serial == 1 {
            // The end of the job may come before the answer that names it.
            writer
                .write_all(&message(4, 0, &[(3, "JobRemoved")], &removed("/job/7", "done")))
                .expect("written");
            writer.write_all(&message(2, serial, &[], &text("/job/7"))).expect("written");
        } else {
            let error = "org.freedesktop.systemd1.NoSuchUnit";
            writer
                .write_all(&message(3, serial, &[(4, error)], &text("not loaded")))
                .expect("written");
        }
    }
    seen
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    let mut bytes = 7_u32.to_le_bytes().to_vec();
    for part in [job, "u.scope", result] {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(text(part));
    }
    bytes
}

fn message(kind: u8, reply_to: u32, fields: &[(u8, &str)], body: &[u8]) -> Vec<u8> {
    let mut array = Vec::new();
    if reply_to != 0 {
        array.extend([5, 1, b'u', 0]);
        array.extend(reply_to.to_le_bytes());
    }
    for (code, value) in fields {
        array.resize(array.len().next_multiple_of(8), 0);
        array.extend([*code, 1, b's', 0]);
        array.extend(text(value));
    }
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(u32::try_from(array.len()).expect("short").to_le_bytes());
    bytes.extend(&array);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

#[test]
fn a_scope_is_started_by_a_job_and_errors_are_told_by_name() {
    let path = std::env::temp_dir().join(format!("hull-bus-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let server = std::thread::spawn(move || serve(&listener));
    let mut bus = Bus::open(&path, false).expect("connected");
    std::fs::remove_file(&path).expect("removed");
    bus.start("u.scope", &[("Delegate".to_owned(), Value::Bool(true))]).expect("started");
    let error = bus.stop("u.scope").expect_err("refused").to_string();
    assert_eq!(
        error,
        "systemd: StopUnit u.scope: not loaded (org.freedesktop.systemd1.NoSuchUnit)"
    );
    let seen = server.join().expect("served");
    assert!(seen[0].contains("StartTransientUnit") && seen[0].contains("Delegate"), "{seen:?}");
    assert!(seen[1].contains("StopUnit"), "{seen:?}");
}
