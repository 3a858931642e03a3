//! What a guest or its orders could do to the host: Kata's flaws, and the shim's of containerd.

use std::fs;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::super::{detached, run};

/// Kata's CVE-2020-2023: a container made a node of its guest's disk and changed the file system beneath it.
pub(crate) fn no_disk_is_reached_by_a_node_of_ones_own(host: &mut Host, isolation: Isolation) {
    let script = "n=0; while read major minor size name; do case $major in [0-9]*) ;; *) continue;; esac; \
         n=$((n+1)); mknod /n$n b $major $minor || continue; \
         if head -c1 /n$n >/dev/null 2>&1; then echo read $name; fi; \
         if (: >>/n$n) 2>/dev/null; then echo opened $name; fi; done </proc/partitions; echo tried $n";
    let said = run(host, isolation, &[IMAGE, "sh", "-c", script]).ok();
    let tried: u32 = said.strip_prefix("tried ").and_then(|n| n.parse().ok()).expect(&said);
    assert!(tried > 0, "{said}");
}

/// Kata's CVE-2020-28914: the guest mounted again, for writing, what was shared with it for reading.
pub(crate) fn what_is_shared_for_reading_cannot_be_written(host: &mut Host) {
    let dir = host.dir().join("read");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("file"), "kept").expect("a file");
    let shared = dir.display();
    let volumes = [format!("{shared}:/d:ro"), format!("{shared}/file:/f:ro")];
    let script = "for at in /d /f; do mount -o remount,rw,bind $at; mount -o remount,rw $at; \
         grep \" $at \" /proc/mounts; done 2>/dev/null; \
         (echo x >/f; echo x >/d/file; touch /d/new; rm /d/file; mv /d/file /d/x) 2>/dev/null; cat /f";
    let flags = ["--privileged", "-v", &volumes[0], "-v", &volumes[1]];
    let said = run(host, Isolation::Vm, &[&flags[..], &[IMAGE, "sh", "-c", script]].concat()).ok();
    // The guest's kernel takes it for writable: it is the host's side that holds.
    assert!(said.contains(" rw,") && said.ends_with("kept"), "{said}");
    assert_eq!(fs::read(dir.join("file")).expect("a file"), b"kept");
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 1);
}

/// Kata's CVE-2020-27151: an annotation named the program that the host ran as hypervisor.
pub(crate) fn no_order_names_a_file_of_the_host(host: &mut Host) {
    for order in
        ["dev.hull.host-devices=all", "dev.hull.init=/bin/sh", "dev.hull.engine-files=/etc/shadow"]
    {
        let annotation = format!("--annotation={order}");
        let said = run(host, Isolation::Vm, &[&annotation, IMAGE, "true"]).fails(125);
        assert!(said.contains("dev.hull."), "{order}: {said}");
    }
    for kernel in ["../../../../etc/passwd", "/etc/passwd", "6.1/../../x", ""] {
        let label = format!("--label=dev.hull.kernel={kernel}");
        let said = run(host, Isolation::Vm, &[&label, IMAGE, "true"]).fails(125);
        assert!(said.contains("kernel"), "{kernel}: {said}");
    }
}

/// Kata's CVE-2020-2025: what one guest wrote to its image, the next one started from.
pub(crate) fn what_a_guest_does_to_its_disks_is_its_own(host: &mut Host) {
    let script =
        "for dev in /dev/vd*; do dd if=/dev/zero of=$dev bs=64k count=64 conv=notrunc; done; true";
    let spoil = ["--privileged", IMAGE, "/bin/busybox", "sh", "-c", script];
    let said = run(host, Isolation::Vm, &spoil);
    // Its own scratch disk was among them: how it ends is its own affair.
    let sum = ["sh", "-c", "sha256sum /bin/busybox"];
    let alone = run(host, Isolation::Process, &[&[IMAGE], &sum[..]].concat()).ok();
    let after = run(host, Isolation::Vm, &[&[IMAGE], &sum[..]].concat()).ok();
    assert_eq!(after, alone, "{said}");
}

/// containerd's CVE-2020-15257: whoever was root in the host's network reached the shim by an abstract socket.
pub(crate) fn no_socket_of_ours_is_abstract(host: &mut Host) {
    let id = detached(host, Isolation::Process, &["--network=host"], &["sleep", "1000"]);
    let machine = detached(host, Isolation::Vm, &[], &["sleep", "1000"]);
    let sockets = host.docker(&["exec", &id, "cat", "/proc/net/unix"]).ok();
    let mut paths = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    assert!(paths.clone().any(|path| path.contains("/hull.sock")), "{sockets}");
    let ours = paths.find(|path| path.starts_with('@'));
    assert_eq!(ours, None);
    host.docker(&["rm", "-f", &id, &machine]).ok();
}
