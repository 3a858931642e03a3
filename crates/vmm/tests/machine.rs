//! Machines against a real hypervisor: templates, clones, the worker's walls, what is left behind.
//!
//! Needs root, QEMU and a guest kernel; runs when `HULL_VM_TESTS` is set. `HULL_VM_KERNEL` may name a
//! directory made by `scripts/vm-kernel.sh`, else /var/lib/hull/vm/kernel is taken.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy.toml does not know as such")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spec::options::{Accel, Options, Vm};
use vmm::{Config, Machine, Request, Start, disk};

const SCRATCH_MIB: u32 = 64;

/// A host of its own: data and state in a temporary directory, the test agent built.
struct Host {
    directory: tempfile::TempDir,
    config: Config,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kernel = std::env::var_os("HULL_VM_KERNEL")
            .map_or_else(|| PathBuf::from("/var/lib/hull/vm/kernel"), PathBuf::from);
        let (data_root, exec_root) = (directory.path().join("data"), directory.path().join("exec"));
        let vm = Vm { accel: Accel::Tcg, agent: Some(agent()), ..Vm::default() };
        let options = Options { data_root, exec_root, vm };
        fs::create_dir_all(options.kernel_dir()).unwrap();
        for part in ["boot", "lib"] {
            std::os::unix::fs::symlink(kernel.join(part), options.kernel_dir().join(part)).unwrap();
        }
        let config = Config::locate(&options).unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("hello"), "from the image").unwrap();
        disk::make_erofs(&tree, &directory.path().join("root.erofs")).unwrap();
        Self { directory, config }
    }

    fn request(&self, name: &str) -> Request {
        let scratch = self.directory.path().join(name);
        let root = disk::Look { mode: 0o755, uid: 0, gid: 0 };
        disk::make_scratch(&scratch, SCRATCH_MIB, root, &self.directory.path().join("cache"))
            .unwrap();
        let root = self.directory.path().join("root.erofs");
        Request { memory_mib: 256, cpus: 1, root, scratch, taps: None, netns: None }
    }

    fn start(&self, name: &str, start: Start) -> (Machine, Duration) {
        let request = self.request(name);
        let began = Instant::now();
        let machine = Machine::start(&self.config, request, start).unwrap();
        assert_eq!(ask(&machine, "ping 1"), "pong 1");
        (machine, began.elapsed())
    }
}

/// The example agent, built static.
fn agent() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent");
    let status = Command::new(env!("CARGO"))
        .args(["build", "-q", "-p", "vmm", "--example", "echo_agent"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .unwrap();
    assert!(status.success());
    target.join("x86_64-unknown-linux-gnu/debug/examples/echo_agent")
}

fn ask(machine: &Machine, question: &str) -> String {
    let channel = machine.channel().unwrap();
    channel.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    writeln!(&channel, "{question}").unwrap();
    let mut line = String::new();
    BufReader::new(&channel)
        .read_line(&mut line)
        .unwrap_or_else(|error| panic!("{question}: {error}; console: {}", machine.console_tail()));
    line.trim().to_owned()
}

fn proc(machine: &Machine, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", machine.pid())).unwrap()
}

fn enabled() -> bool {
    let enabled = std::env::var_os("HULL_VM_TESTS").is_some();
    if !enabled {
        eprintln!("skipped: HULL_VM_TESTS is not set");
    }
    enabled
}

#[test]
fn a_machine_starts_cold_and_from_a_template_and_leaves_nothing() {
    if !enabled() {
        return;
    }
    let host = Host::new();
    let (machine, took) = host.start("cold", Start::Cold);
    println!("cold boot: {:.2} s, qemu {}", took.as_secs_f64(), machine.backend().qemu);
    assert!(!machine.backend().template);
    assert_eq!(ask(&machine, "mount"), "from the image");
    drop(machine);

    let (first, took) = of_three_that_start_at_once_one_makes_the_template(&host);
    println!("template made and first clone: {:.2} s", took.as_secs_f64());
    assert!(first.backend().template);
    the_worker_is_walled_in(&first);
    the_guest_has_its_own_disks_and_a_running_clock(&first);
    it_pauses_and_resumes(&first);

    let mut alive: Vec<_> =
        (0..6).map(|i| host.start(&format!("clone{i}"), Start::Template)).collect();
    let mut times: Vec<_> = alive.iter().map(|(_, took)| took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    println!("clone to answer: min {:.3} s, median {:.3} s", times[0], times[3]);
    let pss = alive.iter().map(|(machine, _)| {
        let rollup = proc(machine, "smaps_rollup");
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    });
    println!("memory: {} KiB PSS each with 7 alive", pss.sum::<u64>() / 6);

    let pids: Vec<_> = alive.iter().map(|(machine, _)| machine.pid()).collect();
    writeln!(&alive[0].0.channel().unwrap(), "restart").unwrap();
    alive[0].0.wait();
    alive[1].0.kill();
    alive[1].0.kill();
    alive.clear();
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "worker {pid} is left");
    }
    drop(first);
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(host.directory.path().join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("data/templates").len(), 1, "{:?}", names("data/templates"));
    assert!(names("exec/vm").iter().all(|name| name.starts_with("template-")));

    a_broken_template_is_made_again(&host);
}

fn of_three_that_start_at_once_one_makes_the_template(host: &Host) -> (Machine, Duration) {
    let mut started: Vec<_> = std::thread::scope(|scope| {
        let names = ["first", "second", "third"];
        let starts = names.map(|name| scope.spawn(|| host.start(name, Start::Template)));
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let memory = |machine: &Machine| {
        use std::os::unix::fs::MetadataExt;
        let descriptors = fs::read_dir(format!("/proc/{}/fd", machine.pid())).unwrap();
        let paths = descriptors.map(|entry| entry.unwrap().path());
        let memory = paths.filter(|path| fs::read_link(path).unwrap().ends_with("memory"));
        memory.map(|path| fs::metadata(path).unwrap().ino()).next().unwrap()
    };
    let inodes: Vec<_> = started.iter().map(|(machine, _)| memory(machine)).collect();
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    started.swap_remove(0)
}

fn the_worker_is_walled_in(machine: &Machine) {
    let field = |status: &str, name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(proc(machine, "comm").trim(), "hull-vmwp");
    assert!(proc(machine, "cmdline").starts_with("hull-vmwp\0"));
    let status = proc(machine, "status");
    assert!(field(&status, "Uid:").parse::<u32>().unwrap() > 0x4800_0000);
    for capabilities in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(&status, capabilities), "0000000000000000");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "Seccomp:"), "2");
    assert!(status.contains("Groups:\t \n"), "supplementary groups");
    for namespace in ["net", "mnt", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(&machine.pid().to_string()), of("self"), "{namespace}");
    }
    let root = PathBuf::from(format!("/proc/{}/root", machine.pid()));
    for absent in ["proc/self", "etc/passwd", "root", "home", "tmp", "sys", "dev/kvm"] {
        assert!(!root.join(absent).exists(), "{absent}");
    }
    // The memory file, the one thing that clones share, is not writable by any of its descriptors.
    for entry in fs::read_dir(format!("/proc/{}/fd", machine.pid())).unwrap() {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).unwrap();
        if target.ends_with("memory") {
            let number = entry.file_name().into_string().unwrap();
            let flags = field(&proc(machine, &format!("fdinfo/{number}")), "flags:");
            assert_eq!(flags.chars().last(), Some('0'), "{flags}");
        }
    }
}

fn the_guest_has_its_own_disks_and_a_running_clock(machine: &Machine) {
    assert_eq!(ask(machine, "mount"), "from the image");
    assert_eq!(ask(machine, "cat /run/written"), "by the guest");
    let clock = |machine| ask(machine, "clock").parse::<f64>().unwrap();
    let (before, began) = (clock(machine), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let (inside, outside) = (clock(machine) - before, began.elapsed().as_secs_f64());
    println!("clock: {inside:.3} s in the guest while {outside:.3} s passed");
    assert!((inside - outside).abs() < 0.3, "{inside} s in the guest, {outside} s outside");
}

fn it_pauses_and_resumes(machine: &Machine) {
    machine.pause().unwrap();
    let channel = machine.channel().unwrap();
    channel.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    writeln!(&channel, "ping paused").unwrap();
    let mut line = String::new();
    assert!(BufReader::new(&channel).read_line(&mut line).is_err(), "a stopped guest answers");
    machine.resume().unwrap();
    channel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    BufReader::new(&channel).read_line(&mut line).unwrap();
    assert_eq!(line, "pong paused\n");
}

fn a_broken_template_is_made_again(host: &Host) {
    let template = fs::read_dir(host.directory.path().join("data/templates")).unwrap();
    let state = template.into_iter().next().unwrap().unwrap().path().join("state");
    let size = fs::metadata(&state).unwrap().len();
    fs::write(&state, vec![0; usize::try_from(size).unwrap()]).unwrap();
    let (machine, took) = host.start("healed", Start::Template);
    println!("from a broken template: {:.2} s", took.as_secs_f64());
    drop(machine);
}

#[test]
fn a_guest_that_does_not_come_up_is_one_error_with_its_console() {
    if !enabled() {
        return;
    }
    let host = Host::new();
    let broken = host.directory.path().join("not-an-agent");
    fs::copy("/bin/false", &broken).unwrap();
    let config = Config { agent: broken, ..host.config.clone() };
    let error = Machine::start(&config, host.request("scratch"), Start::Template).unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    println!("{message}");
    assert!(message.contains("boot the guest") && message.contains("panic"), "{message}");
    let left = fs::read_dir(host.directory.path().join("data/templates")).unwrap().count();
    assert_eq!(left, 0, "a template is left");
}

#[test]
fn the_accelerator_is_proven_by_a_boot_and_the_answer_kept() {
    if !enabled() {
        return;
    }
    let host = Host::new();
    let config = Config { accel: Accel::Auto, ..host.config.clone() };
    let timed = || {
        let began = Instant::now();
        (vmm::accelerator(&config).unwrap(), began.elapsed())
    };
    let (first, probing) = timed();
    let (second, knowing) = timed();
    println!("accelerator: {first:?}, probed in {:.2} s", probing.as_secs_f64());
    assert!(first != Accel::Auto && first == second);
    assert!(knowing < Duration::from_millis(100), "asked again: {knowing:?}");
    let kvm = vmm::accelerator(&Config { accel: Accel::Kvm, ..config.clone() });
    match kvm {
        Ok(accel) => assert_eq!((accel, first), (Accel::Kvm, Accel::Kvm)),
        Err(error) => {
            println!("{error}");
            assert_eq!((error.kind(), first), (spec::Kind::Unsupported, Accel::Tcg));
        }
    }
}
