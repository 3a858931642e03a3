//! `hull stats`.

use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde_json::Value;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::format::{List, Look, Row, for_people, short};
use crate::units::{bytes, memory};
use crate::verb::Verb;
use crate::{output, terminal};

const LIST: List = List {
    key: "ID",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
        ("Container", "CONTAINER"),
    ],
    hidden: &["Container"],
};

/// Never shown, and then what is left out first where the terminal is too narrow for all.
const HIDDEN: &[&str] = &["Container", "BlockIO", "NetIO", "MemPerc", "ID", "PIDs"];

/// The least time between two pictures. The engine takes a second for each.
const BEAT: Duration = Duration::from_millis(200);

/// What stands between two columns.
const GAP: usize = 3;

/// `hull stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Print once
    #[arg(long)]
    no_stream: bool,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Names or ids; all that run if none
    names: Vec<String>,
}

impl Verb for Stats {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let look = Look { format: self.format.clone(), no_trunc: self.no_trunc, ..Look::default() };
        let live = !self.no_stream;
        let redraw = live && terminal::output() && for_people(self.format.as_deref());
        loop {
            let names = self.names(client).await?;
            let asked = join_all(names.iter().map(|name| sample(client, name))).await;
            let mut rows = Vec::new();
            for (name, sample) in names.iter().zip(asked) {
                match sample {
                    // It went in the meantime; named by the user it is an error.
                    Err(Error::Refused { status: 404 | 409, .. }) if self.names.is_empty() => {}
                    sample => rows.push(row(name, &sample?, &look)),
                }
            }
            if redraw {
                terminal::clear();
            }
            fitting(&rows, terminal::columns().filter(|_| redraw)).print(rows, &look)?;
            if !live {
                return Ok(0);
            }
            if !redraw && for_people(self.format.as_deref()) {
                output::line("");
            }
            tokio::time::sleep(BEAT).await;
            if !self.names.is_empty() && names.is_empty() {
                return Ok(0);
            }
        }
    }
}

impl Stats {
    async fn names(&self, client: &Client) -> Result<Vec<String>, Error> {
        if !self.names.is_empty() {
            return Ok(self.names.clone());
        }
        let all = if self.all { "1" } else { "0" };
        let page = Page::new(&["containers", "json"]).query(&[("all", all)]);
        let ids = client.get(&page).await?;
        let ids = ids.as_array().into_iter().flatten();
        Ok(ids.filter_map(|one| one["Id"].as_str().map(str::to_owned)).collect())
    }
}

/// The list with as many columns as fit into `width`, or all.
fn fitting(rows: &[Row], width: Option<u16>) -> List {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| row.cells[at].chars().count());
        cells.chain([LIST.columns[at].1.len()]).max().unwrap_or(0) + GAP
    };
    let fits = |hidden: &[&str]| {
        let shown = LIST.columns.iter().enumerate();
        let shown = shown.filter(|(_, (field, _))| !hidden.contains(field));
        width.is_none_or(|width| shown.map(|(at, _)| widest(at)).sum::<usize>() <= width.into())
    };
    let hidden = (1..HIDDEN.len()).map(|count| &HIDDEN[..count]).find(|hidden| fits(hidden));
    List { hidden: hidden.unwrap_or(HIDDEN), ..LIST }
}

async fn sample(client: &Client, name: &str) -> Result<Value, Error> {
    client.get(&Page::new(&["containers", name, "stats"]).query(&[("stream", "0")])).await
}

fn row(name: &str, stats: &Value, look: &Look) -> Row {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let usage = &stats["memory_stats"];
    let detail = &usage["stats"];
    let cache = detail["inactive_file"].as_u64().or(detail["total_inactive_file"].as_u64());
    let used = number(&usage["usage"]).saturating_sub(cache.unwrap_or(0));
    let limit = number(&usage["limit"]);
    let (mut received, mut sent) = (0, 0);
    for (_, card) in stats["networks"].as_object().into_iter().flatten() {
        received += number(&card["rx_bytes"]);
        sent += number(&card["tx_bytes"]);
    }
    let (mut read, mut written) = (0, 0);
    for entry in stats["blkio_stats"]["io_service_bytes_recursive"].as_array().into_iter().flatten()
    {
        match entry["op"].as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
            "read" => read += number(&entry["value"]),
            "write" => written += number(&entry["value"]),
            _ => {}
        }
    }
    let id = stats["id"].as_str().unwrap_or(name);
    vec![
        if look.no_trunc { id.to_owned() } else { short(id) },
        stats["name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned(),
        format!("{:.2}%", processor(stats)),
        format!("{} / {}", memory(used), memory(limit)),
        format!("{:.2}%", share(used, limit)),
        format!("{} / {}", bytes(received), bytes(sent)),
        format!("{} / {}", bytes(read), bytes(written)),
        number(&stats["pids_stats"]["current"]).to_string(),
        name.to_owned(),
    ]
    .into()
}

/// Hundredths of one processor, from two samples.
fn processor(stats: &Value) -> f64 {
    let of = |key: &str, field: &str| stats[key][field].as_u64().unwrap_or(0);
    let used = |key: &str| stats[key]["cpu_usage"]["total_usage"].as_u64().unwrap_or(0);
    let own = used("cpu_stats").saturating_sub(used("precpu_stats"));
    let all =
        of("cpu_stats", "system_cpu_usage").saturating_sub(of("precpu_stats", "system_cpu_usage"));
    #[allow(clippy::cast_precision_loss)] // processors
    let processors = of("cpu_stats", "online_cpus") as f64;
    share(own, all) * processors
}

#[allow(clippy::cast_precision_loss)] // two digits are shown
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_reckoned_as_dockers() {
        let stats = json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": { "cpu_usage": { "total_usage": 300 }, "system_cpu_usage": 2000, "online_cpus": 2 },
            "precpu_stats": { "cpu_usage": { "total_usage": 100 }, "system_cpu_usage": 1000 },
            "memory_stats": { "usage": 3 << 20, "limit": 8 << 20, "stats": { "inactive_file": 1 << 20 } },
            "networks": { "eth0": { "rx_bytes": 1000, "tx_bytes": 20 } },
            "pids_stats": { "current": 3 },
        });
        let row = row("web", &stats, &Look::default());
        let want = [
            "0123456789ab",
            "web",
            "40.00%",
            "2MiB / 8MiB",
            "25.00%",
            "1kB / 20B",
            "0B / 0B",
            "3",
            "web",
        ];
        assert_eq!(row.cells, want);
        let fields = |width: Option<u16>| -> Vec<&str> {
            let list = fitting(std::slice::from_ref(&row), width);
            let shown = list.columns.iter().filter(|(field, _)| !list.hidden.contains(field));
            shown.map(|(field, _)| *field).collect()
        };
        let all = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        assert_eq!(fields(None), all);
        assert_eq!(fields(Some(200)), all);
        assert_eq!(
            fields(Some(80)),
            ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "PIDs"]
        );
        assert_eq!(fields(Some(50)), ["Name", "CPUPerc", "MemUsage", "PIDs"]);
        assert_eq!(fields(Some(10)), ["Name", "CPUPerc", "MemUsage"]);
    }
}
