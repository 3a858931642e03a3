//! `hull system df`.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::format::{List, Look, Row, short};
use crate::output;
use crate::units::{ago, bytes};
use crate::verb::Verb;

const SUMMARY: List = List {
    key: "Type",
    columns: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    hidden: &[],
};
const IMAGES: List = List {
    key: "ID",
    columns: &[
        ("Repository", "REPOSITORY"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    hidden: &[],
};
const CONTAINERS: List = List {
    key: "ID",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    hidden: &[],
};
const VOLUMES: List = List {
    key: "Name",
    columns: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    hidden: &[],
};

/// `hull system df`.
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// Each of them
    #[arg(short, long)]
    verbose: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Df {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let usage = client.get(&Page::new(&["system", "df"])).await?;
        let look = Look { format: self.format.clone(), ..Look::default() };
        if !self.verbose {
            return SUMMARY.print(summary(&usage), &look).map(|()| 0);
        }
        if self.format.as_deref() == Some("json") {
            output::line(usage);
            return Ok(0);
        }
        for (title, list, rows) in [
            ("Images", &IMAGES, images(&usage)),
            ("Containers", &CONTAINERS, containers(&usage)),
            ("Local Volumes", &VOLUMES, volumes(&usage)),
        ] {
            output::line(format_args!("{title} space usage:\n"));
            list.print(rows, &look)?;
            output::line("");
        }
        Ok(0)
    }
}

fn all<'a>(usage: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> + Clone {
    usage[kind].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn summary(usage: &Value) -> Vec<Row> {
    let images = all(usage, "Images");
    let unused = images.clone().filter(|image| image["Containers"].as_i64() == Some(0));
    let alone = |image: &Value| number(&image["Size"]).saturating_sub(number(&image["SharedSize"]));
    let layers = number(&usage["LayersSize"]);
    let containers = all(usage, "Containers");
    let runs = |container: &&Value| {
        matches!(container["State"].as_str(), Some("running" | "paused" | "restarting"))
    };
    let written = |container: &Value| number(&container["SizeRw"]);
    let volumes = all(usage, "Volumes");
    let held = |volume: &Value| number(&volume["UsageData"]["Size"]);
    let used = |volume: &&Value| volume["UsageData"]["RefCount"].as_i64().unwrap_or(0) > 0;
    vec![
        line(
            "Images",
            images.clone().count(),
            images.clone().count() - unused.clone().count(),
            layers,
            unused.map(alone).sum(),
        ),
        line(
            "Containers",
            containers.clone().count(),
            containers.clone().filter(runs).count(),
            containers.clone().map(written).sum(),
            containers.filter(|container| !runs(container)).map(written).sum(),
        ),
        line(
            "Local Volumes",
            volumes.clone().count(),
            volumes.clone().filter(used).count(),
            volumes.clone().map(held).sum(),
            volumes.filter(|volume| !used(volume)).map(held).sum(),
        ),
    ]
}

fn line(kind: &str, total: usize, active: usize, size: u64, free: u64) -> Row {
    let free = free.min(size);
    let percent = (free * 100).checked_div(size);
    let free =
        percent.map_or_else(|| bytes(free), |percent| format!("{} ({percent}%)", bytes(free)));
    vec![kind.to_owned(), total.to_string(), active.to_string(), bytes(size), free].into()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn images(usage: &Value) -> Vec<Row> {
    let row = |image: &Value| {
        vec![
            image["RepoTags"][0].as_str().unwrap_or("<none>").to_owned(),
            short(&text(&image["Id"])),
            ago(image["Created"].as_i64().unwrap_or(0)),
            bytes(number(&image["Size"])),
            bytes(number(&image["SharedSize"])),
            image["Containers"].to_string(),
        ]
        .into()
    };
    all(usage, "Images").map(row).collect()
}

fn containers(usage: &Value) -> Vec<Row> {
    let row = |container: &Value| {
        vec![
            short(&text(&container["Id"])),
            text(&container["Image"]),
            bytes(number(&container["SizeRw"])),
            text(&container["Status"]),
            text(&container["Names"][0]).trim_start_matches('/').to_owned(),
        ]
        .into()
    };
    all(usage, "Containers").map(row).collect()
}

fn volumes(usage: &Value) -> Vec<Row> {
    let row = |volume: &Value| {
        vec![
            text(&volume["Name"]),
            volume["UsageData"]["RefCount"].to_string(),
            bytes(number(&volume["UsageData"]["Size"])),
        ]
        .into()
    };
    all(usage, "Volumes").map(row).collect()
}
