//! The options of `run` and `create`, as docker has them.

use clap::Args;

/// What a container is made of.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// process, or hyperv (vm) for a virtual machine of its own
    #[arg(long, value_name = "WALL")]
    pub(super) isolation: Option<String>,
    /// Give it a name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<String>,
    /// Fetch the image first: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(super) pull: String,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Remove it when it ends
    #[arg(long)]
    pub(super) rm: bool,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    pub(super) init: bool,
    /// no, always, unless-stopped or on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    pub(super) restart: Option<String>,
    /// Attach a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(super) label: Vec<String>,
    /// Attach the labels in a file, a line each
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<String>,

    /// Set an environment variable; NAME alone takes ours
    #[arg(short, long, value_name = "NAME[=VALUE]", help_heading = "Program")]
    pub(super) env: Vec<String>,
    /// Set the variables in a file, a line each
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub(super) env_file: Vec<String>,
    /// Directory to start in
    #[arg(short, long, value_name = "DIR", help_heading = "Program")]
    pub(super) workdir: Option<String>,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]", help_heading = "Program")]
    pub(super) user: Option<String>,
    /// Join a further group
    #[arg(long, value_name = "GROUP", help_heading = "Program")]
    pub(super) group_add: Vec<String>,
    /// Program to run instead of the image's
    #[arg(long, value_name = "PROGRAM", help_heading = "Program")]
    pub(super) entrypoint: Option<String>,
    /// Keep standard input open
    #[arg(short, long, help_heading = "Program")]
    pub(super) interactive: bool,
    /// Give it a terminal
    #[arg(short, long, help_heading = "Program")]
    pub(super) tty: bool,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL", help_heading = "Program")]
    pub(super) stop_signal: Option<String>,
    /// Seconds that it has to stop
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Program")]
    pub(super) stop_timeout: Option<i64>,

    /// Publish a port: [[IP:]HOSTPORT:]PORT[/PROTOCOL], ranges too
    #[arg(short, long, value_name = "PORT", help_heading = "Network")]
    pub(super) publish: Vec<String>,
    /// Publish every port that the image exposes
    #[arg(short = 'P', long, help_heading = "Network")]
    pub(super) publish_all: bool,
    /// Expose a port
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    pub(super) expose: Vec<String>,
    /// A network's name, bridge, none, host or container:NAME
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Network")]
    pub(super) network: Option<String>,
    /// Option of its place on its network, such as egress=allow:example.com:443
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Network")]
    pub(super) network_opt: Vec<String>,
    /// How fast it may receive on its network, e.g. 10mbit
    #[arg(long, value_name = "RATE", help_heading = "Network")]
    pub(super) rate_in: Option<String>,
    /// How fast it may send on its network, e.g. 10mbit
    #[arg(long, value_name = "RATE", help_heading = "Network")]
    pub(super) rate_out: Option<String>,
    /// A further name on its network
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub(super) network_alias: Vec<String>,
    /// Address on its network
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(super) ip: Option<String>,
    /// IPv6 address on its network
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(super) ip6: Option<String>,
    /// Address of its network card
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(super) mac_address: Option<String>,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    pub(super) hostname: Option<String>,
    /// The container's domain name
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub(super) domainname: Option<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Network")]
    pub(super) add_host: Vec<String>,
    /// Ask this name server
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(super) dns: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", help_heading = "Network")]
    pub(super) dns_option: Vec<String>,
    /// Search this domain
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    pub(super) dns_search: Vec<String>,

    /// Mount a volume, or a directory of the host
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]", help_heading = "Files")]
    pub(super) volume: Vec<String>,
    /// Mount by keys: type=bind|volume|tmpfs,source=,target=,readonly,…
    #[arg(long, value_name = "KEY=VALUE,…", help_heading = "Files")]
    pub(super) mount: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "TARGET[:OPTIONS]", help_heading = "Files")]
    pub(super) tmpfs: Vec<String>,
    /// Mount the volumes of another container
    #[arg(long, value_name = "NAME", help_heading = "Files")]
    pub(super) volumes_from: Vec<String>,
    /// Driver of volumes that are made
    #[arg(long, value_name = "DRIVER", help_heading = "Files")]
    pub(super) volume_driver: Option<String>,
    /// Make the root file system read-only
    #[arg(long, help_heading = "Files")]
    pub(super) read_only: bool,
    /// Option of the root file system's storage
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Files")]
    pub(super) storage_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", help_heading = "Files")]
    pub(super) shm_size: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    pub(super) walls: Walls,
    #[command(flatten)]
    pub(super) upkeep: Upkeep,
}

/// How much it may have.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Memory, e.g. 64m
    #[arg(short, long, value_name = "BYTES")]
    pub(super) memory: Option<String>,
    /// Memory that is kept for it when it is scarce
    #[arg(long, value_name = "BYTES")]
    pub(super) memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_swap: Option<String>,
    /// How readily it is swapped out, 0 to 100
    #[arg(long, value_name = "0-100", allow_negative_numbers = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Processors, e.g. 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(super) cpus: Option<f64>,
    /// Relative weight of its processor time
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub(super) cpu_shares: Option<i64>,
    /// Period of its processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(super) cpu_period: Option<i64>,
    /// Its processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Processors that it may use, e.g. 0-2,4
    #[arg(long, value_name = "CPUS")]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory nodes that it may use
    #[arg(long, value_name = "NODES")]
    pub(super) cpuset_mems: Option<String>,
    /// Processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(super) pids_limit: Option<i64>,
    /// A limit of processes: NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(super) ulimit: Vec<String>,
    /// Weight of its block I/O, 10 to 1000
    #[arg(long, value_name = "10-1000")]
    pub(super) blkio_weight: Option<u16>,
    /// Weight for a device
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    pub(super) blkio_weight_device: Vec<String>,
    /// Bytes a second read from a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_read_bps: Vec<String>,
    /// Bytes a second written to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_write_bps: Vec<String>,
    /// Reads a second from a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_read_iops: Vec<String>,
    /// Writes a second to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_write_iops: Vec<String>,
    /// Do not kill it when memory runs out
    #[arg(long)]
    pub(super) oom_kill_disable: bool,
    /// How readily it is killed then, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub(super) oom_score_adj: Option<i64>,
    /// The control group that its own is made in
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_parent: Option<String>,
}

/// Holes in the wall, each asked for by name.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Openings")]
pub(crate) struct Walls {
    /// Take most of the wall away
    #[arg(long)]
    pub(super) privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "NAME")]
    pub(super) cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "NAME")]
    pub(super) cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, …
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,
    /// Add a device of the host: PATH[:PATH[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Vec<String>,
    /// Allow a kind of device: c 42:* rmw
    #[arg(long, value_name = "RULE")]
    pub(super) device_cgroup_rule: Vec<String>,
    /// Add graphics cards: all, or a number
    #[arg(long, value_name = "DEVICES")]
    pub(super) gpus: Option<String>,
    /// Shared memory: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub(super) ipc: Option<String>,
    /// Processes: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub(super) pid: Option<String>,
    /// Host name: host
    #[arg(long, value_name = "MODE")]
    pub(super) uts: Option<String>,
    /// Users: host
    #[arg(long, value_name = "MODE")]
    pub(super) userns: Option<String>,
    /// Control groups: private or host
    #[arg(long, value_name = "MODE")]
    pub(super) cgroupns: Option<String>,
    /// Set a kernel parameter of its namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) sysctl: Vec<String>,
    /// The runtime that makes it
    #[arg(long, value_name = "NAME")]
    pub(super) runtime: Option<String>,
    /// An annotation of its OCI configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) annotation: Vec<String>,
    /// Link to another container
    #[arg(long, value_name = "NAME[:ALIAS]")]
    pub(super) link: Vec<String>,
}

/// Its log and its health.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Upkeep")]
pub(crate) struct Upkeep {
    /// How output is kept: json-file, local or none
    #[arg(long, value_name = "DRIVER")]
    pub(super) log_driver: Option<String>,
    /// Option of that driver
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) log_opt: Vec<String>,
    /// Command that finds out whether it works
    #[arg(long, value_name = "COMMAND")]
    pub(super) health_cmd: Option<String>,
    /// Time between two checks
    #[arg(long, value_name = "DURATION")]
    pub(super) health_interval: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub(super) health_retries: Option<i64>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_period: Option<String>,
    /// Time between two checks until it works
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_interval: Option<String>,
    /// Time that a check may take
    #[arg(long, value_name = "DURATION")]
    pub(super) health_timeout: Option<String>,
    /// Make no checks, though the image asks for them
    #[arg(long)]
    pub(super) no_healthcheck: bool,
}
