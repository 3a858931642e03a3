//! Benchmarks beside crun, runc, dockerd and podman.

fn main() {}
