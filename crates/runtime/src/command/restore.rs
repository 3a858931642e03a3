//! `restore`: brings back by criu what `checkpoint` saved.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use container::checkpoint::Restoring;
use container::{CreateOptions, Launched};
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
};
use spec::oci::runtime::{LinuxNamespaceType as Namespace, Spec};

use super::checkpoint::{self as saved, Places, external, field, is_bind};
use super::{Error, Making, absolute, clean_up, config, console_for};
use crate::args::Restore;
use crate::console;
use crate::criu::{self, Call, Event, Message, Request, number_in};
use crate::foreground::Foreground;
use crate::socket;

const DEVICES: u32 = 6;
const ROOTS: u32 = 25;
const SIBLING: u32 = 26;
const INHERIT: u32 = 27;
const JOIN: u32 = 39;
const PROFILE: u32 = 53;
const CONTEXT: u32 = 63;

/// Brings the container back and waits for its end unless detached.
pub(super) fn run(making: &Making<'_>, flags: &Restore) -> Result<u8, Error> {
    let foreground = Foreground::begin(flags.subreaper && !flags.detach)
        .map_err(Error::step("hold back signals"))?;
    let pid_file = flags.pid_file.as_deref().map(absolute).transpose()?;
    let places = Places::open(&flags.criu, "restore.log")?;
    let images = absolute(&flags.criu.images)?;
    let spec = config(&flags.bundle, making.log)?;
    std::env::set_current_dir(&flags.bundle).map_err(Error::file("enter", &flags.bundle))?;
    criu::check()?;
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    let console = console_for(terminal, flags.detach, flags.console_socket.as_ref())?;
    let mut options = CreateOptions::new(Path::new("."), &spec);
    options.systemd_cgroup = making.global.systemd_cgroup;
    options.pid_file = pid_file.as_deref();
    let mut pty = None;
    let restored = making
        .store
        .restore(&flags.id, &options, |restoring| {
            let mut job =
                Job { making, flags, spec: &spec, places: &places, images: &images, restoring };
            job.run(&mut pty).map_err(io::Error::other)
        })
        .map_err(Error::container("restore", &flags.id))?;
    if let (container::Console::Socket(socket), Some(master)) =
        (&console, pty.take_if(|_| flags.detach))
    {
        socket::send(socket, "orphan-pts-master", &master)
            .map_err(Error::step("send the terminal to the console socket"))?;
    }
    if flags.detach {
        return Ok(0);
    }
    if let Some(pty) = &pty {
        console::pass_line_ends(pty);
    }
    let launched = Launched { pid: restored.pid, pidfd: restored.pidfd, pty, warnings: Vec::new() };
    let status = foreground.wait(&launched).map_err(Error::step("wait for the container"));
    clean_up(making, restored.container, "restore")?;
    status
}

/// What is known while criu works.
struct Job<'a> {
    making: &'a Making<'a>,
    flags: &'a Restore,
    spec: &'a Spec,
    places: &'a Places,
    images: &'a Path,
    restoring: &'a Restoring<'a>,
}

/// The root filesystem as criu wants it: a mount whose parent nothing covers.
struct Root(PathBuf);

impl Root {
    fn mount(restoring: &Restoring<'_>) -> Result<Self, Error> {
        let path = restoring.directory().join("criu-root");
        fs::create_dir(&path).map_err(Error::file("make", &path))?;
        let root = Self(path);
        mount_bind_recursive(restoring.rootfs(), &root.0)
            .map_err(|error| Error::file("mount", &root.0)(error.into()))?;
        // What criu mounts there is nobody else's.
        mount_change(&root.0, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(|error| Error::file("mount", &root.0)(error.into()))?;
        Ok(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What cannot be undone here is undone with the container's directory.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

impl Job<'_> {
    /// Gives the init's number; a terminal's master ends up in `pty`.
    fn run(&mut self, pty: &mut Option<OwnedFd>) -> Result<i32, Error> {
        let root = Root::mount(self.restoring)?;
        self.mount_points(&root)?;
        let mut options = saved::common(&self.flags.criu, self.places, &annotations(self.spec));
        options
            .flag(DEVICES, true)
            .flag(SIBLING, true)
            .text(field::ROOT, root.0.as_os_str().as_encoded_bytes());
        for (number, text) in
            [(PROFILE, &self.flags.lsm_profile), (CONTEXT, &self.flags.lsm_mount_context)]
        {
            if let Some(text) = text {
                options.text(number, text);
            }
        }
        self.mounts(&mut options);
        self.streams(&mut options)?;
        let inherited = self.namespaces(&mut options)?;
        let log = &self.places.log;
        let mut call = Call {
            kind: Request::Restore,
            options: None,
            inherited: &inherited,
            streams: true,
            log,
        };
        let session = call.start()?;
        self.restoring.admit(session.pid()).map_err(Error::container("restore", &self.flags.id))?;
        for (controllers, path) in cgroups(session.pid())? {
            let mut pair = Message::default();
            pair.text(1, controllers).text(2, path);
            options.nested(ROOTS, &pair);
        }
        call.options = Some(&options);
        let mut init = None;
        let answer = call.run(session, &mut |event| self.event(event, &mut init, pty))?;
        let pid = number_in(&answer, 4, 1).and_then(|pid| i32::try_from(pid).ok()).or(init);
        pid.ok_or_else(|| criu::Error::Answer("no process").into())
    }

    fn event(
        &self,
        event: Event,
        init: &mut Option<i32>,
        pty: &mut Option<OwnedFd>,
    ) -> io::Result<()> {
        self.making.log.debug(&format!("criu: {}", event.script));
        match event.script.as_str() {
            "setup-namespaces" => self.restoring.hooks(event.pid).map_err(io::Error::other)?,
            "post-restore" => *init = Some(event.pid),
            "orphan-pts-master" => *pty = event.fd,
            _ => {}
        }
        Ok(())
    }

    /// Makes the targets of mounts that the root filesystem does not have yet.
    fn mount_points(&self, root: &Root) -> Result<(), Error> {
        let all = || self.spec.mounts().iter().flatten();
        for one in all() {
            let kind = one.typ().as_deref().unwrap_or_default();
            let in_tmpfs = all().any(|above| {
                above.typ().as_deref() == Some("tmpfs")
                    && above.destination() != one.destination()
                    && one.destination().starts_with(above.destination())
            });
            // Those are in the images.
            if kind.starts_with("cgroup") || in_tmpfs {
                continue;
            }
            let file = is_bind(one) && one.source().as_ref().is_some_and(|source| source.is_file());
            make_target(&root.0, one.destination(), file)
                .map_err(Error::file("make the target of a mount,", one.destination()))?;
        }
        Ok(())
    }

    /// Where mounts come from that are the host's.
    fn mounts(&self, options: &mut Message) {
        for one in self.spec.mounts().iter().flatten() {
            let destination = one.destination();
            if one.typ().as_deref().is_some_and(|kind| kind.starts_with("cgroup")) {
                for (inside, directory) in self.restoring.cgroup_mounts(destination) {
                    saved::mount(options, &inside, &directory);
                }
            } else if is_bind(one)
                && let Some(source) = one.source()
            {
                let source = std::path::absolute(source).unwrap_or_else(|_| source.clone());
                saved::mount(options, destination, &source);
            }
        }
        let Some(linux) = self.spec.linux() else { return };
        if linux.masked_paths().as_ref().is_some_and(|paths| !paths.is_empty()) {
            saved::mount(options, Path::new("/dev/null"), Path::new("/dev/null"));
        }
        for device in linux.devices().iter().flatten() {
            saved::mount(options, device.path(), device.path());
        }
    }

    /// Pipes that were the streams become this process's streams.
    fn streams(&self, options: &mut Message) -> Result<(), Error> {
        let path = self.images.join(saved::STREAMS);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        let names: Vec<String> =
            serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?;
        for (number, name) in (0..).zip(&names) {
            if name.contains("pipe:") {
                inherit(options, name, number);
            }
        }
        Ok(())
    }

    /// Namespaces that are joined by path.
    fn namespaces(&self, options: &mut Message) -> Result<Vec<OwnedFd>, Error> {
        let mut inherited = Vec::new();
        for (_, path, _, key) in external(self.spec) {
            let file = File::open(path).map_err(Error::file("open", path))?;
            inherit(options, key, u64::from(file.as_fd().as_raw_fd().cast_unsigned()));
            inherited.push(file.into());
        }
        let list = self.spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten());
        for one in list {
            let Some(path) = one.path().as_ref().filter(|path| !path.as_os_str().is_empty()) else {
                continue;
            };
            let name = match one.typ() {
                Namespace::Network | Namespace::Pid => continue,
                Namespace::Cgroup | Namespace::Time => {
                    let text = format!("linux.namespaces: criu joins no {} namespace", one.typ());
                    return Err(Error::Usage(text));
                }
                Namespace::Mount => "mnt",
                Namespace::Ipc => "ipc",
                Namespace::Uts => "uts",
                Namespace::User => "user",
            };
            let mut join = Message::default();
            join.text(1, name).text(2, path.as_os_str().as_encoded_bytes());
            options.nested(JOIN, &join);
        }
        Ok(inherited)
    }
}

fn annotations(spec: &Spec) -> std::collections::HashMap<String, String> {
    spec.annotations().clone().unwrap_or_default()
}

fn inherit(options: &mut Message, key: &str, fd: u64) {
    let mut pair = Message::default();
    pair.text(1, key).number(2, fd);
    options.nested(INHERIT, &pair);
}

/// Controllers and path of each cgroup of a process.
fn cgroups(pid: u32) -> Result<Vec<(String, String)>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).map_err(Error::file("read", path))?;
    let pair = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

/// Makes a directory or file beneath `root`, following no symlink that is there.
fn make_target(root: &Path, target: &Path, file: bool) -> io::Result<()> {
    let names: Vec<&std::ffi::OsStr> = target
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut path = root.to_owned();
    for (index, name) in names.iter().enumerate() {
        path.push(name);
        match path.symlink_metadata() {
            // criu follows it inside of the root; where it leads was there at the checkpoint.
            Ok(metadata) if metadata.is_symlink() => return Ok(()),
            Ok(_) => {}
            Err(_) if file && index + 1 == names.len() => drop(File::create_new(&path)?),
            Err(_) => fs::create_dir(&path)?,
        }
    }
    Ok(())
}
