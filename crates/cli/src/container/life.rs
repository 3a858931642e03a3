//! Verbs that move a container through its life.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Page};
use crate::error::Error;
use crate::filters::Filters;
use crate::prune::{self, Consent};
use crate::run::restart;
use crate::units::parse_bytes;
use crate::verb::{Verb, each};

/// Verbs that take names alone: a page of the API for each.
macro_rules! named {
    ($($(#[$about:meta])* $verb:ident: $page:literal,)*) => {$(
        $(#[$about])*
        #[derive(Debug, Args)]
        pub(crate) struct $verb {
            /// Names or ids
            #[arg(required = true)]
            names: Vec<String>,
        }

        impl Verb for $verb {
            async fn run(self, client: &Client) -> Result<u8, Error> {
                post_each(client, &self.names, $page, &[]).await
            }
        }
    )*};
}

named! {
    /// `hull pause`.
    Pause: "pause",
    /// `hull unpause`.
    Unpause: "unpause",
}

/// `hull wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    how: How,
}

/// `hull restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Seconds before it is killed; -1 for never
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    time: Option<i64>,
    /// What to send first
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// What to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull rename`.
#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Name or id
    container: String,
    /// Its new name
    name: String,
}

/// `hull rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill it first if it runs
    #[arg(short, long)]
    force: bool,
    /// Remove its nameless volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull update`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hull update -m 256m --memory-swap 512m --cpus 2 web")]
pub(crate) struct Update {
    /// Memory, e.g. 64m
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory that is kept for it when it is scarce
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Processors, e.g. 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,
    /// Relative weight of its processor time
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// Period of its processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Its processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Processors that it may use, e.g. 0-2,4
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that it may use
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Weight of its block I/O, 10 to 1000
    #[arg(long, value_name = "10-1000")]
    blkio_weight: Option<u16>,
    /// How fast it may receive on its networks, e.g. 10mbit; none for what they say
    #[arg(long, value_name = "RATE")]
    rate_in: Option<String>,
    /// How fast it may send on its networks, e.g. 10mbit; none for what they say
    #[arg(long, value_name = "RATE")]
    rate_out: Option<String>,
    /// no, always, unless-stopped or on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

/// `hull container prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    consent: Consent,
}

/// Posts to the same page of each container.
async fn post_each(
    client: &Client,
    names: &[String],
    page: &str,
    query: &[(&str, &str)],
) -> Result<u8, Error> {
    each(names, |name| async move {
        let page = Page::new(&["containers", name, page]).query(query);
        client.post(&page, &Value::Null).await.map(|_| name.to_owned())
    })
    .await
}

impl How {
    async fn post(&self, client: &Client, page: &str) -> Result<u8, Error> {
        let time = self.time.map(|seconds| seconds.to_string());
        let query = [("t", &time), ("signal", &self.signal)];
        let query: Vec<_> =
            query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        post_each(client, &self.names, page, &query).await
    }
}

impl Verb for Stop {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        self.how.post(client, "stop").await
    }
}

impl Verb for Restart {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        self.how.post(client, "restart").await
    }
}

impl Verb for Kill {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        post_each(client, &self.names, "kill", &[("signal", &self.signal)]).await
    }
}

impl Verb for Wait {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        each(&self.names, |name| async move {
            let page = Page::new(&["containers", name, "wait"]);
            Ok(client.post(&page, &Value::Null).await?["StatusCode"].to_string())
        })
        .await
    }
}

impl Verb for Rename {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["containers", &self.container, "rename"]);
        client.post(&page.query(&[("name", &self.name)]), &Value::Null).await.map(|_| 0)
    }
}

impl Verb for Rm {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let switch = |on: bool| if on { "1" } else { "0" };
        let query = &[("force", switch(self.force)), ("v", switch(self.volumes))];
        each(&self.names, |name| async move {
            let page = Page::new(&["containers", name]).query(query);
            match client.delete(&page).await {
                // As `rm -f`: gone is gone.
                Err(Error::Refused { status: 404, message, .. }) if self.force => {
                    eprintln!("{message}");
                    Ok(name.to_owned())
                }
                removed => removed.map(|_| name.to_owned()),
            }
        })
        .await
    }
}

impl Verb for Update {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let bytes = |option, value: &Option<String>| {
            value.as_deref().map(|text| parse_bytes(option, text)).transpose()
        };
        #[allow(clippy::cast_possible_truncation)] // saturates, and the engine checks it
        let nano_cpus = self.cpus.map(|cpus| (cpus * 1e9) as i64);
        let any_rate = self.rate_in.is_some() || self.rate_out.is_some();
        let rates = any_rate.then(|| json!({ "In": self.rate_in, "Out": self.rate_out }));
        let mut body = json!({
            "Memory": bytes("--memory", &self.memory)?,
            "MemoryReservation": bytes("--memory-reservation", &self.memory_reservation)?,
            "MemorySwap": bytes("--memory-swap", &self.memory_swap)?,
            "NanoCpus": nano_cpus,
            "CpuShares": self.cpu_shares,
            "CpuPeriod": self.cpu_period,
            "CpuQuota": self.cpu_quota,
            "CpusetCpus": self.cpuset_cpus,
            "CpusetMems": self.cpuset_mems,
            "PidsLimit": self.pids_limit,
            "BlkioWeight": self.blkio_weight,
            "NetworkRates": rates,
            "RestartPolicy": self.restart.as_deref().map(restart).transpose()?,
        });
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let body = &body;
        each(&self.names, |name| async move {
            let page = Page::new(&["containers", name, "update"]);
            let updated = client.post(&page, body).await?;
            for warning in updated["Warnings"].as_array().into_iter().flatten() {
                eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
            }
            Ok(name.to_owned())
        })
        .await
    }
}

impl Verb for Prune {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let warning = "This will remove all stopped containers.";
        let Some(filters) = self.consent.given(warning)? else { return Ok(1) };
        prune(client, &filters).await.map(|()| 0)
    }
}

/// Removes containers that do not run and prints which; also `system prune`'s.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<(), Error> {
    let page = Page::new(&["containers", "prune"]).query(&[("filters", &filters.json()?)]);
    let pruned = client.post(&page, &Value::Null).await?;
    prune::list("Containers", &pruned["ContainersDeleted"]);
    prune::space(&pruned);
    Ok(())
}
