//! Checks that a compiler does not make.

fn main() {}
