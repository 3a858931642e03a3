//! Containers.

pub(crate) mod create;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod ports;
pub(crate) mod stats;
pub(crate) mod streams;
pub(crate) mod update;
pub(crate) mod view;
