//! What Prometheus reads: `GET /metrics` on a loopback address.
//!
//! Written by hand: the format is a line a number, and a library for it would be more than this.
//!
//! Spec: Prometheus text exposition format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use docker::Answers;
use engine::{Egress, Engine, Event, EventKind, List};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::Error;

/// The largest request that is read.
const REQUEST: usize = 8 << 10;
/// How long a client may take for all of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// The page, and what it is made of.
pub(crate) struct Metrics {
    listener: TcpListener,
    engine: Engine,
    answers: Answers,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
struct Counts {
    starts: AtomicU64,
    failures: AtomicU64,
    pulls: AtomicU64,
}

/// The numbers of one moment.
#[derive(Debug, Default)]
struct Numbers {
    states: BTreeMap<&'static str, u64>,
    starts: u64,
    failures: u64,
    pulls: u64,
    images: u64,
    requests: BTreeMap<u16, u64>,
    held: Vec<(String, Egress)>,
    process: Process,
}

/// What the kernel says of this process.
#[derive(Debug, Default)]
struct Process {
    /// Bytes in memory.
    memory: u64,
    /// Hundredths of a second of processor time, and since boot at its start.
    used: u64,
    begun: u64,
    descriptors: u64,
    threads: u64,
}

impl Metrics {
    /// Listens at `address`.
    pub(crate) async fn listen(
        address: SocketAddr,
        engine: Engine,
        answers: Answers,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self { listener, engine, answers })
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(self) {
        let counts = Arc::<Counts>::default();
        let mut events = self.engine.events(None);
        let count = async {
            while let Some(event) = events.next().await {
                counts.see(&event);
            }
        };
        let answer = async {
            loop {
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(RETRY).await;
                    continue;
                };
                // One after the other: a scraper comes every few seconds. One that is too slow, or
                // that goes away, gets nothing.
                let page = page(stream, || numbers(&self.engine, &self.answers, &counts));
                let _ = tokio::time::timeout(PATIENCE, page).await;
            }
        };
        tokio::join!(count, answer);
    }
}

impl Counts {
    fn see(&self, event: &Event) {
        let counter = match (event.kind, event.action.as_str()) {
            (EventKind::Container, "start") => &self.starts,
            (EventKind::Container, "die") if event.attributes.get("exitCode").is_some_and(bad) => {
                &self.failures
            }
            (EventKind::Image, "pull") => &self.pulls,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn bad(code: &String) -> bool {
    code != "0"
}

async fn numbers(engine: &Engine, answers: &Answers, counts: &Counts) -> Numbers {
    let all = engine.list(List { all: true, ..List::default() }).await.unwrap_or_default();
    let mut states = BTreeMap::new();
    let mut held = Vec::new();
    for container in all {
        *states.entry(container.status.name()).or_default() += 1;
        if container.endpoints.values().all(|endpoint| endpoint.egress.is_none()) {
            continue;
        }
        // One that has ended meanwhile is held no more.
        let each = engine.egress(container.id.as_str()).await.unwrap_or_default();
        held.extend(each.into_iter().map(|one| (container.name.clone(), one)));
    }
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Numbers {
        states,
        starts: read(&counts.starts),
        failures: read(&counts.failures),
        pulls: read(&counts.pulls),
        images: engine.info().await.map_or(0, |info| info.images as u64),
        requests: answers.by_status(),
        held,
        process: Process::read(),
    }
}

impl Process {
    /// Spec: proc_pid_stat(5), proc_pid_status(5). The kernel's USER_HZ is 100 on all that we run on.
    fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the name, which may hold anything; the third field is the first there.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let number = |at: usize| {
            let text = rest.split_whitespace().nth(at - 3);
            text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            memory: field("VmRSS:") * 1024,
            used: number(14) + number(15),
            begun: number(22),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
            threads: field("Threads:"),
        }
    }

    /// Seconds since 1970 when it began.
    fn since(&self) -> u64 {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<u64>().ok());
        boot.unwrap_or(0) + self.begun / 100
    }
}

impl Numbers {
    fn print(&self) -> String {
        let mut page = String::new();
        let states = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
        let state = |name| (label("state", name), self.states.get(name).copied().unwrap_or(0));
        let request = |(code, count): (&u16, &u64)| (label("status", code), *count);
        let one = |number| [(String::new(), number)];
        family(&mut page, "hull_containers", "gauge", "Containers", states.map(state));
        let starts = one(self.starts);
        family(&mut page, "hull_container_starts_total", "counter", "Starts", starts);
        let (name, help) = ("hull_container_failures_total", "Ends with a status other than 0");
        family(&mut page, name, "counter", help, one(self.failures));
        let (name, help) = ("hull_image_pulls_total", "Images pulled");
        family(&mut page, name, "counter", help, one(self.pulls));
        let (name, help) = ("hull_api_requests_total", "Requests answered");
        family(&mut page, name, "counter", help, self.requests.iter().map(request));
        let (name, help) = ("hull_build_info", "The engine's version");
        let version = label("version", env!("CARGO_PKG_VERSION"));
        family(&mut page, name, "gauge", help, [(version, 1)]);
        family(&mut page, "hull_images", "gauge", "Images", one(self.images));
        self.print_held(&mut page);
        self.process.print(&mut page);
        page
    }

    /// What containers that run have sent in vain. Their names need no escapes.
    fn print_held(&self, page: &mut String) {
        let dropped = self.held.iter().flat_map(|(container, one)| {
            let of = move |reason, packets| {
                let Egress { network, .. } = one;
                let labels = format!(
                    "{{container=\"{container}\",network=\"{network}\",reason=\"{reason}\"}}"
                );
                (labels, packets)
            };
            let engine::Dropped { refused, host, forged } = one.dropped;
            [of("refused", refused), of("host", host), of("forged", forged)]
        });
        let help = "Packets that rules of egress have dropped";
        family(page, "hull_egress_dropped_packets_total", "counter", help, dropped);
        let mut told = BTreeMap::new();
        for (container, one) in &self.held {
            told.insert((container, "names"), one.names);
            told.insert((container, "addresses"), one.addresses);
        }
        let told = told.into_iter().map(|((container, what), number)| {
            (format!("{{container=\"{container}\",what=\"{what}\"}}"), number)
        });
        let help = "What names were not told of by rules of egress";
        family(page, "hull_egress_untold_total", "counter", help, told);
    }
}

impl Process {
    /// By the names that every exporter gives them.
    fn print(&self, page: &mut String) {
        let used = format!("{}.{:02}", self.used / 100, self.used % 100);
        for (name, kind, help, number) in [
            ("cpu_seconds_total", "counter", "Processor time of hulld", used),
            ("resident_memory_bytes", "gauge", "Memory of hulld", self.memory.to_string()),
            ("open_fds", "gauge", "Open files of hulld", self.descriptors.to_string()),
            ("threads", "gauge", "Threads of hulld", self.threads.to_string()),
            (
                "start_time_seconds",
                "gauge",
                "When hulld began, since 1970",
                self.since().to_string(),
            ),
        ] {
            let name = format!("process_{name}");
            family(page, &name, kind, help, [(String::new(), number)]);
        }
    }
}

fn label(name: &str, value: impl std::fmt::Display) -> String {
    format!("{{{name}=\"{value}\"}}")
}

fn family(
    page: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, impl std::fmt::Display)>,
) {
    // A String takes all.
    let _ = writeln!(page, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    for (labels, number) in samples {
        let _ = writeln!(page, "{name}{labels} {number}");
    }
}

/// Answers one request.
async fn page<F: Future<Output = Numbers>>(
    mut stream: TcpStream,
    numbers: impl FnOnce() -> F,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = if asks(&request) {
        ("200 OK", numbers().await.print())
    } else {
        ("404 Not Found", "see /metrics\n".to_owned())
    };
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether the request is for our page.
fn asks(request: &[u8]) -> bool {
    [&b"GET /metrics "[..], b"GET /metrics?"].iter().any(|start| request.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Egress {
        let dropped = engine::Dropped { refused: 1, host: 2, forged: 3 };
        let (network, policy) = ("net".to_owned(), "none".to_owned());
        Egress { network, policy, dropped, names: 4, addresses: 5 }
    }

    #[test]
    fn the_page_is_prometheus_format() {
        let numbers = Numbers {
            states: [("running", 2)].into(),
            starts: 5,
            requests: [(200, 7), (404, 1)].into(),
            held: vec![("box".to_owned(), held())],
            ..Numbers::default()
        };
        let page = numbers.print();
        for line in [
            "# TYPE hull_containers gauge",
            "hull_containers{state=\"running\"} 2",
            "hull_containers{state=\"paused\"} 0",
            "hull_container_starts_total 5",
            "hull_api_requests_total{status=\"404\"} 1",
            "hull_egress_dropped_packets_total{container=\"box\",network=\"net\",reason=\"host\"} 2",
            "hull_egress_untold_total{container=\"box\",what=\"names\"} 4",
        ] {
            assert!(page.lines().any(|one| one == line), "{line} in {page}");
        }
    }

    #[test]
    fn what_happens_is_counted() {
        let counts = Counts::default();
        let event = |kind, action: &str, code: &str| Event {
            kind,
            action: action.to_owned(),
            actor: String::new(),
            attributes: [("exitCode".to_owned(), code.to_owned())].into(),
            time: std::time::SystemTime::now(),
        };
        for (kind, action, code) in [
            (EventKind::Container, "start", "0"),
            (EventKind::Container, "die", "0"),
            (EventKind::Container, "die", "7"),
            (EventKind::Image, "pull", "0"),
            (EventKind::Image, "start", "0"),
        ] {
            counts.see(&event(kind, action, code));
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = [&counts.starts, &counts.failures, &counts.pulls].map(read);
        assert_eq!(all, [1, 1, 1]);
        assert!(asks(b"GET /metrics HTTP/1.1\r\n") && !asks(b"GET / HTTP/1.1\r\n"));
        let process = Process::read();
        assert!(
            process.memory > 0 && process.descriptors > 2 && process.threads > 0,
            "{process:?}"
        );
        assert!(process.since() > 1_600_000_000, "{process:?}");
    }
}
