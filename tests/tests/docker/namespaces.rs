//! Namespaces that containers have together, and where a wall forbids it.

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::sockets::PERL;
use super::{detached, field, run};

/// Makes one of each kind that programs share, and tells when they are there.
const MAKE: &str = "echo said >/dev/shm/word && touch /dev/mqueue/queue && \
     perl -e 'semget(0x48554c4c, 1, 01600) // die; shmget(0x48554c4c, 4096, 01600) // die; \
              msgget(0x48554c4c, 01600) // die' && echo made; exec sleep 4000";
/// Tells which of them, and which programs, are seen: those of `sleep` are counted.
const LOOK: &str = "ls /dev/shm /dev/mqueue | grep -c -x -e word -e queue; \
     cat /proc/sysvipc/sem /proc/sysvipc/shm /proc/sysvipc/msg | grep -c 1213549644; \
     ps -o args | grep -c '^sleep 4000'; true";

/// A container with one of each kind.
fn maker(host: &Host, isolation: Isolation, flags: &[&str]) -> String {
    let id = detached(host, isolation, &[&PERL, flags].concat(), &["sh", "-c", MAKE]);
    tests::command::eventually("they are made", || host.docker(&["logs", &id]).ok() == "made");
    id
}

/// What a new container sees of them.
fn seen(host: &Host, isolation: Isolation, flags: &[&str]) -> String {
    run(host, isolation, &[flags, &[IMAGE, "sh", "-c", LOOK]].concat()).ok().replace('\n', " ")
}

/// D7 to D9: shared memory, semaphores, queues and processes are private unless somebody asks.
pub(crate) fn memory_semaphores_queues_and_processes_are_ones_own(
    host: &mut Host,
    isolation: Isolation,
) {
    let id = maker(host, isolation, &[]);
    let inside = host.docker(&["exec", &id, "sh", "-c", LOOK]).ok().replace('\n', " ");
    assert_eq!(inside, "2 3 1");
    for other in [Isolation::Process, Isolation::Vm] {
        assert_eq!(seen(host, other, &[]), "0 0 0", "{other}");
    }
    let outside = host.engine.on_host("cat", &["/proc/sysvipc/sem", "/proc/sysvipc/msg"]).ok();
    assert!(!outside.contains("1213549644"), "{outside}");
    assert!(!std::path::Path::new("/dev/shm/word").exists());
    host.docker(&["rm", "-f", &id]).ok();
}

pub(crate) fn they_are_shared_where_that_is_asked(host: &mut Host) {
    let process = Isolation::Process;
    maker(host, process, &["--name=donor", "--ipc=shareable"]);
    assert_eq!(seen(host, process, &["--ipc=container:donor"]), "2 3 0");
    assert_eq!(seen(host, process, &["--pid=container:donor"]), "0 0 1");
    assert_eq!(seen(host, process, &["--pid=host"]), "0 0 1");
    let of_host = ["--ipc=host", IMAGE, "cat", "/proc/sysvipc/sem"];
    let held = host.engine.on_host("cat", &["/proc/sysvipc/sem"]).ok();
    assert_eq!(run(host, process, &of_host).ok(), held);
    host.docker(&["rm", "-f", "donor"]).ok();
}

pub(crate) fn nobody_joins_what_is_in_a_vm(host: &mut Host) {
    detached(host, Isolation::Vm, &["--name=apart"], &["sleep", "1000"]);
    for (flag, what) in [
        ("--ipc=container:apart", "IPC"),
        ("--pid=container:apart", "PID"),
        ("--network=container:apart", "network"),
    ] {
        let said = run(host, Isolation::Process, &[flag, IMAGE, "true"]).fails(125);
        let want = format!("the {what} of container");
        assert!(said.contains(&want) && said.contains("behind the wall of a VM"), "{said}");
    }
    host.docker(&["rm", "-f", "apart"]).ok();
}

pub(crate) fn containers_join_each_other_in_one_vm(host: &mut Host) {
    const LOOK: &str = "cat /proc/sys/kernel/random/boot_id; \
                        for kind in net ipc pid; do readlink /proc/self/ns/$kind; done";
    let vm = Isolation::Vm;
    let serve = "mkdir /www; echo page > /www/index.html; echo said > /dev/shm/word; \
                 exec httpd -f -p 80 -h /www";
    detached(host, vm, &["--name=donor", "--ipc=shareable"], &["sh", "-c", serve]);
    let joins = ["--network=container:donor", "--ipc=container:donor"];
    let look = "wget -qO- 127.0.0.1; cat /dev/shm/word; echo own > /own; sleep 1000";
    let flags = [&joins[..], &["--name=joined"]].concat();
    detached(host, vm, &flags, &["sh", "-c", look]);
    eventually("it has seen both", || host.docker(&["logs", "joined"]).out == "page\nsaid\n");
    let look = |seen: String| seen.lines().map(str::to_owned).collect::<Vec<_>>();
    let of = |name: &str| look(host.docker(&["exec", name, "sh", "-c", LOOK]).ok());
    let same =
        |seen: &[String]| of("donor").iter().zip(seen).map(|(a, b)| a == b).collect::<Vec<_>>();
    assert_eq!(
        same(&of("joined")),
        [true, true, true, false],
        "machine, network, memory, processes"
    );
    assert_eq!(host.docker(&["exec", "joined", "cat", "/own"]).ok(), "own");
    host.docker(&["exec", "donor", "cat", "/own"]).fails(1);
    let worker = "{{.Hull.Isolation.WorkerPid}}";
    assert_eq!(field(host, "joined", worker), field(host, "donor", worker));

    // One that has its own of something has it in the same VM.
    let alone = ["--network=none", "--pid=container:donor", IMAGE, "sh", "-c", LOOK];
    assert_eq!(same(&look(run(host, vm, &alone).ok())), [true, false, false, true]);
    let said = run(host, vm, &["--pid=container:donor", IMAGE, "true"]).fails(125);
    assert!(said.contains("a VM has one network"), "{said}");

    // It outlives the engine, and whom it has joined; who was first gets his VM back when it is free.
    host.engine.kill();
    host.engine.start();
    assert_eq!(host.docker(&["exec", "joined", "cat", "/own"]).ok(), "own");
    host.docker(&["kill", "donor"]).ok();
    assert_eq!(field(host, "joined", "{{.State.Status}}"), "running");
    let said = host.docker(&["start", "donor"]).fails(1);
    assert!(said.contains("its last VM still runs for container joined"), "{said}");
    assert_eq!(host.docker(&["exec", "joined", "cat", "/own"]).ok(), "own");
    host.docker(&["stop", "-t", "0", "joined"]).ok();
    host.docker(&["start", "donor", "joined"]).ok();
    assert_eq!(host.docker(&["exec", "joined", "cat", "/own"]).ok(), "own");
    host.docker(&["rm", "-f", "donor", "joined"]).ok();
}

/// The VM ends while its agent is still asked to forget the one who ended before.
pub(crate) fn all_of_one_vm_are_removed_at_once(host: &mut Host) {
    const VMS: usize = 3;
    const ROUNDS: usize = 3;
    for _ in 0..ROUNDS {
        let pair = |n: usize| {
            let [donor, joined] = ["donor", "joined"].map(|name| format!("{name}{n}"));
            detached(host, Isolation::Vm, &["--name", &donor], &["sleep", "1000"]);
            let flags = [&format!("--network=container:{donor}"), "--name", &joined];
            detached(host, Isolation::Vm, &flags, &["sleep", "1000"]);
            [donor, joined]
        };
        let pairs: Vec<_> = (0..VMS).map(pair).collect();
        let removals =
            pairs.iter().map(|[donor, joined]| host.engine.begin(&["rm", "-f", donor, joined]));
        for removal in removals.collect::<Vec<_>>() {
            removal.wait().ok();
        }
    }
    eventually("no shim stays", || host.engine.processes("containerd-shim").is_empty());
}

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
    for flag in ["--ipc=host", "--pid=host", "--uts=host", "--cgroupns=host", "--network=host"] {
        let said = run(host, Isolation::Vm, &[flag, IMAGE, "true"]).fails(125);
        assert!(said.contains("a namespace cannot cross the wall of a VM"), "{flag}: {said}");
    }
    detached(host, Isolation::Process, &["--name=outside", "--ipc=shareable"], &["sleep", "1000"]);
    for flag in
        ["--ipc=container:outside", "--pid=container:outside", "--network=container:outside"]
    {
        let said = run(host, Isolation::Vm, &[flag, IMAGE, "true"]).fails(125);
        assert!(said.contains("is outside, and a VM has its own wall around it"), "{said}");
    }
    let own = ["--ipc=private", "--cgroupns=private", "--userns=host", IMAGE, "true"];
    run(host, Isolation::Vm, &own).ok();
}

/// Whose processes are to be shared must be there when the container is made, and run when it starts.
pub(crate) fn a_donor_of_processes_is_looked_for_early(host: &mut Host) {
    let process = "--isolation=process";
    let flag = "--pid=container:nowhere";
    let said = host.docker(&["create", process, flag, IMAGE, "true"]).fails(1);
    assert!(said.contains("No such container: nowhere"), "{said}");
    let donor = host.docker(&["create", "--name=donor", IMAGE, "true"]).ok();
    let guest = host.docker(&["create", process, "--pid=container:donor", IMAGE, "true"]).ok();
    let said = host.docker(&["start", &guest]).fails(1);
    let want = format!("failed to join PID namespace: container {donor} is not running");
    assert!(said.contains(&want), "{said}");
}
