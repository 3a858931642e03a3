//! The order of the crates, and where async begins.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Verdict, cargo_command};

/// Every crate of `crates/`, each above those that may depend on it (STYLE.md section 1).
const ORDER: [&str; 21] = [
    "spec",
    "sys",
    "tree",
    "share",
    "container",
    "runtime",
    "wire",
    "agent",
    "vmm",
    "sandbox",
    "shim",
    "image",
    "network",
    "build",
    "engine",
    "buildkit",
    "dash",
    "docker",
    "cri",
    "daemon",
    "cli",
];

/// The last crate whose code blocks.
const LAST_BLOCKING: &str = "shim";

/// Crates that are async runtimes, or bring one.
const RUNTIMES: [&str; 5] = ["tokio", "async-std", "smol", "async-io", "hyper"];

/// A crate depends only on crates above it in [`ORDER`].
pub(crate) fn order() -> Verdict {
    let dependencies = workspace_dependencies().map_err(|error| vec![error])?;
    let broken = misplaced(&dependencies);
    if broken.is_empty() { Ok(Vec::new()) } else { Err(broken) }
}

/// No crate down to [`LAST_BLOCKING`] links an async runtime.
pub(crate) fn blocking() -> Verdict {
    let mut broken = Vec::new();
    let last = place(LAST_BLOCKING).unwrap_or(ORDER.len());
    for name in &ORDER[..=last] {
        match linked(name) {
            Ok(linked) => broken.extend(
                linked.iter().filter(|dependency| RUNTIMES.contains(&dependency.as_str())).map(
                    |runtime| {
                        format!("{name} links {runtime}; see cargo tree -p {name} -i {runtime}")
                    },
                ),
            ),
            Err(error) => broken.push(error),
        }
    }
    if broken.is_empty() { Ok(Vec::new()) } else { Err(broken) }
}

fn place(name: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == name)
}

fn misplaced(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, uses) in dependencies {
        let Some(own) = place(name) else {
            broken.push(format!("{name} has no place in the order: add it to xtask/src/layers.rs"));
            continue;
        };
        broken.extend(
            uses.iter()
                .filter(|used| place(used).is_some_and(|place| place >= own))
                .map(|used| format!("{name} depends on {used}, which stands below it")),
        );
    }
    broken
}

/// Each crate of `crates/` with the names of all that it depends on, in tests and builds too.
fn workspace_dependencies() -> Result<BTreeMap<String, Vec<String>>, String> {
    let json = stdout(&["metadata", "--no-deps", "--format-version=1"])?;
    let metadata: Value =
        serde_json::from_str(&json).map_err(|error| format!("read cargo metadata: {error}"))?;
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|item| item["name"].as_str()).map(str::to_owned).collect()
    };
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(packages
        .iter()
        .filter(|package| package["manifest_path"].as_str().is_some_and(|p| p.contains("/crates/")))
        .filter_map(|package| {
            Some((package["name"].as_str()?.to_owned(), names(&package["dependencies"])))
        })
        .collect())
}

/// Names of all crates that end up in `package`.
fn linked(package: &str) -> Result<Vec<String>, String> {
    let tree = stdout(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"]);
    match tree {
        Ok(tree) => {
            Ok(tree.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect())
        }
        // Crates of later issues have a place before they exist.
        Err(error) if error.contains("did not match any packages") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn stdout(arguments: &[&str]) -> Result<String, String> {
    let output =
        cargo_command().args(arguments).output().map_err(|error| format!("run cargo: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_may_look_up_but_not_down_or_at_itself() {
        let cases = [
            ("engine", "network", true),
            ("engine", "serde", true),
            ("network", "engine", false),
            ("network", "network", false),
            ("unheard-of", "spec", false),
        ];
        for (name, uses, legal) in cases {
            let crates = BTreeMap::from([(name.to_owned(), vec![uses.to_owned()])]);
            assert_eq!(misplaced(&crates).is_empty(), legal, "{name} uses {uses}");
        }
    }
}
