//! `hull compare`: the same image behind both walls, measured side by side.
//!
//! ```text
//!   each wall:  starts, timed -> one more that is looked at -> a workload in it
//!   the host:   the same workload, by the same program
//!   all of it -> a table, JSON, or a page
//! ```
//!
//! The workload's program is the host's static busybox, mounted read-only into containers made for it: a
//! program of the image would have to be executed without a wall to be measured natively, and images are
//! not trusted. Every container made here is removed, also when it is interrupted.

mod page;
mod seen;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::error::Error;
use crate::trial::Trial;
use crate::units::memory;
use crate::verb::Verb;
use crate::{output, table};

/// How often a start is timed; one more before that makes what is made only once.
const STARTS: usize = 3;
/// After this a program is what it will be, or has ended.
const SETTLED: Duration = Duration::from_millis(500);
/// Where containers find the workload's program. It does what its file's name says.
const PROGRAM: &str = "/.hull-compare/busybox";
/// Counts, then writes 32 MiB to the file `$1` and syncs it; prints the moments between, and the kernel.
const WORKLOAD: &str = r#"
read a _ </proc/uptime; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read b _ </proc/uptime
"$0" dd if=/dev/zero of="$1" bs=64k count=512 conv=fsync 2>/dev/null || exit 1
read c _ </proc/uptime; "$0" rm "$1"; read k </proc/sys/kernel/osrelease; echo "$a $b $c $k""#;

/// `hull compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo hull compare alpine
  sudo hull compare --html nginx >nginx.html")]
pub(crate) struct Compare {
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Print a page for a browser
    #[arg(long)]
    html: bool,
    /// The image
    image: String,
    /// A program that goes on, instead of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Verb for Compare {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        if !rustix::process::geteuid().is_root() {
            let why = "memory and namespaces of containers are root's to read: sudo hull compare";
            return Err(Error::Compare(why.into()));
        }
        let bench = Bench { client, of: &self, trial: Trial::new(client), program: program()? };
        let done = tokio::select! {
            done = bench.all() => done,
            _ = tokio::signal::ctrl_c() => Err(Error::Compare("interrupted".into())),
        };
        let removed = bench.trial.clean().await;
        let document = done?;
        removed?;
        self.show(&document);
        Ok(0)
    }
}

impl Compare {
    fn show(&self, document: &Value) {
        if self.json {
            output::line(format_args!("{document:#}"));
        } else if self.html {
            output::line(page::of(document));
        } else {
            let heads = ["", "native", "process", "hyperv"].map(str::to_owned).to_vec();
            table::print(heads, rows(document), false);
        }
    }
}

/// What is shown of each side, by people's words.
fn rows(document: &Value) -> Vec<Vec<String>> {
    type Cell = fn(&Value) -> Option<String>;
    let rows: [(&str, Cell); 12] = [
        ("kernel", |side| side["kernel"].as_str().map(str::to_owned)),
        ("wall", |side| side["boundary"]["Backend"].as_str().map(str::to_owned)),
        ("start, median", |side| Some(format!("{:.0} ms", side["startMs"].as_f64()?))),
        ("memory on the host", |side| side["memoryBytes"].as_u64().map(memory)),
        ("processes that the host sees", |side| names(&side["processes"])),
        ("namespaces of its own", |side| names(&side["ownNamespaces"])),
        ("system calls its filter allows", |side| {
            let allowed = side["filter"]["allowed"].as_u64()?;
            Some(format!("{allowed}, of {}", side["filter"]["of"].as_str()?))
        }),
        ("filters on the host's process", |side| Some(side["hostFilters"].as_u64()?.to_string())),
        ("mounts with the host's files", |side| Some(side["hostMounts"].as_u64()?.to_string())),
        ("open files, sockets, others", |side| {
            let open = &side["open"];
            Some(format!("{}, {}, {}", open["files"].as_u64()?, open["sockets"], open["others"]))
        }),
        ("100,000 rounds of a loop", |side| seconds(&side["cpuSeconds"])),
        ("32 MiB written and synced", |side| seconds(&side["diskSeconds"])),
    ];
    let sides = ["native", "process", "hyperv"];
    let row = |(name, cell): (&str, Cell)| {
        let cells = sides.iter().map(|side| cell(&document[*side]).unwrap_or_else(|| "-".into()));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    rows.into_iter().map(row).collect()
}

fn seconds(value: &Value) -> Option<String> {
    Some(format!("{:.2} s", value.as_f64()?))
}

fn names(list: &Value) -> Option<String> {
    let list = list.as_array()?;
    let words = list.iter().filter_map(|item| item.as_str().or_else(|| item["name"].as_str()));
    Some(format!("{}: {}", list.len(), words.collect::<Vec<_>>().join(" ")))
}

/// The host's busybox, if it needs no library.
fn program() -> Result<PathBuf, Error> {
    let places = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];
    let found = places.iter().map(Path::new).find(|place| place.exists());
    let missing = || {
        let why = "the workload is done by a static busybox: sudo apt install busybox-static";
        Error::Compare(why.into())
    };
    let found = found.ok_or_else(missing)?;
    // A program that needs a loader names it near its beginning.
    let bytes = std::fs::read(found).map_err(Error::file(found.display().to_string()))?;
    let head = &bytes[..bytes.len().min(4096)];
    let dynamic = head.windows(6).any(|word| word == b"ld-lin" || word == b"ld-mus");
    if dynamic { Err(missing()) } else { Ok(found.to_owned()) }
}

/// The measurements, and what was made for them.
struct Bench<'a> {
    client: &'a Client,
    of: &'a Compare,
    trial: Trial<'a>,
    program: PathBuf,
}

impl Bench<'_> {
    async fn all(&self) -> Result<Value, Error> {
        let info = self.client.get(&Page::new(&["info"])).await?;
        Ok(json!({
            "image": self.of.image, "command": self.of.command,
            "native": self.native().await?,
            "process": self.wall("process", &info).await?,
            "hyperv": self.wall("hyperv", &info).await?,
        }))
    }

    /// The workload without a wall.
    async fn native(&self) -> Result<Value, Error> {
        let file = format!("/var/tmp/hull-compare-{}", std::process::id());
        let mut command = Command::new(&self.program);
        command.args(["sh", "-c", WORKLOAD]).arg(&self.program).arg(&file);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let _gone = std::fs::remove_file(&file);
        let output = output.map_err(|error| Error::Compare(error.to_string()))?;
        let output = output.map_err(Error::file("run the workload"))?;
        times(&String::from_utf8_lossy(&output.stdout))
    }

    async fn wall(&self, isolation: &str, info: &Value) -> Result<Value, Error> {
        let mut times = Vec::new();
        for _ in 0..=STARTS {
            let id = self.trial.create(isolation, &self.command()).await?;
            let begin = Instant::now();
            self.trial.start(&id).await?;
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            self.trial.remove(&id).await?;
        }
        let mut starts = times.split_off(1);
        starts.sort_by(f64::total_cmp);
        let mut side = self.workload(isolation).await?;
        side["startMs"] = json!(starts[starts.len() / 2]);
        side["startsMs"] = json!(starts);
        let id = self.trial.create(isolation, &self.command()).await?;
        self.trial.start(&id).await?;
        tokio::time::sleep(SETTLED).await;
        let inspected = self.client.get(&Page::new(&["containers", &id, "json"])).await?;
        if inspected["State"]["Running"] != true {
            return Err(Error::Compare(format!(
                "{} ended with {} before it was looked at: name a command that goes on, as sleep 60",
                self.of.image, inspected["State"]["ExitCode"]
            )));
        }
        seen::look(&inspected, info, &mut side)?;
        side["boundary"] = inspected["Hull"]["Isolation"].clone();
        self.trial.remove(&id).await?;
        Ok(side)
    }

    /// The image's program, or the one that was named; its input stays open, so that a shell waits.
    fn command(&self) -> Value {
        let mut body = json!({ "Image": self.of.image, "OpenStdin": true });
        if !self.of.command.is_empty() {
            body["Cmd"] = json!(self.of.command);
        }
        body
    }

    async fn workload(&self, isolation: &str) -> Result<Value, Error> {
        let body = json!({
            "Image": self.of.image, "Tty": true, "User": "0",
            "Entrypoint": [PROGRAM, "sh", "-c", WORKLOAD],
            "Cmd": [PROGRAM, "/.hull-compare.written"],
            "HostConfig": { "Binds": [format!("{}:{PROGRAM}:ro", self.program.display())] },
        });
        times(&self.trial.run(isolation, &body).await?)
    }
}

/// What the workload's line tells.
fn times(said: &str) -> Result<Value, Error> {
    let broken = || Error::Compare(format!("the workload failed: {:?}", said.trim()));
    let words: Vec<&str> = said.split_whitespace().collect();
    let [begin, counted, written, kernel] = words[..] else { return Err(broken()) };
    let moment = |word: &str| word.parse::<f64>().map_err(|_| broken());
    let (begin, counted, written) = (moment(begin)?, moment(counted)?, moment(written)?);
    let hundredths = |seconds: f64| (seconds * 100.0).round() / 100.0;
    Ok(json!({
        "kernel": kernel, "cpuSeconds": hundredths(counted - begin),
        "diskSeconds": hundredths(written - counted),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_moments_become_times() {
        let side = times("10.00 10.25 11.5 6.1.0-50\r\n").expect("a line");
        assert_eq!(side, json!({ "kernel": "6.1.0-50", "cpuSeconds": 0.25, "diskSeconds": 1.25 }));
        for said in ["", "1 2 3", "a b c d", "sh: not found"] {
            assert!(times(said).is_err(), "{said}");
        }
    }

    #[test]
    fn a_side_without_a_figure_has_a_dash() {
        let document =
            json!({ "process": { "startMs": 12.4, "filter": { "allowed": 3, "of": "k" } } });
        let rows = rows(&document);
        assert_eq!(rows[2], ["start, median", "-", "12 ms", "-"]);
        assert_eq!(rows[6][2], "3, of k");
        assert!(rows.iter().all(|row| row[1] == "-"), "{rows:?}");
    }
}
