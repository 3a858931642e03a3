//! Security modules: whether the kernel has them, and the labels that a process asks them for.
//!
//! A label is written through a descriptor that was opened on the host's own proc filesystem, before
//! any namespace was entered: nothing that a container mounts over `/proc` can swallow it
//! (CVE-2019-16884, CVE-2025-52881).
//!
//! Spec: OCI runtime-spec, config.md "Linux Process" (`apparmorProfile`, `selinuxLabel`),
//! config-linux.md "Mount Label"; proc_pid_attr(5).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use spec::oci::runtime::Process;

/// The magic number of a proc filesystem, and the inode of its root.
const PROC: (i64, u64) = (0x9fa0, 1);

/// Whether AppArmor is on.
pub(crate) fn has_apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether SELinux is on and its filesystem where it belongs.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// What this process will ask for, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// For the program that is executed next.
    exec: Vec<Label>,
    /// For keyrings that are made.
    keys: Option<Label>,
}

/// An attribute of this process and its value.
#[derive(Debug)]
struct Label {
    attribute: OwnedFd,
    value: String,
}

impl Labels {
    /// Opens the attributes that `process` needs. Call it while `/proc` is the host's.
    pub(crate) fn open(process: &Process) -> io::Result<Self> {
        let mut labels = Self::default();
        if let Some(profile) = text(process.apparmor_profile().as_ref()) {
            // Where several modules are on, the plain name belongs to the first of them.
            let attribute = open("apparmor/exec").or_else(|_| open("exec"))?;
            labels.exec.push(Label { attribute, value: format!("exec {profile}") });
        }
        if let Some(label) = text(process.selinux_label().as_ref()) {
            labels.exec.push(Label { attribute: open("exec")?, value: label.to_owned() });
            labels.keys = Some(Label { attribute: open("keycreate")?, value: label.to_owned() });
        }
        Ok(labels)
    }

    /// Runs `make`, whose keyrings get the label.
    pub(crate) fn with_keys<T>(&self, make: impl FnOnce() -> T) -> io::Result<T> {
        let Some(label) = &self.keys else { return Ok(make()) };
        label.write()?;
        let result = make();
        rustix::io::pwrite(&label.attribute, b"", 0)?;
        Ok(result)
    }

    /// Asks for the labels of the program that is executed next.
    pub(crate) fn apply(&self) -> io::Result<()> {
        self.exec.iter().try_for_each(Label::write)
    }
}

impl Label {
    /// In one piece, as the kernel wants it.
    fn write(&self) -> io::Result<()> {
        rustix::io::pwrite(&self.attribute, self.value.as_bytes(), 0)?;
        Ok(())
    }
}

fn text(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Opens an attribute of this thread for writing.
fn open(name: &str) -> io::Result<OwnedFd> {
    open_beneath(Path::new("/proc"), name)
}

fn open_beneath(proc: &Path, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = openat2(CWD, proc, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    let actual = (rustix::fs::fstatfs(&proc)?.f_type, rustix::fs::fstat(&proc)?.st_ino);
    if actual != PROC {
        let reason = "/proc is not the proc filesystem";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let path = Path::new("thread-self/attr").join(name);
    Ok(openat2(&proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), how)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_opened_on_proc_and_nowhere_else() {
        if let Err(error) = open("exec") {
            // A kernel without any module that has it.
            assert!(matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)), "{error}");
        }
        for place in ["/proc/self", "/tmp", "/sys", "/proc/thread-self/attr"] {
            let refused = open_beneath(Path::new(place), "exec");
            assert_eq!(refused.map_err(|e| e.kind()).err(), Some(io::ErrorKind::InvalidData));
        }
    }

    #[test]
    fn nothing_is_opened_for_a_process_without_labels() {
        let labels = Labels::open(&Process::default()).expect("nothing to open");
        assert!(labels.exec.is_empty() && labels.keys.is_none());
        assert_eq!(labels.with_keys(|| 7).expect("nothing to write"), 7);
        labels.apply().expect("nothing to write");
    }
}
