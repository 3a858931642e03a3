//! Probes of what virtual machines need.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Finding, Host, run};

const QEMU: &str = "qemu-system-x86_64";
/// What a kernel says first.
const GREETING: &str = "Linux version";
/// How long a guest may take to say it: a KVM within a machine that has none hangs.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn tools(_: &Host) -> Finding {
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

pub(super) fn qemu(_: &Host) -> Finding {
    match run(QEMU, &["--version"]) {
        Ok(text) => Finding::works(text.lines().next().unwrap_or_default()),
        Err(error) => Finding::missing(error, "sudo apt install qemu-system-x86"),
    }
}

/// The newest kernel for guests.
fn newest(host: &Host) -> Option<PathBuf> {
    let boot = PathBuf::from(&host.data_root).join("vm/kernel/boot");
    let mut kernels: Vec<PathBuf> =
        fs::read_dir(boot).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    kernels.retain(|path| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz-"))
    });
    kernels.sort();
    kernels.pop()
}

pub(super) fn kernel(host: &Host) -> Finding {
    match newest(host) {
        Some(path) => Finding::works(path.display().to_string()),
        None => Finding::missing(
            format!("none in {}/vm/kernel/boot", host.data_root),
            "sudo make vm-kernel in Hull's source, sudo /usr/lib/hull/vm-kernel of its package, or \
             hulld --vm-kernel FILE",
        ),
    }
}

/// Boots a guest with KVM, as far as its kernel's first words.
pub(super) fn boot(host: &Host) -> Finding {
    if !PathBuf::from("/dev/kvm").exists() {
        return Finding::degraded(
            "no /dev/kvm: machines are emulated, slowly, and the wall is software",
            "turn virtualisation on in the firmware; sudo modprobe kvm_intel (or kvm_amd)",
        );
    }
    let Some(kernel) = newest(host) else {
        return Finding::degraded(
            "/dev/kvm is there; no guest kernel to try it with",
            "sudo make vm-kernel",
        );
    };
    let mut qemu = Command::new(QEMU);
    qemu.args(["-accel", "kvm", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel);
    match greeting(qemu) {
        Ok(()) => Finding::works("a guest was booted with KVM"),
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
