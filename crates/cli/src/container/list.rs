//! `hull ps`.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::filters::Filters;
use crate::format::{List, Look, Row};
use crate::units;
use crate::verb::Verb;

const LIST: List = List {
    key: "ID",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("Isolation", "ISOLATION"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Size", "SIZE"),
        ("CreatedAt", "CREATED AT"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("State", "STATE"),
    ],
    hidden: &["CreatedAt", "Labels", "LocalVolumes", "Mounts", "Networks", "State"],
};

/// The same without sizes, which cost time.
const WITHOUT_SIZE: List = List {
    hidden: &["Size", "CreatedAt", "Labels", "LocalVolumes", "Mounts", "Networks", "State"],
    ..LIST
};

/// `hull ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull ps -a --filter status=exited
  hull ps --filter isolation=hyperv --format 'table {{.Names}}\\t{{.Status}}'")]
pub(crate) struct Ps {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,
    /// The newest so many, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER")]
    last: Option<u32>,
    /// The newest, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Show sizes too
    #[arg(short, long)]
    size: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    look: Look,
}

impl Verb for Ps {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let size = self.size || self.look.format.as_deref().is_some_and(|f| f.contains(".Size"));
        let switch = |on: bool| if on { "1" } else { "0" };
        let filters = self.filters.json()?;
        let limit = if self.latest { Some(1) } else { self.last }.map(|count| count.to_string());
        let mut query =
            vec![("all", switch(self.all)), ("size", switch(size)), ("filters", &*filters)];
        query.extend(limit.iter().map(|count| ("limit", &**count)));
        let containers = client.get(&Page::new(&["containers", "json"]).query(&query)).await?;
        let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = containers.iter().map(|container| row(container, &self.look)).collect();
        let list = if size { &LIST } else { &WITHOUT_SIZE };
        list.print(rows, &self.look).map(|()| 0)
    }
}

fn row(container: &Value, look: &Look) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = |value: &Value| {
        let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| name.trim_start_matches('/')).collect::<Vec<_>>().join(",")
    };
    let created = container["Created"].as_i64().unwrap_or(0);
    let mounts: Vec<_> = container["Mounts"].as_array().into_iter().flatten().collect();
    let sources = mounts.iter().map(|mount| {
        let name = mount["Name"].as_str().filter(|name| !name.is_empty());
        look.cut(name.or(mount["Source"].as_str()).unwrap_or_default(), 15)
    });
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let networks = networks.into_iter().flatten().map(|(name, _)| name.as_str());
    let image = text(&container["Image"]);
    let image = if image.starts_with("sha256:") { look.id(&image) } else { image };
    let size = |key: &str| units::bytes(container[key].as_u64().unwrap_or(0));
    let volumes = mounts.iter().filter(|mount| mount["Type"] == "volume").count();
    Row {
        cells: vec![
            look.id(&text(&container["Id"])),
            image,
            format!("\"{}\"", look.cut(&text(&container["Command"]), 20)),
            text(&container["Hull"]["Isolation"]),
            units::ago(created),
            text(&container["Status"]),
            ports(container["Ports"].as_array().map(Vec::as_slice).unwrap_or_default()),
            names(&container["Names"]),
            format!("{} (virtual {})", size("SizeRw"), size("SizeRootFs")),
            units::date_of(created),
            labels(&container["Labels"]),
            volumes.to_string(),
            sources.collect::<Vec<_>>().join(","),
            networks.collect::<Vec<_>>().join(","),
            text(&container["State"]),
        ],
        labels: container["Labels"].clone(),
    }
}

/// `key=value` pairs between commas.
pub(crate) fn labels(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(",")
}

/// The first and the last of ports in a row.
type Range = (u64, u64);
/// Protocol, address, ports of the host, ports of the container.
type Published = (String, String, Option<Range>, Range);

/// Ports as docker lists them; those in a row together.
fn ports(ports: &[Value]) -> String {
    let number = |port: &Value, key: &str| port[key].as_u64();
    let mut all: Vec<(String, String, Option<u64>, u64)> = ports
        .iter()
        .filter_map(|port| {
            let kind = port["Type"].as_str().unwrap_or("tcp").to_owned();
            let address = port["IP"].as_str().unwrap_or_default().to_owned();
            Some((kind, address, number(port, "PublicPort"), number(port, "PrivatePort")?))
        })
        .collect();
    all.sort();
    let mut shown: Vec<Published> = Vec::new();
    for (kind, address, public, private) in all {
        if let Some((last_kind, last_address, outside, inside)) = shown.last_mut() {
            let follows = inside.1 + 1 == private
                && match (&mut *outside, public) {
                    (None, None) => true,
                    (Some((_, end)), Some(public)) => *end + 1 == public,
                    _ => false,
                };
            if follows && *last_kind == kind && *last_address == address {
                inside.1 = private;
                *outside = outside.map(|(first, last)| (first, last + 1));
                continue;
            }
        }
        shown.push((kind, address, public.map(|port| (port, port)), (private, private)));
    }
    let range = |(first, last): Range| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let one = |(kind, address, outside, inside): Published| {
        let address = if address.contains(':') { format!("[{address}]") } else { address };
        match outside {
            Some(outside) => format!("{address}:{}->{}/{kind}", range(outside), range(inside)),
            None => format!("{}/{kind}", range(inside)),
        }
    };
    shown.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_in_a_row_are_told_together() {
        let port = |ip: &str, public: u64, private: u64| json!({ "IP": ip, "PublicPort": public, "PrivatePort": private, "Type": "tcp" });
        let given = [
            port("0.0.0.0", 8001, 81),
            port("0.0.0.0", 8000, 80),
            port("::", 9000, 90),
            json!({ "PrivatePort": 53, "Type": "udp" }),
        ];
        assert_eq!(ports(&given), "0.0.0.0:8000-8001->80-81/tcp, [::]:9000->90/tcp, 53/udp");
    }
}
