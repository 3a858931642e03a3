//! Where the programs under test and the guest's kernel are.

use std::env;
use std::path::{Path, PathBuf};

/// The program `name`, from `HULL_BIN_DIR` or where `make build` puts it.
pub fn program(name: &str) -> PathBuf {
    let path = directory("HULL_BIN_DIR", "bin").join(name);
    assert!(path.exists(), "{} is missing: make build", path.display());
    path
}

/// Whether [`kernel`] has one.
pub fn has_kernel() -> bool {
    directory("HULL_KERNEL_DIR", "kernel").join("boot").exists()
}

/// The newest kernel for guests and its modules, from `HULL_KERNEL_DIR` or where `make vm-kernel`
/// puts them.
pub fn kernel() -> (PathBuf, PathBuf) {
    let dir = directory("HULL_KERNEL_DIR", "kernel");
    let mut releases: Vec<String> = std::fs::read_dir(dir.join("boot"))
        .unwrap_or_else(|error| panic!("{}: {error}: make vm-kernel", dir.display()))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .collect();
    releases.sort();
    let release = releases.pop().expect("make vm-kernel leaves one");
    (dir.join("boot").join(format!("vmlinuz-{release}")), dir.join("lib/modules").join(release))
}

/// Where `scripts/buildx.sh` has put docker's buildx; `None` where it could not be built.
pub fn buildx() -> Option<PathBuf> {
    let plugin = directory("HULL_BUILDX_DIR", "buildx").join("cli-plugins/docker-buildx");
    plugin.exists().then_some(plugin)
}

/// The top of the source tree.
pub fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn directory(variable: &str, name: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || {
            let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.unwrap_or_else(|| source().join("target")).join("hull").join(name)
        },
        PathBuf::from,
    )
}
