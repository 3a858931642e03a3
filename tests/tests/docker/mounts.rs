//! How mounts spread between host and container, and what happens to volumes.

use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::detached;

/// A directory of the host's on a mount of its own, from which mounts spread.
struct Shared(PathBuf);

impl Shared {
    fn make(path: PathBuf) -> Self {
        std::fs::create_dir(&path).expect("a directory");
        mount(&path);
        let flags = MountPropagationFlags::SHARED;
        rustix::mount::mount_change(&path, flags).expect("ours");
        Self(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for name in ["late", "inner", ""] {
            // Not every case makes all of them.
            let _ = rustix::mount::unmount(self.0.join(name), UnmountFlags::DETACH);
        }
    }
}

fn mount(path: &Path) {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("spread", path, "tmpfs", flags, None).expect("a tmpfs");
}

pub(crate) fn mounts_spread_as_far_as_is_asked(host: &mut Host) {
    let shared = Shared::make(host.dir().join("spread"));
    let at = |propagation: &str| format!("-v={}:/x:{propagation}", shared.0.display());
    let start = |propagation: &str| {
        let flags = [&at(propagation), "--privileged"];
        detached(host, Isolation::Process, &flags, &["sleep", "1000"])
    };
    let all = ["private", "rslave", "rshared"].map(|how| (how, start(how)));
    std::fs::create_dir(shared.0.join("late")).expect("a directory");
    mount(&shared.0.join("late"));
    std::fs::write(shared.0.join("late/file"), "seen").expect("a file");
    for (how, id) in &all {
        let seen = host.docker(&["exec", id, "cat", "/x/late/file"]).code == 0;
        assert_eq!(seen, *how != "private", "{how}");
    }
    // The other way only where it is asked.
    std::fs::create_dir(shared.0.join("inner")).expect("a directory");
    for (how, id) in &all {
        let script = "mount -t tmpfs inner /x/inner && echo told > /x/inner/file";
        host.docker(&["exec", id, "sh", "-c", script]).ok();
        assert_eq!(shared.0.join("inner/file").exists(), *how == "rshared", "{how}");
    }
    let private = format!("-v={}:/x:rshared", host.dir().display());
    let ran = super::run(host, Isolation::Process, &[&private, IMAGE, "true"]);
    if ran.code != 0 {
        assert!(ran.err.contains("but it is not a shared mount"), "{ran}");
    }
}

pub(crate) fn what_happens_to_a_volume_is_told(host: &mut Host) {
    let flags = ["--name=user", "-v=told:/v"];
    detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    host.docker(&["rm", "-f", "user"]).ok();
    host.docker(&["volume", "rm", "told"]).ok();
    let format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.driver}}";
    let events =
        ["events", "--since=10m", "--until=0s", "--filter=volume=told", "--format", format];
    let want = ["create", "mount", "unmount", "destroy"].map(|what| format!("{what} told local"));
    eventually("all is told", || {
        let told = host.docker(&events).ok();
        told.lines().collect::<Vec<_>>() == want
    });
}
