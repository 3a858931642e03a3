//! Giving a filter's listener to the agent that answers for it.
//!
//! ```text
//!   init: install -> write the descriptor's number -> wait
//!   launcher:          read, pidfd_getfd -> go -> connect to the agent, send state and descriptor
//! ```
//!
//! Init writes a number, and sends no descriptor, so that the profile may pass on all calls but
//! write(2): from the moment that the launcher has its copy the agent can answer.
//!
//! Spec: OCI runtime-spec, config-linux.md "Seccomp", "The Container Process State".

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;

use super::Agent;
use crate::channel::send_with_fd;
use crate::hook::State;

/// What the agent reads, with the descriptor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// What the descriptors are, in order.
    fds: [&'static str; 1],
    /// The process under the filter.
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// Tells the agent of the process `pid` in the container of which `state` is the state, and gives it
/// the listener.
pub(crate) fn send(
    agent: &Agent,
    listener: &OwnedFd,
    pid: i32,
    state: &State,
) -> Result<(), crate::Error> {
    let document = ProcessState {
        oci_version: &state.oci_version,
        fds: ["seccompFd"],
        pid,
        metadata: agent.metadata.as_deref(),
        state,
    };
    let told = serde_json::to_vec(&document)
        .map_err(io::Error::from)
        .and_then(|text| tell(agent, &text, listener.as_fd()));
    told.map_err(crate::Error::file("send the seccomp listener to", &agent.path))
}

fn tell(agent: &Agent, mut text: &[u8], listener: BorrowedFd<'_>) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&agent.path)?)?;
    let sent = send_with_fd(socket.as_fd(), text, listener)?;
    text = &text[sent..];
    while !text.is_empty() {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&socket, text, flags))?;
        text = &text[sent..];
    }
    Ok(())
}
