//! Where this host's cgroups are, from `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{Error, Hierarchy, View};

/// Where cgroup v2 is when it is the only one.
const UNIFIED: &str = "/sys/fs/cgroup";
/// The magic number of a cgroup v2 filesystem.
const CGROUP2: i64 = 0x6367_7270;

/// See [`View::plan`].
pub(super) fn plan(path: Option<&Path>, id: &str) -> Result<View, Error> {
    let path = match path {
        Some(path) if !path.as_os_str().is_empty() => path.to_owned(),
        _ => PathBuf::from(id),
    };
    let own = if path.is_absolute() { String::new() } else { own_cgroups()? };
    let inner = inside(&path);
    let unified = rustix::fs::statfs(UNIFIED).is_ok_and(|fs| fs.f_type == CGROUP2);
    if unified {
        let base = Path::new(UNIFIED);
        return Ok(View::V2 {
            mount: base.to_owned(),
            directory: base.join(unified_own(&own)).join(inner),
        });
    }
    let mountinfo = "/proc/self/mountinfo";
    let text = fs::read_to_string(mountinfo).map_err(Error::file("read", mountinfo))?;
    let list: Vec<Hierarchy> = hierarchies(&text)
        .into_iter()
        .map(|(mount, controllers)| {
            let directory = mount.join(inside(Path::new(own_of(&own, &controllers)))).join(&inner);
            Hierarchy { controllers, mount, directory }
        })
        .collect();
    if list.is_empty() { Err(Error::NoneMounted) } else { Ok(View::V1(list)) }
}

fn own_cgroups() -> Result<String, Error> {
    let path = "/proc/self/cgroup";
    fs::read_to_string(path).map_err(Error::file("read", path))
}

/// The path's names alone, so that it stays beneath what it is joined to.
fn inside(path: &Path) -> PathBuf {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => {
                inner.pop();
            }
            _ => {}
        }
    }
    inner
}

/// The directory beneath which a relative path begins on cgroup v2: the parent of the caller's own,
/// since a cgroup with processes cannot have controllers for its children.
fn unified_own(own: &str) -> PathBuf {
    let line = own.lines().find_map(|line| line.strip_prefix("0::"));
    let path = inside(Path::new(line.unwrap_or("/")));
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// The caller's own cgroup in the v1 hierarchy of these controllers.
fn own_of<'a>(own: &'a str, controllers: &[String]) -> &'a str {
    let matching = |line: &&'a str| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields
            .next()
            .is_some_and(|list| list.split(',').any(|name| controllers.iter().any(|c| c == name)))
    };
    own.lines().find(matching).and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or("/")
}

/// Mount points and controllers of the v1 hierarchies in a mountinfo text, each hierarchy once.
pub(super) fn hierarchies(mountinfo: &str) -> Vec<(PathBuf, Vec<String>)> {
    let mut found: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, end)) = line.split_once(" - cgroup ") else { continue };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let options = end.rsplit(' ').next().unwrap_or_default();
        let controllers: Vec<String> =
            options.split(',').filter(|o| is_controller(o)).map(str::to_owned).collect();
        let known = found.iter().any(|(_, list)| *list == controllers);
        if root == "/" && !controllers.is_empty() && !known {
            found.push((PathBuf::from(point), controllers));
        }
    }
    found
}

/// Tells controllers from the other superblock options of a v1 hierarchy.
fn is_controller(option: &str) -> bool {
    let other = [
        "rw",
        "ro",
        "none",
        "xattr",
        "clone_children",
        "noprefix",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    !option.is_empty() && !other.contains(&option) && !option.starts_with("release_agent=")
}
