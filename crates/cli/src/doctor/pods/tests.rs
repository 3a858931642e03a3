use super::*;

const KERNEL: &str = "6.1.0-56-cloud-amd64";

/// A host that has everything.
fn facts() -> Facts {
    let fine = |name| (name, Finding::works("there"));
    let both = ["process", "hyperv"].map(str::to_owned).to_vec();
    Facts {
        architecture: "amd64",
        release: "6.18.44".to_owned(),
        guests: vec![KERNEL.to_owned()],
        process: ["kernel", "namespaces", "control groups", "seccomp", "overlayfs"]
            .map(fine)
            .into(),
        vm: ["disk images", "hypervisor", "guest kernel"].map(fine).into(),
        modules: Finding::works("a VM gets disks while it runs"),
        boot: Finding::works("a guest was booted with KVM"),
        accel: Accel::Auto,
        policy: Some(both),
    }
}

/// Row `at` of a host that differs by `change` from one that has everything.
fn row(at: usize, change: impl FnOnce(&mut Facts)) -> (Pods, String, Option<String>) {
    let mut facts = facts();
    change(&mut facts);
    let row = rows(&facts).into_iter().nth(at).expect("five rows");
    (row.pods, row.why, row.remedy)
}

fn only(wall: &str) -> Vec<String> {
    vec![wall.to_owned()]
}

#[test]
fn any_supported_kernel_has_pods_of_processes() {
    let (pods, why, remedy) = row(0, |_| {});
    assert_eq!((pods, remedy), (Pods::Yes, None));
    assert!(why.contains("namespaces: there; control groups: there"), "{why}");

    let (pods, why, remedy) =
        row(0, |facts| facts.process[4].1 = Finding::missing("unknown type overlay", "modprobe"));
    assert_eq!(pods, Pods::No);
    assert_eq!((&*why, remedy.as_deref()), ("overlayfs: unknown type overlay", Some("modprobe")));

    let (pods, why, _) = row(0, |facts| {
        facts.process[1].1 = Finding::untried("not permitted", "sudo hull doctor");
    });
    assert_eq!((pods, &*why), (Pods::Unknown, "namespaces: not permitted"));
    let (pods, ..) =
        row(0, |facts| facts.process[2].1 = Finding::degraded("version 2 without io", "boot"));
    assert_eq!(pods, Pods::Yes, "limits alone are worse");
}

#[test]
fn a_host_with_kvm_has_pods_in_vms() {
    let (pods, why, _) = row(1, |_| {});
    assert_eq!((pods, &*why), (Pods::Yes, "a guest was booted with KVM"));
    let (pods, why, remedy) =
        row(1, |facts| facts.boot = Finding::degraded("KVM does not boot a guest", "another"));
    assert_eq!((pods, &*why), (Pods::No, "KVM does not boot a guest"));
    assert_eq!(remedy.as_deref(), Some("another"));
    let (pods, why, remedy) =
        row(1, |facts| facts.vm[2].1 = Finding::missing("none at /x", "make vm-kernel"));
    assert_eq!((pods, &*why), (Pods::No, "guest kernel: none at /x"));
    assert_eq!(remedy.as_deref(), Some("make vm-kernel"));
    let (pods, why, _) = row(1, |facts| facts.accel = Accel::Tcg);
    assert_eq!((pods, why.contains("--vm-accel tcg")), (Pods::No, true));
    let (pods, why, _) = row(1, |facts| facts.boot = Finding::untried("permission denied", "sudo"));
    assert_eq!((pods, &*why), (Pods::Unknown, "permission denied"));
    for at in [1, 2, 3] {
        let (pods, ..) = row(at, |facts| facts.policy = Some(only("process")));
        assert_eq!(pods, Pods::Refused, "row {at}");
    }
}

#[test]
fn without_kvm_pods_are_marked_as_no_hardware_isolation() {
    let no_kvm = |facts: &mut Facts| facts.boot = Finding::degraded("no /dev/kvm", "modprobe");
    let (pods, why, _) = row(2, no_kvm);
    assert_eq!((pods, &*why), (Pods::Yes, "no hardware isolation: QEMU emulates, slowly"));
    let mut without = facts();
    no_kvm(&mut without);
    let [_, kvm, soft, ..] = rows(&without);
    assert_eq!(soft.cells()[3], "yes, multi-container; no hardware isolation");
    assert_eq!(soft.document()["HardwareIsolation"], false);
    assert_eq!((kvm.document()["HardwareIsolation"].clone(), kvm.pods), (json!(true), Pods::No));

    let (pods, why, _) = row(2, |_| {});
    assert_eq!(pods, Pods::Yes);
    assert!(why.ends_with("where hulld --vm-accel tcg asks for it"), "{why}");
    let (pods, why, _) = row(2, |facts| facts.accel = Accel::Kvm);
    assert_eq!((pods, why.contains("--vm-accel kvm")), (Pods::No, true));
    let (pods, why, _) = row(2, |facts| facts.vm[1].1 = Finding::missing("no qemu", "apt install"));
    assert_eq!((pods, &*why), (Pods::No, "hypervisor: no qemu"));
}

#[test]
fn a_minimal_vm_has_one_container() {
    let (pods, why, _) = row(3, |_| {});
    assert_eq!((pods, &*why), (Pods::NotHere, "a VM gets disks while it runs"));
    let minimal = |facts: &mut Facts| {
        facts.modules = Finding::degraded("no virtio_scsi: one container per VM", "another kernel");
    };
    for at in [1, 2, 3] {
        let (pods, why, remedy) = row(at, minimal);
        assert_eq!((pods, remedy.as_deref()), (Pods::Partial, Some("another kernel")), "row {at}");
        assert!(why.ends_with("no virtio_scsi: one container per VM"), "{why}");
    }
    assert_eq!(row(0, minimal).0, Pods::Yes, "process isolation has no such kernel");
    let (pods, why, _) =
        row(3, |facts| facts.vm[2].1 = Finding::missing("none at /x", "make vm-kernel"));
    assert_eq!((pods, &*why), (Pods::No, "guest kernel: none at /x"));
    for at in [1, 2, 3] {
        let (pods, why, _) =
            row(at, |facts| facts.modules = Finding::missing("no erofs: no VM starts", "another"));
        assert_eq!((pods, why.ends_with("no erofs: no VM starts")), (Pods::No, true), "row {at}");
    }
}

#[test]
fn a_policy_of_hyperv_alone_refuses_processes() {
    let (pods, why, _) = row(4, |_| {});
    assert_eq!((pods, &*why), (Pods::NotHere, "the engine allows process and hyperv"));
    for at in [0, 4] {
        let (pods, why, remedy) = row(at, |facts| facts.policy = Some(only("hyperv")));
        assert_eq!((pods, &*why), (Pods::Refused, "the engine allows hyperv only"), "row {at}");
        assert_eq!(remedy.as_deref(), Some("hulld --allowed-isolation process"));
    }
    let (pods, why, remedy) = row(4, |facts| facts.policy = None);
    assert_eq!(pods, Pods::Unknown);
    assert!(why.contains("no engine answers"), "{why}");
    assert_eq!(remedy.as_deref(), Some("hull system start"));
    assert_eq!(row(0, |facts| facts.policy = None).0, Pods::Yes);
}

#[test]
fn a_container_for_another_kernel_is_refused_with_both_versions() {
    let said = refusal(&facts()).expect("no Linux is so new");
    assert!(said.contains(FUTURE) && said.contains(KERNEL), "{said}");
    let document = document(&facts(), &rows(&facts()));
    assert_eq!(document["Kernels"], json!({ "process": ["6.18.44"], "hyperv": [KERNEL] }));
    assert_eq!(document["Mismatch"], json!(said));
    assert_eq!(kernels(&facts()), format!("6.18.44 (process) or {KERNEL} (hyperv)"));
}
