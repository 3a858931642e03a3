//! Streams over a websocket, for browsers: `attach/ws`.
//!
//! ```text
//!   client --masked frames--> server --bytes--> as an upgraded attach
//!          <--binary frames--        <--bytes-- its frames taken off: never multiplexed, as in Docker
//! ```
//!
//! Spec: RFC 6455.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::frames::Unframed;
use crate::error::Error;

/// What a server adds to a client's key, RFC 6455 section 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest frame that is taken.
const FRAME_MAX: usize = 1 << 20;
/// Bytes sent in one frame.
const CHUNK: usize = 32 << 10;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer to a client's `Sec-WebSocket-Key`.
pub(super) fn accept(key: Option<&str>) -> Result<String, Error> {
    let key = key.ok_or_else(|| Error::invalid("bad handshake: no Sec-WebSocket-Key"))?;
    Ok(STANDARD.encode(Sha1::digest(format!("{key}{MAGIC}"))))
}

/// Carries bytes between a client and `line` until `line` has ended, or the client has gone.
/// `multiplexed` tells that `line` sends Docker's frames.
pub(super) async fn carry(
    (mut input, mut output): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    line: UnixStream,
    multiplexed: bool,
) -> io::Result<()> {
    let (mut from_line, mut to_line) = line.into_split();
    let (pongs, mut asked) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    let receive = async {
        while let Some((opcode, payload)) = frame(&mut input).await? {
            match opcode {
                CONTINUATION | TEXT | BINARY => to_line.write_all(&payload).await?,
                // One that is busy writing answers later, or not at all.
                PING => drop(pongs.try_send(payload)),
                CLOSE => return Ok(()),
                _ => {}
            }
        }
        Ok::<(), io::Error>(())
    };
    let send = async {
        let (mut chunk, mut unframed) = (vec![0; CHUNK], Unframed::default());
        loop {
            tokio::select! {
                read = unframed.read(&mut from_line, &mut chunk, multiplexed) => match read? {
                    0 => break,
                    read => write(&mut output, BINARY, &chunk[..read]).await?,
                },
                Some(pong) = asked.recv() => write(&mut output, PONG, &pong).await?,
            }
        }
        write(&mut output, CLOSE, &1000_u16.to_be_bytes()).await
    };
    tokio::select! {
        ended = send => ended?,
        ended = receive => ended?,
    }
    output.shutdown().await
}

/// Receives one frame: its opcode and payload; `None` at the end.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let length = match head[1] & 0x7f {
        126 => u64::from(from.read_u16().await?),
        127 => from.read_u64().await?,
        short => u64::from(short),
    };
    let masked = head[1] & 0x80 != 0;
    let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_MAX);
    let (Some(length), true) = (length, masked) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a client's websocket frame"));
    };
    let mut mask = [0; 4];
    from.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Ok(Some((head[0] & 0x0f, payload)))
}

/// Sends one frame, the whole of a message.
async fn write(to: &mut (impl AsyncWrite + Unpin), opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    to.write_all(&frame).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_that_of_the_specification() {
        let answer = accept(Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(answer.ok().as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(accept(None).is_err());
    }

    #[tokio::test]
    async fn frames_of_one_kind_become_the_other() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let (line, mut process) = UnixStream::pair().expect("pair");
        let work = tokio::spawn(carry(server.into_split(), line, true));
        client.write_all(b"\x82\x82\x01\x02\x03\x04hi").await.expect("write");
        let mut input = [0; 2];
        process.read_exact(&mut input).await.expect("read");
        assert_eq!(input, [b'h' ^ 1, b'i' ^ 2]);
        process.write_all(b"\x01\0\0\0\0\0\0\x03out").await.expect("write");
        drop(process);
        let mut output = Vec::new();
        client.read_to_end(&mut output).await.expect("read");
        assert_eq!(output, b"\x82\x03out\x88\x02\x03\xe8");
        work.await.expect("no panic").expect("no error");
    }
}
