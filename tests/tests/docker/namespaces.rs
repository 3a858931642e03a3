//! Namespaces that containers have together, and where a wall forbids it.

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

pub(crate) fn shared_memory_is_for_those_who_are_offered_it(host: &mut Host) {
    let process = Isolation::Process;
    let write = "echo said > /dev/shm/word; ipcmk -Q 2>/dev/null; exec sleep 1000";
    let flags = ["--name=donor", "--ipc=shareable", "--shm-size=8m"];
    let donor = detached(host, process, &flags, &["sh", "-c", write]);
    assert_eq!(field(host, &donor, "{{.HostConfig.IpcMode}}"), "shareable");
    let look = "readlink /proc/self/ns/ipc; df -k /dev/shm | tail -1 | awk '{print $2}'; \
                cat /dev/shm/word; echo more > /dev/shm/answer";
    let seen = run(host, process, &["--ipc=container:donor", IMAGE, "sh", "-c", look]).ok();
    let link = host.docker(&["exec", &donor, "readlink", "/proc/self/ns/ipc"]).ok();
    assert_eq!(seen.lines().collect::<Vec<_>>(), [&link, "8192", "said"]);
    assert_eq!(host.docker(&["exec", &donor, "cat", "/dev/shm/answer"]).ok(), "more");

    // Whoever has joined keeps it, also over an engine's end, and nothing stays when all have ended.
    let joined = ["--ipc=container:donor", "--name=joined"];
    let joined = detached(host, process, &joined, &["sleep", "1000"]);
    host.engine.kill();
    host.engine.start();
    host.docker(&["rm", "-f", "donor"]).ok();
    assert_eq!(host.docker(&["exec", &joined, "cat", "/dev/shm/word"]).ok(), "said");
    host.docker(&["kill", "joined"]).ok();
    let said = host.docker(&["start", "joined"]).fails(1);
    assert!(said.contains("No such container: "), "{said}");

    detached(host, process, &["--name=alone"], &["sleep", "1000"]);
    let said = run(host, process, &["--ipc=container:alone", IMAGE, "true"]).fails(125);
    assert!(said.contains("non-shareable IPC"), "{said}");
    let none = run(host, process, &["--ipc=none", IMAGE, "ls", "/dev/shm"]).fails(1);
    assert!(none.contains("No such file"), "{none}");
}

pub(crate) fn no_namespace_crosses_the_wall_of_a_vm(host: &mut Host) {
    for flag in [
        "--ipc=host",
        "--ipc=shareable",
        "--ipc=container:x",
        "--pid=host",
        "--pid=container:x",
        "--uts=host",
        "--cgroupns=host",
        "--network=host",
        "--network=container:x",
    ] {
        let said = run(host, Isolation::Vm, &[flag, IMAGE, "true"]).fails(125);
        assert!(said.contains("a namespace cannot cross the wall of a VM"), "{flag}: {said}");
    }
    let own = ["--ipc=private", "--cgroupns=private", "--userns=host", IMAGE, "true"];
    run(host, Isolation::Vm, &own).ok();
}

/// Whose processes are to be shared must be there when the container is made, and run when it starts.
pub(crate) fn a_donor_of_processes_is_looked_for_early(host: &mut Host) {
    let flag = "--pid=container:nowhere";
    let said = host.docker(&["create", flag, IMAGE, "true"]).fails(1);
    assert!(said.contains("No such container: nowhere"), "{said}");
    let donor = host.docker(&["create", "--name=donor", IMAGE, "true"]).ok();
    let guest = host.docker(&["create", "--pid=container:donor", IMAGE, "true"]).ok();
    let said = host.docker(&["start", &guest]).fails(1);
    let want = format!("failed to join PID namespace: container {donor} is not running");
    assert!(said.contains(&want), "{said}");
}
