//! What systemd passes to the daemon, and what it is told.
//!
//! Spec: sd_listen_fds(3), sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use crate::error::Error;

/// The socket that systemd listens at for us, when it does. To be called before anything is opened.
pub(crate) fn socket() -> Result<Option<UnixListener>, Error> {
    let failed = |source| Error::Process { doing: "take the socket of systemd", source };
    let mut sockets = sys::inherit::sockets().map_err(failed)?;
    let listener = sockets.pop().map(UnixListener::from);
    if !sockets.is_empty() {
        return Err(Error::Sockets(sockets.len() + 1));
    }
    if let Some(listener) = &listener {
        // Fails for a socket of another family.
        listener.local_addr().map_err(failed)?;
    }
    Ok(listener)
}

/// Tells systemd of our state, when it asked to be told.
pub(crate) fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "systemd was not told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_reach_both_kinds_of_sockets() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("notify");
        let name = format!("hulld-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        for (socket, given) in [
            (UnixDatagram::bind(&path), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&address), format!("@{name}").into()),
        ] {
            let socket = socket.expect("bound");
            send(&given, "READY=1").expect("sent");
            let mut got = [0; 16];
            let length = socket.recv(&mut got).expect("received");
            assert_eq!(got.get(..length), Some(&b"READY=1"[..]));
        }
    }
}
