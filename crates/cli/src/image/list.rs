//! Verbs for images that are here.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::filters::Filters;
use crate::format::{self, List, Look, Row};
use crate::output;
use crate::prune::{self, Consent};
use crate::units;
use crate::verb::Verb;

const LIST: List = List {
    key: "ID",
    columns: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("CreatedAt", "CREATED AT"),
        ("Containers", "CONTAINERS"),
    ],
    hidden: &["Digest", "CreatedAt", "Containers"],
};
const WITH_DIGESTS: List = List { hidden: &["CreatedAt", "Containers"], ..LIST };

const HISTORY: List = List {
    key: "ID",
    columns: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
    ],
    hidden: &["CreatedAt"],
};

/// `hull images`.
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Layers between too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    look: Look,
    /// Only those of this name
    name: Option<String>,
}

/// `hull history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Sizes in bytes, dates as they are
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    human: bool,
    #[command(flatten)]
    look: Look,
    /// Name or id
    image: String,
}

/// `hull image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

/// `hull rmi`.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Remove it though containers use it
    #[arg(short, long)]
    force: bool,
    /// Keep images that only it was made from
    #[arg(long)]
    no_prune: bool,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

/// `hull image prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Those with a name too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Verb for Images {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let named: Vec<_> = self.name.iter().map(|name| ("reference", name.as_str())).collect();
        let filters = self.filters.with(&named)?;
        let all = if self.all { "1" } else { "0" };
        let query = [("all", all), ("filters", &*filters), ("digests", "1")];
        let images = client.get(&Page::new(&["images", "json"]).query(&query)).await?;
        let images = images.as_array().into_iter().flatten();
        let mut rows: Vec<Row> = images.flat_map(|image| rows(image, &self.look)).collect();
        if self.look.is_quiet() {
            rows.dedup_by(|a, b| a.cells[3] == b.cells[3]);
        }
        let list = if self.digests { &WITH_DIGESTS } else { &LIST };
        list.print(rows, &self.look).map(|()| 0)
    }
}

/// A row a name.
fn rows(image: &Value, look: &Look) -> Vec<Row> {
    let strings = |key: &str| {
        let list = image[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.filter(|name| !name.starts_with("<none>")).map(str::to_owned).collect::<Vec<_>>()
    };
    let digests = strings("RepoDigests");
    let digest = |name: &str| {
        let found = digests.iter().filter_map(|digest| digest.split_once('@'));
        let found =
            found.filter(|(own, _)| *own == name).map(|(_, digest)| digest.to_owned()).next();
        found.unwrap_or_else(|| "<none>".to_owned())
    };
    let created = image["Created"].as_i64().unwrap_or(0);
    let row = |name: &str, tag: &str| Row {
        cells: vec![
            name.to_owned(),
            tag.to_owned(),
            digest(name),
            look.id(image["Id"].as_str().unwrap_or_default()),
            units::ago(created),
            units::bytes(image["Size"].as_u64().unwrap_or(0)),
            units::date_of(created),
            image["Containers"]
                .as_i64()
                .filter(|count| *count >= 0)
                .map_or("N/A".into(), |n| n.to_string()),
        ],
        labels: image["Labels"].clone(),
    };
    let tags = strings("RepoTags");
    if tags.is_empty() {
        let name = digests.first().and_then(|digest| digest.split_once('@')).map(|(name, _)| name);
        return vec![row(name.unwrap_or("<none>"), "<none>")];
    }
    tags.iter().filter_map(|name| name.rsplit_once(':')).map(|(name, tag)| row(name, tag)).collect()
}

impl Verb for History {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let steps = client.get(&Page::new(&["images", &self.image, "history"])).await?;
        let look = &self.look;
        let row = |step: &Value| {
            let text = |key: &str| step[key].as_str().unwrap_or_default();
            let created = step["Created"].as_i64().unwrap_or(0);
            let size = step["Size"].as_u64().unwrap_or(0);
            let id = text("Id");
            Row::from(vec![
                if id.starts_with('<') { id.to_owned() } else { look.id(id) },
                if self.human { units::ago(created) } else { units::date_of(created) },
                look.cut(text("CreatedBy"), 45),
                if self.human { units::bytes(size) } else { size.to_string() },
                text("Comment").to_owned(),
                units::date_of(created),
            ])
        };
        let rows = steps.as_array().into_iter().flatten().map(row).collect();
        HISTORY.print(rows, look).map(|()| 0)
    }
}

impl Verb for Inspect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let mut found = Vec::new();
        for image in &self.images {
            found.push(client.get(&Page::new(&["images", image, "json"])).await?);
        }
        format::documents(found, self.format.as_deref()).map(|()| 0)
    }
}

impl Verb for Rmi {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let switch = |on: bool| if on { "1" } else { "0" };
        let query = [("force", switch(self.force)), ("noprune", switch(self.no_prune))];
        let mut failed: Option<Error> = None;
        for image in &self.images {
            match client.delete(&Page::new(&["images", image]).query(&query)).await {
                Ok(removed) => told(&removed),
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        earlier.print();
                    }
                }
            }
        }
        failed.map_or(Ok(0), Err)
    }
}

/// Prints what was untagged and deleted.
fn told(removed: &Value) {
    for record in removed.as_array().into_iter().flatten() {
        for (what, name) in record.as_object().into_iter().flatten() {
            output::line(format_args!("{what}: {}", name.as_str().unwrap_or_default()));
        }
    }
}

impl Verb for Prune {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let warning = if self.all {
            "This will remove all images without at least one container associated to them."
        } else {
            "This will remove all dangling images."
        };
        let Some(filters) = self.consent.given(warning)? else { return Ok(1) };
        prune(client, self.all, &filters).await.map(|()| 0)
    }
}

/// Removes images and prints which; also `system prune`'s.
pub(crate) async fn prune(client: &Client, all: bool, filters: &Filters) -> Result<(), Error> {
    let dangling = if all { "false" } else { "true" };
    let filters = filters.with(&[("dangling", dangling)])?;
    let page = Page::new(&["images", "prune"]).query(&[("filters", &filters)]);
    let pruned = client.post(&page, &Value::Null).await?;
    if pruned["ImagesDeleted"].as_array().is_some_and(|gone| !gone.is_empty()) {
        output::line("Deleted Images:");
        told(&pruned["ImagesDeleted"]);
        output::line("");
    }
    prune::space(&pruned);
    Ok(())
}
