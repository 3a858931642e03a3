//! Verbs for the engine itself.

use std::path::Path;

use clap::Subcommand;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::daemon;
use crate::error::Error;
use crate::output;

/// `hull system`.
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Start the engine
    Start {
        /// Options for hulld
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Stop the engine; containers go on
    Stop,
}

/// Starts or stops the engine.
pub(crate) async fn system(verb: &System, socket: &Path) -> Result<(), Error> {
    match verb {
        System::Start { .. } if Client::answers(socket).await => Ok(()),
        System::Start { options } => daemon::start(socket, options).await,
        System::Stop => daemon::stop(socket).await,
    }
}

/// Prints facts about the engine and its host.
pub(crate) async fn info(client: &Client) -> Result<(), Error> {
    let info = client.get(&Page::new(&["info"])).await?;
    let text = |key: &str| match &info[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let running = format!(
        "{} ({} running, {} paused, {} stopped)",
        text("Containers"),
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped")
    );
    for (name, value) in [
        ("Engine", format!("hull {}", text("ServerVersion"))),
        ("Root", text("DockerRootDir")),
        ("Default isolation", text("Isolation")),
        ("Containers", running),
        ("Images", text("Images")),
        ("Host", text("Name")),
        ("System", text("OperatingSystem")),
        ("Kernel", text("KernelVersion")),
        ("Control groups", format!("version {}", text("CgroupVersion"))),
        ("Processors", text("NCPU")),
        ("Memory", crate::table::bytes(info["MemTotal"].as_u64().unwrap_or(0))),
    ] {
        output::line(format_args!("{name}: {value}"));
    }
    for (key, value) in info["Hull"]["Vm"].as_object().into_iter().flatten() {
        output::line(format_args!("VM {key}: {}", value.as_str().unwrap_or_default()));
    }
    Ok(())
}

/// Prints the versions of both sides.
pub(crate) async fn version(client: &Client) -> Result<(), Error> {
    output::line(format_args!("hull {}", env!("CARGO_PKG_VERSION")));
    let version = client.get(&Page::new(&["version"])).await?;
    let text = |key: &str| version[key].as_str().unwrap_or_default();
    let (oldest, newest) = (text("MinAPIVersion"), text("ApiVersion"));
    let version = text("Version");
    output::line(format_args!("hulld {version} (Docker API {oldest} to {newest})"));
    Ok(())
}
