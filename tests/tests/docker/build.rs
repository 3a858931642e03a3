//! Building images by the stock client.

pub(crate) mod buildx;
pub(crate) mod cache;
mod cases;
pub(crate) mod contexts;
pub(crate) mod fetched;
pub(crate) mod real;
pub(crate) mod secrets;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::Isolation;
use tests::Host;
use tests::command::Ran;
use tests::host::IMAGE;

use cases::{CASES, Case, REFUSED};

/// A context of files; `ARCHIVE` is one, compressed as its name says, `-> x` a symlink.
fn context(host: &Host, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = host.dir().join("contexts").join(name.replace(' ', "-"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("directory");
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("in the context")).expect("directory");
        match text.strip_prefix("-> ") {
            Some(target) => symlink(target, &path).expect("symlink"),
            None if *text == "ARCHIVE" => archive(host, &path),
            None => fs::write(&path, text).expect("file"),
        }
    }
    dir
}

fn archive(host: &Host, path: &Path) {
    let tree = host.dir().join("packed");
    fs::create_dir_all(tree.join("in")).expect("directory");
    fs::write(tree.join("in/file"), "packed").expect("file");
    let (path, tree) = (path.to_string_lossy(), tree.to_string_lossy());
    host.engine.on_host("tar", &["-caf", &path, "-C", &tree, "in"]).ok();
}

/// Writes a Dockerfile where `-f` says, or to its usual place; gives the arguments of its build, the context last.
fn prepare(dir: &Path, text: &str, arguments: &[&str]) -> Vec<String> {
    let named = arguments.iter().position(|argument| *argument == "-f");
    let file = dir.join(named.map_or("Dockerfile", |at| arguments[at + 1]));
    fs::create_dir_all(file.parent().expect("in the context")).expect("directory");
    fs::write(&file, text.replace("BASE", IMAGE)).expect("Dockerfile");
    let mut arguments: Vec<String> =
        arguments.iter().map(|&argument| argument.to_owned()).collect();
    if let Some(at) = named {
        arguments[at + 1] = file.to_string_lossy().into_owned();
    }
    arguments.push(dir.to_string_lossy().into_owned());
    arguments
}

fn build(host: &Host, isolation: Isolation, dir: &Path, text: &str, arguments: &[&str]) -> Ran {
    let flag = format!("--isolation={isolation}");
    let arguments = prepare(dir, text, arguments);
    let arguments = arguments.iter().map(String::as_str);
    let words = ["build", "--no-cache", &flag, "-t", "built"].into_iter().chain(arguments);
    host.docker(&words.collect::<Vec<_>>())
}

/// The image's configuration is what a case wants.
fn assert_holds(host: &Host, name: &str, config: &[(&str, &str)]) {
    let image = host.engine.inspect("built");
    for (pointer, want) in config {
        let found = image["Config"].pointer(pointer).cloned().unwrap_or(Value::Null);
        let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(found, *want, "{name}: {pointer} of {}", image["Config"]);
    }
}

pub(crate) fn every_instruction_does_what_it_says(host: &mut Host, isolation: Isolation) {
    // A command costs a VM there: those that the wall cannot change are left to `make soak`.
    let all = isolation == Isolation::Process || std::env::var_os("HULL_SOAK_BUILDS").is_some();
    for Case { name, context: files, arguments, dockerfile, config, by_wall } in CASES {
        if !all && !by_wall {
            continue;
        }
        let dir = context(host, name, files);
        let ran = build(host, isolation, &dir, dockerfile, arguments);
        assert_eq!(ran.code, 0, "{name}: {ran}");
        assert!(ran.out.contains("Successfully tagged built:latest"), "{name}: {ran}");
        assert_holds(host, name, config);
    }
    host.docker(&["rmi", "built"]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
}

pub(crate) fn what_cannot_be_built_is_told_and_leaves_nothing(
    host: &mut Host,
    isolation: Isolation,
) {
    let files = [("a.txt", "a"), ("b.txt", "b"), ("out", "-> /etc/passwd")];
    let before = host.docker(&["images", "-q"]).ok();
    for (name, dockerfile, want) in REFUSED {
        let dir = context(host, name, &files);
        let target: &[&str] =
            if name.starts_with("a stage") { &["--target", "absent"] } else { &[] };
        let arguments = [&["--force-rm"], target].concat();
        let ran = build(host, isolation, &dir, dockerfile, &arguments);
        assert_ne!(ran.code, 0, "{name}: {ran}");
        assert!(ran.err.contains(want), "{name}: {ran}");
    }
    let failed =
        build(host, isolation, &context(host, "code", &[]), "FROM BASE\nRUN exit 7\n", &[]);
    assert_eq!(failed.code, 7, "{failed}");
    let kept = host.docker(&["ps", "-aq"]).ok();
    assert_eq!(kept.lines().count(), 1, "the container of a command that failed stays: {kept}");
    host.docker(&["rm", &kept]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
    assert_eq!(host.docker(&["images", "-q"]).ok(), before);
}
