//! What a client wants built: the options of `dockerfile.v0`, and what the build's beginning said.
//!
//! Spec: github.com/moby/buildkit `frontend/dockerui/config.go`, `frontend/dockerui/context.go`.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use engine::{HostConfig, NetworkMode, Openings, Resources, Ulimit};
use image::Platform;
use serde::Deserialize;
use spec::Isolation;
use tonic::Status;

use crate::error::unsupported;
use crate::messages::control::{CacheEntry, SolveRequest};

/// The only frontend.
pub(crate) const FRONTEND: &str = "dockerfile.v0";
/// A build argument that is Hull's: the wall around `RUN`, for which buildx has no option.
const ISOLATION: &str = "HULL_ISOLATION";
/// What clients call the directory of the Dockerfile.
pub(crate) const DOCKERFILE: &str = "dockerfile";
/// `docker build --check`.
const LINT: &str = "frontend.lint";
/// By which BuildKit knows a directory again of which it has kept a copy; nothing is kept here.
const SHARED_KEY: &str = "sharedkey:localdir:";
/// Entitlements, as `--allow` gives them.
const INSECURE: &str = "security.insecure";
const HOST_NETWORK: &str = "network.host";

/// Of what commit a directory is, which only BuildKit's provenance would say.
const COMMIT: &str = "vcs:";

/// A build as its options say.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// What the Dockerfile is called.
    pub(crate) filename: String,
    /// Whether it comes from the client, though the context does not.
    pub(crate) own_dockerfile: bool,
    /// A context that is not the client's: where it is.
    pub(crate) remote: Option<String>,
    /// Sessions of the client's directories, where they are not that of the build.
    pub(crate) sessions: HashMap<String, String>,
    /// Contexts beside the main one, by their names.
    pub(crate) contexts: BTreeMap<String, Beside>,
    pub(crate) target: Option<String>,
    pub(crate) args: BTreeMap<String, Option<String>>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) platform: Option<Platform>,
    pub(crate) no_cache: bool,
    pub(crate) pull: bool,
    pub(crate) cache_from: Vec<String>,
    pub(crate) insecure: bool,
    /// Whether nothing is built but its warnings told.
    pub(crate) only_lint: bool,
    /// The rules for these, which the build has instead of the Dockerfile's own.
    pub(crate) lint: Option<String>,
    pub(crate) host: HostConfig,
}

/// A context beside the main one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// An image, by its name.
    Image(String),
    /// A directory of the client's, as it calls it.
    Directory(String),
    /// Files that are somewhere else.
    Remote(String),
}

impl Beside {
    fn of(name: &str, value: &str) -> Result<Self, Status> {
        match value.split_once(':') {
            Some(("docker-image", image)) => {
                Ok(Self::Image(image.trim_start_matches('/').to_owned()))
            }
            Some(("local", directory)) => Ok(Self::Directory(directory.to_owned())),
            Some(("input" | "target" | "oci-layout", _)) => Err(unsupported(format!(
                "the build context {name}={value}: want a directory, docker-image://IMAGE, or an address of files"
            ))),
            _ => Ok(Self::Remote(value.to_owned())),
        }
    }
}

/// The part of [`CacheEntry`] that stands in an option.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CacheImport {
    r#type: String,
    #[serde(default)]
    attrs: HashMap<String, String>,
}

impl Wanted {
    /// Reads the options of a frontend, and what the build `of` has said at its beginning.
    pub(crate) fn read(
        options: &HashMap<String, String>,
        of: &SolveRequest,
    ) -> Result<Self, Status> {
        let mut wanted = Self { filename: "Dockerfile".to_owned(), ..Self::default() };
        let host_network = of.entitlements.iter().any(|name| name == HOST_NETWORK);
        for name in &of.entitlements {
            match name.as_str() {
                INSECURE => wanted.insecure = true,
                HOST_NETWORK => {}
                other => return Err(wrong("--allow", other, "security.insecure or network.host")),
            }
        }
        for (key, value) in options {
            wanted.option(key, value, host_network)?;
        }
        let cache = of.cache.clone().unwrap_or_default();
        for entry in cache.imports {
            wanted.take_cache(entry)?;
        }
        wanted.cache_from.extend(cache.import_refs);
        for entry in cache.exports {
            // Every image's steps can be taken, so there is nothing to add for it.
            if entry.r#type != "inline" {
                let want =
                    "type=inline; steps stay in the engine, and docker push takes them along";
                return Err(wrong("--cache-to", &entry.r#type, want));
            }
        }
        wanted.cache_from.sort();
        wanted.cache_from.dedup();
        Ok(wanted)
    }

    fn option(&mut self, key: &str, value: &str, host_network: bool) -> Result<(), Status> {
        if let Some(name) = key.strip_prefix("build-arg:") {
            return self.argument(name, value);
        }
        if let Some(name) = key.strip_prefix("label:") {
            self.labels.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        if let Some(name) = key.strip_prefix("local-sessionid:") {
            self.sessions.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        if key.starts_with(SHARED_KEY) || key.starts_with(COMMIT) {
            return Ok(());
        }
        if let Some(name) = key.strip_prefix("context:") {
            self.contexts.insert(name.to_owned(), Beside::of(name, value)?);
            return Ok(());
        }
        match key {
            "filename" => value.clone_into(&mut self.filename),
            "dockerfilekey" if value == DOCKERFILE => self.own_dockerfile = true,
            // What the client can do.
            "frontend.caps" => {}
            "context" => self.remote = Some(value.to_owned()),
            "target" => self.target = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "no-cache" if value.is_empty() => self.no_cache = true,
            "no-cache" => {
                return Err(wrong("--no-cache-filter", value, "--no-cache, for all stages"));
            }
            "image-resolve-mode" => self.pull = value == "pull",
            "platform" => self.platform = Some(platform(value)?),
            "add-hosts" => self.host.extra_hosts = extra_hosts(value),
            "force-network-mode" => self.network(value, host_network)?,
            "shm-size" => self.host.shm_size = Some(number(key, value)?),
            "ulimit" => self.host.ulimits = ulimits(value)?,
            "memory" | "memswap" | "cpushares" | "cpuperiod" | "cpuquota" | "cpusetcpus"
            | "cpusetmems" => limit(&mut self.host.resources, key, value)?,
            "cache-imports" => self.cache_imports(value)?,
            "cache-from" => {
                self.cache_from
                    .extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            "multi-platform" if value == "false" => {}
            "requestid" if value == LINT => self.only_lint = true,
            "requestid" => return Err(unsupported(format!("--call {value}: want check"))),
            _ => {
                return Err(unsupported(format!(
                    "the build option {key}={value} is not known to Hull's builder: leave it out"
                )));
            }
        }
        Ok(())
    }

    fn argument(&mut self, name: &str, value: &str) -> Result<(), Status> {
        match name {
            ISOLATION => {
                let isolation = Isolation::from_str(value);
                let isolation =
                    isolation.map_err(|error| Status::invalid_argument(spec::chain(&error)))?;
                self.host.isolation = Some(isolation);
            }
            "BUILDKIT_DOCKERFILE_CHECK" => self.lint = Some(value.to_owned()),
            "BUILDKIT_SYNTAX" => {
                return Err(wrong(
                    "BUILDKIT_SYNTAX",
                    value,
                    "none: Hull's builder knows the language itself",
                ));
            }
            _ => {
                self.args.insert(name.to_owned(), Some(value.to_owned()));
            }
        }
        Ok(())
    }

    fn network(&mut self, mode: &str, is_host_allowed: bool) -> Result<(), Status> {
        match mode {
            "host" if is_host_allowed => {
                self.host.network = NetworkMode::None;
                self.host.openings =
                    Openings { network: engine::config::Share::Host, ..Openings::default() };
            }
            "host" => {
                return Err(Status::permission_denied(format!(
                    "--network=host: want --allow {HOST_NETWORK}"
                )));
            }
            mode => {
                let mode = mode.parse();
                self.host.network = mode.map_err(|error: engine::config::UnsupportedNetwork| {
                    Status::invalid_argument(format!("--network: {error}"))
                })?;
            }
        }
        Ok(())
    }

    fn cache_imports(&mut self, json: &str) -> Result<(), Status> {
        let imports: Vec<CacheImport> = serde_json::from_str(json)
            .map_err(|error| Status::invalid_argument(format!("cache-imports: {error}")))?;
        for CacheImport { r#type, attrs } in imports {
            self.take_cache(CacheEntry { r#type, attrs })?;
        }
        Ok(())
    }

    fn take_cache(&mut self, entry: CacheEntry) -> Result<(), Status> {
        let CacheEntry { r#type, mut attrs } = entry;
        match attrs.remove("ref") {
            Some(name) if r#type == "registry" => self.cache_from.push(name),
            _ => return Err(wrong("--cache-from", &r#type, "the name of an image that is here")),
        }
        Ok(())
    }
}

pub(crate) fn wrong(option: &str, value: &str, want: &str) -> Status {
    Status::invalid_argument(format!("{option}: {value:?}: want {want}"))
}

fn platform(text: &str) -> Result<Platform, Status> {
    if text.contains(',') {
        return Err(wrong("--platform", text, "one platform: build each by itself"));
    }
    text.parse()
        .map_err(|error: image::InvalidPlatform| Status::invalid_argument(spec::chain(&error)))
}

/// `NAME=ADDRESS`, several with commas between, as the engine writes them.
fn extra_hosts(text: &str) -> Vec<String> {
    let hosts = text.split(',').filter(|host| !host.is_empty());
    hosts.map(|host| host.replacen('=', ":", 1)).collect()
}

/// `NAME=SOFT:HARD`, several with commas between.
fn ulimits(text: &str) -> Result<Vec<Ulimit>, Status> {
    let one = |text: &str| {
        let (name, limits) = text.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some(Ulimit { name: name.to_owned(), soft: soft.parse().ok()?, hard: hard.parse().ok()? })
    };
    let all = text.split(',').filter(|text| !text.is_empty());
    all.map(|text| one(text).ok_or_else(|| wrong("--ulimit", text, "NAME=SOFT:HARD"))).collect()
}

fn limit(resources: &mut Resources, key: &str, value: &str) -> Result<(), Status> {
    match key {
        "memory" => resources.memory = Some(number(key, value)?),
        "memswap" => resources.memory_swap = Some(number(key, value)?),
        "cpushares" => resources.cpu_shares = Some(number(key, value)?),
        "cpuperiod" => resources.cpu_period = Some(number(key, value)?),
        "cpuquota" => resources.cpu_quota = Some(number(key, value)?),
        "cpusetcpus" => value.clone_into(&mut resources.cpuset_cpus),
        _ => value.clone_into(&mut resources.cpuset_mems),
    }
    Ok(())
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, Status> {
    value.parse().map_err(|_| wrong(key, value, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)], of: &SolveRequest) -> Result<Wanted, Status> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Wanted::read(&options.collect(), of)
    }

    #[test]
    fn options_are_those_of_the_dockerfile_frontend() {
        let of =
            SolveRequest { entitlements: vec![HOST_NETWORK.to_owned()], ..SolveRequest::default() };
        let wanted = read(
            &[
                ("filename", "x.Dockerfile"),
                ("target", "last"),
                ("build-arg:A", "b"),
                ("build-arg:HULL_ISOLATION", "hyperv"),
                ("label:l", "m"),
                ("no-cache", ""),
                ("image-resolve-mode", "pull"),
                ("platform", "linux/amd64"),
                ("add-hosts", "a=10.0.0.1,b=::1"),
                ("ulimit", "nofile=10:20"),
                ("shm-size", "4096"),
                ("memory", "1048576"),
                ("force-network-mode", "host"),
                ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"old"}}]"#),
                ("vcs:revision", "0123"),
                ("context:base", "docker-image://busybox"),
                ("context:more", "local:more"),
            ],
            &of,
        )
        .expect("all of them are known");
        assert_eq!(
            (wanted.filename.as_str(), wanted.target.as_deref()),
            ("x.Dockerfile", Some("last"))
        );
        assert_eq!(wanted.args, BTreeMap::from([("A".to_owned(), Some("b".to_owned()))]));
        assert_eq!(wanted.labels.get("l").map(String::as_str), Some("m"));
        assert!(wanted.no_cache && wanted.pull && !wanted.insecure);
        assert_eq!(wanted.cache_from, ["old"]);
        assert_eq!(wanted.contexts["base"], Beside::Image("busybox".to_owned()));
        assert_eq!(wanted.contexts["more"], Beside::Directory("more".to_owned()));
        let host = wanted.host;
        assert_eq!(host.isolation, Some(Isolation::Vm));
        assert_eq!(host.extra_hosts, ["a:10.0.0.1", "b:::1"]);
        assert_eq!((host.ulimits[0].soft, host.ulimits[0].hard), (10, 20));
        assert_eq!((host.shm_size, host.resources.memory), (Some(4096), Some(1 << 20)));
        assert_eq!(host.openings.network, engine::config::Share::Host);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (key, value, named) in [
            ("force-network-mode", "host", "network.host"),
            ("context:other", "oci-layout://x", "other"),
            ("requestid", "frontend.outline", "frontend.outline"),
            ("no-cache", "first", "--no-cache-filter"),
            ("platform", "linux/amd64,linux/arm64", "one platform"),
            ("build-arg:BUILDKIT_SYNTAX", "docker/dockerfile:1", "BUILDKIT_SYNTAX"),
            ("build-arg:HULL_ISOLATION", "none", "none"),
            ("cache-imports", r#"[{"Type":"gha"}]"#, "gha"),
            ("ulimit", "nofile", "--ulimit"),
            ("attest:sbom", "", "attest:sbom"),
            ("contextkey", "other", "contextkey"),
        ] {
            let error = read(&[(key, value)], &SolveRequest::default()).expect_err(key);
            assert!(error.message().contains(named), "{key}: {error}");
        }
    }
}
