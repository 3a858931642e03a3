//! Who a container's program is, and what it may.

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::super::{detached, run};

/// Moby's CVE-2022-24769: a program without the capability could gain it by executing a file with
/// inheritable ones.
pub(crate) fn no_capability_is_inheritable(host: &mut Host, isolation: Isolation) {
    let show = ["grep", "-E", "Cap(Inh|Amb)", "/proc/self/status"];
    let none =
        |said: &str| said.lines().count() == 2 && said.matches("0000000000000000").count() == 2;
    for flags in [&["--cap-add=SYS_TIME"][..], &["--privileged"], &["--user=1000"]] {
        let said = run(host, isolation, &[flags, &[IMAGE], &show].concat()).ok();
        assert!(none(&said), "{flags:?}: {said}");
    }
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    for flags in [&[][..], &["--privileged"], &["--user=1000"]] {
        let said = host.docker(&[&["exec"], flags, &[&*id], &show].concat()).ok();
        assert!(none(&said), "{flags:?}: {said}");
    }
    host.docker(&["rm", "-f", &id]).ok();
}

/// Moby's CVE-2022-36109, containerd's CVE-2023-25173: a file that denies something to a group was open to
/// a program whose own group was no supplementary one, as it gave the group up.
pub(crate) fn the_own_group_is_a_supplementary_one(host: &mut Host, isolation: Isolation) {
    let show = ["grep", "-E", "^(Gid|Groups):", "/proc/self/status"];
    let among = |said: &str| {
        let (own, all) = said.split_once('\n').expect("two lines");
        let own = own.split_whitespace().nth(1).expect("a number");
        all.split_whitespace().any(|group| group == own)
    };
    for user in ["1000:1001", "1000", "4000", "0"] {
        let user = format!("--user={user}");
        let said = run(host, isolation, &[&[&*user, IMAGE], &show[..]].concat()).ok();
        assert!(among(&said), "{user}: {said}");
    }
    let id = detached(host, isolation, &["--group-add=7"], &["sleep", "1000"]);
    let said = host.docker(&[&["exec", "--user=1000:1001", &id], &show[..]].concat()).ok();
    assert!(among(&said) && said.contains("1001"), "{said}");
    host.docker(&["rm", "-f", &id]).ok();
}

/// Docker's CVE-2016-3697, a number taken for the name of root's account in the image; containerd's
/// CVE-2024-40635, a number so large that it became 0.
pub(crate) fn a_number_is_nobody_elses_name(host: &mut Host, isolation: Isolation) {
    let id = host.docker(&["create", IMAGE, "sh", "-c", ACCOUNTS]).ok();
    host.docker(&["start", "-a", &id]).ok();
    host.docker(&["commit", "-c", "USER 1234", &id, "known:names"]).ok();
    host.docker(&["commit", "-c", "USER 4294967296", &id, "known:large"]).ok();
    host.docker(&["rm", &id]).ok();
    let who = ["sh", "-c", "id -u; id -g"];
    let said = run(host, isolation, &[&["known:names"], &who[..]].concat()).ok();
    assert_eq!(said, "1234\n0");
    let said =
        run(host, isolation, &[&["--user=1234:4321", "known:names"], &who[..]].concat()).ok();
    assert_eq!(said, "1234\n4321");
    let kept = detached(host, isolation, &[], &["sleep", "1000"]);
    for number in ["4294967296", "2147483648", "-1", "0:4294967296", "18446744073709551616"] {
        let user = format!("--user={number}");
        let said = run(host, isolation, &[&[&*user, IMAGE], &who[..]].concat());
        assert_eq!(said.code, 125, "{number}: {said}");
        let said = host.docker(&[&["exec", &*user, &kept], &who[..]].concat());
        assert_ne!(said.code, 0, "{number}: {said}");
    }
    let said = run(host, isolation, &[&["known:large"], &who[..]].concat());
    assert_eq!(said.code, 125, "{said}");
    host.docker(&["rm", "-f", &kept]).ok();
    host.docker(&["rmi", "known:names", "known:large"]).ok();
}

/// Root's account under the name of a number.
const ACCOUNTS: &str = "echo 1234::0:0::/:/bin/sh >>/etc/passwd; echo 4321:x:0: >>/etc/group";

/// Files of the kernel that tell of the host or change it: Docker's CVE-2017-16539 (`/proc/scsi`),
/// CVE-2018-10892 (`/proc/acpi`), CVE-2020-8694 (the processor's power), and the keys of others.
pub(crate) fn the_kernels_own_files_are_hidden(host: &mut Host, isolation: Isolation) {
    let script = "for at in /proc/acpi /proc/scsi /proc/asound /sys/firmware \
         /sys/devices/virtual/powercap; do [ -z \"$(ls -A $at 2>/dev/null)\" ] || echo $at; done; \
         for at in /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/sched_debug; do \
         [ -z \"$(head -c1 $at 2>/dev/null)\" ] || echo $at; done; \
         for at in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity \
         /sys/kernel/uevent_helper /proc/bus/x; do echo x 2>/dev/null >$at && echo $at; done; true";
    assert_eq!(run(host, isolation, &[IMAGE, "sh", "-c", script]).ok(), "");
}

/// Docker's CVE-2020-13401 and CVE-2024-32473: a container on a network without IPv6 had an address of it all
/// the same, and believed who announced itself there as a router.
pub(crate) fn without_ipv6_no_interface_speaks_it(host: &mut Host, isolation: Isolation) {
    let script = "cat /proc/net/if_inet6; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    let said = run(host, isolation, &[IMAGE, "sh", "-c", script]).ok();
    assert!(!said.contains("eth0") && said.ends_with('1'), "{said}");
    host.docker(&["network", "create", "--ipv6", "known6"]).ok();
    let script = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra";
    let said = run(host, isolation, &["--network=known6", IMAGE, "sh", "-c", script]).ok();
    assert_eq!(said, "0");
    host.docker(&["network", "rm", "known6"]).ok();
}
