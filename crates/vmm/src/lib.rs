//! Drives the hypervisor process: boot, devices, checkpoint, restore.
//!
//! One QEMU per sandbox. A machine normally starts as a *clone* of a *template*: a VM booted once to
//! the point where its agent waits, whose memory file every clone maps copy-on-write and whose device
//! state it loads. A clone has disks, a tap and a channel of its own behind the same devices.
//!
//! ```text
//!   Config::locate ─▶ accel ─▶ initramfs ─▶ template ─▶ clone ─▶ Machine
//!                    (probe)   (cached)     (once a key)  (each sandbox)
//! ```
//!
//! To this crate the channel is an opaque stream of bytes, but for one thing: an agent that boots
//! writes [`READY`] first, before any framing. A cold start and the template's builder take these
//! bytes off; a clone's agent, resumed behind that point, never sends them and hears the host first.
//!
//! Blocking; starts one thread a machine, on which the worker's life depends.

pub mod accel;
pub mod boot;
pub mod cache;
pub mod config;
pub mod cpio;
pub mod disk;
pub mod initramfs;
pub mod jail;
pub mod machine;
pub mod qmp;
pub mod template;
pub mod worker;

mod command;
mod console;
mod fingerprint;

pub use accel::accelerator;
pub use boot::{tap_name, taps};
pub use command::NICS;
pub use config::Config;
pub use console::Follower;
pub use machine::{Backend, Disk, Machine, OVERHEAD_MIB, Request, Start, class};

/// What a booting agent writes to the channel before anything else.
pub const READY: &[u8; 8] = b"HULLAGNT";
