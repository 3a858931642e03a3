//! `GET /images/get` and `POST /images/load`.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use futures_util::stream;
use image::{Loaded, Platform, Progress};
use serde_json::json;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::error::Error;
use crate::images::check_platform;
use crate::images::pull::{archive, message};
use crate::images::told::{self, Tell};
use crate::reply;
use crate::route::Answer;

/// Bytes sent at a time.
const PIECE: usize = 256 << 10;
/// Pieces between disk and connection.
const QUEUE: usize = 8;

/// `GET /images/get?names=` and `GET /images/NAME/get`.
pub(crate) async fn save(call: &mut Call, name: Option<&str>) -> Answer {
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_owned()],
        None => call.query.all("names").map(str::to_owned).collect(),
    };
    if names.is_empty() {
        return Err(Error::invalid("no image is named"));
    }
    if let Some(platform) = call.query.text("platform") {
        names.iter().try_for_each(|name| check_platform(name, platform))?;
    }
    let save = call.engine.save(&names).await?;
    let (pieces, queue) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let output = BufWriter::with_capacity(PIECE, Pipe(pieces.clone()));
        if let Err(error) = save.write(output) {
            // Cuts the connection: an archive without its end is all that tells a client by then.
            let _ = pieces.blocking_send(Err(io::Error::other(spec::chain(&error))));
        }
    });
    let bytes =
        stream::unfold(
            queue,
            |mut queue| async move { queue.recv().await.map(|piece| (piece, queue)) },
        );
    Ok(reply::stream("application/x-tar", bytes))
}

/// The connection, for who may block.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        self.0.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `POST /images/load`.
pub(crate) async fn load(call: &mut Call) -> Answer {
    if let Some(platform) = call.query.text("platform") {
        check_platform("the archive's", platform)?;
    }
    let quiet = call.query.flag("quiet");
    let archive = archive(call)?;
    let engine = call.engine.clone();
    let work = move |tell: Tell| async move {
        let bars = tell.clone();
        let progress = move |progress: Progress| {
            if !quiet {
                bars.send(message(&progress));
            }
        };
        for Loaded { image, names } in engine.load(archive, &Platform::host(), progress).await? {
            for name in &names {
                tell.send(json!({ "stream": format!("Loaded image: {name}\n") }));
            }
            if names.is_empty() {
                tell.send(json!({ "stream": format!("Loaded image ID: {}\n", image.id) }));
            }
        }
        Ok(())
    };
    Ok(told::in_stream(work).await)
}
