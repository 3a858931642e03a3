//! `hull demo`: what it shows is REQUIREMENTS section E, and what the host has.

use tests::Host;
use tests::host::IMAGE;

use crate::hull::typed;

pub(crate) fn the_demonstration_shows_both_walls(host: &mut Host) {
    let said = typed(host, &["demo", IMAGE], b"").ok();
    // The two columns of a row, which begin at fixed places.
    let row = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        (line[27..51].trim().to_owned(), line[52..].trim().to_owned())
    };
    let own = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc(5)");
    let kernels = row("uname -r");
    assert_eq!(kernels.0, own.trim());
    assert_ne!(kernels.1, own.trim());
    // E1, E4: full ids.
    let hex = |line: &&str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert_eq!(said.lines().filter(hex).count(), 2, "{said}");
    // E2, E3: the same process by the engine and the host; E5, E6: the guest's, by the engine alone.
    let (listed, guest) = row("hull top");
    assert!(listed.ends_with(" ping") && guest.ends_with(" ping"), "{said}");
    assert_eq!(row("ping"), (listed, "not found".into()));
    assert_eq!(row("number inside").0, "1");
    // E7: the worker, in its stead.
    let (none, worker) = row("hull-vmwp");
    assert!(none == "not found" && worker.ends_with(" hull-vmwp"), "{said}");
    // E8: nothing of the guest can be read, and nothing is left.
    assert_eq!(row("the program's secret"), ("sesame".into(), "not found".into()));
    assert_eq!(row("socket, record, files"), ("none".into(), "none".into()));
    assert!(said.contains("What to try next"), "{said}");
    assert_eq!(typed(host, &["ps", "-aq"], b"").ok(), "", "nothing is left");
}
