//! The command line: speaks the Docker API, nothing else.

fn main() {}
