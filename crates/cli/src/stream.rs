//! A process's streams, connected to ours.

use std::io::{self, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;

use crate::client::{Client, Hijacked, Page};
use crate::error::Error;
use crate::run::Keys;
use crate::terminal;

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// How a connection to a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is no more output.
    Output,
    /// The keys that leave it were typed; the process goes on.
    Left,
}

/// Connects our standard streams until the process's output ends. With `stdin` ours is sent, and its
/// end too; `keys` are those that leave a terminal.
pub(crate) async fn connect(
    process: Hijacked,
    stdin: bool,
    tty: bool,
    keys: Option<Keys>,
) -> Result<Ended, Error> {
    let (output, input) = process.stream.into_split();
    let early = io::Cursor::new(process.early);
    tokio::select! {
        shown = show(early.chain(output), tty) => shown.map(|()| Ended::Output),
        () = feed(input, stdin, keys) => Ok(Ended::Left),
    }
}

/// Sends what we are given; returns only when the keys are typed.
async fn feed(mut input: OwnedWriteHalf, stdin: bool, mut keys: Option<Keys>) {
    if !stdin {
        return std::future::pending().await;
    }
    let mut source = tokio::io::stdin();
    let mut chunk = vec![0; CHUNK];
    // The process may end, or close its input, before it has read everything.
    while let Ok(read @ 1..) = source.read(&mut chunk).await {
        let (bytes, left) = match &mut keys {
            Some(keys) => keys.pass(&chunk[..read]),
            None => (chunk[..read].to_vec(), false),
        };
        if left {
            return;
        }
        if input.write_all(&bytes).await.is_err() {
            break;
        }
    }
    let _ = input.shutdown().await;
    std::future::pending::<()>().await;
}

/// Writes a process's output to ours until it ends.
pub(crate) async fn show(mut output: impl AsyncRead + Unpin, tty: bool) -> Result<(), Error> {
    let mut frames = Frames::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = output.read(&mut chunk).await.map_err(Error::file("read the output"))?;
        if read == 0 {
            return Ok(());
        }
        let shown = if tty {
            write(Side::Stdout, &chunk[..read])
        } else {
            frames.feed(&chunk[..read], write)
        };
        shown.map_err(Error::file("write the output"))?;
    }
}

fn write(side: Side, bytes: &[u8]) -> io::Result<()> {
    match side {
        Side::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Side::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// Which of our streams bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Stdout,
    Stderr,
}

/// Docker's frames, taken apart: a header of 8 bytes, `[type, 0, 0, 0, length (big endian)]`, and so
/// many bytes. A frame may come in any number of pieces.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 8],
    /// How much of the header is here.
    known: usize,
    /// How much of the payload is not.
    left: usize,
}

impl Frames {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Side, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (more, rest) = bytes.split_at(bytes.len().min(8 - self.known));
                self.header[self.known..self.known + more.len()].copy_from_slice(more);
                self.known += more.len();
                bytes = rest;
                if self.known == 8 {
                    let [_, _, _, _, length @ ..] = self.header;
                    self.left = u32::from_be_bytes(length) as usize;
                    self.known = 0;
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            each(if self.header[0] == 2 { Side::Stderr } else { Side::Stdout }, payload)?;
            self.left -= payload.len();
            bytes = rest;
        }
        Ok(())
    }
}

/// Keeps the size of a process's terminal that of ours, for as long as it is polled.
pub(crate) async fn follow_size(client: Client, resize: Page) {
    let Ok(mut resized) = terminal::resized() else { return };
    loop {
        if let Some((rows, columns)) = terminal::size() {
            let page =
                resize.clone().query(&[("h", &rows.to_string()), ("w", &columns.to_string())]);
            // A process that has ended needs no size.
            let _ = client.post(&page, &serde_json::Value::Null).await;
        }
        if resized.recv().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together_however_they_arrive() {
        let bytes =
            b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01c\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01d";
        for size in 1..=bytes.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut frames = Frames::default();
            for piece in bytes.chunks(size) {
                let put = |side, bytes: &[u8]| {
                    match side {
                        Side::Stdout => out.extend(bytes),
                        Side::Stderr => err.extend(bytes),
                    }
                    Ok(())
                };
                frames.feed(piece, put).expect("no writes that fail");
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"abd"[..], &b"c"[..]), "{size}");
        }
    }
}
