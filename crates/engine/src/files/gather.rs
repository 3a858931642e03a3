//! A client's archive, for a thread that may block.
//!
//! Clients write headers, files and padding each by itself, a hundred thousand pieces for as many files. They are
//! put together before the thread is woken: to wake it for each takes longer than what it does with them.

use std::io::{self, Cursor, Read};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::Pieces;

/// Bytes that the thread is woken for, and how many such pieces wait at most.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 4;
/// How long fewer wait for more: who sends them may wait for an answer.
const WAIT: Duration = Duration::from_millis(5);

/// What was gathered and is not read yet.
pub(crate) struct Gathered {
    pieces: Pieces,
    piece: Cursor<Vec<u8>>,
}

/// Reads `body` to its end, as long as somebody reads what this gives.
pub(crate) fn gather(mut body: impl AsyncRead + Send + Unpin + 'static) -> Gathered {
    let (sender, pieces) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                piece = next(&mut body) => piece,
                () = sender.closed() => return,
            };
            let last = piece.as_ref().map_or(true, Vec::is_empty);
            // Nobody may want any more of it.
            if sender.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    Gathered { pieces, piece: Cursor::default() }
}

/// A piece of what comes; an empty one is the end.
async fn next(body: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    body.read_buf(&mut piece).await?;
    let more = async {
        while piece.len() < PIECE && body.read_buf(&mut piece).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(WAIT, more).await.unwrap_or(Ok(())).map(|()| piece)
}

impl Read for Gathered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = Read::read(&mut self.piece, buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = Cursor::new(piece?),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::io::AsyncWriteExt;

    use super::{PIECE, gather};

    #[tokio::test]
    async fn what_comes_in_small_pieces_is_read_whole() {
        let (mut client, body) = tokio::io::duplex(100);
        let mut gathered = gather(body);
        let sent: Vec<u8> = (0..=250).cycle().take(PIECE + 1000).collect();
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            gathered.read_to_end(&mut read).map(|_| read)
        });
        for part in sent.chunks(777) {
            client.write_all(part).await.expect("somebody reads");
        }
        drop(client);
        assert!(read.await.expect("no panic").expect("all of it") == sent);
    }

    #[tokio::test]
    async fn what_is_there_does_not_wait_for_what_may_never_come() {
        let (mut client, body) = tokio::io::duplex(100);
        let mut gathered = gather(body);
        client.write_all(b"begun").await.expect("somebody reads");
        let read = tokio::task::spawn_blocking(move || {
            let mut read = [0; 5];
            gathered.read_exact(&mut read).map(|()| read)
        });
        assert_eq!(&read.await.expect("no panic").expect("it is there"), b"begun");
        drop(client);
    }

    #[tokio::test]
    async fn who_has_enough_ends_it() {
        let (mut client, body) = tokio::io::duplex(100);
        drop(gather(body));
        let sent = async { while client.write_all(&[0; 100]).await.is_ok() {} };
        sent.await;
    }
}
