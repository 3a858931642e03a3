//! `hulld`: configuration, and the wiring of the engine and its front.
//!
//! ```text
//!   flags over /etc/hull/hulld.toml  ->  lock  ->  engine (takes up what runs)  ->  socket  ->  serve
//!   SIGHUP           ->  read the file again; take over what can change while we run
//!   SIGTERM, SIGINT  ->  stop serving  ->  records on disk  ->  exit; containers go on
//! ```

mod config;
mod error;
mod lock;
mod log;
mod socket;
mod systemd;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use clap::Parser;
use engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

use config::{Arguments, Configuration};
use error::Error;
use lock::Lock;
use log::Level;
use socket::Socket;

fn main() -> ExitCode {
    // Before anything else is opened.
    let passed = systemd::socket();
    let arguments = Arguments::parse();
    let result = passed.and_then(|passed| run(&arguments, passed));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hulld: {}", spec::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, passed: Option<UnixListener>) -> Result<(), Error> {
    let Configuration { settings, host, group, log, log_format } = arguments.configuration()?;
    let level = log::begin(log_format, log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { doing: "start threads", source })?;
    runtime.block_on(async {
        let lock = Lock::take(&settings.exec_root)?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let engine = Engine::open(settings).await?;
        let (socket, listener) = Socket::listen(passed, &host, group.as_deref())?;
        tracing::info!(host = %socket.path.display(), "serving the Docker API");
        let serve = docker::serve(engine.clone(), listener, told_to_stop()?);
        systemd::notify("READY=1");
        tokio::select! {
            () = serve => {}
            () = async { while hang_up.recv().await.is_some() { reload(arguments, &level); } } => {}
        }
        socket.remove();
        engine.close().await?;
        lock.release();
        tracing::info!("stopped; containers go on");
        Ok(())
    })
}

/// Resolves when the process is asked to end.
fn told_to_stop() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::notify("STOPPING=1");
    })
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|source| Error::Process { doing: "listen for signals", source })
}

/// Takes over what can change while we run. A file that cannot be read changes nothing.
fn reload(arguments: &Arguments, level: &Level) {
    match arguments.configuration() {
        Ok(configuration) => {
            level.set(configuration.log);
            tracing::info!("configuration is read again");
        }
        Err(error) => tracing::error!("configuration is kept: {}", spec::chain(&error)),
    }
}
