//! Probes of what virtual machines need.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use spec::kernel::Version;
use spec::modules::{LATER, NEEDED, Tree};
use spec::options::Options;

use super::{Finding, host, run};

/// What kernels' files are called, before their release.
const PREFIX: &str = "vmlinuz-";
/// What a kernel says first.
const GREETING: &str = "Linux version";
/// How long a guest may take to say it: a KVM within a machine that has none hangs.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn tools(_: &Options) -> Finding {
    let tools =
        [("mkfs.erofs", "erofs-utils"), ("mkfs.ext4", "e2fsprogs"), ("busybox", "busybox-static")];
    let lacks =
        |(tool, _): &&(&str, &str)| run("sh", &["-c", &format!("command -v {tool}")]).is_err();
    let missing: Vec<_> = tools.iter().filter(lacks).collect();
    if missing.is_empty() {
        return Finding::works("mkfs.erofs, mkfs.ext4, busybox");
    }
    let (names, packages): (Vec<_>, Vec<_>) = missing.into_iter().copied().unzip();
    Finding::missing(
        format!("no {}", names.join(", ")),
        format!("sudo apt install {}", packages.join(" ")),
    )
}

pub(super) fn qemu(host: &Options) -> Finding {
    match run(&host.vm.qemu.to_string_lossy(), &["--version"]) {
        Ok(text) => Finding::works(text.lines().next().unwrap_or_default()),
        Err(error) => Finding::missing(error, "sudo apt install qemu-system-x86"),
    }
}

/// The kernel that guests get unless they ask for another: the engine's, else the newest.
fn usual(host: &Options) -> Option<PathBuf> {
    match &host.vm.kernel {
        Some(kernel) => Some(kernel.clone()).filter(|kernel| kernel.exists()),
        None => beneath(&host.kernel_dir().join("boot")).pop(),
    }
}

/// The kernels in a directory, the newest last.
fn beneath(boot: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(boot).into_iter().flatten().flatten();
    let mut kernels: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| release(path).is_some()).collect();
    kernels.sort_by_key(|path| release(path).map(|release| Version::parse(&release)));
    kernels
}

fn release(kernel: &Path) -> Option<String> {
    Some(kernel.file_name()?.to_str()?.strip_prefix(PREFIX)?.to_owned())
}

/// The releases of the kernels that guests can have, that of most of them first.
pub(super) fn releases(host: &Options) -> Vec<String> {
    let Some(usual) = usual(host) else { return Vec::new() };
    let mut others = beneath(usual.parent().unwrap_or(Path::new("/")));
    others.retain(|kernel| *kernel != usual);
    let all = [usual].into_iter().chain(others.into_iter().rev());
    all.map(|kernel| release(&kernel).unwrap_or_else(|| kernel.display().to_string())).collect()
}

pub(super) fn kernel(host: &Options) -> Finding {
    if let Some(path) = usual(host) {
        return Finding::works(path.display().to_string());
    }
    let place = host.vm.kernel.clone().unwrap_or_else(|| host.kernel_dir().join("boot"));
    Finding::missing(
        format!("none at {}", place.display()),
        "sudo make vm-kernel in Hull's source, sudo /usr/lib/hull/vm-kernel of its package, or \
         hulld --vm-kernel FILE",
    )
}

/// Whether a guest finds its devices, and disks that it gets while it runs: those of every further container
/// of its pod.
pub(super) fn modules(host: &Options) -> Finding {
    let another = "sudo make vm-kernel, or hulld --vm-kernel FILE --vm-modules DIR";
    let Some(kernel) = usual(host) else {
        return Finding::degraded("no guest kernel to look at", another);
    };
    let tree = host.vm.modules.clone().unwrap_or_else(|| modules_beside(&kernel));
    let list = tree.join("modules.dep");
    let dep = match fs::read_to_string(&list) {
        Ok(dep) => dep,
        Err(error) => return Finding::missing(format!("{}: {error}", list.display()), another),
    };
    let builtin = fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
    let modules = Tree::parse(&dep, &builtin);
    match (modules.lacks(&NEEDED), modules.lacks(&LATER)) {
        (Some(name), _) => Finding::missing(format!("no {name}: no VM starts"), another),
        (None, Some(name)) => {
            Finding::degraded(format!("no {name}: one container per VM, no block devices"), another)
        }
        (None, None) => Finding::works("a VM gets its devices, and disks while it runs"),
    }
}

/// For `X/boot/vmlinuz-R`, `X/lib/modules/R`, or the same beneath `usr`.
fn modules_beside(kernel: &Path) -> PathBuf {
    let root = kernel.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let release = release(kernel).unwrap_or_default();
    let [own, usr] = ["lib/modules", "usr/lib/modules"].map(|at| root.join(at).join(&release));
    if usr.exists() && !own.exists() { usr } else { own }
}

/// Boots a guest with KVM, as far as its kernel's first words.
pub(super) fn boot(options: &Options) -> Finding {
    if !PathBuf::from("/dev/kvm").exists() {
        return Finding::degraded(
            "no /dev/kvm: machines are emulated, slowly, and the wall is software",
            "turn virtualisation on in the firmware; sudo modprobe kvm_intel (or kvm_amd)",
        );
    }
    let Some(kernel) = usual(options) else {
        return Finding::degraded(
            "/dev/kvm is there; no guest kernel to try it with",
            "sudo make vm-kernel",
        );
    };
    let mut qemu = Command::new(&options.vm.qemu);
    qemu.args(["-accel", "kvm", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel);
    match greeting(qemu) {
        Ok(()) => Finding::works("a guest was booted with KVM"),
        Err(error) if host::for_root(&error) => Finding::untried(error, "sudo hull doctor"),
        Err(error) => Finding::degraded(
            format!("KVM does not boot a guest ({error}): machines are emulated, slowly"),
            "run Hull on a machine whose hypervisor allows nested virtualisation",
        ),
    }
}

/// Waits for a guest's first words, and ends it.
fn greeting(mut qemu: Command) -> Result<(), String> {
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = qemu.spawn().map_err(|error| spec::chain(&error))?;
    let (tell, told) = mpsc::channel();
    let screen = child.stdout.take();
    // Ends with the guest.
    thread::spawn(move || tell.send(screen.is_some_and(seen)));
    let seen = told.recv_timeout(PATIENCE);
    let said = end(&mut child);
    match seen {
        Ok(true) => Ok(()),
        Ok(false) => Err(said.lines().last().unwrap_or("it ended without a word").to_owned()),
        Err(_) => Err(format!("nothing on its console for {} s", PATIENCE.as_secs())),
    }
}

fn seen(mut screen: impl Read) -> bool {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = screen.read(&mut chunk) {
        text.extend_from_slice(&chunk[..read]);
        if String::from_utf8_lossy(&text).contains(GREETING) {
            return true;
        }
    }
    false
}

/// Ends a program; gives what it said of errors.
fn end(child: &mut Child) -> String {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let _ = errors.read_to_string(&mut said);
    }
    said.trim().to_owned()
}
