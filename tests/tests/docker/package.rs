//! The Debian package: what is in it. That it installs, works and goes is for `make soak`.

use std::collections::BTreeSet;
use std::process::Command;

use tests::Host;
use tests::command::run;
use tests::programs::{program, source};

/// Files that somebody looks for by their path.
const FILES: [&str; 16] = [
    "/usr/bin/hull",
    "/usr/bin/hulld",
    "/usr/bin/hull-runtime",
    "/usr/bin/hull-agent",
    "/usr/bin/containerd-shim-hull-v2",
    "/usr/lib/hull/vm-kernel",
    "/usr/lib/hull/uninstall",
    "/usr/lib/systemd/system/hulld.service",
    "/usr/lib/systemd/system/hulld.socket",
    "/usr/lib/sysusers.d/hull.conf",
    "/usr/share/bash-completion/completions/hull",
    "/usr/share/zsh/vendor-completions/_hull",
    "/usr/share/fish/vendor_completions.d/hull.fish",
    "/usr/share/man/man1/hull-volume-snapshot.1.gz",
    "/usr/share/doc/hull/docs/first-container.md",
    "/etc/hull/hulld.toml",
];

pub(crate) fn a_package_has_what_an_installation_has(host: &mut Host) {
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(host.dir());
        shell.env("HULL_BIN_DIR", program("hull").parent().expect("a directory"));
        run(shell, b"").ok()
    };
    let package = shell(&format!("{}/scripts/deb.sh .", source().display()));
    let control = shell(&format!("dpkg-deb --info {package}"));
    for line in ["Package: hull", "Depends: ", "nftables", "Recommends: ", "qemu-system-x86"] {
        assert!(control.contains(line), "{line}: {control}");
    }
    assert!(!control.replace("hull@localhost", "").contains('@'), "{control}");
    shell(&format!(
        "dpkg-deb --raw-extract {package} package; cd package; md5sum --quiet -c DEBIAN/md5sums; \
         for script in DEBIAN/p*; do sh -n $script; done; test -s usr/share/doc/hull/copyright; \
         grep -q ExecStart=/usr/bin/hulld usr/lib/systemd/system/hulld.service; \
         grep -qx /etc/hull/hulld.toml DEBIAN/conffiles; usr/bin/hull --version",
    ));
    let listed = shell("cd package; find usr etc -type f | sed s,^,/,");
    let files: BTreeSet<&str> = listed.lines().collect();
    for file in FILES {
        assert!(files.contains(file), "{file}: {listed}");
    }
    // What `make uninstall` takes away is all that `make install` brought.
    let makefile = format!("make -s --no-print-directory -C {}", source().display());
    let bin = "DESTDIR=$PWD/placed BIN=$HULL_BIN_DIR";
    let left = shell(&format!(
        "mkdir placed; {makefile} place {bin}; {makefile} uninstall {bin}; find placed -type f"
    ));
    assert_eq!(left, "");
}
