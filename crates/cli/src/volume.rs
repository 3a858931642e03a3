//! `hull volume`.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::container::labels;
use crate::error::Error;
use crate::filters::Filters;
use crate::format::{self, List, Look, Row};
use crate::output;
use crate::prune::{self, Consent};
use crate::run::pairs;
use crate::verb::{Verb, each, group, verbs};

verbs! {
    /// Verbs behind `volume`.
    Verbs {
        /// Make a volume
        Create: Create,
        /// List volumes
        #[command(visible_alias = "list")]
        Ls: Ls,
        /// Show everything about volumes
        Inspect: Inspect,
        /// Remove volumes
        #[command(visible_alias = "remove")]
        Rm: Rm,
        /// Remove volumes that nobody uses
        Prune: Prune,
        /// Make the size of a volume larger, used or not
        Resize: Resize,
        /// Make a volume with the files of another
        Clone: Clone,
        /// Keep a volume's files as they are now, to be read or cloned
        Snapshot: Snapshot,
    }
}

group! {
    /// Volumes.
    Volume of Verbs
}

const LIST: List = List {
    key: "Name",
    columns: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
    ],
    hidden: &["Mountpoint", "Scope", "Labels"],
};

/// `hull volume create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Driver
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Attach a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Its name
    name: Option<String>,
}

/// `hull volume ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    look: Look,
}

/// `hull volume inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull volume rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Do not mind those that are gone
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull volume resize`.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    /// Its name
    name: String,
    /// Its new size, as 2G or 512M
    size: String,
}

/// `hull volume clone`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull volume clone db db-test")]
pub(crate) struct Clone {
    /// The volume that is copied; no container that runs has it
    source: String,
    /// The new one's name
    name: String,
}

/// `hull volume snapshot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull volume snapshot db before-upgrade
  hull run --rm -v before-upgrade:/db:ro alpine ls /db
  hull volume clone before-upgrade db-again")]
pub(crate) struct Snapshot {
    /// The volume that is copied; no container that runs has it
    source: String,
    /// The snapshot's name [SOURCE-snapshot-N]
    name: Option<String>,
}

/// `hull volume prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Those with a name too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Verb for Create {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let body = json!({
            "Name": self.name.unwrap_or_default(),
            "Driver": self.driver,
            "DriverOpts": pairs(&self.opt),
            "Labels": pairs(&self.label),
        });
        let made = client.post(&Page::new(&["volumes", "create"]), &body).await?;
        output::line(made["Name"].as_str().unwrap_or_default());
        Ok(0)
    }
}

impl Verb for Ls {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["volumes"]).query(&[("filters", &self.filters.json()?)]);
        let found = client.get(&page).await?;
        let row = |volume: &Value| {
            let text = |key: &str| volume[key].as_str().unwrap_or_default().to_owned();
            Row {
                cells: vec![
                    text("Driver"),
                    text("Name"),
                    text("Mountpoint"),
                    text("Scope"),
                    labels(&volume["Labels"]),
                ],
                labels: volume["Labels"].clone(),
            }
        };
        let mut rows: Vec<Row> =
            found["Volumes"].as_array().into_iter().flatten().map(row).collect();
        rows.sort_by(|a, b| a.cells[1].cmp(&b.cells[1]));
        LIST.print(rows, &self.look).map(|()| 0)
    }
}

impl Verb for Inspect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let mut found = Vec::new();
        for name in &self.names {
            found.push(client.get(&Page::new(&["volumes", name])).await?);
        }
        format::documents(found, self.format.as_deref()).map(|()| 0)
    }
}

impl Verb for Rm {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let force = if self.force { "1" } else { "0" };
        each(&self.names, |name| async move {
            let page = Page::new(&["volumes", name]).query(&[("force", force)]);
            client.delete(&page).await.map(|_| name.to_owned())
        })
        .await
    }
}

impl Verb for Resize {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["volumes", &self.name, "resize"]);
        client.post(&page, &json!({ "Size": self.size })).await?;
        output::line(&self.name);
        Ok(0)
    }
}

impl Verb for Clone {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        copy(client, &self.source, "clone", Some(&self.name)).await
    }
}

impl Verb for Snapshot {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        copy(client, &self.source, "snapshot", self.name.as_deref()).await
    }
}

/// Has a volume copied, and prints the copy's name.
async fn copy(client: &Client, of: &str, how: &str, name: Option<&str>) -> Result<u8, Error> {
    let made = client.post(&Page::new(&["volumes", of, how]), &json!({ "Name": name })).await?;
    output::line(made["Name"].as_str().unwrap_or_default());
    Ok(0)
}

impl Verb for Prune {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let kind = if self.all { "all" } else { "anonymous" };
        let warning =
            format!("This will remove {kind} local volumes not used by at least one container.");
        let Some(filters) = self.consent.given(&warning)? else { return Ok(1) };
        prune(client, self.all, &filters).await.map(|()| 0)
    }
}

/// Removes volumes and prints which; also `system prune`'s.
pub(crate) async fn prune(client: &Client, all: bool, filters: &Filters) -> Result<(), Error> {
    let more: &[_] = if all { &[("all", "true")] } else { &[] };
    let page = Page::new(&["volumes", "prune"]).query(&[("filters", &filters.with(more)?)]);
    let pruned = client.post(&page, &Value::Null).await?;
    prune::list("Volumes", &pruned["VolumesDeleted"]);
    prune::space(&pruned);
    Ok(())
}
