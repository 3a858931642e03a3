//! `hull system`, and what of it stands alone.

mod df;
mod events;
mod info;

use clap::Args;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::prune::Consent;
use crate::verb::{Verb, group, verbs};
use crate::{container, daemon, image, network, volume};

verbs! {
    /// Verbs behind `system`.
    Verbs {
        /// Show what takes space on disk
        Df: df::Df,
        /// Remove what nobody uses
        Prune: Prune,
        /// Start the engine
        Start: Start,
        /// Stop the engine; containers go on
        Stop: Stop,
        => { Everyday: Everyday, }
    }
}

verbs! {
    /// Verbs that need no `system` before them.
    Everyday {
        /// Show facts about the engine and its host
        Info: info::Info,
        /// Show what happens, as it happens
        Events: events::Events,
    }
}

group! {
    /// The engine.
    System of Verbs
}

pub(crate) use info::{ARCHITECTURE, Version};

/// `hull system prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Images with a name too
    #[arg(short, long)]
    all: bool,
    /// Nameless volumes too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    consent: Consent,
}

/// `hull system start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Options for hulld
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// `hull system stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {}

impl Verb for Prune {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let warning = self.warning();
        let Some(filters) = self.consent.given(&warning)? else { return Ok(1) };
        container::prune(client, &filters).await?;
        network::prune(client, &filters).await?;
        if self.volumes {
            volume::prune(client, false, &filters).await?;
        }
        image::prune(client, self.all, &filters).await?;
        Ok(0)
    }
}

impl Prune {
    fn warning(&self) -> String {
        let mut lines = vec!["This will remove:", "  - all stopped containers"];
        lines.push("  - all networks not used by at least one container");
        if self.volumes {
            lines.push("  - all anonymous volumes not used by at least one container");
        }
        lines.push(if self.all {
            "  - all images without at least one container associated to them"
        } else {
            "  - all dangling images"
        });
        lines.join("\n")
    }
}

impl Verb for Start {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let running = Client::of_running(client.socket().to_owned());
        if !running.answers().await {
            daemon::start(client.socket(), &self.options).await?;
        }
        Ok(0)
    }
}

impl Verb for Stop {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        daemon::stop(&Client::of_running(client.socket().to_owned())).await.map(|()| 0)
    }
}

/// Everything about anything: containers first, as docker does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull inspect -f '{{.State.Status}}' web
  hull inspect --walls web")]
pub(crate) struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show a container's sizes too
    #[arg(short, long)]
    size: bool,
    /// container, image, network or volume
    #[arg(long, value_name = "KIND", value_parser = ["container", "image", "network", "volume"])]
    r#type: Option<String>,
    /// Show what crosses the walls of containers: mounts, ports, namespaces, devices, rights
    #[arg(long, conflicts_with_all = ["format", "size", "type"])]
    walls: bool,
    /// With --walls: as JSON
    #[arg(long, requires = "walls")]
    json: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl Verb for Inspect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if self.walls {
            return container::walls(client, &self.names, self.json).await;
        }
        let (mut found, mut missing) = (Vec::new(), None);
        for name in &self.names {
            match self.look_up(client, name).await? {
                Some(document) => found.push(document),
                None => missing = missing.or(Some(Error::NoObject(name.clone()))),
            }
        }
        crate::format::documents(found, self.format.as_deref())?;
        missing.map_or(Ok(0), Err)
    }
}

impl Inspect {
    async fn look_up(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<Option<serde_json::Value>, Error> {
        let size = if self.size { "1" } else { "0" };
        let pages = [
            ("container", Page::new(&["containers", name, "json"]).query(&[("size", size)])),
            ("image", Page::new(&["images", name, "json"])),
            ("network", Page::new(&["networks", name])),
            ("volume", Page::new(&["volumes", name])),
        ];
        for (kind, page) in pages {
            if self.r#type.as_ref().is_some_and(|wanted| wanted != kind) {
                continue;
            }
            if let Some(document) = client.find(&page).await? {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }
}
