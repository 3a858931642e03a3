//! A client's request together with the image's configuration: what the container will be.
//!
//! Spec: OCI image-spec, config.md; Docker's rules for `ENTRYPOINT`, `CMD` and `ENV`.

use spec::oci::image::ImageConfiguration;
use spec::{Isolation, Signal, annotation};

use crate::bundle::devices;
use crate::bundle::limits;
use crate::bundle::mounts::tmpfs;
use crate::bundle::process::capabilities;
use crate::bundle::security::Security;
use crate::bundle::split_host;
use crate::config::{Config, HostConfig, Openings, Share};
use crate::error::Error;
use crate::health;
use crate::mountpoint::Mount;
use crate::restart::RestartPolicy;

/// The words of a program: what is executed, and its arguments.
pub(crate) type Words = (String, Vec<String>);

/// Fills in from the image what the client left open; gives the words to execute and warnings.
pub(crate) fn merge(
    config: &mut Config,
    image: &ImageConfiguration,
) -> Result<(Words, Vec<String>), Error> {
    let warnings = Vec::new();
    if let Some(image) = image.config() {
        let entrypoint = image.entrypoint().clone().unwrap_or_default();
        commands(config, entrypoint, image.cmd().clone().unwrap_or_default());
        inherit(&mut config.user, image.user().as_deref());
        inherit(&mut config.working_dir, image.working_dir().as_deref());
        environment(config, image.env().as_deref().unwrap_or_default());
        for (key, value) in image.labels().iter().flatten() {
            config.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for port in image.exposed_ports().iter().flatten() {
            if !config.exposed_ports.contains(port) {
                config.exposed_ports.push(port.clone());
            }
        }
        if config.stop_signal.is_none() {
            config.stop_signal = image.stop_signal().as_deref().and_then(signal);
        }
        for volume in image.volumes().iter().flatten() {
            if !config.volumes.contains(volume) {
                config.volumes.push(volume.clone());
            }
        }
    }
    if config.entrypoint.as_ref().is_some_and(|words| words.iter().all(String::is_empty)) {
        config.entrypoint = None;
    }
    Ok((words(config)?, warnings))
}

fn inherit(value: &mut String, image: Option<&str>) {
    if value.is_empty() {
        image.unwrap_or_default().clone_into(value);
    }
}

/// The client's `entrypoint` makes the image's `cmd` void; its `cmd` replaces only the image's.
fn commands(config: &mut Config, entrypoint: Vec<String>, cmd: Vec<String>) {
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = Some(cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint = Some(entrypoint);
        }
    }
}

fn environment(config: &mut Config, image: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let own: Vec<_> = config.env.iter().map(|entry| name(entry)).collect();
    config.env.extend(image.iter().filter(|entry| !own.contains(&name(entry))).cloned());
}

/// An image's stop signal that is none is no reason to refuse the image.
fn signal(text: &str) -> Option<Signal> {
    text.parse().ok()
}

fn words(config: &Config) -> Result<Words, Error> {
    let entrypoint = config.entrypoint.iter().flatten();
    let mut words = entrypoint.chain(config.cmd.iter().flatten()).cloned();
    let nothing = || Error::Invalid { field: "command", problem: "no command specified".into() };
    Ok((words.next().ok_or_else(nothing)?, words.collect()))
}

/// Refuses a request that could not be started, whatever the image is.
pub(crate) fn check(config: &Config, host: &HostConfig) -> Result<(), Error> {
    let invalid = |field, problem| Err(Error::Invalid { field, problem });
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let problem = format!("{:?} needs to be an absolute path", config.working_dir);
        return invalid("WorkingDir", problem);
    }
    for (field, name) in [("Hostname", &config.hostname), ("Domainname", &config.domainname)] {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.len() > 63 || !name.bytes().all(legal) {
            return invalid(field, format!("{name:?}: want at most 63 letters, digits, - . _"));
        }
    }
    // An interior NUL would end the string early in execve(2).
    let texts = [&config.env, config.entrypoint.as_ref().unwrap_or(&config.env)];
    let mut texts = texts.into_iter().chain(config.cmd.as_ref()).flatten();
    if let Some(text) = texts.find(|text| text.contains('\0')) {
        return invalid("Env or Cmd", format!("{text:?} holds a NUL byte"));
    }
    if let Some(entry) = config.env.iter().find(|entry| entry.is_empty() || entry.starts_with('='))
    {
        return invalid("Env", format!("invalid environment variable: {entry}"));
    }
    for entry in &host.extra_hosts {
        if split_host(entry).is_none() {
            return invalid("HostConfig.ExtraHosts", format!("{entry:?}: want NAME:ADDRESS"));
        }
    }
    for server in &host.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            return invalid("HostConfig.Dns", format!("{server:?} is no IP address"));
        }
    }
    for text in host.dns_search.iter().chain(&host.dns_options) {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return invalid("HostConfig.DnsSearch or DnsOptions", format!("{text:?}"));
        }
    }
    if host.auto_remove && host.restart != RestartPolicy::No {
        let problem = "can't create 'AutoRemove' container with restart policy".to_owned();
        return Err(Error::Invalid { field: "HostConfig.AutoRemove", problem });
    }
    config.healthcheck.as_ref().map_or(Ok(()), health::check)?;
    limits::check(host)?;
    capabilities(host)?;
    Security::of(host)?.filter(host)?;
    openings(&host.openings)?;
    tmpfs(&host.tmpfs).map(drop)
}

fn openings(openings: &Openings) -> Result<(), Error> {
    let invalid = |field, problem| Err(Error::Invalid { field, problem });
    openings.device_rules.iter().try_for_each(|rule| devices::rule(rule).map(drop))?;
    if let Some(device) = openings.devices.iter().find(|device| !devices::is_access(&device.access))
    {
        let problem = format!("invalid device mode: {}", device.access);
        return invalid("HostConfig.Devices", problem);
    }
    if let Some(key) = openings.annotations.keys().find(|key| key.starts_with(annotation::PREFIX)) {
        return invalid("HostConfig.Annotations", format!("{key:?}: such keys are Hull's own"));
    }
    if openings.cgroup_parent.split('/').any(|part| part == "..") {
        let problem = format!("{:?} leads out of itself", openings.cgroup_parent);
        return invalid("HostConfig.CgroupParent", problem);
    }
    Ok(())
}

/// The least that a container can be limited to write: the file system itself takes some.
const STORAGE_MIN_MIB: u32 = 16;

/// Refuses what `isolation` cannot do: limits of what is written, namespaces that are shared.
pub(crate) fn check_wall(host: &HostConfig, isolation: Isolation) -> Result<(), Error> {
    let field = "HostConfig.StorageOpt";
    match host.storage_mib {
        Some(mib) if mib < STORAGE_MIN_MIB => {
            let problem = format!("size: {mib} MiB is less than {STORAGE_MIN_MIB} MiB");
            return Err(Error::Invalid { field, problem });
        }
        _ => {}
    }
    let openings = &host.openings;
    if isolation.shares_kernel() {
        return Ok(());
    }
    let uneven = |mount: &&Mount| {
        mount.bind_options.as_ref().is_some_and(|options| options.read_only_non_recursive)
    };
    if let Some(mount) = host.mounts.iter().find(uneven) {
        let problem = format!(
            "{}: a VM sees a bind and what is mounted beneath as one file system, all of it \
             read-only or none",
            mount.source
        );
        return Err(Error::Unsupported { field: "BindOptions.ReadOnlyNonRecursive", problem });
    }
    for (field, share) in [
        ("HostConfig.NetworkMode", &openings.network),
        ("HostConfig.IpcMode", &openings.ipc),
        ("HostConfig.PidMode", &openings.pid),
        ("HostConfig.UTSMode", &openings.uts),
        ("HostConfig.CgroupnsMode", &openings.cgroup),
    ] {
        if *share == Share::Host {
            let problem = format!("{share}: a namespace cannot cross the wall of a VM");
            return Err(Error::Unsupported { field, problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfiguration {
        serde_json::from_value(serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [] },
            "config": {
                "Entrypoint": ["/entry"],
                "Cmd": ["serve"],
                "Env": ["PATH=/bin", "A=image"],
                "User": "web",
                "Labels": { "a": "image", "b": "image" },
                "StopSignal": "SIGQUIT",
                "Volumes": { "/data": {} },
            },
        }))
        .expect("an image's configuration")
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_clients_entrypoint_makes_the_images_command_void() {
        let cases = [
            (None, "", Some("/entry serve")),
            (None, "stop", Some("/entry stop")),
            (Some("/mine"), "", Some("/mine")),
            (Some("/mine"), "x", Some("/mine x")),
            (Some(""), "x", Some("x")),
            (Some(""), "", None),
        ];
        for (entrypoint, cmd, want) in cases {
            let mut config = Config {
                entrypoint: entrypoint.map(|word| strings(&[word])),
                cmd: Some(cmd.split_whitespace().map(str::to_owned).collect()),
                ..Default::default()
            };
            let got = merge(&mut config, &image()).ok().map(|((path, args), _)| {
                std::iter::once(path).chain(args).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(got.as_deref(), want, "{entrypoint:?} {cmd:?}");
        }
    }

    #[test]
    fn what_the_client_says_goes_before_what_the_image_says() {
        let mut config = Config {
            env: strings(&["A=client", "B=client"]),
            labels: [("a".to_owned(), "client".to_owned())].into(),
            ..Default::default()
        };
        let (_, warnings) = merge(&mut config, &image()).expect("a command");
        assert_eq!(config.env, ["A=client", "B=client", "PATH=/bin"]);
        assert_eq!(config.labels["a"], "client");
        assert_eq!(config.labels["b"], "image");
        assert_eq!(config.user, "web");
        assert_eq!(config.stop_signal.map(Signal::number), Some(3));
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(warnings.len(), 0);
    }
}
