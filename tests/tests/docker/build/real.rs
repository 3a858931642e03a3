//! What people build: a Rust program, compiled in a Debian image, alone in an empty one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use spec::Isolation;
use tests::Host;
use tests::command;

use super::{build, context};

/// What the Debian image has, but for what that depends on.
const PACKAGES: [&str; 7] =
    ["base-files", "base-passwd", "bash", "coreutils", "dash", "gcc", "libc6-dev"];
/// Files of packages that no link needs: documentation, and the compilers of other languages.
const LEFT_OUT: [&str; 6] = ["/usr/share/", "/usr/include/", "/cc1", "lto-", "/lto1", "/libtsan"];
/// The parts of this host's Rust that compile and link.
const TOOLCHAIN: &str = "./bin/rustc ./lib/lib*.so* ./lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld \
     ./lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld ./lib/rustlib/x86_64-unknown-linux-gnu/lib";

const MAIN: &str = "mod area;\n\nfn main() {\n    let sides: Vec<u64> = std::env::args().skip(1).map(|side| side.parse().expect(\"a number\")).collect();\n    println!(\"{}\", area::of(&sides));\n}\n";
const AREA: &str = "pub fn of(sides: &[u64]) -> u64 {\n    sides.iter().product()\n}\n";
const DOCKERFILE: &str = "\
FROM debian-rust AS made
WORKDIR /work
COPY src src
RUN . /etc/os-release && test \"$ID\" = debian \\
 && /opt/rust/bin/rustc --edition 2024 -O -C target-feature=+crt-static -C linker=gcc -o area src/main.rs
FROM scratch
COPY --from=made /work/area /area
ENTRYPOINT [\"/area\"]
CMD [\"6\", \"7\"]
";

/// Lists what a container of the image has.
const EXPORTED: &str =
    "id=$(docker create built) && docker export $id | tar -t && docker rm $id > /dev/null";

pub(crate) fn a_rust_program_goes_from_debian_into_nothing(host: &mut Host) {
    debian(host);
    let dir = context(host, "real", &[("src/main.rs", MAIN), ("src/area.rs", AREA)]);
    let ran = build(host, Isolation::Process, &dir, DOCKERFILE, &[]);
    assert_eq!(ran.code, 0, "{ran}");
    let listed = script(host, EXPORTED);
    assert!(listed.lines().any(|name| name == "area"), "{listed}");
    assert!(!listed.contains("usr/") && !listed.contains("opt/"), "only the program: {listed}");
    for isolation in [Isolation::Process, Isolation::Vm] {
        let flag = format!("--isolation={isolation}");
        assert_eq!(host.docker(&["run", "--rm", &flag, "built"]).ok(), "42");
        assert_eq!(host.docker(&["run", "--rm", &flag, "built", "2", "3", "5"]).ok(), "30");
    }
    host.docker(&["rmi", "built", "debian-rust"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

/// Runs a script whose `docker` talks to the engine.
fn script(host: &Host, text: &str) -> String {
    command::run(host.engine.other_client("bash", &["-c", text]), b"").ok()
}

/// Makes `debian-rust` of packages that this host has, as they are installed, and of its Rust.
fn debian(host: &Host) {
    let list = host.dir().join("debian-files");
    fs::write(&list, files(&packages()).join("\n")).expect("a list");
    let sysroot = printed(Command::new("rustc").args(["--print", "sysroot"]));
    let text = format!(
        "set -eo pipefail; cd {sysroot}; tar -c --exclude='*san.a' --transform='s,^\\./,opt/rust/,S' \
         {TOOLCHAIN} -C / --no-recursion -T {list} | docker import - debian-rust",
        sysroot = sysroot.trim(),
        list = list.display(),
    );
    script(host, &text);
}

/// [`PACKAGES`] and all that they depend on.
fn packages() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    while let Some(name) = next.pop() {
        if !found.insert(name.clone()) {
            continue;
        }
        let fields = "-f=${Pre-Depends},${Depends}\n";
        let depends = printed(Command::new("dpkg-query").args(["-W", fields, &name]));
        let words = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        let names = words.map(|word| word.split(':').next().unwrap_or(word).to_owned());
        next.extend(names.filter(|name| is_installed(name)));
    }
    found
}

fn is_installed(name: &str) -> bool {
    let status = Command::new("dpkg-query").args(["-W", "-f=${Status}", name]).output();
    status.is_ok_and(|status| status.stdout.ends_with(b" installed"))
}

/// What packages have put on this host, from its root, and the links that stand for its directories.
fn files(packages: &BTreeSet<String>) -> Vec<String> {
    let listed = printed(Command::new("dpkg-query").arg("-L").args(packages));
    let wanted = |path: &&str| {
        path.len() > 2 && path.starts_with('/') && !LEFT_OUT.iter().any(|part| path.contains(part))
    };
    // A directory of the root may be a link: what is in it is named by where it is.
    let real = |path: &str| {
        let (parent, name) = path.rsplit_once('/')?;
        let parent = fs::canonicalize(Path::new("/").join(parent)).ok()?;
        let path = parent.join(name);
        path.symlink_metadata().ok()?;
        Some(path.strip_prefix("/").ok()?.to_string_lossy().into_owned())
    };
    let files: BTreeSet<String> = listed.lines().filter(wanted).filter_map(real).collect();
    files.into_iter().collect()
}

#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("a program of this host");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
