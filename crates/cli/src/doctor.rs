//! `hull doctor`: what this host can do, found out by doing it.
//!
//! ```text
//!   probes, one after another -> findings -> a line each, or JSON
//!   works: all of it     degraded: it works, worse     missing: a wall, or all of Hull, does not
//!   untried: only root may find out
//! ```
//!
//! Nothing is changed: what has to be mounted is mounted in a namespace that ends with the probe, and the
//! guest that is booted has no disk.
//!
//! Exit status: 0 when nothing is missing, else 1.

mod host;
pub(crate) mod pods;
mod vm;

use clap::Args;
use serde_json::{Value, json};
use spec::options::{Accel, Options};

use crate::client::{Client, Page};
use crate::error::Error;
use crate::output::{self, Paint};
use crate::verb::Verb;

/// `hull doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 when nothing is missing, else 1.

Examples:
  sudo hull doctor
  hull doctor --json")]
pub(crate) struct Doctor {
    /// Print findings as JSON
    #[arg(long)]
    json: bool,
}

/// How well something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Works,
    Degraded,
    /// Only root may find out.
    Untried,
    Missing,
}

/// What a probe found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    /// What is there.
    found: String,
    /// The command that mends it.
    remedy: Option<String>,
}

impl Finding {
    fn works(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Works, found: found.into(), remedy: None }
    }

    fn degraded(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Degraded, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn untried(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Untried, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn missing(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Missing, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What is probed, what it is needed for, and how.
type Probe = (&'static str, &'static str, fn(&Options) -> Finding);

const PROBES: [Probe; 15] = [
    ("privileges", "all", host::privileges),
    ("kernel", "all", host::kernel),
    ("namespaces", "process", host::namespaces),
    ("control groups", "all", host::cgroups),
    ("seccomp", "process", host::seccomp),
    ("overlayfs", "process", host::overlay),
    ("packet filter", "network", host::packet_filter),
    ("other firewalls", "network", host::firewalls),
    ("disk", "all", host::disk),
    ("open files", "all", host::open_files),
    ("disk images", "hyperv", vm::tools),
    ("hypervisor", "hyperv", vm::qemu),
    ("guest kernel", "hyperv", vm::kernel),
    ("guest modules", "hyperv", vm::modules),
    ("hardware walls", "hyperv", vm::boot),
];

impl Verb for Doctor {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let info = ask(client).await;
        let host = options(info.as_ref().unwrap_or(&Value::Null));
        let mut findings = vec![("engine", "all", engine(client, info.as_ref()))];
        findings.extend(PROBES.iter().map(|(name, of, probe)| (*name, *of, probe(&host))));
        if self.json {
            let all = findings.iter().map(|(name, of, finding)| document(name, of, finding));
            output::line(format_args!("{:#}", Value::Array(all.collect())));
        } else {
            for (name, _, finding) in &findings {
                tell(name, finding);
            }
        }
        let missing = findings.iter().any(|(_, _, finding)| finding.verdict == Verdict::Missing);
        Ok(u8::from(missing))
    }
}

/// What the engine says of itself; none is started.
async fn ask(client: &Client) -> Result<Value, Error> {
    Client::of_running(client.socket().to_owned()).get(&Page::new(&["info"])).await
}

/// What the probes are told: how the engine makes VMs, and what is usual where it does not say.
fn options(info: &Value) -> Options {
    let mut options = Options::default();
    let said = |value: &Value| value.as_str().map(Into::into);
    let vm = &info["Hull"]["VM"];
    options.data_root = said(&info["DockerRootDir"]).unwrap_or(options.data_root);
    options.vm.qemu = said(&vm["Hypervisor"]).unwrap_or(options.vm.qemu);
    options.vm.kernel = said(&vm["Kernel"]);
    options.vm.modules = said(&vm["Modules"]);
    options.vm.accel = match vm["Accelerator"].as_str() {
        Some("kvm") => Accel::Kvm,
        Some("tcg") => Accel::Tcg,
        _ => Accel::Auto,
    };
    options
}

fn engine(client: &Client, info: Result<&Value, &Error>) -> Finding {
    let socket = client.socket().display();
    match info {
        Ok(info) => {
            let version = info["ServerVersion"].as_str().unwrap_or_default();
            Finding::works(format!("hulld {version} answers at {socket}"))
        }
        Err(Error::Connect { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Finding::missing(
                format!("{socket} is for root and the group hull"),
                "sudo usermod -aG hull $USER, and log in again",
            )
        }
        Err(error) => Finding::degraded(spec::chain(error), "hull system start"),
    }
}

fn document(name: &str, of: &str, finding: &Finding) -> Value {
    let verdict = match finding.verdict {
        Verdict::Works => "works",
        Verdict::Degraded => "degraded",
        Verdict::Untried => "untried",
        Verdict::Missing => "missing",
    };
    json!({
        "probe": name, "needed_for": of, "verdict": verdict, "found": finding.found,
        "remedy": finding.remedy,
    })
}

fn tell(name: &str, finding: &Finding) {
    let paint = Paint::output();
    let verdict = match finding.verdict {
        Verdict::Works => paint.green("works   "),
        Verdict::Degraded => paint.yellow("degraded"),
        Verdict::Untried => paint.yellow("untried "),
        Verdict::Missing => paint.red("missing "),
    };
    output::line(format_args!("{verdict}  {name:15}  {}", finding.found));
    if let Some(remedy) = &finding.remedy {
        output::line(format_args!("{:27}{}", "", paint.bold(format_args!("-> {remedy}"))));
    }
}

/// Runs a program; gives what it prints, or why it failed, as one line.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {}", spec::chain(&error)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    Err(format!("{program}: {}", said.lines().last().unwrap_or("it failed and says nothing")))
}
