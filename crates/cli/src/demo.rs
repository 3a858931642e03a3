//! `hull demo`: one image behind both walls, step by step, each line explained.
//!
//! ```text
//!   two kernels -> a ping behind each wall -> what the engine lists -> what the host finds
//!               -> what the host can read -> nothing is left
//! ```
//!
//! Every command that is shown does what was done here by the API and the host's `/proc`; each claim is
//! looked at before it is printed, and one that does not hold ends the demonstration with an error. The
//! host is searched for processes of these containers alone: others may run beside them.

mod host;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::output::{self, Paint};
use crate::progress::Progress;
use crate::trial::Trial;
use crate::verb::Verb;
use crate::{image, units};

/// The variable that the host reads from one container and not from the other.
const SECRET: &str = "DEMO_SECRET";

/// `hull demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo hull demo
  sudo hull demo 127.0.0.1:5055/busybox")]
pub(crate) struct Demo {
    /// An image with `ping` and `uname`
    #[arg(default_value = "busybox")]
    image: String,
}

/// A container that runs behind one of the walls.
struct Side {
    id: String,
    /// What `top` lists: number and name.
    listed: (u64, String),
    /// The process on the host that the engine names.
    on_host: u64,
    backend: String,
}

impl Verb for Demo {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(fails(
                "what the host sees of containers is root's to read: sudo hull demo",
            ));
        }
        if client.find(&Page::new(&["images", &self.image, "json"])).await?.is_none() {
            let auth = Credentials::for_image(&self.image)?;
            image::fetch(client, &self.image, None, auth.as_deref(), Progress::errors()).await?;
        }
        let trial = Trial::new(client);
        let done = tokio::select! {
            done = self.show(client, &trial) => done,
            _ = tokio::signal::ctrl_c() => Err(fails("interrupted")),
        };
        let removed = trial.clean().await;
        done.and(removed).map(|()| 0)
    }
}

impl Demo {
    async fn show(&self, client: &Client, trial: &Trial<'_>) -> Result<(), Error> {
        let image = &self.image;
        let info = client.get(&Page::new(&["info"])).await?;
        self.kernels(trial).await?;

        title("One command, two walls");
        command(format_args!("hull run -d --isolation=process {image} ping localhost"));
        let process = self.ping(client, trial, "process").await?;
        command(format_args!("hull run -d --isolation=hyperv {image} ping localhost"));
        let vm = self.ping(client, trial, "hyperv").await?;
        tell("Detached: both run on, each known by its id.");

        title("What the engine lists");
        command("hull top ID -o pid,comm");
        let shown = |side: &Side| format!("{} {}", side.listed.0, side.listed.1);
        heads();
        row("hull top", &shown(&process), &shown(&vm));
        tell("process: the number is the host's, for it is a process of the host.");
        tell("hyperv: the guest's own number; its agent was asked.");

        look_on_the_host(&process, &vm)?;
        read_from_the_host(&process, &vm)?;

        title("Nothing is left");
        command("hull rm -f ID ID");
        for side in [&process, &vm] {
            trial.remove(&side.id).await?;
            let left = host::traces(&side.id, side.on_host, &info);
            if !left.is_empty() {
                return Err(fails(format!("{} left {}", side.id, left.join(", "))));
            }
        }
        heads();
        row("process, mount, cgroup", "none", "none");
        row("socket, record, files", "none", "none");
        tell("With the container goes everything that it had on the host.");
        what_next(image);
        Ok(())
    }

    async fn kernels(&self, trial: &Trial<'_>) -> Result<(), Error> {
        title("One image, two kernels");
        command(format_args!("hull run --rm --isolation=process|hyperv {} uname -r", self.image));
        let body = json!({ "Image": self.image, "Cmd": ["uname", "-r"], "Tty": true });
        let own = trial.run("process", &body).await?.trim().to_owned();
        let guest = trial.run("hyperv", &body).await?.trim().to_owned();
        let host = host::kernel();
        heads();
        row("uname -r", &own, &guest);
        if own != host || guest == host {
            return Err(fails(format!("the host runs {host}, the containers {own} and {guest}")));
        }
        tell("process: the host's kernel, shared. A flaw in it is the container's way out.");
        tell("hyperv: a kernel of the container's own, in a virtual machine.");
        Ok(())
    }

    async fn ping(
        &self,
        client: &Client,
        trial: &Trial<'_>,
        isolation: &str,
    ) -> Result<Side, Error> {
        let body = json!({
            "Image": self.image, "Cmd": ["ping", "localhost"],
            "Env": [format!("{SECRET}=sesame")],
        });
        let id = trial.create(isolation, &body).await?;
        trial.start(&id).await?;
        output::line(&id);
        let inspected = client.get(&Page::new(&["containers", &id, "json"])).await?;
        let page = Page::new(&["containers", &id, "top"]).query(&[("ps_args", "-o pid,comm")]);
        let top = client.get(&page).await?;
        let cell = |at: usize| top["Processes"][0][at].as_str().unwrap_or_default();
        let listed = cell(0).parse().map_err(|_| fails(format!("top lists {top}")))?;
        Ok(Side {
            listed: (listed, cell(1).to_owned()),
            on_host: inspected["State"]["Pid"].as_u64().unwrap_or_default(),
            backend: backend(&inspected),
            id,
        })
    }
}

fn backend(inspected: &Value) -> String {
    let wall = &inspected["Hull"]["Isolation"];
    let name = wall["Backend"].as_str().unwrap_or("the kernel");
    match wall["HardwareIsolation"].as_bool().filter(|_| name != "namespaces") {
        Some(true) => format!("{name}, in hardware"),
        Some(false) => format!("{name}, in software"),
        None => name.to_owned(),
    }
}

/// The process is the host's; of the guest's there is only the worker.
fn look_on_the_host(process: &Side, vm: &Side) -> Result<(), Error> {
    title("What the host finds");
    command("pgrep -l -x ping; pgrep -l -x hull-vmwp");
    heads();
    let own = host::family(process.on_host);
    let machine = host::family(vm.on_host);
    let found = |all: &[(u64, String)], name: &str| {
        let rows = all.iter().filter(|(_, own)| own == name);
        let rows: Vec<_> = rows.map(|(pid, name)| format!("{pid} {name}")).collect();
        if rows.is_empty() { "not found".to_owned() } else { rows.join(", ") }
    };
    let pings = [found(&own, "ping"), found(&machine, "ping")];
    let workers = [found(&own, "hull-vmwp"), found(&machine, "hull-vmwp")];
    row("ping", &pings[0], &pings[1]);
    row("hull-vmwp", &workers[0], &workers[1]);
    row("memory (resident)", &memory(process.on_host), &memory(vm.on_host));
    row("number inside", &host::innermost(process.on_host), &vm.listed.0.to_string());
    row("wall", &process.backend, &vm.backend);
    let same = format!("{} ping", process.listed.0);
    if process.on_host != process.listed.0 || pings != [same, "not found".into()] {
        return Err(fails(format!("the host finds {} and {}", pings[0], pings[1])));
    }
    if workers != ["not found".to_owned(), format!("{} hull-vmwp", vm.on_host)] {
        return Err(fails(format!("the host finds {} and {}", workers[0], workers[1])));
    }
    tell("process: the same process as the engine lists, visible from both.");
    tell("hyperv: no ping. One worker, the machine around it, is all that the host has.");
    Ok(())
}

/// The host's root reads a process's environment; a guest's has no place on the host.
fn read_from_the_host(process: &Side, vm: &Side) -> Result<(), Error> {
    title("What the host can read");
    command("tr '\\0' '\\n' </proc/PID/environ | grep DEMO_SECRET");
    heads();
    let secrets = [process, vm].map(|side| host::variable(side.on_host, SECRET));
    let shown = |secret: &Option<String>| secret.clone().unwrap_or_else(|| "not found".into());
    row("the program's secret", &shown(&secrets[0]), &shown(&secrets[1]));
    if secrets != [Some("sesame".to_owned()), None] {
        return Err(fails(format!("the host reads {secrets:?}")));
    }
    tell("process: /proc/PID/environ, root and mem are the container's, open to the host's root.");
    tell("hyperv: there is no such process. (Root could still search the worker's memory.)");
    Ok(())
}

fn what_next(image: &str) {
    title("What to try next");
    for (line, why) in [
        (format!("hull run -it --rm --isolation=hyperv {image} sh"), "a shell in a machine"),
        (format!("hull compare {image} sleep 60"), "the walls, measured"),
        ("hull doctor".to_owned(), "what this host can do"),
        ("hull run --help".to_owned(), "every option, with examples"),
    ] {
        output::line(format_args!("  {line:56} {why}"));
    }
}

fn fails(why: impl Into<String>) -> Error {
    Error::Demo(why.into())
}

fn memory(pid: u64) -> String {
    units::memory(host::resident(pid))
}

fn title(text: &str) {
    output::line(format_args!("\n{}", Paint::output().bold(text)));
}

fn command(text: impl std::fmt::Display) {
    output::line(format_args!("$ {text}"));
}

fn heads() {
    row("", "process", "hyperv");
}

fn row(name: &str, process: &str, vm: &str) {
    output::line(format_args!("  {name:24} {process:24} {vm}").to_string().trim_end());
}

fn tell(text: &str) {
    output::line(Paint::output().green(format_args!("# {text}")));
}
