//! Verbs for containers that exist.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::error::Error;
use crate::{output, stream, table};

/// Verbs that take names alone.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Seconds before it is killed
    #[arg(short, long, visible_alias = "timeout", allow_negative_numbers = true)]
    time: Option<i64>,
    /// What to send first
    #[arg(short, long)]
    signal: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// What to send
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Those for which this holds, e.g. isolation=hyperv
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// `hull logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on while the container runs
    #[arg(short, long)]
    follow: bool,
    /// Put the time in front of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The last so many lines
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Name or id
    name: String,
}

/// `hull top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Name or id
    name: String,
    /// Options as of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

fn page(name: &str, verb: &str) -> Page {
    Page::new(&["containers", name, verb])
}

/// Does the same for each name and prints it; a failure does not keep the others from it.
async fn each<'a, F, W>(names: &'a [String], work: F) -> Result<(), Error>
where
    F: Fn(&'a str) -> W,
    W: Future<Output = Result<String, Error>>,
{
    let mut failures = Vec::new();
    for name in names {
        match work(name).await {
            Ok(line) => output::line(line),
            Err(error) => failures.push(error),
        }
    }
    if failures.len() == 1 {
        return Err(failures.remove(0));
    }
    for failure in &failures {
        eprintln!("hull: {}", spec::chain(failure));
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Some(failures.len())) }
}

/// Starts containers.
pub(crate) async fn start(client: &Client, verb: &Named) -> Result<(), Error> {
    each(&verb.names, |name| async move {
        client.post(&page(name, "start"), &Value::Null).await.map(|_| name.to_owned())
    })
    .await
}

/// Stops containers.
pub(crate) async fn stop(client: &Client, verb: &Stop) -> Result<(), Error> {
    let time = verb.time.map(|seconds| seconds.to_string());
    let parameters: Vec<_> = [("t", &time), ("signal", &verb.signal)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    let parameters = &parameters;
    each(&verb.names, |name| async move {
        let page = page(name, "stop").query(parameters);
        client.post(&page, &Value::Null).await.map(|_| name.to_owned())
    })
    .await
}

/// Sends a signal.
pub(crate) async fn kill(client: &Client, verb: &Kill) -> Result<(), Error> {
    each(&verb.names, |name| async move {
        let page = page(name, "kill").query(&[("signal", &verb.signal)]);
        client.post(&page, &Value::Null).await.map(|_| name.to_owned())
    })
    .await
}

/// Waits, and prints exit statuses.
pub(crate) async fn wait(client: &Client, verb: &Named) -> Result<(), Error> {
    each(&verb.names, |name| async move {
        let ended = client.post(&page(name, "wait"), &Value::Null).await?;
        Ok(ended["StatusCode"].to_string())
    })
    .await
}

/// Removes containers.
pub(crate) async fn rm(client: &Client, verb: &Rm) -> Result<(), Error> {
    let force = if verb.force { "1" } else { "0" };
    each(&verb.names, |name| async move {
        let page = Page::new(&["containers", name]).query(&[("force", force)]);
        client.delete(&page).await.map(|_| name.to_owned())
    })
    .await
}

/// Lists containers.
pub(crate) async fn ps(client: &Client, verb: &Ps) -> Result<(), Error> {
    let filters = filters(&verb.filter)?;
    let all = if verb.all { "1" } else { "0" };
    let page = Page::new(&["containers", "json"]).query(&[("all", all), ("filters", &filters)]);
    let containers = client.get(&page).await?;
    let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    let cut = |text: &str, length: usize| -> String {
        text.chars().take(if verb.no_trunc { usize::MAX } else { length }).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if verb.quiet {
        for container in containers {
            output::line(cut(&text(&container["Id"]), 12));
        }
        return Ok(());
    }
    let rows = containers.iter().map(|container| {
        vec![
            cut(&text(&container["Id"]), 12),
            text(&container["Image"]),
            cut(&text(&container["Command"]), 30),
            text(&container["Hull"]["Isolation"]),
            text(&container["Status"]),
            text(&container["Names"][0]).trim_start_matches('/').to_owned(),
        ]
    });
    table::print(&["CONTAINER ID", "IMAGE", "COMMAND", "ISOLATION", "STATUS", "NAMES"], rows);
    Ok(())
}

/// `key=value` pairs in the API's form.
fn filters(given: &[String]) -> Result<String, Error> {
    let mut filters = serde_json::Map::new();
    for filter in given {
        let (key, value) = filter.split_once('=').ok_or_else(|| Error::Argument {
            option: "--filter",
            value: filter.clone(),
            want: "KEY=VALUE",
        })?;
        let values = filters.entry(key).or_insert_with(|| json!({}));
        values[value] = Value::Bool(true);
    }
    Ok(Value::Object(filters).to_string())
}

/// Shows a container's output.
pub(crate) async fn logs(client: &Client, verb: &Logs) -> Result<(), Error> {
    let container = client.get(&page(&verb.name, "json")).await?;
    let switch = |on: bool| if on { "1" } else { "0" };
    let page = page(&verb.name, "logs").query(&[
        ("stdout", "1"),
        ("stderr", "1"),
        ("follow", switch(verb.follow)),
        ("timestamps", switch(verb.timestamps)),
        ("tail", &verb.tail),
    ]);
    let output = client.stream(Method::GET, &page).await?;
    stream::show(output, container["Config"]["Tty"] == true).await
}

/// Shows a container's processes.
pub(crate) async fn top(client: &Client, verb: &Top) -> Result<(), Error> {
    let options = verb.options.join(" ");
    let page = page(&verb.name, "top").query(&[("ps_args", &options)]);
    let top = client.get(&page).await?;
    let row = |value: &Value| -> Vec<String> {
        let cells = value.as_array().into_iter().flatten();
        cells.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
    };
    let titles = row(&top["Titles"]);
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    table::print(&titles, top["Processes"].as_array().into_iter().flatten().map(row));
    Ok(())
}

/// Shows everything about containers or images.
pub(crate) async fn inspect(client: &Client, verb: &Named) -> Result<(), Error> {
    let mut found = Vec::new();
    for name in &verb.names {
        let container = client.get(&page(name, "json")).await;
        found.push(match container {
            Err(Error::Refused { status: 404, .. }) => {
                client.get(&Page::new(&["images", name, "json"])).await?
            }
            answer => answer?,
        });
    }
    output::line(format_args!("{:#}", Value::Array(found)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let given = ["status=running", "status=paused", "label=a=b"].map(str::to_owned);
        let want = r#"{"label":{"a=b":true},"status":{"paused":true,"running":true}}"#;
        assert_eq!(filters(&given).ok().as_deref(), Some(want));
        assert!(filters(&["x".to_owned()]).is_err());
    }
}
