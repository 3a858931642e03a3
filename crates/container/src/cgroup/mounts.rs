//! Where this host's cgroups are, from `/proc/self/mountinfo` and `/proc/self/cgroup`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use spec::oci::runtime::LinuxResources;

use super::{Error, Hierarchy, View, merge};

/// Where cgroup v2 is when it is the only one.
const UNIFIED: &str = "/sys/fs/cgroup";
/// The magic number of a cgroup v2 filesystem.
const CGROUP2: i64 = 0x6367_7270;

/// See [`View::plan`].
pub(super) fn plan(
    path: Option<&Path>,
    id: &str,
    resources: Option<&LinuxResources>,
) -> Result<View, Error> {
    let given = path.filter(|path| !path.as_os_str().is_empty());
    let path = given.map_or(PathBuf::from(id), Path::to_owned);
    let own = if path.is_absolute() { String::new() } else { own_cgroups()? };
    let inner = inside(&path);
    if is_v2(Path::new(UNIFIED)) {
        let base = Path::new(UNIFIED);
        let parent = base.join(unified_own(&own));
        if given.is_none() && is_beyond_reach(&parent) {
            return Ok(View::V1(Vec::new()));
        }
        return Ok(View::V2 { mount: base.to_owned(), directory: parent.join(inner) });
    }
    let mountinfo = "/proc/self/mountinfo";
    let text = fs::read_to_string(mountinfo).map_err(Error::file("read", mountinfo))?;
    let mut list: Vec<Hierarchy> = hierarchies(&text)
        .into_iter()
        .map(|(mount, controllers)| {
            let directory = mount.join(inside(Path::new(own_of(&own, &controllers)))).join(&inner);
            Hierarchy { controllers, mount, directory, unified: false }
        })
        .collect();
    if list.is_empty() {
        return Err(Error::NoneMounted);
    }
    if let Some(resources) = resources {
        list.extend(hybrid(&text, &list, resources).map(|(mount, controllers)| {
            let directory = mount.join(unified_own(&own)).join(&inner);
            Hierarchy { controllers, mount, directory, unified: true }
        }));
    }
    if given.is_none() {
        list.retain(|one| !one.directory.parent().is_some_and(is_beyond_reach));
    }
    Ok(View::V1(list))
}

fn is_v2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type == CGROUP2)
}

/// The cgroup v2 beside the v1 hierarchies, when `resources` has what only it can do: who is not in
/// it need not join it.
fn hybrid(
    mountinfo: &str,
    v1: &[Hierarchy],
    resources: &LinuxResources,
) -> Option<(PathBuf, Vec<String>)> {
    let mount = mountinfo.lines().find_map(|line| {
        let (mount, _) = line.split_once(" - cgroup2 ")?;
        let mut fields = mount.split(' ').skip(3);
        (fields.next() == Some("/")).then(|| fields.next().map(PathBuf::from))?
    })?;
    let mut controllers = controllers(&mount).ok()?;
    controllers.retain(|name| super::find(v1, name).is_none());
    let needed = merge::controllers(resources);
    let unified = resources.unified().as_ref().is_some_and(|map| !map.is_empty());
    let used = unified || needed.iter().any(|name| controllers.iter().any(|have| have == name));
    used.then_some((mount, controllers))
}

/// What `cgroup.controllers` lists.
pub(super) fn controllers(directory: &Path) -> Result<Vec<String>, Error> {
    let list = directory.join("cgroup.controllers");
    let text = fs::read_to_string(&list).map_err(Error::file("read", list))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Whether cgroups cannot be made in `parent` by a caller who is not root, or root only of a user
/// namespace: without a path in the configuration it then goes without.
fn is_beyond_reach(parent: &Path) -> bool {
    rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_err() && is_rootless()
}

/// Whether the caller is not root on the host.
pub(super) fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || !sys::namespace::in_first_user()
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
