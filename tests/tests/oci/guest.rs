//! The same suite where cgroup v2 is all there is: in a guest, once.

use std::time::Duration;

use tests::guest::Guest;
use tests::programs::{has_kernel, program};

/// Which of the suite's tests: those in which cgroups matter, and those in which the age of the kernel does.
const CHOSEN: &str = "cgroups:: unified:: systemd:: life:: layers::what layers::no_name";

/// What the guest's kernel or its lack of everything but busybox does not let pass.
const LEFT_OUT: [&str; 0] = [];

#[test]
fn limits_hold_on_cgroup_v2() {
    if std::env::var_os("HULL_IN_GUEST").is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    if !has_kernel() {
        println!("skipped: no kernel for guests, see make vm-kernel");
        return;
    }
    let mut guest = Guest::new();
    guest.program("oci", &std::env::current_exe().expect("this program"));
    guest.program("hull-runtime", &program("hull-runtime"));
    guest.modules(&["virtio_pci", "virtio_blk", "bfq", "overlay"]);
    if !guest.systemd() {
        println!("the guest has no systemd: there is none here to copy");
    }
    let skip: String = LEFT_OUT.iter().flat_map(|name| [" --skip ", name]).collect();
    let chosen = std::env::var("HULL_GUEST_TESTS").unwrap_or_else(|_| CHOSEN.to_owned());
    let script = format!(
        "export HULL_IN_GUEST=1 HULL_BIN_DIR=/programs\n\
         test -e /sys/fs/cgroup/cgroup.controllers || exit 3\n\
         cat /sys/fs/cgroup/cgroup.controllers\n\
         oci --test-threads=2 {chosen}{skip}"
    );
    let said = guest.run(&script, Duration::from_secs(300));
    println!("{said}");
    assert!(said.contains("guest: exit 0"), "in the guest, see above");
    assert!(said.contains("test result: ok"), "the guest ran no tests");
}
