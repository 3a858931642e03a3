//! `POST /build`: the classic builder's page; `POST /grpc` and `POST /session`: those of BuildKit's API, which is
//! [`buildkit`]'s.
//!
//! The body is the context, unless `remote` names it; the answer tells what happens, in the classic builder's words, which clients
//! look for: `Step 1/2 : FROM …`, ` ---> 0123456789ab`, `Successfully built 0123456789ab`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use build::remote::Remote;
use build::run::Told;
use build::{Event, Link};
use engine::build::{Credentials, Surroundings};
use engine::{HostConfig, Resources};
use hyper::StatusCode;
use image::{Platform, Reference};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::auth;
use crate::call::Call;
use crate::containers::create::{UlimitBody, isolation};
use crate::error::Error;
use crate::hijack;
use crate::images::pull::{archive, message};
use crate::images::told::{self, Tell};
use crate::route::Answer;

/// HTTP/2 without TLS on a connection that began as HTTP/1.
const H2C: &str = "h2c";
/// Digits of an id that are shown.
const SHORT: usize = 12;

/// `POST /build`.
pub(crate) async fn build(call: &mut Call) -> Answer {
    refuse(call)?;
    let surroundings = surroundings(call)?;
    let request = Wanted::read(call)?;
    let quiet = call.query.flag("q");
    let engine = call.engine.clone();
    let link = call.query.text("link").map(|name| {
        let link = engine.take_link(name);
        link.ok_or_else(|| Error::invalid(format!("no client is linked by the name {name:?}")))
    });
    let link = link.transpose()?;
    let remote = call.query.text("remote").filter(|remote| !remote.is_empty()).map(str::to_owned);
    let body = archive(call)?;
    Ok(told::in_stream(move |tell| async move {
        let mut request = request;
        let context = if let Some(remote) = remote {
            let Remote { context, dockerfile } = engine.build_remote(&remote).await?;
            request.dockerfile = dockerfile.map_or(request.dockerfile, str::to_owned);
            context
        } else {
            engine.build_context(body).await?
        };
        let mut request = request.with(engine.build_scratch()?, engine.build_memory());
        request.link = link;
        let names: Vec<String> = request.names.iter().map(Reference::to_string).collect();
        let words = Words { tell, quiet, held: Mutex::default(), rest: Mutex::default() };
        let built = engine.build(context, request, surroundings, &|event| words.hear(&event)).await;
        let image = built.inspect_err(|_| words.unhold())?;
        words.end(&image.id, &names);
        Ok(())
    })
    .await)
}

/// `POST /build/link`: a client that can be asked for secrets and its ssh agent while it builds, see
/// [`build::link`]. Its build names it by the same `id`.
pub(crate) fn link(call: &mut Call) -> Answer {
    let name = call.query.text("id").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::invalid("id: want the name of the link"))?.to_owned();
    let engine = call.engine.clone();
    hijack::hand_over(call, "tcp", move |from, to| async move {
        if !engine.offer_link(&name, Link::new(from, to)).await {
            tracing::warn!("a build's link was refused: its name is taken, or too many wait");
        }
    })
}

/// `POST /grpc`: BuildKit's API over this connection.
pub(crate) fn grpc(call: &mut Call) -> Answer {
    let front = Arc::clone(&call.buildkit);
    hijack::hand_over(call, H2C, move |from, to| front.serve(tokio::io::join(from, to)))
}

/// `POST /session`: a client that BuildKit's API asks for files, secrets and credentials.
pub(crate) fn session(call: &mut Call) -> Answer {
    let name = call.header("X-Docker-Expose-Session-Uuid").unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Error::invalid("X-Docker-Expose-Session-Uuid: want the name of the session"));
    }
    let place = call.buildkit.session(&name).ok_or_else(|| {
        Error::new(StatusCode::CONFLICT, format!("session {name} already exists"))
    })?;
    hijack::hand_over(call, H2C, move |from, to| place.attend(tokio::io::join(from, to)))
}

/// What the classic builder has and Hull has not.
fn refuse(call: &Call) -> Result<(), Error> {
    let query = &call.query;
    if query.text("version") == Some("2") || query.text("session").is_some() {
        return Err(Error::unsupported(
            "BuildKit by POST /build (install buildx, or set DOCKER_BUILDKIT=0)",
        ));
    }
    for name in ["squash", "outputs", "cgroupparent"] {
        let given = if name == "squash" { query.flag(name) } else { query.text(name).is_some() };
        if given && query.text(name) != Some("[]") {
            return Err(Error::invalid(format!("{name} is not supported by Hull's builder")));
        }
    }
    Ok(())
}

/// What is to be built, but for the context.
struct Wanted {
    dockerfile: String,
    target: Option<String>,
    args: BTreeMap<String, Option<String>>,
    labels: BTreeMap<String, String>,
    names: Vec<Reference>,
    platform: Option<Platform>,
    no_cache: bool,
    pull: bool,
    cache_from: Vec<String>,
    insecure: bool,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, Error> {
        let query = &call.query;
        let names = query.all("t").filter(|name| !name.is_empty());
        let platform = query.text("platform").map(|_| crate::images::pull::platform(call));
        Ok(Self {
            dockerfile: query.text("dockerfile").unwrap_or("Dockerfile").to_owned(),
            target: query.text("target").map(str::to_owned),
            args: parsed(call, "buildargs")?,
            labels: parsed(call, "labels")?,
            names: names
                .map(|name| crate::images::reference(name, None))
                .collect::<Result<_, _>>()?,
            platform: platform.transpose()?,
            no_cache: query.flag("nocache"),
            pull: query.flag("pull"),
            cache_from: parsed(call, "cachefrom")?,
            insecure: allows_insecure(call)?,
        })
    }

    fn with(self, scratch: PathBuf, memory: PathBuf) -> build::Request {
        build::Request {
            dockerfile: self.dockerfile,
            text: None,
            contexts: BTreeMap::new(),
            target: self.target,
            args: self.args,
            labels: self.labels,
            names: self.names,
            platform: self.platform,
            no_cache: self.no_cache,
            pull: self.pull,
            cache_from: self.cache_from,
            insecure: self.insecure,
            scratch,
            memory,
            link: None,
        }
    }
}

/// Whether `allow`, which Docker's API has not, names BuildKit's entitlement to all that root may do.
fn allows_insecure(call: &Call) -> Result<bool, Error> {
    let mut allowed = call.query.all("allow").filter(|name| !name.is_empty()).peekable();
    let any = allowed.peek().is_some();
    match allowed.find(|name| *name != "security.insecure") {
        Some(other) => Err(Error::invalid(format!("allow={other}: want security.insecure"))),
        None => Ok(any),
    }
}

/// A parameter that holds JSON; nothing and `null` are nothing.
fn parsed<T: DeserializeOwned + Default>(call: &Call, name: &str) -> Result<T, Error> {
    let Some(text) = call.query.text(name) else { return Ok(T::default()) };
    let value: Option<T> = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("invalid {name}: {error}")))?;
    Ok(value.unwrap_or_default())
}

/// How the containers of a build are.
fn surroundings(call: &Call) -> Result<Surroundings, Error> {
    let query = &call.query;
    let mut openings = engine::Openings::default();
    let mode = query.text("networkmode").unwrap_or_default();
    let shared = crate::containers::create::network(mode);
    let network = if shared.is_some() { "none" } else { mode }.parse();
    openings.network = shared.unwrap_or_default();
    let number = |name| query.value::<i64>(name).map(|number| number.filter(|number| *number != 0));
    let natural =
        |name| query.value::<u64>(name).map(|number| number.filter(|number| *number != 0));
    let ulimits: Vec<UlimitBody> = parsed(call, "ulimits")?;
    let host = HostConfig {
        isolation: isolation(query.text("isolation").unwrap_or_default())?,
        network: network.map_err(|error: engine::config::UnsupportedNetwork| {
            Error::invalid(format!("networkmode: {error}"))
        })?,
        openings,
        resources: Resources {
            memory: number("memory")?,
            memory_swap: number("memswap")?,
            cpu_shares: natural("cpushares")?,
            cpu_period: natural("cpuperiod")?,
            cpu_quota: number("cpuquota")?,
            cpuset_cpus: query.text("cpusetcpus").unwrap_or_default().to_owned(),
            cpuset_mems: query.text("cpusetmems").unwrap_or_default().to_owned(),
            ..Resources::default()
        },
        shm_size: natural("shmsize")?,
        ulimits: ulimits.into_iter().map(Into::into).collect(),
        extra_hosts: extra_hosts(call),
        security_opt: parsed(call, "securityopt")?,
        ..HostConfig::default()
    };
    Ok(Surroundings {
        host,
        credentials: Credentials::Known(auth::of_build(call)?),
        permit: None,
        keep: query.text("rm").is_some() && !query.flag("rm"),
        keep_failed: !query.flag("forcerm"),
    })
}

/// Clients repeat the parameter; docker-py joins them by commas.
fn extra_hosts(call: &Call) -> Vec<String> {
    let all = call.query.all("extrahosts").flat_map(|text| text.split(','));
    all.filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

/// What the client reads.
struct Words {
    tell: Tell,
    /// Whether nothing is said unless it fails.
    quiet: bool,
    held: Mutex<Vec<Value>>,
    /// The beginning of a character whose rest is still to come.
    rest: Mutex<Vec<u8>>,
}

impl Words {
    fn hear(&self, event: &Event) {
        let text = match event {
            Event::Step { number, total, text } => format!("Step {number}/{total} : {text}\n"),
            Event::Triggers(1) => "# Executing 1 build trigger\n".to_owned(),
            Event::Triggers(number) => format!("# Executing {number} build triggers\n"),
            Event::Cached => " ---> Using cache\n".to_owned(),
            Event::Image(None) => " ---> \n".to_owned(),
            Event::Image(Some(id)) => format!(" ---> {}\n", short(id.hex())),
            Event::Run(Told::Made(id)) => format!(" ---> Running in {}\n", short(id)),
            Event::Run(Told::Removed(id)) => {
                format!(" ---> Removed intermediate container {}\n", short(id))
            }
            Event::Run(Told::Output(bytes)) => self.text(bytes),
            Event::Warning(text) => format!("[Warning] {text}\n"),
            Event::Pull(progress) => return self.say(message(progress)),
        };
        if !text.is_empty() {
            self.say(json!({ "stream": text }));
        }
    }

    fn say(&self, message: Value) {
        if self.quiet {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        } else {
            self.tell.send(message);
        }
    }

    /// Says what was held back: it tells why the build failed.
    fn unhold(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for message in held {
            self.tell.send(message);
        }
    }

    fn end(&self, id: &spec::Digest, names: &[String]) {
        self.tell.send(json!({ "aux": { "ID": id } }));
        if self.quiet {
            return self.tell.send(json!({ "stream": format!("{id}\n") }));
        }
        self.tell.send(json!({ "stream": format!("Successfully built {}\n", short(id.hex())) }));
        for name in names {
            self.tell.send(json!({ "stream": format!("Successfully tagged {name}\n") }));
        }
    }

    /// Output as text; a character that comes in two pieces is said when it is whole.
    fn text(&self, bytes: &[u8]) -> String {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::mem::take(&mut *rest);
        all.extend_from_slice(bytes);
        if let Err(error) = str::from_utf8(&all)
            && error.error_len().is_none()
        {
            *rest = all.split_off(error.valid_up_to());
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}
