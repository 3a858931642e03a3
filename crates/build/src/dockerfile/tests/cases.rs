//! The parser cases that BuildKit's parser is judged by, in the notation of their `result` files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::super::lines;
use super::super::node::{Args, Node};

/// `shared/specs/dockerfile/parser-testfiles` of a directory above the repository.
fn directory() -> Option<PathBuf> {
    let crate_ = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places =
        crate_.ancestors().map(|above| above.join("shared/specs/dockerfile/parser-testfiles"));
    places.find(|place| place.is_dir())
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_control() => write!(quoted, "\\x{:02x}", u32::from(c)).expect("a string"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn words(args: &Args) -> Vec<String> {
    match args {
        Args::Words(words) | Args::Json(words) => words.iter().map(|word| quoted(word)).collect(),
        Args::Text(text) if text.is_empty() => Vec::new(),
        Args::Text(text) => vec![quoted(text)],
        Args::Pairs(pairs) => {
            let equals = |equals| if equals { "=" } else { "" };
            let three = |pair: &super::super::words::Pair| {
                [quoted(&pair.name), quoted(&pair.value), quoted(equals(pair.equals))]
            };
            pairs.iter().flat_map(three).collect()
        }
        Args::Check(kind, _) if kind.is_empty() => Vec::new(),
        Args::Check(kind, args) => std::iter::once(quoted(kind)).chain(words(args)).collect(),
        Args::Trigger(trigger) => trigger.iter().map(|node| dump(node)).collect(),
    }
}

fn dump(node: &Node) -> String {
    let mut parts = vec![node.name.to_lowercase()];
    if !node.flags.is_empty() {
        let flags: Vec<String> = node.flags.iter().map(|flag| quoted(flag)).collect();
        parts.push(format!("[{}]", flags.join(" ")));
    }
    parts.extend(words(&node.args));
    format!("({})", parts.join(" "))
}

#[test]
fn every_parser_case_is_read_as_buildkit_reads_it() {
    let Some(directory) = directory() else {
        eprintln!(
            "skipped: no directory shared/specs/dockerfile above {}",
            env!("CARGO_MANIFEST_DIR")
        );
        return;
    };
    let mut count = 0;
    for entry in directory.read_dir().expect("the cases") {
        let case = entry.expect("a case").path();
        let text = std::fs::read(case.join("Dockerfile")).expect("a Dockerfile");
        let want = std::fs::read_to_string(case.join("result")).expect("a result");
        let lines =
            lines::read(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let escape = lines.directives.escape;
        let nodes = lines.logical.iter().map(|line| {
            let node = Node::parse(line, escape)
                .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            dump(&node)
        });
        let nodes: Vec<String> = nodes.collect();
        assert_eq!(nodes.join("\n").trim(), want.trim(), "{}", case.display());
        count += 1;
    }
    assert_eq!(count, 33, "cases in {}", directory.display());
}
