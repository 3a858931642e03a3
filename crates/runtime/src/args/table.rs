//! The commands and their flags.

use super::flag::{Command, Flag, list, switch, value};

const ID: &str = "<container-id>";

const BUNDLE: Flag =
    value("bundle", "path to the root of the bundle directory, defaults to the current directory")
        .short("b");
const CONSOLE_SOCKET: Flag = value(
    "console-socket",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the \
     console's pseudoterminal",
);
const PIDFD_SOCKET: Flag = value(
    "pidfd-socket",
    "path to an AF_UNIX socket which will receive a file descriptor referencing the process",
);
const PID_FILE: Flag = value("pid-file", "specify the file to write the process id to");
const DETACH: Flag = switch("detach", "detach from the container's process").short("d");
const NO_SUBREAPER: Flag =
    switch("no-subreaper", "disable the use of the subreaper used to reap reparented processes");
const NO_PIVOT: Flag = switch(
    "no-pivot",
    "do not use pivot root to jail process inside rootfs. This should be used whenever the rootfs is on \
     top of a ramdisk",
);
const NO_NEW_KEYRING: Flag = switch(
    "no-new-keyring",
    "do not create a new session keyring for the container. This will cause the container to inherit \
     the calling processes session key",
);
const PRESERVE_FDS: Flag = value(
    "preserve-fds",
    "pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)",
);
const HOST: Flag = value(
    "host",
    "the container, of the same root, in whose VM this one is made beside it; each has a root, processes and \
     limits of its own",
);
const VM_CONSOLE: Flag = value(
    "vm-console",
    "path of a unix socket, made for it, on which the console of the container's VM can be read while that runs",
);
const VM_LOG: Flag = value(
    "vm-log",
    "file to which the log of the container's VM is appended; for VM containers only",
);
const FORMAT: Flag =
    value("format", "select one of: table or json (default: \"table\")").short("f");

/// Flags of `update`. Those without a text are obsolete, and not shown.
const UPDATE: &[Flag] = &[
    value(
        "resources",
        "path to the file containing the resources to update or '-' to read from the standard input; \
         all other options are then ignored",
    )
    .short("r"),
    value("blkio-weight", "Specifies per cgroup weight, range is from 10 to 1000"),
    value("cpu-period", "CPU CFS period to be used for hardcapping (in usecs). 0 to use system default"),
    value("cpu-quota", "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period"),
    value("cpu-burst", "CPU CFS hardcap burst limit (in usecs), accumulated additionally for a burst"),
    value("cpu-share", "CPU shares (relative weight vs. other containers)"),
    value("cpu-rt-period", "CPU realtime period to be used for hardcapping (in usecs)"),
    value("cpu-rt-runtime", "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period"),
    value("cpuset-cpus", "CPU(s) to use"),
    value("cpuset-mems", "Memory node(s) to use"),
    value("kernel-memory", ""),
    value("kernel-memory-tcp", ""),
    value("memory", "Memory limit (in bytes)"),
    value("cpu-idle", "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"),
    value("memory-reservation", "Memory reservation or soft_limit (in bytes)"),
    value("memory-swap", "Total memory usage (memory + swap); set '-1' to enable unlimited swap"),
    value("pids-limit", "Maximum number of pids allowed in the container"),
    value("l3-cache-schema", "The string of Intel RDT/CAT L3 cache schema"),
    value("mem-bw-schema", "The string of Intel RDT/MBA memory bandwidth schema"),
];

const IMAGE_PATH: Flag = value(
    "image-path",
    "path to the criu image files (default: \"checkpoint\" in the current directory)",
);
const WORK_PATH: Flag = value("work-path", "path for saving work files and logs");
const TCP_ESTABLISHED: Flag = switch("tcp-established", "allow open tcp connections");
const EXT_UNIX_SK: Flag = switch("ext-unix-sk", "allow external unix sockets");
const SHELL_JOB: Flag = switch("shell-job", "allow shell jobs");
const FILE_LOCKS: Flag = switch("file-locks", "handle file locks, for safety");
const CGROUPS_MODE: Flag =
    value("manage-cgroups-mode", "cgroups mode: soft|full|strict|ignore (default: soft)");
const EMPTY_NS: Flag = list("empty-ns", "create a namespace, but don't restore its properties");
const AUTO_DEDUP: Flag = switch("auto-dedup", "enable auto deduplication of memory images");
const LAZY_PAGES: Flag = switch("lazy-pages", "use userfaultfd to lazily restore memory pages");

/// Flags before the command.
pub(super) const GLOBAL: &[Flag] = &[
    switch("debug", "enable debug logging"),
    value("log", "set the log file to write logs to (default is '/dev/stderr')"),
    value("log-format", "set the log format ('text' (default), or 'json')"),
    value(
        "root",
        "root directory for storage of container state (this should be located in tmpfs)",
    ),
    value("criu", ""),
    switch(
        "systemd-cgroup",
        "enable systemd cgroup support, expects cgroupsPath to be of form \"slice:prefix:name\" for \
         e.g. \"system.slice:runc:434234\"",
    ),
    value(
        "rootless",
        "ignore cgroup permission errors ('true', 'false', or 'auto') (default: \"auto\")",
    ),
    switch("help", "show help").short("h"),
    switch("version", "print the version").short("v"),
];

/// A command with one argument, the container's id.
const fn on_container(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Command {
    Command { name, about, arguments: ID, count: (1, 1), program: false, flags }
}

/// Every command, by name.
pub(crate) const COMMANDS: &[Command] = &[
    on_container(
        "checkpoint",
        "checkpoint a running container",
        &[
            IMAGE_PATH,
            WORK_PATH,
            value("parent-path", "path for previous criu image files in pre-dump"),
            switch("leave-running", "leave the process running after checkpointing"),
            TCP_ESTABLISHED,
            switch("tcp-skip-in-flight", "skip in-flight tcp connections"),
            switch("link-remap", "allow one to link unlinked files back when possible"),
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            value("status-fd", "\\0 is written to this FD once lazy-pages is ready"),
            value("page-server", "ADDRESS:PORT of the page server"),
            FILE_LOCKS,
            switch(
                "pre-dump",
                "dump container's memory information only, leave the container running after this",
            ),
            CGROUPS_MODE,
            EMPTY_NS,
            AUTO_DEDUP,
        ],
    ),
    on_container(
        "create",
        "create a container",
        &[
            BUNDLE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PID_FILE,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
            HOST,
            VM_CONSOLE,
            VM_LOG,
        ],
    ),
    Command {
        name: "create-scratch",
        about: "create a scratch space, the last of a bundle's windows.layerFolders",
        arguments: "",
        count: (0, 0),
        program: false,
        flags: &[
            value("destpath", "Required: path of the directory to create"),
            value("sizeGB", "optional: the most that containers in VMs write there, in GiB"),
        ],
    },
    on_container(
        "delete",
        "delete any resources held by the container often used with detached container",
        &[switch("force", "forcibly deletes the container if it is still running (uses SIGKILL)")
            .short("f")],
    ),
    on_container(
        "events",
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
        &[
            value("interval", "set the stats collection interval (default: 5s)"),
            switch("stats", "display the container's stats then exit"),
        ],
    ),
    Command {
        name: "exec",
        about: "execute new process inside the container",
        arguments: "<container-id> <command> [command options] || -p process.json <container-id>",
        count: (1, usize::MAX),
        program: true,
        flags: &[
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            value("cwd", "current working directory in the container"),
            list("env", "set environment variables").short("e"),
            switch("tty", "allocate a pseudo-TTY").short("t"),
            value("user", "UID (format: <uid>[:<gid>])").short("u"),
            list("additional-gids", "additional gids").short("g"),
            value("process", "path to the process.json").short("p"),
            DETACH,
            PID_FILE,
            value(
                "process-label",
                "set the asm process label for the process commonly used with selinux",
            ),
            value("apparmor", "set the apparmor profile for the process"),
            switch("no-new-privs", "set the no new privileges value for the process"),
            list("cap", "add a capability to the bounding set for the process").short("c"),
            PRESERVE_FDS,
            list(
                "cgroup",
                "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>",
            ),
            switch("ignore-paused", "allow exec in a paused container"),
        ],
    },
    Command {
        name: "features",
        about: "show the enabled features",
        arguments: "",
        count: (0, 0),
        program: false,
        flags: &[],
    },
    Command {
        name: "kill",
        about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
        arguments: "<container-id> [signal]",
        count: (1, 2),
        program: false,
        flags: &[switch("all", "send the signal to all processes inside the container").short("a")],
    },
    Command {
        name: "list",
        about: "lists containers with the given root",
        arguments: "",
        count: (0, 0),
        program: false,
        flags: &[FORMAT, switch("quiet", "display only container IDs").short("q")],
    },
    on_container("pause", "pause suspends all processes inside the container", &[]),
    Command {
        name: "ps",
        about: "ps displays the processes running inside a container",
        arguments: "<container-id> [ps options]",
        count: (1, usize::MAX),
        program: true,
        flags: &[FORMAT],
    },
    Command {
        name: "resize-tty",
        about: "set the size of the terminal of the container's init process",
        arguments: "<container-id> <width> <height>",
        count: (3, 3),
        program: false,
        flags: &[],
    },
    on_container(
        "restore",
        "restore a container from a previous checkpoint",
        &[
            CONSOLE_SOCKET,
            IMAGE_PATH,
            WORK_PATH,
            TCP_ESTABLISHED,
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            CGROUPS_MODE,
            BUNDLE,
            DETACH,
            PID_FILE,
            NO_SUBREAPER,
            // criu enters the root filesystem in its own way; runc's callers pass this all the same.
            NO_PIVOT,
            EMPTY_NS,
            AUTO_DEDUP,
            LAZY_PAGES,
            value(
                "lsm-profile",
                "specify an LSM profile to be used during restore in the form of TYPE:NAME",
            ),
            value("lsm-mount-context", "specify an LSM mount context to be used during restore"),
        ],
    ),
    on_container("resume", "resumes all processes that have been previously paused", &[]),
    on_container(
        "run",
        "create and run a container",
        &[
            BUNDLE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            DETACH,
            switch("keep", "do not delete the container after it exits"),
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
            HOST,
            VM_CONSOLE,
            VM_LOG,
        ],
    ),
    Command {
        name: "spec",
        about: "create a new specification file",
        arguments: "",
        count: (0, 0),
        program: false,
        flags: &[
            value("bundle", "path to the root of the bundle directory").short("b"),
            switch("rootless", "generate a configuration for a rootless container"),
        ],
    },
    on_container("start", "executes the user defined process in a created container", &[]),
    on_container("state", "output the state of a container", &[]),
    on_container("update", "update container resource constraints", UPDATE),
];

/// The command with this name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice() {
        for command in COMMANDS {
            let mut names: Vec<&str> = command.flags.iter().map(|flag| flag.name).collect();
            names.extend(command.flags.iter().map(|flag| flag.short).filter(|s| !s.is_empty()));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", command.name);
        }
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
    }
}
