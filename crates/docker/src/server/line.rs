//! Request lines that Go's servers take and hyper refuses.
//!
//! `curl 'http://d/containers/json?filters={"status":["running"]}'` sends its quotes as they are. Only a
//! connection's first line is looked at: libraries, which use a connection again, escape what they
//! send.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, copy_bidirectional};
use tokio::net::UnixStream;

use super::{HangUp, IDLE};

/// The longest line that is looked at.
const LINE_MAX: usize = 8 << 10;
/// Characters that a URI must not have as they are.
const ILLEGAL: &[u8] = b"\"<>\\^`{|}";

/// The client's socket once its first line has come; in its place another one if that line is not legal
/// or comes in pieces, over which the same comes with such characters escaped.
pub(super) async fn legal(client: UnixStream) -> io::Result<UnixStream> {
    let mut seen = vec![0; LINE_MAX];
    let peek = || Ok(recv(&client, &mut seen[..], RecvFlags::PEEK)?.1);
    let length = client.async_io(Interest::READABLE, peek).await?;
    let seen = &seen[..length];
    let is_fit = match seen.iter().position(|byte| *byte == b'\n') {
        Some(end) => escape(&seen[..=end]).is_none(),
        None => seen.is_empty() || length == LINE_MAX,
    };
    if is_fit {
        return Ok(client);
    }
    let (near, far) = UnixStream::pair()?;
    tokio::spawn(carry(client, far));
    Ok(near)
}

/// Sends the first line to `far`, escaped if it must be, then carries what comes either way.
async fn carry(mut client: UnixStream, mut far: UnixStream) {
    let hung_up = HangUp::of(&client);
    let carried = async {
        let seen = tokio::time::timeout(IDLE, begin(&mut client)).await??;
        let end = seen.iter().position(|byte| *byte == b'\n').map_or(seen.len(), |end| end + 1);
        let (line, rest) = seen.split_at(end);
        far.write_all(escape(line).as_deref().unwrap_or(line)).await?;
        far.write_all(rest).await?;
        copy_bidirectional(&mut client, &mut far).await
    };
    tokio::select! {
        // Whoever broke off, there is nobody to tell.
        _ = carried => {}
        () = hung_up.wait() => {}
    }
}

/// What has come when the first line is whole, or is no request's.
async fn begin(client: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut seen = Vec::with_capacity(LINE_MAX);
    while !seen.contains(&b'\n') && seen.len() < LINE_MAX {
        if client.read_buf(&mut seen).await? == 0 {
            break;
        }
    }
    Ok(seen)
}

/// The line with what is illegal in its target escaped; `None` when nothing is.
fn escape(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.iter().position(|byte| *byte == b' ')?;
    let end = line.iter().rposition(|byte| *byte == b' ')?;
    let target = line.get(start..end)?;
    if !target.iter().any(|byte| ILLEGAL.contains(byte)) {
        return None;
    }
    let mut escaped = line[..start].to_vec();
    for byte in target {
        match byte {
            byte if ILLEGAL.contains(byte) => escaped.extend(format!("%{byte:02X}").bytes()),
            byte => escaped.push(*byte),
        }
    }
    escaped.extend(&line[end..]);
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_illegal_in_a_target_is_escaped() {
        let escaped = |line: &str| escape(line.as_bytes()).map(String::from_utf8);
        for (line, want) in [
            ("GET /a?b=%7B%22 HTTP/1.1\r\n", None),
            ("GET\r\n", None),
            ("GET /a\r\n", None),
            ("GET /a?b={\"c\":[1]} HTTP/1.1\r\n", Some("GET /a?b=%7B%22c%22:[1]%7D HTTP/1.1\r\n")),
        ] {
            assert_eq!(escaped(line), want.map(|want| Ok(want.to_owned())), "{line}");
        }
    }

    #[tokio::test]
    async fn a_legal_line_keeps_its_socket_and_another_is_carried() {
        for (sent, want) in [
            (&["GET /a H\r\nx"][..], "GET /a H\r\nx"),
            (&["GET /\" H\r\nx"], "GET /%22 H\r\nx"),
            (&["GET /", "\"", "\" H\r", "\nx", "\"y"], "GET /%22%22 H\r\nx\"y"),
            (&["GET", " /a H\r\nx"], "GET /a H\r\nx"),
            (&["GE"], "GE"),
            (&[], ""),
        ] {
            let (mut client, server) = UnixStream::pair().expect("pair");
            let send = async {
                for piece in sent {
                    client.write_all(piece.as_bytes()).await.expect("sent");
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                client.shutdown().await.expect("shut");
            };
            let serve = async {
                let mut read = String::new();
                let mut server = legal(server).await.expect("a socket");
                server.read_to_string(&mut read).await.expect("read");
                server.write_all(b"answer").await.expect("sent");
                read
            };
            let ((), read) = tokio::join!(send, serve);
            assert_eq!(read, want);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("read");
            assert_eq!(answer, "answer");
        }
    }
}
