//! Verbs that show something of one container.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::walls;
use crate::client::{Client, Page};
use crate::error::Error;
use crate::units::parse_moment;
use crate::verb::Verb;
use crate::{format, output, stream, table, terminal};

/// The time between two pictures of `hull top --live`.
const BEAT: Duration = Duration::from_secs(1);

/// `hull logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull logs -f --tail 20 web
  hull logs --since 10m web")]
pub(crate) struct Logs {
    /// Go on while the container runs
    #[arg(short, long)]
    follow: bool,
    /// Put the time in front of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Put the details of its log's options in front of each line
    #[arg(long)]
    details: bool,
    /// The last so many lines
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Lines since this moment, or this long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Lines until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    name: String,
}

/// `hull top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull top web -o pid,comm
  hull top --live web -o pid,pcpu,rss,comm")]
pub(crate) struct Top {
    /// Show them again every second, until the container ends
    #[arg(long)]
    live: bool,
    /// Name or id
    name: String,
    /// Options as of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// `hull port`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull port web 80
  hull port add web 8080:80
  hull port rm web 8080:80")]
pub(crate) struct Port {
    /// Name or id; with specifications behind it, add or rm
    name: String,
    /// Only this port, PORT[/PROTOCOL]; behind add and rm, name or id
    #[arg(value_name = "PORT")]
    only: Option<String>,
    /// Ports to publish or to give up while it runs, [[ADDRESS:]HOSTPORT:]PORT[/PROTOCOL]
    specs: Vec<String>,
}

/// `hull egress`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull run -d --name web --network-opt egress=allow:example.com:443 alpine sleep 1d
  hull egress web")]
pub(crate) struct Egress {
    /// Name or id
    name: String,
}

/// `hull diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Name or id
    name: String,
}

/// `hull container inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show sizes too
    #[arg(short, long)]
    size: bool,
    /// Show what crosses the walls of containers: mounts, ports, namespaces, devices, rights
    #[arg(long, conflicts_with_all = ["format", "size"])]
    walls: bool,
    /// With --walls: as JSON
    #[arg(long, requires = "walls")]
    json: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

fn page(name: &str, verb: &str) -> Page {
    Page::new(&["containers", name, verb])
}

impl Verb for Logs {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let container = client.get(&page(&self.name, "json")).await?;
        let switch = |on: bool| if on { "1" } else { "0" };
        let since = self.since.as_deref().map(|text| parse_moment("--since", text)).transpose()?;
        let until = self.until.as_deref().map(|text| parse_moment("--until", text)).transpose()?;
        let mut query = vec![
            ("stdout", "1"),
            ("stderr", "1"),
            ("follow", switch(self.follow)),
            ("timestamps", switch(self.timestamps)),
            ("details", switch(self.details)),
            ("tail", &self.tail),
        ];
        query.extend(since.iter().map(|time| ("since", &**time)));
        query.extend(until.iter().map(|time| ("until", &**time)));
        let page = page(&self.name, "logs").query(&query);
        let output = client.stream(Method::GET, &page).await?;
        stream::show(output, container["Config"]["Tty"] == true).await.map(|()| 0)
    }
}

impl Verb for Top {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let options = self.options.join(" ");
        let page = page(&self.name, "top").query(&[("ps_args", &options)]);
        let redraw = self.live && terminal::output();
        let mut shown = false;
        loop {
            let top = match client.get(&page).await {
                // It has ended, or is gone: that was waited for.
                Err(Error::Refused { status: 404 | 409, .. }) if shown => return Ok(0),
                top => top?,
            };
            let row = |value: &Value| -> Vec<String> {
                let cells = value.as_array().into_iter().flatten();
                cells.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
            };
            let processes = top["Processes"].as_array().into_iter().flatten().map(row);
            if redraw {
                terminal::clear();
            } else if shown {
                output::line("");
            }
            table::print(row(&top["Titles"]), processes, redraw);
            if !self.live {
                return Ok(0);
            }
            shown = true;
            tokio::time::sleep(BEAT).await;
        }
    }
}

impl Port {
    /// Has ports published or given up.
    async fn change(&self, id: &str, client: &Client) -> Result<u8, Error> {
        let change = match self.name.as_str() {
            "add" => "Add",
            "rm" => "Remove",
            other => {
                return Err(Error::Argument {
                    option: "port",
                    value: other.to_owned(),
                    want: "add or rm before a container and ports".into(),
                });
            }
        };
        let body = serde_json::json!({ change: crate::run::ports::parse(&self.specs)? });
        client.post(&page(id, "ports"), &body).await.map(|_| 0)
    }
}

impl Verb for Port {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if let Some(id) = self.only.as_ref().filter(|_| !self.specs.is_empty()) {
            return self.change(id, client).await;
        }
        let container = client.get(&page(&self.name, "json")).await?;
        let wanted =
            self.only.map(|port| if port.contains('/') { port } else { format!("{port}/tcp") });
        let all = container["NetworkSettings"]["Ports"].as_object();
        let mut found = false;
        for (port, bindings) in all.into_iter().flatten() {
            if wanted.as_ref().is_some_and(|wanted| wanted != port) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let text = |key: &str| binding[key].as_str().unwrap_or_default();
                let address = text("HostIp");
                let address =
                    if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                let line = format!("{address}:{}", text("HostPort"));
                found = true;
                output::line(if wanted.is_some() { line } else { format!("{port} -> {line}") });
            }
        }
        match wanted {
            Some(port) if !found => {
                Err(Error::NoObject(format!("port {port} of {} is not published", self.name)))
            }
            _ => Ok(0),
        }
    }
}

impl Verb for Egress {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let held = client.get(&page(&self.name, "egress")).await?;
        let row = |one: &Value| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let count = |key: &str| one["Dropped"][key].to_string();
            let counts = ["Refused", "Host", "Forged", "Names", "Addresses"].map(count);
            [vec![text("Network"), text("Egress")], counts.into()].concat()
        };
        let titles = ["NETWORK", "EGRESS", "REFUSED", "TO HOST", "FORGED", "NAMES", "ADDRESSES"];
        let rows = held.as_array().into_iter().flatten().map(row);
        table::print(titles.map(str::to_owned).into(), rows, false);
        Ok(0)
    }
}

impl Verb for Diff {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let changes = client.get(&page(&self.name, "changes")).await?;
        for change in changes.as_array().into_iter().flatten() {
            let kind = match change["Kind"].as_u64() {
                Some(1) => 'A',
                Some(2) => 'D',
                _ => 'C',
            };
            output::line(format_args!("{kind} {}", change["Path"].as_str().unwrap_or_default()));
        }
        Ok(0)
    }
}

impl Verb for Inspect {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if self.walls {
            return walls::show(client, &self.names, self.json).await;
        }
        let size = if self.size { "1" } else { "0" };
        let mut found = Vec::new();
        for name in &self.names {
            found.push(client.get(&page(name, "json").query(&[("size", size)])).await?);
        }
        format::documents(found, self.format.as_deref()).map(|()| 0)
    }
}
