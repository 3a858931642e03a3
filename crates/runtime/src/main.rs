//! The OCI command line over the container crate.

fn main() {}
