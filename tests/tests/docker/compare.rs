//! `hull compare`: what is told of both walls is what the host shows.

use serde_json::Value;
use tests::Host;
use tests::host::IMAGE;

use crate::hull::typed;

pub(crate) fn a_comparison_tells_what_differs(host: &mut Host) {
    let json = typed(host, &["compare", "--json", IMAGE], b"").ok();
    let document: Value = serde_json::from_str(&json).expect("JSON");
    let (native, process, vm) = (&document["native"], &document["process"], &document["hyperv"]);
    let own = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc(5)");
    assert_eq!(native["kernel"], own.trim());
    assert_eq!(process["kernel"], own.trim());
    assert_ne!(vm["kernel"], own.trim());
    let names = |side: &Value| {
        let all = side["processes"].as_array().expect("a list").iter();
        all.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert!(names(process).contains(&"sh".into()), "{process}");
    assert!(names(vm).contains(&"hull-vmwp".into()), "{vm}");
    assert!(!names(vm).contains(&"sh".into()), "{vm}");
    let spaces = process["ownNamespaces"].as_array().expect("a list");
    for kind in ["mnt", "pid", "net", "ipc", "uts"] {
        assert!(spaces.iter().any(|own| own == kind), "{kind}: {process}");
    }
    for side in [process, vm] {
        for key in ["startMs", "memoryBytes", "cpuSeconds"] {
            assert!(side[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {side}");
        }
        assert!(side["filter"]["allowed"].as_u64().is_some_and(|count| count > 200), "{side}");
        assert!(side["hostFilters"].as_u64().is_some_and(|count| count > 0), "{side}");
    }
    let ended = typed(host, &["compare", IMAGE, "true"], b"");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("ended with 0 before it was looked at"), "{}", ended.err);
    assert_eq!(typed(host, &["ps", "-aq"], b"").ok(), "", "nothing is left");
}
