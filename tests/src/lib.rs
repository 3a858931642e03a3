//! The harness that the whole-system suites share.
