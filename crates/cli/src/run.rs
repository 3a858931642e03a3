//! Verbs that run a program: `run`, `create`, `exec`.

use std::collections::BTreeMap;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::client::{Client, Page};
use crate::error::Error;
use crate::{images, output, stream, terminal};

/// Signals that are passed on to the container's program.
const PASSED_ON: [(SignalKind, &str); 5] = [
    (SignalKind::hangup(), "HUP"),
    (SignalKind::interrupt(), "INT"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::terminate(), "TERM"),
    (SignalKind::user_defined1(), "USR1"),
];

/// What a container is made of.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Give it a name
    #[arg(long)]
    name: Option<String>,
    /// The wall around it: process, or hyperv for a virtual machine of its own
    #[arg(long)]
    isolation: Option<String>,
    /// Set an environment variable; NAME alone takes ours
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Directory to start in
    #[arg(short, long)]
    workdir: Option<String>,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Program to run instead of the image's
    #[arg(long)]
    entrypoint: Option<String>,
    /// The container's host name
    #[arg(long)]
    hostname: Option<String>,
    /// Attach a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// bridge or none
    #[arg(long, visible_alias = "net")]
    network: Option<String>,
    /// Limit memory, e.g. 64m
    #[arg(short, long)]
    memory: Option<String>,
    /// Limit processors, e.g. 1.5
    #[arg(long)]
    cpus: Option<f64>,
    /// Limit processes
    #[arg(long)]
    pids_limit: Option<i64>,
    /// Mount a directory of the host
    #[arg(short, long, value_name = "SOURCE:DESTINATION[:ro]")]
    volume: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "DESTINATION[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Add a capability
    #[arg(long)]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long)]
    cap_drop: Vec<String>,
    /// Remove it when it ends
    #[arg(long)]
    rm: bool,
    /// The image
    image: String,
    /// The program and its arguments, instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `hull run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Print the id and leave the container running
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    pub(crate) create: Create,
}

/// `hull exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Leave the program running
    #[arg(short, long)]
    detach: bool,
    /// Set an environment variable; NAME alone takes ours
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Directory to start in
    #[arg(short, long)]
    workdir: Option<String>,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// The container
    container: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Makes a container and prints its id.
pub(crate) async fn create(client: &Client, verb: &Create) -> Result<(), Error> {
    output::line(make(client, verb, false).await?);
    Ok(())
}

/// Makes a container and runs it; gives its program's exit status.
pub(crate) async fn run(client: &Client, verb: &Run) -> Result<u8, Error> {
    let create = &verb.create;
    if create.tty && create.interactive && !verb.detach && !terminal::here() {
        return Err(Error::NoTerminal);
    }
    let id = make(client, create, !verb.detach).await?;
    let page = |verb: &str| Page::new(&["containers", &id, verb]);
    if verb.detach {
        start(client, &id).await?;
        output::line(id);
        return Ok(0);
    }
    let stdin = if create.interactive { "1" } else { "0" };
    let attach = page("attach").query(&[
        ("stream", "1"),
        ("stdin", stdin),
        ("stdout", "1"),
        ("stderr", "1"),
    ]);
    let streams = client.hijack(&attach, &Value::Null).await?;
    let condition = if create.rm { "removed" } else { "next-exit" };
    // Its headers are here before the start, so that no end can be missed.
    let wait = page("wait").query(&[("condition", condition)]);
    let mut waiting = client.stream(Method::POST, &wait).await?;
    start(client, &id).await?;
    let mut beside = JoinSet::new();
    let raw = create.tty && create.interactive;
    let raw = raw.then(terminal::Raw::enter).transpose()?;
    if create.tty {
        beside.spawn(stream::follow_size(client.clone(), page("resize")));
    } else {
        pass_signals_on(&mut beside, client, &page("kill"));
    }
    stream::connect(streams, create.interactive, create.tty).await?;
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.map_err(Error::file("wait for the container"))?;
    drop(raw);
    let ended: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
    if let Some(message) = ended["Error"]["Message"].as_str().filter(|text| !text.is_empty()) {
        return Err(Error::Refused { status: 500, message: message.to_owned() });
    }
    Ok(status(&ended["StatusCode"]))
}

/// Runs a program in a running container; gives its exit status.
pub(crate) async fn exec(client: &Client, verb: &Exec) -> Result<u8, Error> {
    if verb.tty && verb.interactive && !verb.detach && !terminal::here() {
        return Err(Error::NoTerminal);
    }
    let size = terminal::size().filter(|_| verb.tty);
    let attached = !verb.detach;
    let body = json!({
        "AttachStdin": attached && verb.interactive,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Cmd": verb.command,
        "ConsoleSize": size.map(|(rows, columns)| [rows, columns]),
        "Env": environment(&verb.env),
        "Tty": verb.tty,
        "User": verb.user,
        "WorkingDir": verb.workdir,
    });
    let created = client.post(&Page::new(&["containers", &verb.container, "exec"]), &body).await?;
    let id = created["Id"].as_str().unwrap_or_default().to_owned();
    let page = |verb: &str| Page::new(&["exec", &id, verb]);
    let body = json!({ "Detach": verb.detach, "Tty": verb.tty });
    if verb.detach {
        return client.post(&page("start"), &body).await.map(|_| 0);
    }
    let streams = client.hijack(&page("start"), &body).await?;
    let mut beside = JoinSet::new();
    let raw = verb.tty && verb.interactive;
    let raw = raw.then(terminal::Raw::enter).transpose()?;
    if verb.tty {
        beside.spawn(stream::follow_size(client.clone(), page("resize")));
    }
    stream::connect(streams, verb.interactive, verb.tty).await?;
    drop(raw);
    let ended = client.get(&page("json")).await?;
    Ok(status(&ended["ExitCode"]))
}

/// Makes a container, fetching its image if that is not here; gives its id.
async fn make(client: &Client, create: &Create, attached: bool) -> Result<String, Error> {
    let body = body(create, attached)?;
    let named: Vec<_> = create.name.iter().map(|name| ("name", name.as_str())).collect();
    let page = Page::new(&["containers", "create"]).query(&named);
    let created = match client.post(&page, &body).await {
        Err(Error::Refused { status: 404, .. }) => {
            eprintln!("Unable to find image '{}' locally", create.image);
            images::fetch(client, &create.image, |line| eprintln!("{line}")).await?;
            client.post(&page, &body).await?
        }
        answer => answer?,
    };
    for warning in created["Warnings"].as_array().into_iter().flatten() {
        eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
    }
    Ok(created["Id"].as_str().unwrap_or_default().to_owned())
}

async fn start(client: &Client, id: &str) -> Result<(), Error> {
    let started = client.post(&Page::new(&["containers", id, "start"]), &Value::Null).await;
    started.map(drop).map_err(|error| match error {
        Error::Refused { message, .. } => Error::Start { code: start_code(&message), message },
        error => error,
    })
}

/// The exit status for a start that failed, which the API tells by its text alone.
fn start_code(message: &str) -> u8 {
    let holds = |part: &&str| message.contains(part);
    if ["executable file not found", "no such file or directory"].iter().any(holds) {
        127
    } else if ["permission denied", "is a directory", "exec format error"]
        .iter()
        .any(|part| message.to_lowercase().contains(part))
    {
        126
    } else {
        125
    }
}

/// The body of the create.
fn body(create: &Create, attached: bool) -> Result<Value, Error> {
    let labels: BTreeMap<_, _> =
        create.label.iter().map(|label| label.split_once('=').unwrap_or((label, ""))).collect();
    let tmpfs: BTreeMap<_, _> =
        create.tmpfs.iter().map(|mount| mount.split_once(':').unwrap_or((mount, ""))).collect();
    #[allow(clippy::cast_possible_truncation)] // saturates, and the engine checks it
    let nano_cpus = create.cpus.map(|cpus| (cpus * 1e9) as i64);
    Ok(json!({
        "Image": create.image,
        "Cmd": (!create.command.is_empty()).then_some(&create.command),
        "Entrypoint": create.entrypoint.as_ref().map(|word| [word]),
        "Env": environment(&create.env),
        "WorkingDir": create.workdir,
        "User": create.user,
        "Hostname": create.hostname,
        "Labels": labels,
        "Tty": create.tty,
        "OpenStdin": create.interactive,
        "StdinOnce": create.interactive && attached,
        "AttachStdin": create.interactive && attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "HostConfig": {
            "Isolation": create.isolation,
            "NetworkMode": create.network,
            "Memory": create.memory.as_deref().map(bytes).transpose()?,
            "NanoCpus": nano_cpus,
            "PidsLimit": create.pids_limit,
            "Binds": create.volume,
            "Tmpfs": tmpfs,
            "ReadonlyRootfs": create.read_only,
            "CapAdd": create.cap_add,
            "CapDrop": create.cap_drop,
            "AutoRemove": create.rm,
            "ConsoleSize": terminal::size().filter(|_| create.tty).map(|(h, w)| [h, w]),
        },
    }))
}

/// Variables with their values; a name alone takes ours, and none where we have none.
fn environment(given: &[String]) -> Vec<String> {
    let value = |name: &String| {
        if name.contains('=') {
            return Some(name.clone());
        }
        std::env::var(name).ok().map(|value| format!("{name}={value}"))
    };
    given.iter().filter_map(value).collect()
}

/// A number of bytes with an optional unit: `b`, `k`, `m`, `g`, each 1024 of the one before.
fn bytes(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Argument {
        option: "--memory",
        value: text.to_owned(),
        want: "a number and b, k, m or g",
    };
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(invalid()),
    };
    let number: i64 = digits.parse().map_err(|_| invalid())?;
    number.checked_mul(1 << shift).filter(|count| *count >= 0).ok_or_else(invalid)
}

/// Sends what we are sent to the container.
fn pass_signals_on(work: &mut JoinSet<()>, client: &Client, kill: &Page) {
    for (kind, name) in PASSED_ON {
        let Ok(mut received) = signal(kind) else { continue };
        let (client, page) = (client.clone(), kill.clone().query(&[("signal", name)]));
        work.spawn(async move {
            while received.recv().await.is_some() {
                // One that has ended in the meantime needs no signal.
                let _ = client.post(&page, &Value::Null).await;
            }
        });
    }
}

fn status(value: &Value) -> u8 {
    value.as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units_of_1024() {
        let count = |text| bytes(text).ok();
        assert_eq!(count("64m"), Some(64 << 20));
        assert_eq!(count("1GiB"), Some(1 << 30));
        assert_eq!(count("7"), Some(7));
        for text in ["", "m", "-1", "1x", "1.5g", "99999999999g"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn a_start_that_failed_has_a_shells_exit_status() {
        for (message, code) in [
            ("exec: \"nope\": executable file not found in $PATH", 127),
            ("exec: \"/nope\": stat /nope: no such file or directory", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("no memory left", 125),
        ] {
            assert_eq!(start_code(message), code, "{message}");
        }
    }
}
