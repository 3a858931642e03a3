//! A record for tests.

use std::time::{Duration, SystemTime};

use spec::Isolation;

use crate::config::{Config, HostConfig};
use crate::container::{Container, Files, Status};

/// A container that was made `age` seconds after 1970 and never started.
pub(crate) fn container(id: &str, name: &str, age: u64) -> Container {
    Container {
        id: id.parse().expect("an id"),
        name: name.to_owned(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(age),
        image: "sha256:1".to_owned(),
        os_version: None,
        config: Config::default(),
        host: HostConfig::default(),
        isolation: Isolation::Process,
        path: "sh".to_owned(),
        args: Vec::new(),
        vm_of: None,
        status: Status::Created,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        restarts: 0,
        stopped_by_hand: false,
        health: None,
        started: None,
        finished: None,
        endpoints: std::collections::BTreeMap::new(),
        ports: Vec::new(),
        wall: None,
        shim: None,
        execs: Vec::new(),
        hidden: None,
        mounts: Vec::new(),
        files: Files::default(),
    }
}
