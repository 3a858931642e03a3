//! The socket of the API: our own, or the one that systemd listens at for us.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as Passed;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::Error;

/// Who may connect: root, and the group that the file is given.
const MODE: u32 = 0o660;
/// The group that may, if there is one of this name.
const GROUP: &str = "hull";
/// Where groups are.
const GROUPS: &str = "/etc/group";

/// Where the API is served.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Its file.
    pub(crate) path: PathBuf,
    /// It is not ours to remove.
    passed: bool,
}

impl Socket {
    /// Listens at the socket that was passed, else at `path` for the group.
    pub(crate) fn listen(
        passed: Option<Passed>,
        path: &Path,
        group: Option<&str>,
    ) -> Result<(Self, UnixListener), Error> {
        let Some(passed) = passed else {
            let listener = listen(path, gid(group)?)?;
            return Ok((Self { path: path.to_owned(), passed: false }, listener));
        };
        let failed = |source| Error::Process { doing: "use the socket of systemd", source };
        let address = passed.local_addr().map_err(failed)?;
        let path = address.as_pathname().unwrap_or(path).to_owned();
        passed.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(passed).map_err(failed)?;
        Ok((Self { path, passed: true }, listener))
    }

    /// Removes it, unless it is systemd's.
    pub(crate) fn remove(self) {
        if !self.passed {
            // It may be gone with its directory.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

/// Listens at `path`, in place of what an earlier daemon left. The lock is held: nobody else listens.
fn listen(path: &Path, group: Option<u32>) -> Result<UnixListener, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    // Under another name until its mode is right: nobody can connect in between.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let _ = std::fs::remove_file(new);
    let listener = UnixListener::bind(new).map_err(failed("listen on", path))?;
    if group.is_some() {
        chown(new, None, group).map_err(failed("set group of", new))?;
    }
    std::fs::set_permissions(new, Permissions::from_mode(MODE)).map_err(failed("set mode", new))?;
    std::fs::rename(new, path).map_err(failed("rename", path))?;
    Ok(listener)
}

/// The number of the group that is named, or of [`GROUP`]. Without either the socket is root's alone.
fn gid(name: Option<&str>) -> Result<Option<u32>, Error> {
    let groups = std::fs::read_to_string(GROUPS).unwrap_or_default();
    let Some(name) = name else { return Ok(find(&groups, GROUP)) };
    let found = name.parse().ok().or_else(|| find(&groups, name));
    found.map(Some).ok_or_else(|| Error::Value {
        flag: "group",
        value: name.to_owned(),
        problem: format!("there is no such group in {GROUPS}"),
    })
}

/// The number of a group, by group(5).
fn find(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        fields.nth(1).filter(|_| found)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nhullx:x:7:\nhull:x:998:ann,bob\n";
        assert_eq!(find(groups, "hull"), Some(998));
        assert_eq!(find(groups, "hul"), None);
        assert_eq!(gid(Some("123")).expect("a number"), Some(123));
        let error = gid(Some("no-such-group")).expect_err("none").to_string();
        assert!(error.starts_with("--group no-such-group: "), "{error}");
    }

    #[tokio::test]
    async fn the_file_is_the_groups_and_goes_with_us() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a.sock");
        let own = dir.path().metadata().expect("it is there").gid().to_string();
        let (socket, _listener) = Socket::listen(None, &path, Some(&own)).expect("listens");
        let file = path.metadata().expect("it is there");
        assert_eq!((file.mode() & 0o777, file.gid().to_string()), (0o660, own));
        socket.remove();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_passed_socket_stays_where_it_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("b.sock");
        let passed = Passed::bind(&path).expect("bound");
        let elsewhere = dir.path().join("c.sock");
        let (socket, _listener) = Socket::listen(Some(passed), &elsewhere, None).expect("listens");
        assert_eq!(socket.path, path);
        socket.remove();
        assert!(path.exists() && !elsewhere.exists());
    }
}
