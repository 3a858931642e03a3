//! How much memory a run needs at its most.

use std::path::Path;
use std::process::Command;

/// The most that any process of `PROGRAM run` had resident, init before it executes the container's
/// program included, in kilobytes: the kernel's own count, by Debian's `time`.
pub(crate) fn peak(program: &Path, bundle: &Path, id: &str) -> u64 {
    let file = bundle.with_extension("memory");
    let mut time = Command::new("/usr/bin/time");
    time.args(["--format=%M", "--output"]).arg(&file).arg(program);
    super::finish(time.arg("run").arg("--bundle").arg(bundle).arg(id));
    let text = std::fs::read_to_string(&file).expect("time writes it");
    text.trim().parse().expect("a number")
}
