//! Request lines that Go's servers take and hyper refuses.
//!
//! `curl 'http://d/containers/json?filters={"status":["running"]}'` sends its quotes as they are. Only a
//! connection's first line is looked at: libraries, which use a connection again, escape what they
//! send.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, copy_bidirectional};
use tokio::net::UnixStream;

use super::HangUp;

/// The longest line that is looked at.
const LINE_MAX: usize = 8 << 10;
/// Characters that a URI must not have as they are.
const ILLEGAL: &[u8] = b"\"<>\\^`{|}";

/// The client's socket once its first line has come; in its place another one if that line is not legal,
/// over which the same comes with such characters escaped.
pub(super) async fn legal(client: UnixStream) -> io::Result<UnixStream> {
    let mut seen = vec![0; LINE_MAX];
    let peek = || Ok(recv(&client, &mut seen[..], RecvFlags::PEEK)?.1);
    let length = client.async_io(Interest::READABLE, peek).await?;
    let end = seen[..length].iter().position(|byte| *byte == b'\n');
    let Some((length, escaped)) = end.and_then(|end| Some((end + 1, escape(&seen[..=end])?)))
    else {
        return Ok(client);
    };
    let (near, far) = UnixStream::pair()?;
    tokio::spawn(carry(client, far, length, escaped));
    Ok(near)
}

/// Sends `escaped` to `far` in place of as many bytes as `length`, then carries what comes either way.
async fn carry(mut client: UnixStream, mut far: UnixStream, length: usize, escaped: Vec<u8>) {
    let hung_up = HangUp::of(&client);
    let carried = async {
        client.read_exact(&mut vec![0; length]).await?;
        far.write_all(&escaped).await?;
        copy_bidirectional(&mut client, &mut far).await
    };
    tokio::select! {
        // Whoever broke off, there is nobody to tell.
        _ = carried => {}
        () = hung_up.wait() => {}
    }
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
        for (sent, want) in
            [("GET /a H\r\nx", "GET /a H\r\nx"), ("GET /\" H\r\nx", "GET /%22 H\r\nx")]
        {
            let (mut client, server) = UnixStream::pair().expect("pair");
            client.write_all(sent.as_bytes()).await.expect("sent");
            client.shutdown().await.expect("shut");
            let mut read = String::new();
            let mut server = legal(server).await.expect("a socket");
            server.read_to_string(&mut read).await.expect("read");
            assert_eq!(read, want);
            server.write_all(b"answer").await.expect("sent");
            drop(server);
            read.clear();
            client.read_to_string(&mut read).await.expect("read");
            assert_eq!(read, "answer");
        }
    }
}
