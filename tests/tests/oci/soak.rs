//! Containers made, started and deleted by the thousand, eight at a time, and the runtime killed at
//! random instants: what it leaves then is still listed and still deleted, and in the end there is
//! nothing.
//!
//! `HULL_SOAK_CYCLES` is how many; `make soak` says 5,000.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::command::eventually;
use tests::random::{self, Random};

use crate::bundle::Bundle;

const WORKERS: u64 = 8;

/// The longest time until a command is killed. Undisturbed, `create` takes 20 ms.
const DELAY: u64 = 30_000;

/// What all workers share.
struct Soak {
    parent: String,
    state_root: PathBuf,
    cycles: u32,
    begun: AtomicU32,
    killed: AtomicU32,
}

#[test]
fn a_killed_runtime_leaves_nothing_that_delete_does_not_find() {
    let Some(first) = Bundle::sh("true") else { return };
    let cycles = std::env::var("HULL_SOAK_CYCLES").ok().and_then(|text| text.parse().ok());
    let soak = Soak {
        parent: format!("hull-soak-{}", std::process::id()),
        state_root: first.state_root(),
        cycles: cycles.unwrap_or(100),
        begun: AtomicU32::new(0),
        killed: AtomicU32::new(0),
    };
    let seed = random::seed();
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 1..=WORKERS {
            let (soak, bundle) = (&soak, Bundle::sh("true").expect("root"));
            scope.spawn(move || soak.work(bundle, Random::new(seed.wrapping_add(worker))));
        }
    });
    let killed = soak.killed.load(Ordering::Relaxed);
    println!(
        "{} cycles, {killed} commands killed, {:.1} s, seed {seed}",
        soak.cycles,
        start.elapsed().as_secs_f32()
    );
    assert!(killed > soak.cycles / 10, "too few commands were killed: {killed}");
    assert_eq!(soak.list(&first), "");
    eventually("nothing is left", || {
        let left = soak.left();
        if !left.is_empty() {
            println!("left: {left:?}");
        }
        left.is_empty()
    });
    soak.remove_parents();
}

impl Soak {
    fn work(&self, mut bundle: Bundle, mut random: Random) {
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.cycles {
                return;
            }
            let id = format!("{}-{number}", self.parent);
            let program =
                if random.below(2) == 0 { json!(["true"]) } else { json!(["sleep", "99"]) };
            bundle = bundle
                .with("/linux/cgroupsPath", json!(format!("/{}/{id}", self.parent)))
                .with("/process/args", program);
            self.cycle(&bundle, &id, &mut random);
        }
    }

    /// One container's life; each of its commands is killed one time in three.
    fn cycle(&self, bundle: &Bundle, id: &str, random: &mut Random) {
        let whole = self.disturbed(bundle, &["create", id], random)
            && self.disturbed(bundle, &["start", id], random);
        let listed = self.list(bundle);
        assert!(!whole || listed.lines().any(|line| line == id), "{id} is not in {listed:?}");
        self.disturbed(bundle, &["delete", "--force", id], random);
        self.runtime(bundle, &["delete", "--force", id]);
        let listed = self.list(bundle);
        assert!(!listed.lines().any(|line| line == id), "{id} is still in {listed:?}");
    }

    /// Runs a command, and perhaps kills it. False when it was killed.
    fn disturbed(&self, bundle: &Bundle, args: &[&str], random: &mut Random) -> bool {
        if random.below(3) > 0 {
            self.runtime(bundle, args);
            return true;
        }
        let mut command = self.command(bundle, args);
        // Its init may live longer than it.
        let null = Stdio::null;
        let child = command.stdin(null()).stdout(null()).stderr(null()).spawn();
        let mut child = child.expect("hull-runtime starts");
        thread::sleep(Duration::from_micros(random.below(DELAY)));
        child.kill().expect("it was not waited for");
        let ended = child.wait().expect("it was not waited for");
        if ended.code().is_none() {
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
        ended.success()
    }

    #[track_caller]
    fn runtime(&self, bundle: &Bundle, args: &[&str]) {
        let log = bundle.path().join("log");
        let file = fs::File::create(&log).expect("a file");
        let mut command = self.command(bundle, args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let status = command.status().expect("hull-runtime starts");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        assert!(status.success(), "{args:?}: {status}: {}", said());
    }

    #[track_caller]
    fn list(&self, bundle: &Bundle) -> String {
        let output = self.command(bundle, &["list", "--quiet"]).output().expect("it starts");
        assert!(output.status.success(), "list: {output:?}");
        String::from_utf8(output.stdout).expect("ids are text").trim().to_owned()
    }

    /// All bundles share one state directory.
    fn command(&self, bundle: &Bundle, args: &[&str]) -> std::process::Command {
        let root = self.state_root.display().to_string();
        bundle.command(&[&["--root", &root], args].concat())
    }

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let names = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        left.extend(names(&self.state_root).iter().map(|path| format!("state {}", path.display())));
        for hierarchy in self.parents() {
            let cgroups = names(&hierarchy).into_iter().filter(|path| path.is_dir());
            left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
        left.extend(mounts.lines().filter(|line| line.contains(&self.parent)).map(str::to_owned));
        for process in names(Path::new("/proc")) {
            let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
            if read("cgroup").contains(&self.parent) {
                left.push(format!("process {} {}", process.display(), read("comm").trim()));
            }
        }
        left
    }

    /// The cgroup above the containers', in every hierarchy.
    fn parents(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path().join(&self.parent));
        paths.filter(|path| path.is_dir()).collect()
    }

    fn remove_parents(&self) {
        for parent in self.parents() {
            let _ = fs::remove_dir(parent);
        }
    }
}
