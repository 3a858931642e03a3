//! From a bundle to a process.
