//! `hulld`: configuration, and the wiring of the engine and its front.
//!
//! ```text
//!   flags over /etc/hull/hulld.toml  ->  lock  ->  engine (takes up what runs)  ->  socket  ->  serve
//!   SIGHUP           ->  read the file again; take over what can change while we run
//!   SIGTERM, SIGINT  ->  stop serving  ->  records on disk  ->  exit; containers go on
//! ```

mod config;
mod error;
mod kind;
mod lock;
mod log;
mod metrics;
mod socket;
mod systemd;
mod tls;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use dash::Dash;
use docker::Answers;
use engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use config::{Arguments, Configuration};
use error::Error;
use lock::Lock;
use log::Level;
use metrics::Metrics;
use socket::Socket;
use tls::Tls;

/// How many arenas of memory all threads share.
const ARENAS: i32 = 2;
/// How often memory that is free again is given back.
const TIDYING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // Before there are threads. Where it is refused, more memory is all that it costs.
    let _ = sys::heap::share_arenas(ARENAS);
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
    let configuration = arguments.configuration()?;
    let Configuration { settings, host, tcp, tls, metrics, group, log, log_format, said } =
        configuration;
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
        // Ends with what it is in: when the API is no longer served.
        let mut beside = JoinSet::new();
        for address in tcp {
            let files = tls.as_ref().expect("checked with the configuration");
            beside.spawn(Tls::listen(address, files).await?.serve(socket.path.clone()));
            tracing::info!(%address, "serving the Docker API to clients with a certificate");
        }
        beside.spawn(tidy());
        let answers = Answers::default();
        if let Some(address) = metrics {
            let (engine, answers) = (engine.clone(), answers.clone());
            beside.spawn(Metrics::listen(address, engine, answers).await?.serve());
        }
        tracing::info!(host = %socket.path.display(), "serving the Docker API");
        let dash = Arc::new(Dash::new(socket.path.clone()));
        let serve = docker::serve(engine.clone(), listener, answers, dash, told_to_stop()?);
        systemd::notify("READY=1");
        tokio::select! {
            () = serve => {}
            () = async { while hang_up.recv().await.is_some() { reload(arguments, &level, &engine, &said); } } => {}
        }
        drop(beside);
        socket.remove();
        engine.close().await?;
        lock.release();
        tracing::info!("stopped; containers go on");
        Ok(())
    })
}

/// Gives memory back that a burst of requests left free between what is kept.
async fn tidy() {
    let mut times = tokio::time::interval(TIDYING);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        // Whether there was any is all the same.
        let _ = sys::heap::give_back();
    }
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

/// Takes over what can change while we run, and names what cannot. A file that cannot be read changes
/// nothing.
fn reload(arguments: &Arguments, level: &Level, engine: &Engine, said: &toml::Table) {
    let read = arguments.configuration().and_then(|configuration| {
        let settings = &configuration.settings;
        engine.reload(settings.registries.clone(), settings.labels.clone())?;
        Ok(configuration)
    });
    match read {
        Ok(configuration) => {
            let waiting = configuration.waiting(said);
            level.set(configuration.log);
            tracing::info!("configuration is read again");
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(%keys, "these keys hold from the next start on");
            }
        }
        Err(error) => tracing::error!("configuration is kept: {}", spec::chain(&error)),
    }
}
