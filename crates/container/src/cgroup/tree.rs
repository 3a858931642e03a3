//! Directories of cgroup filesystems: made with what must be set before they can be joined, looked
//! through, and removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Error, Hierarchy, gone, mounts};

/// Makes the directory in a v1 hierarchy. One that exists must be empty but for
/// `joined`.
pub(super) fn make_v1(hierarchy: &Hierarchy, joined: Option<i32>) -> Result<(), Error> {
    let directory = &hierarchy.directory;
    let existed = make_directories(directory)?;
    if existed {
        vacant(directory, joined)?;
    }
    if hierarchy.controllers.iter().any(|name| name == "cpuset") {
        inherit_cpuset(&hierarchy.mount, directory)?;
    }
    Ok(())
}

/// Makes `directory` and what is missing above it; whether it existed.
fn make_directories(directory: &Path) -> Result<bool, Error> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory).map_err(Error::file("make", directory))?;
            Ok(false)
        }
        Err(error) => Err(Error::file("make", directory)(error)),
    }
}

/// Fails for a cgroup that others are in, or in which nothing would run.
fn vacant(directory: &Path, joined: Option<i32>) -> Result<(), Error> {
    let mut pids = Vec::new();
    collect(directory, &mut pids)?;
    pids.retain(|pid| Some(*pid) != joined);
    if !pids.is_empty() {
        return Err(Error::NotEmpty { path: directory.to_owned(), count: pids.len() });
    }
    let says = |file: &str, word: &str| {
        fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim() == word)
    };
    if says("freezer.self_freezing", "1") || says("cgroup.freeze", "1") {
        return Err(Error::Frozen { path: directory.to_owned() });
    }
    Ok(())
}

/// A new cpuset has no processors and no memory nodes, and so cannot be joined: from the outermost
/// on, each that has none gets its parent's.
fn inherit_cpuset(mount: &Path, directory: &Path) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let read = |directory: &Path| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(Error::file("read", path))
        };
        let mut empty = Vec::new();
        let mut value = String::new();
        for path in directory.ancestors().take_while(|path| path.starts_with(mount)) {
            value = read(path)?;
            if !value.trim().is_empty() {
                break;
            }
            empty.push(path);
        }
        for path in empty.into_iter().rev() {
            let to = path.join(name);
            fs::write(&to, value.trim()).map_err(Error::file("write", to))?;
        }
    }
    Ok(())
}

/// Makes the directory, with every available controller turned on down to it. One that exists must be
/// empty. `domain`: limits of controllers that know no threads are to be set.
pub(super) fn make_v2(
    mount: &Path,
    directory: &Path,
    domain: bool,
    joined: Option<i32>,
) -> Result<(), Error> {
    let available = mounts::controllers(mount)?;
    let wanted: Vec<String> = available.iter().map(|name| format!("+{name}")).collect();
    let enable = |parent: &Path| {
        let file = parent.join("cgroup.subtree_control");
        if fs::write(&file, wanted.join(" ")).is_err() {
            // One at a time: a controller that cannot be turned on here is missed only when it is
            // used, by an error that names the field.
            for name in &wanted {
                let _ = fs::write(&file, name);
            }
        }
    };
    let beneath = directory.strip_prefix(mount).unwrap_or(directory);
    let mut parent = mount.to_owned();
    for name in beneath {
        enable(&parent);
        parent.push(name);
        let made = match fs::create_dir(&parent) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::file("make", parent)(error)),
        };
        domain_or_threaded(&parent, domain).inspect_err(|_| {
            if made {
                // It was no use to anybody.
                let _ = fs::remove_dir(&parent);
            }
        })?;
        if !made && parent == directory {
            vacant(&parent, joined)?;
        }
    }
    Ok(())
}

/// A cgroup beneath one that has processes is invalid until it is made threaded; a threaded one has
/// only some controllers.
fn domain_or_threaded(path: &Path, domain: bool) -> Result<(), Error> {
    let file = path.join("cgroup.type");
    let state = fs::read_to_string(&file).unwrap_or_default();
    match (state.trim(), domain) {
        ("domain invalid" | "threaded" | "domain threaded", true) => {
            Err(Error::Threaded { path: path.to_owned(), state: state.trim().to_owned() })
        }
        ("domain invalid", false) => {
            fs::write(&file, "threaded").map_err(Error::file("make threaded", file))
        }
        _ => Ok(()),
    }
}

/// Adds the pids of `directory` and of all beneath it.
pub(super) fn collect(directory: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        // A 0 is a process outside this pid namespace.
        Ok(text) => pids
            .extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup lists its processes in its domain.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(Error::file("read", file)(error)),
    }
    for child in children(directory) {
        collect(&child, pids)?;
    }
    Ok(())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(metadata) = fs::metadata(directory) else { return Vec::new() };
    // A cgroup's link count is two and one for each child.
    if std::os::unix::fs::MetadataExt::nlink(&metadata) <= 2 {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

/// Removes a cgroup and those in it, waiting for dying members until `deadline`.
pub(super) fn remove(directory: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
            {
                for child in children(directory) {
                    remove(&child, deadline)?;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(Error::file("remove", directory)(error)),
        }
    }
}
