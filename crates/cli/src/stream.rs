//! A process's streams, connected to ours.

use std::io::{self, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Hijacked, Page};
use crate::error::Error;
use crate::terminal;

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// Connects our standard streams until the process's output ends. With `stdin` ours is sent, and its
/// end too.
pub(crate) async fn connect(process: Hijacked, stdin: bool, tty: bool) -> Result<(), Error> {
    let (output, mut input) = process.stream.into_split();
    let feed = async {
        if stdin {
            // The process may end, or close its input, before it has read everything.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
            let _ = input.shutdown().await;
        }
        std::future::pending::<()>().await;
    };
    let early = io::Cursor::new(process.early);
    tokio::select! {
        shown = show(early.chain(output), tty) => shown,
        () = feed => Ok(()),
    }
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
