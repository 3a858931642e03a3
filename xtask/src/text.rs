//! Rules that are read off the source text: lengths, `unsafe`, stubs, lints.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Verdict;

/// Lines of code in a file, its tests not counted: what to aim below, and what never to pass.
const LONG: usize = 500;
const TOO_LONG: usize = 800;

/// Where `unsafe` is allowed.
const UNSAFE_HOME: &str = "crates/sys/";

/// What is not on main, and why. Spelled in two halves, or this file would break its own rule.
const BANNED: [(&str, &str); 4] = [
    (concat!("to", "do!("), "an abstraction lands with its second user, not as a stub"),
    (concat!("un", "implemented!("), "refuse by name, with an error of kind Unsupported"),
    (concat!("db", "g!("), "left over"),
    (concat!("#[", "ignore"), "a test that cannot run prints why it skips"),
];

/// Checks every Rust file and manifest of the workspace.
pub(crate) fn check() -> Verdict {
    let mut notes = Vec::new();
    let mut broken = Vec::new();
    let files = match sources(Path::new(".")) {
        Ok(files) => files,
        Err(error) => return Err(vec![format!("list the sources: {error}")]),
    };
    for path in files {
        let shown = path.strip_prefix("./").unwrap_or(&path).display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                broken.push(format!("{shown}: {error}"));
                continue;
            }
        };
        if shown.ends_with("Cargo.toml") {
            broken.extend(lints(&shown, &text));
            continue;
        }
        match length(&shown, &text) {
            Length::Fine => {}
            Length::Long(lines) => notes.push(format!("{shown}: {lines} lines, aim below {LONG}")),
            Length::TooLong(lines) => {
                broken.push(format!("{shown}: {lines} lines, the limit is {TOO_LONG}"));
            }
        }
        broken.extend(words(&shown, &text));
    }
    notes.sort();
    if broken.is_empty() { Ok(notes) } else { Err([broken, notes].concat()) }
}

#[derive(Debug, PartialEq)]
enum Length {
    Fine,
    Long(usize),
    TooLong(usize),
}

fn length(path: &str, text: &str) -> Length {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return Length::Fine;
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    if lines <= LONG {
        Length::Fine
    } else if lines <= TOO_LONG {
        Length::Long(lines)
    } else {
        Length::TooLong(lines)
    }
}

/// Words that have no place in `text`, each with its line.
fn words(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let code = line.split("//").next().unwrap_or_default();
        if has_unsafe(code) && !path.starts_with(UNSAFE_HOME) {
            broken.push(format!("{path}:{number}: unsafe belongs into {UNSAFE_HOME}"));
        }
        for (banned, why) in BANNED {
            if code.contains(banned) {
                broken.push(format!("{path}:{number}: {banned}: {why}"));
            }
        }
    }
    broken
}

/// Whether the keyword begins a block, function, impl or trait here; the word in a text does not.
fn has_unsafe(code: &str) -> bool {
    let keyword = concat!("un", "safe");
    code.split(keyword).skip(1).any(|rest| {
        let rest = rest.trim_start();
        ["{", "fn ", "impl", "extern", "trait"].iter().any(|follows| rest.starts_with(follows))
    })
}

/// Every crate takes the workspace's lints.
fn lints(path: &str, text: &str) -> Option<String> {
    let inherits = text.contains("[lints]\nworkspace = true") || text.contains("[workspace.lints");
    (!inherits).then(|| format!("{path}: wants [lints] workspace = true"))
}

/// Rust files and manifests beneath `dir`, build output and hidden directories left out.
fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if name == "Cargo.toml" || path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_told_from_talk_about_it() {
        let word = concat!("un", "safe");
        let cases = [
            (format!("let x = {word} {{ f() }};"), true),
            (format!("pub {word} fn f() {{}}"), true),
            (format!("{word} impl Send for X {{}}"), true),
            (format!("#![allow({word}_code)]"), false),
            (format!("println!(\"{word} is bad\");"), false),
        ];
        for (code, want) in cases {
            assert_eq!(has_unsafe(&code), want, "{code}");
        }
        let line = format!("{word} {{ f() }}");
        assert!(words("crates/sys/src/lib.rs", &line).is_empty());
        assert_eq!(words("crates/engine/src/lib.rs", &line).len(), 1);
        assert!(words("crates/engine/src/lib.rs", &format!("// {line}")).is_empty());
    }

    #[test]
    fn tests_do_not_make_a_file_long() {
        let code = "x\n".repeat(LONG);
        assert_eq!(length("a.rs", &code), Length::Fine);
        assert_eq!(length("a.rs", &format!("{code}#[cfg(test)]\n{code}")), Length::Fine);
        assert_eq!(length("a.rs", &format!("{code}x\n")), Length::Long(LONG + 1));
        assert_eq!(length("a.rs", &"x\n".repeat(TOO_LONG + 1)), Length::TooLong(TOO_LONG + 1));
        assert_eq!(length("a/tests.rs", &"x\n".repeat(TOO_LONG + 1)), Length::Fine);
    }

    #[test]
    fn a_stub_is_found_with_its_line() {
        let text = format!("fn f() {{\n    {}\n}}\n", concat!("to", "do!()"));
        let found = words("crates/engine/src/lib.rs", &text);
        assert!(found[0].starts_with("crates/engine/src/lib.rs:2: "), "{found:?}");
    }
}
