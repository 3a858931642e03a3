//! Devices of the host: disks by path in both modes, and devices by the names that CDI files describe.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;
use spec::Isolation;
use sys::loopback::Loop;
use tests::Host;
use tests::command::run as run_command;
use tests::host::IMAGE;
use tests::programs::program;

use super::run;

/// A disk of 8 MiB that begins with a word; it goes when this is dropped.
struct Disk {
    file: File,
    device: Loop,
}

impl Disk {
    fn new() -> Self {
        let mut file = tempfile::tempfile().expect("a file");
        file.set_len(8 << 20).expect("its size");
        file.write_all(b"here").expect("written");
        file.sync_all().expect("on disk");
        let device = Loop::attach(&file).expect("a loop device");
        Self { file, device }
    }

    fn path(&self) -> String {
        self.device.path().to_string_lossy().into_owned()
    }

    /// Its first bytes, without what the kernel may still hold back.
    fn word(&mut self) -> String {
        File::open(self.device.path()).and_then(|disk| disk.sync_all()).expect("synced");
        let mut word = [0; 4];
        self.file.seek(SeekFrom::Start(0)).expect("a place");
        self.file.read_exact(&mut word).expect("read");
        String::from_utf8_lossy(&word).into_owned()
    }
}

pub(crate) fn a_disk_of_the_hosts_is_read_and_written_as_it_may_be(
    host: &mut Host,
    isolation: Isolation,
) {
    let mut disk = Disk::new();
    let read = "head -c 4 /dev/data; (printf gone >/dev/data) 2>/dev/null || echo ' kept'";
    let device = format!("--device={}:/dev/data:r", disk.path());
    assert_eq!(run(host, isolation, &[&device, IMAGE, "sh", "-c", read]).ok(), "here kept");
    let write = "printf made | dd of=/dev/data conv=notrunc,fsync 2>/dev/null; head -c 4 /dev/data; \
                 stat -c ' %a' /dev/data | tr -d '\\n'; test -b /dev/data && echo ' disk'";
    let device = format!("--device={}:/dev/data:rw", disk.path());
    let said = run(host, isolation, &[&device, IMAGE, "sh", "-c", write]).ok();
    assert!(said.starts_with("made") && said.ends_with("disk"), "{said}");
    assert_eq!(disk.word(), "made");
}

pub(crate) fn what_is_no_disk_or_is_used_is_refused_to_a_vm(host: &mut Host) {
    let vm = Isolation::Vm;
    let said = run(host, vm, &["--device=/dev/net/tun", IMAGE, "true"]).fails(125);
    assert!(said.contains("a character device is its driver in the host's kernel"), "{said}");
    let disk = Disk::new();
    let taken = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_EXCL)
        .open(disk.device.path())
        .expect("free");
    let device = format!("--device={}", disk.path());
    let said = run(host, vm, &[&device, IMAGE, "true"]).fails(125);
    assert!(said.contains("two kernels must not write one disk"), "{said}");
    drop(taken);
    // A rule lets no device through that has no node, and is the guest's own.
    let rule = ["--device-cgroup-rule=c 1:11 w", IMAGE, "sh", "-c"];
    let script = "mknod /kmsg c 1 11 && true >/kmsg && echo opened";
    for isolation in [Isolation::Process, vm] {
        assert_eq!(run(host, isolation, &[&rule[..], &[script]].concat()).ok(), "opened");
        let said = run(host, isolation, &[IMAGE, "sh", "-c", script]).fails(1);
        assert!(said.contains("Operation not permitted"), "{said}");
    }
}

pub(crate) fn devices_are_asked_for_by_the_names_that_files_describe(host: &mut Host) {
    let dir = host.engine.data_root().join("cdi");
    fs::create_dir_all(&dir).expect("a directory");
    let hooked = dir.join("hooked");
    let described = json!({
        "cdiVersion": "0.6.0", "kind": "vendor.com/net",
        "devices": [
            { "name": "card", "containerEdits": {
                "env": ["CARD=0"],
                "deviceNodes": [{ "path": "/dev/card", "hostPath": "/dev/null" }],
                "hooks": [{ "hookName": "createRuntime", "path": "/bin/sh",
                    "args": ["sh", "-c", format!("cat >{}", hooked.display())] }],
            }},
            { "name": "plain", "containerEdits": {
                "env": ["CARD=1"],
                "mounts": [{ "hostPath": dir, "containerPath": "/card", "options": ["ro"] }],
            }},
        ],
    });
    fs::write(dir.join("net.json"), described.to_string()).expect("a file");
    let engine = &host.engine;
    let flag = "--device=vendor.com/net=card";
    let script = "echo $CARD; stat -c %t:%T /dev/card; echo x >/dev/card && echo written";
    let run = |wall: &str| engine.docker(&["run", "--rm", wall, flag, IMAGE, "sh", "-c", script]);
    let said = run("--isolation=hyperv").fails(125);
    assert!(said.contains("programs of the host are not run for VM containers"), "{said}");
    let said = run("--isolation=process").ok();
    assert_eq!(said, "0\n1:3\nwritten");
    assert!(fs::read_to_string(&hooked).expect("the hook ran").contains("ociVersion"));

    let look = "echo $CARD; ls /card; touch /card/x 2>&1 | grep -c 'Read-only'";
    for isolation in ["--isolation=process", "--isolation=hyperv"] {
        let words = ["run", "--rm", isolation, "--device=vendor.com/net=plain", IMAGE, "sh", "-c"];
        let hull = engine
            .other_client(&program("hull").to_string_lossy(), &[&words[..], &[look]].concat());
        assert_eq!(run_command(hull, b"").ok(), "1\nhooked\nnet.json\n1", "{isolation}");
    }
    let id = engine.docker(&["create", flag, IMAGE, "true"]).ok();
    let seen = engine.inspect(&id);
    assert_eq!(
        seen["HostConfig"]["DeviceRequests"][0]["DeviceIDs"],
        json!(["vendor.com/net=card"])
    );
    let pierced = &seen["Hull"]["Piercings"][0];
    assert_eq!((&pierced["Kind"], &pierced["Outside"]), (&json!("cdi"), &json!("/dev/null")));

    // A VM has none of the host's programs and drivers; and each refusal says what would do.
    let vm = engine.docker(&["run", "--rm", "--isolation=hyperv", flag, IMAGE, "true"]).fails(125);
    assert!(vm.contains("hooks: programs of the host"), "{vm}");
    let none = engine.docker(&["create", "--device=vendor.com/net=none", IMAGE]).fails(1);
    assert!(none.contains("unresolvable CDI devices vendor.com/net=none"), "{none}");
    let gpus = engine.docker(&["create", "--gpus=all", IMAGE]).fails(1);
    assert!(gpus.contains("CDI") && gpus.contains("nvidia.com/gpu=all"), "{gpus}");
    engine.docker(&["rm", &id]).ok();
    fs::remove_dir_all(dir).expect("removed");
}
