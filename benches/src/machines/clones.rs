//! What a clone holds before there is a container in it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use spec::options::{Options, Vm};
use tests::Host;
use tests::programs::{kernel, program};
use vmm::{Config, Machine, Request, Start, class, disk};

use super::{CLONES, pss};
use crate::contest::millis;

/// Until a clone's kernel has done what it had put off.
const SETTLE: Duration = Duration::from_secs(2);
const SCRATCH_MIB: u32 = 1024;
/// As many as a container without a quota has.
const CPUS: u32 = 2;

/// Prints it, and how long a clone takes to run.
pub(crate) fn compare(host: &Host) {
    let (kernel, modules) = kernel();
    let agent = Some(program("hull-agent"));
    let vm = Vm { kernel: Some(kernel), modules: Some(modules), agent, ..Vm::default() };
    let (data_root, exec_root) =
        (host.engine.data_root().to_owned(), host.engine.exec_root().to_owned());
    let memory_mib = class(vm.memory_mib);
    let config = Config::locate(&Options { data_root, exec_root, vm }).expect("a VM can be had");

    let dir = host.dir().join("clones");
    let (tree, root) = (dir.join("tree"), dir.join("root.erofs"));
    fs::create_dir_all(&tree).expect("a directory");
    disk::make_erofs(&tree, &root).expect("an image");
    let request = |number: usize| {
        let scratch = dir.join(format!("scratch{number}"));
        let look = disk::Look { mode: 0o755, uid: 0, gid: 0 };
        disk::make_scratch(&scratch, SCRATCH_MIB, look, &dir.join("cache")).expect("a disk");
        Request { memory_mib, cpus: CPUS, root: root.clone(), scratch, taps: None, netns: None }
    };
    let start = |number| {
        let request = request(number);
        let begin = Instant::now();
        let machine = Machine::start(&config, request, Start::Template).expect("a clone");
        (machine, begin.elapsed())
    };
    // The first may have to make the template.
    drop(start(CLONES));
    let (clones, times): (Vec<_>, Vec<_>) = (0..CLONES).map(start).unzip();
    thread::sleep(SETTLE);
    let held: f64 = clones.iter().map(|clone| pss(clone.pid())).sum();
    let mean = times.iter().sum::<Duration>() / u32::try_from(CLONES).expect("a few");
    println!("\nidle clones without a container");
    println!("  {:<28} {:>8.1} MB", format!("each of {CLONES} (PSS)"), held / 10.0);
    println!("  {:<28} {:>8.1} ms", "start", millis(mean));
}
