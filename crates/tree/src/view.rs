//! Layers as one tree that is mounted nowhere.
//!
//! Layers are opened first, and the kernel is told their descriptors or numbers, so no path is ever part of
//! an option: a `:` or `,` in one means nothing.
//!
//! Spec: kernel, filesystems/overlayfs.rst "Multiple lower layers".

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, open_tree,
};

/// As many lower layers as an overlay takes.
pub const MOST: usize = 500;

/// Where the kernel has this process's descriptors, by number.
const DESCRIPTORS: &str = "/proc/self/fd";

/// The root of the layers taken together, topmost first. It is there as long as the descriptor, and
/// nobody else sees it. With `writable`, an upper and a work directory, it can be written.
pub fn layers(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    if let ([only], None) = (lower, writable) {
        return open(only);
    }
    match by_context(lower, writable) {
        // Before Linux 6.5 there is one list of lower layers, by names, too long for such a context.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            by_numbers(lower, writable)
        }
        made => made,
    }
}

fn by_context(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&overlay, "source", "overlay")?;
    for layer in lower {
        set(&overlay, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = writable {
        set(&overlay, "upperdir", upper)?;
        set(&overlay, "workdir", work)?;
    }
    fsconfig_set_string(&overlay, "index", "off")?;
    if !sys::namespace::in_first_user() {
        fsconfig_set_flag(&overlay, "userxattr")?;
    }
    fsconfig_create(&overlay)?;
    let flags = MountAttrFlags::empty();
    Ok(fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

fn set(overlay: &OwnedFd, key: &str, layer: &Path) -> io::Result<()> {
    let layer = open(layer)?;
    match fsconfig_set_fd(overlay, key, &layer) {
        // Before Linux 6.13 these take names only.
        Err(Errno::INVAL) => {
            let name = format!("{DESCRIPTORS}/{}", layer.as_raw_fd());
            Ok(fsconfig_set_string(overlay, key, name)?)
        }
        set => Ok(set?),
    }
}

/// The same by mount(2), which takes a page of options: the layers are named by their descriptors' numbers
/// alone. It needs a place to mount on, and nobody looks at `/proc` in a namespace of its own.
fn by_numbers(lower: &[PathBuf], writable: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    const PLACE: &str = "/proc";
    sys::mntns::within_own(|| {
        let lower: Vec<OwnedFd> = lower.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
        let number = |layer: &OwnedFd| layer.as_raw_fd().to_string();
        let names: Vec<String> = lower.iter().map(number).collect();
        let mut options = format!("index=off,lowerdir={}", names.join(":"));
        let writable =
            writable.map(|(upper, work)| Ok::<_, io::Error>([open(upper)?, open(work)?]));
        let writable = writable.transpose()?;
        if let Some([upper, work]) = &writable {
            let (upper, work) = (number(upper), number(work));
            options.extend([",upperdir=", &upper, ",workdir=", &work]);
        }
        if !sys::namespace::in_first_user() {
            options += ",userxattr";
        }
        let options = std::ffi::CString::new(options)?;
        std::env::set_current_dir(DESCRIPTORS)?;
        mount("overlay", PLACE, "overlay", MountFlags::empty(), &*options)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, PLACE, flags)?)
    })
}

/// A directory whose path is ours.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_older_kernel_lays_the_same_over_each_other() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let scratch = tempfile::tempdir().expect("a directory");
        let at = |name: &str| scratch.path().join(name);
        for (name, text) in [("top:a,b\\c", "top"), ("bottom", "bottom"), ("third=x", "third")] {
            fs::create_dir(at(name)).expect("a directory");
            fs::write(at(name).join("name"), text).expect("a file");
            fs::write(at(name).join(text), "").expect("a file");
        }
        let (upper, work) = (at("upper,lowerdir=x"), at("wo:rk"));
        for path in [&upper, &work] {
            fs::create_dir(path).expect("a directory");
        }
        let lower = ["top:a,b\\c", "bottom", "third=x"].map(at);
        for make in [by_context, by_numbers] {
            let root = make(&lower, Some((&upper, &work))).expect("an overlay");
            let seen = PathBuf::from(format!("{DESCRIPTORS}/{}", root.as_raw_fd()));
            assert_eq!(fs::read_to_string(seen.join("name")).expect("a file"), "top");
            assert!(["bottom", "third"].iter().all(|name| seen.join(name).exists()));
            fs::write(seen.join("new"), "").expect("it can be written");
            assert!(upper.join("new").exists() && !at("bottom").join("new").exists());
            fs::remove_file(seen.join("new")).expect("removed");
        }
        assert!(!fs::read_to_string("/proc/self/mountinfo").expect("proc").contains("wo:rk"));
    }
}
