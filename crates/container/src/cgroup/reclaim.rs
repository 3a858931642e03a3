//! Giving back memory that members can do without for now: caches, and where there is swap what they wrote.

use std::fs;
use std::io;
use std::path::Path;

use spec::annotation::PAUSE;

use super::{Error, View, find};

impl View {
    /// Takes from the members as much memory as the kernel can, which may be none.
    ///
    /// Spec: Documentation/admin-guide/cgroup-v2.rst, `memory.reclaim`, Linux 5.19; cgroup-v1/memory.rst,
    /// `memory.force_empty`.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where this host cannot; [`Error::File`].
    pub(crate) fn reclaim(&self) -> Result<(), Error> {
        let absent = |what: &str| Error::Absent { field: PAUSE, what: what.to_owned() };
        let (file, value) = match self {
            Self::V1(list) => {
                let memory = find(list, "memory").ok_or_else(|| absent("memory controller"))?;
                (memory.directory.join("memory.force_empty"), "0".to_owned())
            }
            Self::V2 { directory, .. } => {
                let used = directory.join("memory.current");
                let used = fs::read_to_string(&used).map_err(Error::file("read", used))?;
                (directory.join("memory.reclaim"), used)
            }
        };
        match fs::write(&file, value.trim_end()) {
            // As much as was possible was less than all.
            Err(error) if is_rest(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absent(&name(&file))),
            done => done.map_err(Error::file("reclaim memory by", file)),
        }
    }
}

fn is_rest(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
