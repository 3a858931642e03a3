//! A client's line to a process's streams.
//!
//! The bytes never pass through the engine's hands: the shim keeps a socket for each process, and a
//! client's front gets a connection to it. What goes over it is the shim's business: Docker's frames
//! without a terminal, raw bytes with one; standard input raw the other way, ended by half-close.

use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use crate::request::ExecState;

/// A client's place at a process's streams. The process may not have been started yet.
#[derive(Debug)]
pub struct Attached {
    /// Whether there is a terminal: bytes are raw, not frames.
    pub tty: bool,
    /// Whether the end of this client's input is to be the end of the process's. If so, end the write
    /// side of the stream then; if not, only drop the stream, and the process's input stays open for
    /// the next client. Never with a terminal, whose input ends by a key.
    pub stdin_once: bool,
    opening: Opening,
    exec: Option<watch::Receiver<ExecState>>,
}

#[derive(Debug)]
enum Opening {
    Open(UnixStream),
    Later(oneshot::Receiver<UnixStream>),
}

impl Attached {
    /// A line that is open.
    pub(crate) fn open(tty: bool, stdin_once: bool, stream: UnixStream) -> Self {
        Self { tty, stdin_once, opening: Opening::Open(stream), exec: None }
    }

    /// A line that opens with the process's start.
    pub(crate) fn later(
        tty: bool,
        stdin_once: bool,
        stream: oneshot::Receiver<UnixStream>,
    ) -> Self {
        Self { tty, stdin_once, opening: Opening::Later(stream), exec: None }
    }

    /// As it is, for an exec whose state is `exec`.
    pub(crate) fn of_exec(self, exec: watch::Receiver<ExecState>) -> Self {
        Self { exec: Some(exec), ..self }
    }

    /// Resolves when the end of an exec is known, at once for a container. To be awaited between the
    /// end of the stream and that of the client's line: the client then asks for the exit code.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let exec = self.exec.clone();
        async move {
            if let Some(mut state) = exec {
                // An owner that is gone knows no more.
                let _ = state.wait_for(|state| matches!(state, ExecState::Exited { .. })).await;
            }
        }
    }

    /// The connection to the process's streams, from its first byte of output on; waits for the
    /// process to be started. `None` when it was never started: then there is nothing to see, and
    /// the client's line is to be closed.
    ///
    /// Dropping the connection detaches; ending the write side ends standard input.
    pub async fn stream(self) -> Option<UnixStream> {
        match self.opening {
            Opening::Open(stream) => Some(stream),
            Opening::Later(stream) => stream.await.ok(),
        }
    }
}
