//! Docker's frames, put on and taken off where a client expects the other form.
//!
//! ```text
//!   type (1 stdout, 2 stderr), 0, 0, 0, length (4 bytes, big endian), payload
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes copied at a time.
const CHUNK: usize = 32 << 10;
/// A terminal's output is all of one stream.
const STDOUT: u8 = 1;

/// Copies to its end what `framed` says is in frames or not, to who expects `wanted`.
pub(super) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    framed: bool,
    wanted: bool,
) -> io::Result<()> {
    if framed == wanted {
        return tokio::io::copy(from, to).await.map(drop);
    }
    let (mut chunk, mut unframed) = (vec![0; CHUNK], Unframed::default());
    loop {
        let length = unframed.read(from, &mut chunk, framed).await?;
        if length == 0 {
            return Ok(());
        }
        if wanted {
            let [.., a, b, c, d] = length.to_be_bytes();
            to.write_all(&[STDOUT, 0, 0, 0, a, b, c, d]).await?;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

/// Takes Docker's frames off what is read. May be given up at any time and asked again.
#[derive(Debug, Default)]
pub(super) struct Unframed {
    header: [u8; 8],
    /// How much of the header is there.
    have: usize,
    /// How much of the payload is still to come.
    left: usize,
}

impl Unframed {
    pub(super) async fn read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        chunk: &mut [u8],
        multiplexed: bool,
    ) -> io::Result<usize> {
        if !multiplexed {
            return from.read(chunk).await;
        }
        while self.left == 0 {
            let read = from.read(&mut self.header[self.have..]).await?;
            if read == 0 {
                return Ok(0);
            }
            self.have += read;
            if self.have == self.header.len() {
                let [.., a, b, c, d] = self.header;
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                self.have = 0;
            }
        }
        let room = chunk.len().min(self.left);
        let read = from.read(&mut chunk[..room]).await?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_arrives_in_the_form_that_is_wanted() {
        let (raw, framed) = (&b"hi"[..], &b"\x01\0\0\0\0\0\0\x02hi"[..]);
        for (from, is_framed, wanted, want) in [
            (raw, false, false, raw),
            (raw, false, true, framed),
            (framed, true, false, raw),
            (framed, true, true, framed),
        ] {
            let (mut input, mut output) = (from, Vec::new());
            copy(&mut input, &mut output, is_framed, wanted).await.expect("copied");
            assert_eq!(output, want, "{is_framed} {wanted}");
        }
    }
}
