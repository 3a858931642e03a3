use super::*;

#[test]
fn counters_of_block_devices_are_read_from_both_versions() {
    let text = "8:0 Read 10\n8:0 Total 10\n8:16 7\nTotal 17\n";
    let entry = |minor, op: &str, value| BlkioEntry { major: 8, minor, op: op.to_owned(), value };
    assert_eq!(v1::entries(text), [entry(0, "Read", 10), entry(0, "Total", 10), entry(16, "", 7)]);
    let got = v2::entries("8:0 rbytes=5 wbytes=0 rios=2 wios=0 dbytes=0 dios=0");
    let want = [
        (true, entry(0, "Read", 5)),
        (true, entry(0, "Write", 0)),
        (false, entry(0, "Read", 2)),
        (false, entry(0, "Write", 0)),
    ];
    assert_eq!(got, want);
}

#[test]
fn pressure_and_lists_of_processors_are_read() {
    let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n\
                full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
    let pressure = v2::stalls(text);
    assert!((pressure.some.avg10 - 1.5).abs() < f64::EPSILON);
    assert_eq!((pressure.some.total, pressure.full.total), (77, 7));
    assert_eq!(v1::ranges("0-2,5\n"), [0, 1, 2, 5]);
    assert!(v1::ranges("\n").is_empty());
}

#[test]
fn what_is_not_there_is_printed_as_runc_prints_it() {
    let text = serde_json::to_string(&Stats::default()).expect("json");
    let json: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert_eq!(json["cpu"]["usage"], serde_json::json!({"kernel": 0, "user": 0}));
    assert_eq!(json["memory"]["usage"], serde_json::json!({"limit": 0, "failcnt": 0}));
    assert_eq!(json["pids"], serde_json::json!({}));
    assert_eq!(json["intel_rdt"], serde_json::json!({}));
    assert!(json["network_interfaces"].is_null());
    assert_eq!(serde_json::from_str::<Stats>(&text).expect("read again"), Stats::default());
}
