//! `hull network`.

use clap::Args;
use serde_json::{Map, Value, json};

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
    /// Verbs behind `network`.
    Verbs {
        /// Make a network
        Create: Create,
        /// List networks
        #[command(visible_alias = "list")]
        Ls: Ls,
        /// Show everything about networks
        Inspect: Inspect,
        /// Attach a container to a network
        Connect: Connect,
        /// Take a container off a network
        Disconnect: Disconnect,
        /// Remove networks
        #[command(visible_alias = "remove")]
        Rm: Rm,
        /// Remove networks that nobody uses
        Prune: Prune,
    }
}

group! {
    /// Networks.
    Network of Verbs
}

const LIST: List = List {
    key: "ID",
    columns: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    hidden: &["IPv4", "IPv6", "Internal", "Labels", "CreatedAt"],
};

/// `hull network create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull network create --subnet 10.8.0.0/24 --gateway 10.8.0.1 back")]
pub(crate) struct Create {
    /// Driver
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Its subnet
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    subnet: Vec<String>,
    /// The host's address in it
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// The part of the subnet that containers are given addresses of
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    ip_range: Vec<String>,
    /// Keep it from the outside
    #[arg(long)]
    internal: bool,
    /// IPv6 too
    #[arg(long)]
    ipv6: bool,
    /// Let containers join it by hand
    #[arg(long)]
    attachable: bool,
    /// Attach a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Its name
    name: String,
}

/// `hull network ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    look: Look,
}

/// `hull network inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull network connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// A further name on it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Address on it
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address on it
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// The network
    network: String,
    /// The container
    container: String,
}

/// `hull network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Do not mind a container that is gone
    #[arg(short, long)]
    force: bool,
    /// The network
    network: String,
    /// The container
    container: String,
}

/// `hull network rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Do not mind those that are gone
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull network prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    consent: Consent,
}

impl Verb for Create {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if self.subnet.is_empty() && !(self.gateway.is_empty() && self.ip_range.is_empty()) {
            return Err(Error::Argument {
                option: "--gateway",
                value: self.gateway.concat() + &self.ip_range.concat(),
                want: "a --subnet that it is in".into(),
            });
        }
        let config = self.subnet.iter().enumerate().map(|(at, subnet)| {
            let mut config = Map::from_iter([("Subnet".to_owned(), json!(subnet))]);
            for (key, list) in [("Gateway", &self.gateway), ("IPRange", &self.ip_range)] {
                if let Some(value) = list.get(at) {
                    config.insert(key.to_owned(), json!(value));
                }
            }
            Value::Object(config)
        });
        let body = json!({
            "Name": self.name,
            "Driver": self.driver,
            "Internal": self.internal,
            "EnableIPv6": self.ipv6,
            "Attachable": self.attachable,
            "IPAM": { "Driver": "default", "Config": config.collect::<Vec<_>>() },
            "Options": pairs(&self.opt),
            "Labels": pairs(&self.label),
        });
        let made = client.post(&Page::new(&["networks", "create"]), &body).await?;
        if let Some(warning) = made["Warning"].as_str().filter(|text| !text.is_empty()) {
            eprintln!("WARNING: {warning}");
        }
        output::line(made["Id"].as_str().unwrap_or_default());
        Ok(0)
    }
}

impl Verb for Ls {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["networks"]).query(&[("filters", &self.filters.json()?)]);
        let found = client.get(&page).await?;
        let row = |network: &Value| {
            let text = |key: &str| network[key].as_str().unwrap_or_default().to_owned();
            Row {
                cells: vec![
                    self.look.id(&text("Id")),
                    text("Name"),
                    text("Driver"),
                    text("Scope"),
                    (network["EnableIPv4"] != false).to_string(),
                    (network["EnableIPv6"] == true).to_string(),
                    (network["Internal"] == true).to_string(),
                    labels(&network["Labels"]),
                    text("Created"),
                ],
                labels: network["Labels"].clone(),
            }
        };
        let mut rows: Vec<Row> = found.as_array().into_iter().flatten().map(row).collect();
        rows.sort_by(|a, b| a.cells[1].cmp(&b.cells[1]));
        LIST.print(rows, &self.look).map(|()| 0)
    }
}

impl Verb for Inspect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let mut found = Vec::new();
        for name in &self.names {
            found.push(client.get(&Page::new(&["networks", name])).await?);
        }
        format::documents(found, self.format.as_deref()).map(|()| 0)
    }
}

impl Verb for Connect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let mut endpoint = Map::new();
        if !self.alias.is_empty() {
            endpoint.insert("Aliases".to_owned(), json!(self.alias));
        }
        if self.ip.is_some() || self.ip6.is_some() {
            let [four, six] = [&self.ip, &self.ip6].map(|ip| ip.clone().unwrap_or_default());
            let wish = json!({ "IPv4Address": four, "IPv6Address": six });
            endpoint.insert("IPAMConfig".to_owned(), wish);
        }
        let body = json!({ "Container": self.container, "EndpointConfig": endpoint });
        client.post(&Page::new(&["networks", &self.network, "connect"]), &body).await.map(|_| 0)
    }
}

impl Verb for Disconnect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let body = json!({ "Container": self.container, "Force": self.force });
        client.post(&Page::new(&["networks", &self.network, "disconnect"]), &body).await.map(|_| 0)
    }
}

impl Verb for Rm {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let force = self.force;
        each(&self.names, |name| async move {
            match client.delete(&Page::new(&["networks", name])).await {
                Err(Error::Refused { status: 404, .. }) if force => Ok(name.to_owned()),
                removed => removed.map(|_| name.to_owned()),
            }
        })
        .await
    }
}

impl Verb for Prune {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let warning = "This will remove all custom networks not used by at least one container.";
        let Some(filters) = self.consent.given(warning)? else { return Ok(1) };
        prune(client, &filters).await.map(|()| 0)
    }
}

/// Removes networks and prints which; also `system prune`'s.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<(), Error> {
    let page = Page::new(&["networks", "prune"]).query(&[("filters", &filters.json()?)]);
    let pruned = client.post(&page, &Value::Null).await?;
    prune::list("Networks", &pruned["NetworksDeleted"]);
    Ok(())
}
