//! Configuration; wires the engine and its fronts.

fn main() {}
