//! `hulld`: configuration, and the wiring of the engine and its front.
//!
//! ```text
//!   flags over /etc/hull/hulld.toml  ->  lock  ->  engine (takes up what runs)  ->  socket  ->  serve
//!   SIGTERM, SIGINT  ->  stop serving  ->  records on disk  ->  exit; containers go on
//! ```

mod config;
mod error;
mod lock;
mod socket;

use std::process::ExitCode;

use clap::Parser;
use engine::Engine;
use tokio::signal::unix::{SignalKind, signal};

use config::{Arguments, Configuration};
use error::Error;
use lock::Lock;

fn main() -> ExitCode {
    let result = Arguments::parse().configuration().and_then(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hulld: {}", spec::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(configuration: Configuration) -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_env_filter(configuration.log)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { doing: "start threads", source })?;
    runtime.block_on(async {
        let lock = Lock::take(&configuration.settings.exec_root)?;
        let engine = Engine::open(configuration.settings).await?;
        let listener = socket::listen(&configuration.host)?;
        tracing::info!(host = %configuration.host.display(), "serving the Docker API");
        docker::serve(engine.clone(), listener, told_to_stop()?).await;
        socket::remove(&configuration.host);
        engine.close().await?;
        lock.release();
        tracing::info!("stopped; containers go on");
        Ok(())
    })
}

/// Resolves when the process is asked to end.
fn told_to_stop() -> Result<impl Future<Output = ()>, Error> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Process { doing: "listen for signals", source })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
