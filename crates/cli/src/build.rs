//! `hull build`: a directory and a Dockerfile become an image.
//!
//! ```text
//!   dockerfile  found, read and checked        context  packed, without what .dockerignore names
//!        |                                        |
//!        `------------- POST /build --------------'
//!                            |
//!   view  the stream of messages, told     output  the image in another form
//! ```
//!
//! The engine does the work; what can be refused here is, before a byte of the context is sent.

mod context;
mod dockerfile;
mod given;
mod output;
mod remote;
mod view;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use ::build::git::Repository;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use clap::Args;
use serde_json::{Value, json};

use self::context::Context;
use self::dockerfile::Dockerfile;
use self::given::Given;
use self::output::Output;
use self::remote::Checkout;
use self::view::View;
use crate::client::{Client, Page};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::run::{pairs, ulimit};
use crate::units::parse_bytes;
use crate::verb::Verb;

/// The variable that says when everything was made; as buildx has it, ours is a build argument.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// `hull build`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  hull build -t app .
  hull build -t app --isolation=hyperv --build-arg VERSION=2 .
  hull build --secret id=token,src=token.txt --ssh default .
  hull build -f - . < Dockerfile
  hull build -o type=local,dest=out --target files .
  tar c src Dockerfile | hull build -t app -
  hull build -t app https://example.org/app.git#v1:docker")]
pub(crate) struct Build {
    /// Name the image, tag included
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The Dockerfile, CONTEXT/Dockerfile if not given; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Set a build argument; NAME alone takes our variable
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    arguments: Vec<String>,
    /// Build this stage, not the last
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Attach a label to the image
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Write the result elsewhere: DIR, - or type=image|oci|docker|tar|local,dest=PATH
    #[arg(short, long, value_name = "WHERE")]
    output: Vec<String>,
    /// Judge the Dockerfile; build nothing
    #[arg(long)]
    check: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what was made to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// How it is shown: auto, plain, tty or quiet
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = ["auto", "plain", "tty", "quiet"])]
    progress: String,
    /// Print the image's id alone
    #[arg(short, long)]
    quiet: bool,

    /// Do every step again
    #[arg(long, help_heading = "Cache")]
    no_cache: bool,
    /// Ask for newer base images
    #[arg(long, help_heading = "Cache")]
    pull: bool,
    /// Take steps from an image that was built elsewhere, and pulled
    #[arg(long, value_name = "IMAGE", help_heading = "Cache")]
    cache_from: Vec<String>,
    /// Keep the containers of commands
    #[arg(long = "rm", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", hide = true)]
    remove: bool,
    /// Remove the container of a command that fails
    #[arg(long, hide = true)]
    force_rm: bool,

    /// The wall around commands: process, or hyperv (vm) for a virtual machine each
    #[arg(long, value_name = "WALL", help_heading = "Commands")]
    isolation: Option<String>,
    /// Network of commands: a network's name, default, none or host
    #[arg(long, value_name = "NETWORK", help_heading = "Commands")]
    network: Option<String>,
    /// Add a line to their /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Commands")]
    add_host: Vec<String>,
    /// Option of their confinement
    #[arg(long, value_name = "OPTION", help_heading = "Commands")]
    security_opt: Vec<String>,
    /// Memory, e.g. 512m
    #[arg(short, long, value_name = "BYTES", help_heading = "Commands")]
    memory: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, help_heading = "Commands")]
    memory_swap: Option<String>,
    /// Processors, e.g. 1.5
    #[arg(long, value_name = "NUMBER", help_heading = "Commands")]
    cpus: Option<f64>,
    /// Relative weight of their processor time
    #[arg(short = 'c', long, value_name = "WEIGHT", help_heading = "Commands")]
    cpu_shares: Option<u64>,
    /// Period of their processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Commands")]
    cpu_period: Option<u64>,
    /// Their processor quota, in microseconds
    #[arg(
        long,
        value_name = "MICROSECONDS",
        allow_negative_numbers = true,
        help_heading = "Commands"
    )]
    cpu_quota: Option<i64>,
    /// Processors that they may use, e.g. 0-2,4
    #[arg(long, value_name = "CPUS", help_heading = "Commands")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that they may use
    #[arg(long, value_name = "NODES", help_heading = "Commands")]
    cpuset_mems: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", help_heading = "Commands")]
    shm_size: Option<String>,
    /// A limit of their processes
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Commands")]
    ulimit: Vec<String>,
    /// Let RUN --security=insecure do all that root may: of the host, or of the guest behind a VM's wall
    #[arg(long, value_name = "ENTITLEMENT", value_parser = ["security.insecure"], help_heading = "Commands")]
    allow: Vec<String>,
    /// Something that RUN --mount=type=secret may read, and no image, log or disk holds
    #[arg(long, value_name = "id=ID,src=FILE|env=NAME", help_heading = "Commands")]
    secret: Vec<String>,
    /// An ssh agent that RUN --mount=type=ssh may ask: ours, or the one at this socket
    #[arg(long, value_name = "default[=SOCKET]", help_heading = "Commands")]
    ssh: Vec<String>,

    /// A directory, a git repository (URL.git#REF:DIR), or - for an archive or a Dockerfile on standard
    /// input
    context: String,
}

/// What a build came to.
#[derive(Debug)]
pub(crate) struct Built {
    /// The image's id, with its algorithm.
    id: String,
}

impl Verb for Build {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let given = Given::read(&self.secret, &self.ssh)?;
        let outputs =
            self.output.iter().map(|text| Output::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let checkout = self.checkout().await?;
        let (named, file) = match &checkout {
            Some(checkout) if self.file.as_deref() != Some("-") => (
                checkout.root.to_string_lossy().into_owned(),
                Some(checkout.dockerfile(self.file.as_deref())?),
            ),
            Some(checkout) => (checkout.root.to_string_lossy().into_owned(), self.file.clone()),
            None => (self.context.clone(), self.file.clone()),
        };
        let dockerfile = Dockerfile::find(file.as_deref(), &named)?;
        let context = Context::open(&named, dockerfile).await?;
        let checked = dockerfile::check(&context)?;
        if self.check {
            return Ok(checked.report());
        }
        checked.judge()?;
        let mut view = View::new(self.shown()?, outputs.iter().any(Output::is_printed));
        let mut query = self.query(context.dockerfile())?;
        let offered = given.offer(client).await?;
        query.extend(offered.as_ref().map(|offered| ("link", offered.name.clone())));
        let page = Page::new(&["build"]).query(&as_str(&query));
        let logins = URL_SAFE.encode(Credentials::read()?.all()?.to_string());
        let headers = [("X-Registry-Config", logins.as_str())];
        let sending = context.stream();
        view.sending(sending.sent);
        let built = match client.send_context(&page, &headers, sending.archive).await {
            Ok(answer) => view.follow(answer).await,
            Err(error) => Err(error),
        };
        // When packing failed the engine saw a torn archive: our own reason is the better one.
        if let Some(error) = sending.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::file("pack the context")(error));
        }
        let built = built?;
        checked.warn();
        self.keep(client, &built).await?;
        for output in &outputs {
            output.write(client, &self.tag, &built.id).await?;
        }
        Ok(0)
    }
}

impl Build {
    /// The repository that the context is the name of, fetched.
    async fn checkout(&self) -> Result<Option<Checkout>, Error> {
        let is_here = Path::new(&self.context).exists();
        match Repository::parse(&self.context).filter(|_| !is_here) {
            Some(repository) => Checkout::of(&repository).await.map(Some),
            None => Ok(None),
        }
    }

    fn shown(&self) -> Result<view::How, Error> {
        if self.quiet && self.progress == "tty" {
            return Err(Error::Exclude("--quiet", "--progress=tty"));
        }
        Ok(match self.progress.as_str() {
            _ if self.quiet => view::How::Quiet,
            "quiet" => view::How::Quiet,
            "plain" => view::How::Plain,
            "tty" => view::How::Live,
            _ => view::How::Auto,
        })
    }

    /// The page's parameters; what was not given is not sent.
    fn query(&self, dockerfile: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let mut query: Vec<(&'static str, String)> =
            vec![("version", "1".into()), ("dockerfile", dockerfile.into())];
        let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        let bytes = |option, text: &Option<String>| {
            text.as_deref().map(|text| parse_bytes(option, text)).transpose()
        };
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        for tag in &self.tag {
            add("t", Some(tag.clone()));
        }
        for entitlement in &self.allow {
            add("allow", Some(entitlement.clone()));
        }
        for host in &self.add_host {
            add("extrahosts", Some(host.clone()));
        }
        let flag = |given: bool| given.then(|| "1".to_owned());
        add("q", flag(self.shown()? == view::How::Quiet));
        add("nocache", flag(self.no_cache));
        add("pull", flag(self.pull));
        add("rm", Some(u8::from(self.remove).to_string()));
        add("forcerm", flag(self.force_rm));
        add("target", self.target.clone());
        add("platform", self.platform.clone());
        add("isolation", self.isolation.clone());
        add("networkmode", self.network.clone());
        add("memory", number(bytes("--memory", &self.memory)?));
        add("memswap", number(bytes("--memory-swap", &self.memory_swap)?));
        add("shmsize", number(bytes("--shm-size", &self.shm_size)?));
        add("cpushares", self.cpu_shares.map(|shares| shares.to_string()));
        let (period, quota) = self.processor()?;
        add("cpuperiod", period.map(|period| period.to_string()));
        add("cpuquota", number(quota));
        add("cpusetcpus", self.cpuset_cpus.clone());
        add("cpusetmems", self.cpuset_mems.clone());
        let ulimits = self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>, _>>()?;
        let mut arguments = arguments(&self.arguments);
        if let Ok(epoch) = std::env::var(EPOCH) {
            arguments.entry(EPOCH).or_insert(Some(epoch));
        }
        let lists = [
            ("buildargs", json!(arguments)),
            ("labels", Value::Object(pairs(&self.label))),
            ("cachefrom", json!(cache_from(&self.cache_from)?)),
            ("securityopt", json!(self.security_opt)),
            ("ulimits", Value::Array(ulimits)),
        ];
        for (name, list) in lists {
            let is_empty = list.as_array().is_none_or(Vec::is_empty)
                && list.as_object().is_none_or(serde_json::Map::is_empty);
            add(name, (!is_empty).then(|| list.to_string()));
        }
        Ok(query)
    }

    /// Period and quota: `--cpus` is a quota of the usual period.
    fn processor(&self) -> Result<(Option<u64>, Option<i64>), Error> {
        let Some(cpus) = self.cpus else { return Ok((self.cpu_period, self.cpu_quota)) };
        if self.cpu_period.is_some() || self.cpu_quota.is_some() {
            return Err(Error::Exclude("--cpus", "--cpu-period and --cpu-quota"));
        }
        #[allow(clippy::cast_possible_truncation)] // saturates, and the engine checks it
        let quota = (cpus * 100_000.0) as i64;
        Ok((Some(100_000), Some(quota)))
    }

    /// Writes what was asked for beside the image.
    async fn keep(&self, client: &Client, built: &Built) -> Result<(), Error> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text).map_err(Error::file(path.display().to_string()))
        };
        if let Some(path) = &self.iidfile {
            write(path, built.id.clone())?;
        }
        if let Some(path) = &self.metadata_file {
            let image = client.get(&Page::new(&["images", &built.id, "json"])).await?;
            write(path, format!("{:#}\n", metadata(&self.tag, &built.id, &image)))?;
        }
        Ok(())
    }
}

/// What buildx writes, as far as it means something here.
fn metadata(tags: &[String], id: &str, image: &Value) -> Value {
    let names: Vec<String> =
        tags.iter().map(|tag| crate::image::qualified(&crate::image::tagged(tag))).collect();
    let mut fields = BTreeMap::from([
        ("containerimage.config.digest", json!(id)),
        ("image.name", json!(names.join(","))),
    ]);
    if let Some(descriptor) = image.get("Descriptor").filter(|descriptor| descriptor.is_object()) {
        fields.insert("containerimage.digest", descriptor["digest"].clone());
        fields.insert("containerimage.descriptor", descriptor.clone());
    }
    json!(fields)
}

/// Build arguments with their values; a name alone takes ours, `null` where we have none.
fn arguments(given: &[String]) -> BTreeMap<&str, Option<String>> {
    let argument = |text: &'_ String| match text.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => std::env::var(text).ok(),
    };
    let name = |text: &'_ str| text.find('=').unwrap_or(text.len());
    given.iter().map(|text| (text.split_at(name(text)).0, argument(text))).collect()
}

/// Images whose steps may be taken: their names, with commas between them, or one in buildx's form.
fn cache_from(given: &[String]) -> Result<Vec<&str>, Error> {
    let mut images = Vec::new();
    for text in given {
        let wrong = || Error::Argument {
            option: "--cache-from",
            value: text.clone(),
            want: "names of images, or type=registry,ref=IMAGE".to_owned(),
        };
        if !text.contains('=') {
            images.extend(text.split(','));
            continue;
        }
        let mut image = None;
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", "registry")) => {}
                Some(("ref", name)) => image = Some(name),
                _ => return Err(wrong()),
            }
        }
        images.push(image.ok_or_else(wrong)?);
    }
    Ok(images)
}

fn as_str<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[cfg(test)]
mod tests;
