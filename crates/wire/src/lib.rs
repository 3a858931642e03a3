//! Messages between shim and guest agent, and their framing.
//!
//! One byte stream (a virtio-serial port) carries everything: calls from the shim and the agent's
//! answers, and the standard streams of every process in the guest, each with its own credit so that
//! one that nobody reads stops no other.
//!
//! ```text
//!   shim    Client ──call──▶ ┐                          ┌ ──▶ Server   agent
//!                 ◀─answer── │  frames over one stream  │ ◀──
//!         Sender, Receiver ◀▶┘                          └◀▶ Receiver, Sender
//! ```
//!
//! The guest is hostile to the shim: every length has a limit, every state a check, and the first
//! violation ends the connection and with it the VM. Nothing here opens a file or a device.
//!
//! Invariant: the reading thread never writes and never waits for a stream's user, so both sides may
//! block in writing at any time without a deadlock.

pub mod client;
pub mod flow;
pub mod frame;
pub mod link;
pub mod message;
pub mod probe;
pub mod server;

pub use client::Client;
pub use flow::{Receiver, Sender};
pub use frame::{StreamId, Violation};
pub use message::{Failure, Reply, Request};
pub use server::{Call, Server};
