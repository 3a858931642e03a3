//! One emulated machine that boots a Linux kernel with cgroup v2 alone, runs a script and ends.
//!
//! ```text
//!   /init      busybox sh: mounts, modules, a root on tmpfs, since the first one cannot be pivoted from
//!   /main      the script, with everything mounted
//! ```
//!
//! Where the host has systemd, it runs as the guest's first process and the script as its service.
//!
//! What the script prints comes over the serial console.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vmm::cpio::Archive;

use crate::command::wait;
use crate::programs::kernel;

/// What the guest's first process does.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t tmpfs -o mode=755,size=90% tmpfs /new
cd /
/bin/busybox cp -a bin etc lib lib64 main modules programs usr /new/ 2>/dev/null
cd /new
/bin/busybox mkdir -p proc sys dev tmp run root etc var/tmp
/bin/busybox umount /proc
exec /bin/busybox switch_root /new /bin/busybox sh -c '
/bin/busybox --install -s /bin
export PATH=/bin:/programs HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo root:x:0:0::/root:/bin/sh > /etc/passwd
ip link set lo up
for module in $(cat /modules/order); do insmod /modules/$module; done
if test -e /lib/systemd/systemd; then exec /lib/systemd/systemd; fi
sh /main </dev/null 2>&1
echo "guest: exit $?"
sync
poweroff -f
'
"#;

/// Runs the script in the root cgroup, where a shell without systemd would run it.
const SERVICE: &str = "[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=PATH=/bin:/programs HOME=/root
ExecStart=/bin/sh -c 'echo $$$$ > /sys/fs/cgroup/cgroup.procs; exec > /dev/ttyS0 2>&1; \
    sh /main < /dev/null; echo guest: exit $?; sync; poweroff -f'
";

/// What systemd starts.
const TARGET: &str = "[Unit]
DefaultDependencies=no
Requires=hull.service
";

/// A guest to boot.
#[derive(Debug, Default)]
pub struct Guest {
    /// Files and their places without a leading slash.
    files: Vec<(String, Vec<u8>)>,
    /// Places that are in `files` already.
    known: BTreeSet<String>,
}

impl Guest {
    /// A guest with busybox.
    pub fn new() -> Self {
        let mut guest = Self::default();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.exists()).expect("busybox-static");
        guest.add("bin/busybox", busybox);
        guest
    }

    fn add(&mut self, place: &str, from: &Path) {
        if self.known.insert(place.to_owned()) {
            let content =
                fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            self.files.push((place.to_owned(), content));
        }
    }

    /// Adds a program as `/programs/NAME`, with the libraries that it needs.
    pub fn program(&mut self, name: &str, file: &Path) {
        self.add(&format!("programs/{name}"), file);
        self.libraries(file);
    }

    fn libraries(&mut self, file: &Path) {
        let ldd = Command::new("ldd").arg(file).output().expect("ldd");
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                self.add(word.trim_start_matches('/'), Path::new(word));
            }
        }
    }

    /// Makes systemd the first process; false where the host has none to copy.
    pub fn systemd(&mut self) -> bool {
        let systemd = Path::new("/lib/systemd/systemd");
        if !systemd.exists() {
            return false;
        }
        self.add("lib/systemd/systemd", systemd);
        self.libraries(systemd);
        self.program("systemctl", Path::new("/bin/systemctl"));
        for (name, text) in [("default.target", TARGET), ("hull.service", SERVICE)] {
            self.files.push((format!("etc/systemd/system/{name}"), text.as_bytes().to_vec()));
        }
        true
    }

    /// Adds kernel modules with those that they need; loaded before the script.
    pub fn modules(&mut self, names: &[&str]) {
        let (_, tree) = kernel();
        let table = fs::read_to_string(tree.join("modules.dep")).expect("modules.dep");
        let mut order: Vec<String> = Vec::new();
        for name in names {
            let has_name = |line: &&str| {
                line.split(':').next().is_some_and(|file| file.ends_with(&format!("/{name}.ko")))
            };
            let Some(line) = table.lines().find(has_name) else { continue };
            // The farthest dependency is the last.
            for file in line.replace(':', "").split_whitespace().rev() {
                let module = file.rsplit('/').next().unwrap_or(file).to_owned();
                if !order.contains(&module) {
                    self.add(&format!("modules/{module}"), &tree.join(file));
                    order.push(module);
                }
            }
        }
        self.files.push(("modules/order".to_owned(), order.join("\n").into_bytes()));
    }

    /// Boots, runs `script` and gives all that was printed, also when it took longer than `patience`.
    pub fn run(mut self, script: &str, patience: Duration) -> String {
        self.files.push(("main".to_owned(), script.as_bytes().to_vec()));
        self.files.push(("init".to_owned(), INIT.as_bytes().to_vec()));
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let archive = scratch.path().join("initramfs");
        self.pack(&archive);
        let disk = scratch.path().join("disk");
        fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("a disk");
        let console = scratch.path().join("console");
        let (image, _) = kernel();
        let mut machine = Command::new("qemu-system-x86_64");
        machine
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536"])
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-drive")
            .arg(format!("if=virtio,format=raw,file={}", disk.display()))
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(&archive)
            .args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all psi=1 rdinit=/init"])
            .stdin(Stdio::null());
        let mut child = machine.spawn().expect("qemu-system-x86_64");
        let ended = wait(&mut child, Instant::now() + patience);
        let said = fs::read(&console).unwrap_or_default();
        let mut said = String::from_utf8_lossy(&said).replace('\r', "");
        if ended.is_none() {
            said += "\nguest: out of time\n";
        }
        said
    }

    fn pack(self, path: &PathBuf) {
        let file = std::io::BufWriter::new(fs::File::create(path).expect("an archive"));
        let mut archive = Archive::new(file);
        let mut made = BTreeSet::new();
        archive.directory("dev").expect("written");
        archive.device("dev/console", 5, 1).expect("written");
        for (place, content) in &self.files {
            let above: Vec<&Path> = Path::new(place).ancestors().skip(1).collect();
            for directory in above.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
                if made.insert(directory.to_owned()) {
                    archive.directory(&directory.to_string_lossy()).expect("written");
                }
            }
            archive.file(place, 0o755, content).expect("written");
        }
        archive.finish().expect("written").flush().expect("written");
    }
}
