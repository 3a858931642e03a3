//! Images from Dockerfiles.
//!
//! The language knows nothing of images, contexts or containers: text in, instructions out.
//!
//! ```text
//!   bytes -> lines -> nodes -> instructions      (dockerfile: what is written)
//!                                  |
//!                          expand, at execution  (expand: what it means in a stage's environment)
//!                            lint, before it     (lint: what may not be meant)
//! ```
//!
//! Spec: Dockerfile reference, docs.docker.com/reference/dockerfile.

pub mod dockerfile;
pub mod expand;
pub mod ignore;
pub mod lint;

pub use dockerfile::{Dockerfile, Instruction, Kind};
