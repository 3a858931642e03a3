//! A file of dockerd's, `daemon.json`: the keys of it that mean something here, in dockerd's spelling.
//!
//! A key that Hull has nothing for is refused by its name, as one in `hulld.toml` is. `bip` and `bridge` are
//! among these: what dockerd has at its bridge is not what ours is to have.
//!
//! Spec: `docker/docs`, reference/dockerd "Daemon configuration file".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Options;
use crate::error::Error;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    hosts: Vec<String>,
    group: Option<String>,
    tlsverify: bool,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
    metrics_addr: Option<String>,
    ipv6: bool,
    fixed_cidr_v6: Option<String>,
    default_address_pools: Vec<Pool>,
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
    labels: Vec<String>,
    log_driver: Option<String>,
    log_opts: BTreeMap<String, String>,
    exec_opts: Vec<String>,
    log_level: Option<String>,
    log_format: Option<String>,
    debug: bool,
    live_restore: Option<bool>,
}

/// Where networks get subnets from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    base: String,
    size: u8,
}

/// What the text of the file at `path` says.
pub(super) fn parse(path: &Path, text: &str) -> Result<Options, Error> {
    let wrong =
        |line: usize, problem: String| Error::Syntax { path: path.to_owned(), line, problem };
    let file: File = serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        let problem = said.rsplit_once(" at line ").map_or(said.as_str(), |(problem, _)| problem);
        wrong(error.line(), problem.to_owned())
    })?;
    if file.live_restore == Some(false) {
        let line = text.lines().position(|line| line.contains("live-restore")).unwrap_or(0) + 1;
        return Err(wrong(line, "live-restore: containers always outlive hulld".to_owned()));
    }
    Ok(Options {
        data_root: file.data_root,
        exec_root: file.exec_root,
        host: file.hosts,
        group: file.group,
        tlsverify: file.tlsverify,
        tlscacert: file.tlscacert,
        tlscert: file.tlscert,
        tlskey: file.tlskey,
        metrics_addr: file.metrics_addr,
        ipv6: file.ipv6,
        fixed_cidr_v6: file.fixed_cidr_v6,
        default_address_pool: file.default_address_pools.iter().map(Pool::word).collect(),
        registry_mirror: file.registry_mirrors,
        insecure_registry: file.insecure_registries,
        label: file.labels,
        log_driver: file.log_driver,
        log_opt: file.log_opts.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        exec_opt: file.exec_opts,
        log_level: file.log_level,
        log_format: file.log_format,
        debug: file.debug,
        ..Options::default()
    })
}

impl Pool {
    /// As the flag has it.
    fn word(&self) -> String {
        format!("base={},size={}", self.base, self.size)
    }
}

#[cfg(test)]
mod tests {
    use spec::Isolation;

    use super::*;

    #[test]
    fn dockers_keys_mean_what_flags_mean() {
        let text = r#"{
            "data-root": "/d", "hosts": ["unix:///a"], "labels": ["rack=7"],
            "registry-mirrors": ["http://m"], "insecure-registries": ["r:5000"],
            "log-driver": "local", "log-opts": {"max-size": "1m", "max-file": "2"},
            "exec-opts": ["isolation=hyperv"], "live-restore": true, "debug": true,
            "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]
        }"#;
        let options = parse(Path::new("/daemon.json"), text).expect("valid");
        assert_eq!(options.log_opt, ["max-file=2", "max-size=1m"]);
        let complete = options.complete().expect("valid");
        let settings = complete.settings;
        assert_eq!(settings.data_root, Path::new("/d"));
        assert_eq!(complete.host, Path::new("/a"));
        assert_eq!(settings.registries.mirrors, ["http://m"]);
        assert_eq!(settings.registries.insecure, ["r:5000"]);
        assert_eq!(settings.labels, ["rack=7"]);
        assert_eq!(settings.walls.usual, Isolation::Vm);
        assert_eq!(settings.address_pools.len(), 1);
    }

    #[test]
    fn what_hull_has_nothing_for_is_named_with_its_line() {
        for (text, want) in [
            ("{\n\"storage-driver\": \"zfs\"}", ":2: unknown field `storage-driver`"),
            ("{\n\n\"live-restore\": false}", ":3: live-restore: containers always outlive"),
            ("{\"hosts\": 7}", ":1: invalid type"),
            ("{", ":1: EOF"),
        ] {
            let error = parse(Path::new("/daemon.json"), text).expect_err(want).to_string();
            assert!(error.contains(want) && !error.contains(" at line "), "{error}");
        }
    }
}
