//! Images from Dockerfiles.
//!
//! The language knows nothing of images, contexts or containers: text in, instructions out.
//!
//! ```text
//!   bytes -> lines -> nodes -> instructions      (dockerfile: what is written)
//!                                  |
//!                          expand, at execution  (image::expand: what it means in an environment)
//! ```
//!
//! The rest makes an image of them:
//!
//! ```text
//!   plan     the stages that a target needs
//!   builder  all of them, side by side ─▶ stage: one, step by step
//!   remote   what the engine fetches ─▶ context
//!   context  what the client sent     ┐
//!   layers   other stages and images  ┴─▶ source ─▶ copy: files into a layer
//!   run      what the engine is asked for
//!   link     what the client is asked for ─▶ room, agent: secrets in memory, its ssh agent
//! ```
//!
//! Spec: Dockerfile reference, docs.docker.com/reference/dockerfile.

pub mod agent;
pub mod builder;
pub mod caches;
mod config;
pub mod context;
pub mod copy;
pub mod dockerfile;
mod download;
pub mod error;
pub mod git;
pub mod ignore;
pub mod layers;
pub mod link;
pub mod lint;
pub mod mode;
pub mod plan;
pub mod remote;
mod room;
pub mod run;
mod scratch;
pub mod source;
mod stage;
pub mod told;

pub use builder::{Named, Request, build, parse};
pub use context::Context;
pub use dockerfile::{Dockerfile, Instruction, Kind};
pub use error::Error;
pub use image::expand;
pub use link::Link;
pub use room::Hidden;
pub use told::Event;
