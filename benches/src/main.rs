//! Hull beside crun, runc, dockerd, containerd and podman, measured in one run: `make bench`.
//!
//! Each comparison takes turns, one run each in every round, so that a busy moment of the machine
//! hits all alike; what counts is the ratio of the medians. Numbers of different runs or machines
//! are not comparable.
//!
//! Words on the command line choose comparisons: `runtimes`, `engines`, `networks`, `pull`, `builds`,
//! `machines`.

mod builds;
mod contest;
mod disk;
mod engines;
mod machines;
mod networks;
mod nobody;
mod peers;
mod pull;
mod runtimes;

use std::env;
use std::path::Path;

use tests::Host;

/// Has everyone do the same job, and prints how they compare.
type Comparison = fn(&Host);

fn main() {
    // `runtimes::compare` runs this program again, in a mount namespace of its own.
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [word, bundle] = &arguments[..]
        && word == runtimes::AGAIN
    {
        return runtimes::measure(Path::new(bundle));
    }
    // So does `networks::compare`, in others' network namespaces.
    if let [word, words @ ..] = &arguments[..]
        && word == networks::probe::AGAIN
    {
        return networks::probe::run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let comparisons: [(&str, Comparison); 6] = [
        ("runtimes", runtimes::compare),
        ("engines", engines::compare),
        ("networks", networks::compare),
        ("pull", pull::compare),
        ("builds", builds::compare),
        ("machines", machines::compare),
    ];
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    let host = Host::start();
    for (_, compare) in comparisons.iter().filter(|(name, _)| chosen(name)) {
        compare(&host);
    }
}
