//! The flags of `checkpoint` and `restore`.

use std::path::PathBuf;

use spec::ContainerId;

use super::{Error, Line};

/// Flags that both have, and that are criu's own.
#[derive(Debug)]
pub(crate) struct Criu {
    /// Where the images are, `./checkpoint` unless told.
    pub(crate) images: PathBuf,
    /// Where logs go; `None` for beside the images.
    pub(crate) work: Option<PathBuf>,
    /// A number of criu's `criu_cg_mode`.
    pub(crate) cgroups: u64,
    /// Switches that are on, by their names.
    pub(crate) switches: Vec<&'static str>,
}

/// What `checkpoint` is told.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) id: ContainerId,
    pub(crate) criu: Criu,
    /// Images of an earlier pre-dump, relative to the images.
    pub(crate) parent: Option<PathBuf>,
    /// Address and port.
    pub(crate) page_server: Option<(String, u16)>,
    /// Descriptor for a zero byte once pages can be asked for.
    pub(crate) status_fd: Option<i32>,
}

/// What `restore` is told.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) id: ContainerId,
    pub(crate) criu: Criu,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) detach: bool,
    pub(crate) subreaper: bool,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}

/// Switches that are passed on to criu, and two that change what is asked.
const SWITCHES: [&str; 10] = [
    "leave-running",
    "tcp-established",
    "tcp-skip-in-flight",
    "link-remap",
    "ext-unix-sk",
    "shell-job",
    "lazy-pages",
    "file-locks",
    "pre-dump",
    "auto-dedup",
];

impl Criu {
    fn of(line: &Line) -> Result<Self, Error> {
        // The network is the one namespace whose content is never criu's.
        if let Some(other) = line.list("empty-ns")?.into_iter().find(|name| name != "network") {
            return Err(Error::value("empty-ns", &other, "network"));
        }
        let cgroups = match line.text("manage-cgroups-mode")?.as_deref() {
            Some("ignore") => 0,
            Some("soft") => 3,
            Some("full") => 4,
            Some("strict") => 5,
            None => 6,
            Some(other) => {
                let want = "soft, full, strict or ignore";
                return Err(Error::value("manage-cgroups-mode", other, want));
            }
        };
        Ok(Self {
            images: line.path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")),
            work: line.path("work-path"),
            cgroups,
            switches: SWITCHES.into_iter().filter(|name| line.switch(name)).collect(),
        })
    }

    /// Whether the switch is on.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }
}

/// Reads the flags of `checkpoint`.
pub(super) fn checkpoint(line: &mut Line) -> Result<Checkpoint, Error> {
    let parent = line.path("parent-path");
    if let Some(path) = parent.as_ref().filter(|path| path.is_absolute()) {
        return Err(Error::value("parent-path", &path.display().to_string(), "a relative path"));
    }
    let page_server = line.text("page-server")?.map(|text| {
        let parts = text.rsplit_once(':').filter(|(address, _)| !address.is_empty());
        let parts =
            parts.and_then(|(address, port)| Some((address.to_owned(), port.parse().ok()?)));
        parts.ok_or_else(|| Error::value("page-server", &text, "ADDRESS:PORT"))
    });
    Ok(Checkpoint {
        id: super::id(line)?,
        criu: Criu::of(line)?,
        parent,
        page_server: page_server.transpose()?,
        status_fd: line.number("status-fd")?.filter(|fd| *fd >= 0),
    })
}

/// Reads the flags of `restore`.
pub(super) fn restore(line: &mut Line) -> Result<Restore, Error> {
    Ok(Restore {
        id: super::id(line)?,
        criu: Criu::of(line)?,
        bundle: super::bundle(line),
        console_socket: line.path("console-socket"),
        pid_file: line.path("pid-file"),
        detach: line.switch("detach"),
        subreaper: !line.switch("no-subreaper"),
        lsm_profile: line.text("lsm-profile")?,
        lsm_mount_context: line.text("lsm-mount-context")?,
    })
}
