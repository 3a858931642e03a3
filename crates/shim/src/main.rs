//! Supervises one sandbox; serves containerd's task API.

fn main() {}
