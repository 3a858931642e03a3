//! The pages of `docs/`, as a reader follows them: their blocks of commands in order, in one shell.
//!
//! ```text
//!   ```sh                 run; every command succeeds
//!   ```sh fails           run; the last command does not
//!   ```sh no-run: WHY     not run, but what it calls of ours exists: targets, verbs, flags
//!   ```text               behind one that is run: what it prints; `…` is anything
//!   ```toml               a configuration that the engine starts with
//! ```
//!
//! A `…` stands for what differs from host to host, alone on a line for any number of lines. How wide
//! the gaps between words are is not compared: columns follow the longest name.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::source;

/// A page and its blocks.
#[derive(Debug)]
pub struct Page {
    /// As `docs/NAME.md`.
    pub name: String,
    /// In order.
    pub blocks: Vec<Block>,
    /// Where it leads to: the line, and the target as it is written.
    pub links: Vec<(usize, String)>,
}

/// What lies between two fences.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence.
    pub line: usize,
    /// What it is for.
    pub kind: Kind,
    /// Its lines.
    pub text: String,
}

/// What a block is for, by the words on its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Commands that succeed.
    Run,
    /// Commands of which the last one fails.
    Fails,
    /// Commands that are not run here.
    Shown,
    /// What the block before prints.
    Output,
    /// A configuration.
    Config,
    /// A drawing, or another language.
    Other,
}

/// All pages, `errors.md` left out: it is generated, and holds no commands to follow in order.
pub fn pages() -> Vec<Page> {
    let dir = source().join("docs");
    let entries = fs::read_dir(&dir).expect("the source has docs");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.retain(|path| !path.ends_with("errors.md"));
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("it was listed");
        let name = path.file_name().expect("it has one").to_string_lossy();
        Self::parse(&format!("docs/{name}"), &text)
            .unwrap_or_else(|why| panic!("docs/{name}:{why}"))
    }

    /// The page in `text`; else the line and what is wrong there.
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut page = Self { name: name.to_owned(), blocks: Vec::new(), links: Vec::new() };
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => {
                    let kind = Kind::parse(info, page.blocks.last())
                        .map_err(|why| format!("{number}: {why}"))?;
                    open = Some(Block { line: number, kind, text: String::new() });
                }
                (Some(_), Some("")) => page.blocks.extend(open.take()),
                (Some(_), Some(_)) => return Err(format!("{number}: a fence within a block")),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => page.links.extend(links(line).map(|link| (number, link))),
            }
        }
        match open {
            Some(block) => Err(format!("{}: the block does not end", block.line)),
            None => Ok(page),
        }
    }

    /// The blocks of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    /// The commands of the page as a program for bash, which leaves beneath `dir` a file for each block
    /// with what it printed, and in `at` the line of the last one that it began.
    pub fn script(&self, dir: &Path) -> String {
        let dir = dir.display();
        let mut script = String::new();
        for Block { line, kind, text } in &self.blocks {
            let run = match kind {
                Kind::Run => format!("set -e\n{{\n{text}}}"),
                Kind::Fails => format!("set +e\n{{\n{text}}}"),
                _ => continue,
            };
            let _ = writeln!(script, "echo {line} >{dir}/at\n{run} >{dir}/{line} 2>&1 </dev/null");
            if *kind == Kind::Fails {
                let _ = writeln!(
                    script,
                    "[ $? != 0 ] || {{ echo it succeeds >>{dir}/{line}; exit 1; }}"
                );
            }
        }
        script
    }

    /// The outputs that the page shows and the blocks that print them.
    pub fn outputs(&self) -> impl Iterator<Item = (&Block, &Block)> {
        let pairs = self.blocks.windows(2).map(|pair| (&pair[0], &pair[1]));
        pairs.filter(|(_, shown)| shown.kind == Kind::Output)
    }

    /// The links to files that are not there.
    pub fn dead_links(&self) -> Vec<String> {
        let here = source().join("docs");
        let ours = self.links.iter().filter(|(_, link)| !link.contains("://"));
        let dead = ours.filter(|(_, link)| {
            let path = link.split('#').next().unwrap_or_default();
            !path.is_empty() && !here.join(path).exists()
        });
        dead.map(|(line, link)| format!("{}:{line}: {link} is not there", self.name)).collect()
    }
}

impl Block {
    /// Whether `seen` is what it shows.
    pub fn agrees(&self, seen: &str) -> bool {
        agrees(&self.text, seen)
    }
}

impl Kind {
    fn parse(info: &str, before: Option<&Block>) -> Result<Self, String> {
        let ran = before.is_some_and(|block| matches!(block.kind, Self::Run | Self::Fails));
        match info {
            "sh" => Ok(Self::Run),
            "sh fails" => Ok(Self::Fails),
            "text" if ran => Ok(Self::Output),
            "toml" => Ok(Self::Config),
            "text" | "dockerfile" | "json" => Ok(Self::Other),
            _ => match info.strip_prefix("sh no-run: ") {
                Some(why) if !why.trim().is_empty() => Ok(Self::Shown),
                _ => Err(format!("no block is called {info:?}")),
            },
        }
    }
}

/// The targets of the links in a line: `](TARGET)`.
fn links(line: &str) -> impl Iterator<Item = String> {
    line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
}

fn agrees(shown: &str, seen: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let lines = text.trim().lines();
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    lines_agree(&words(shown), &words(seen))
}

fn lines_agree(shown: &[String], seen: &[String]) -> bool {
    match (shown, seen) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == "…" => {
            (0..=seen.len()).any(|skipped| lines_agree(rest, &seen[skipped..]))
        }
        ([first, rest @ ..], [line, later @ ..]) => {
            line_agrees(first, line) && lines_agree(rest, later)
        }
        _ => false,
    }
}

fn line_agrees(shown: &str, seen: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return shown == seen };
    let Some(rest) = seen.strip_prefix(before) else { return false };
    let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.into_iter().any(|at| line_agrees(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_anything_and_gaps_are_gaps() {
        let cases = [
            ("one\n", "one", true),
            ("one", "two", false),
            ("a  b", "a      b", true),
            ("a b", "ab", false),
            ("id …", "id 123", true),
            ("… ago …", "2 seconds ago Up", true),
            ("… ago …", "Up", false),
            ("a\n…\nd", "a\nb\nc\nd", true),
            ("a\n…", "a", true),
            ("a\n…\nd", "a\nb", false),
            ("a", "a\nb", false),
        ];
        for (shown, seen, want) in cases {
            assert_eq!(agrees(shown, seen), want, "{shown:?} {seen:?}");
        }
    }

    #[test]
    fn a_fence_says_what_its_block_is_for() {
        let text =
            "```text\ndrawing\n```\n```sh\ntrue\n```\n```text\nshown\n```\n[a](b.md#c) [d](e)\n";
        let page = Page::parse("docs/x.md", text).expect("a page");
        let kinds: Vec<_> = page.blocks.iter().map(|block| (block.line, block.kind)).collect();
        assert_eq!(kinds, [(1, Kind::Other), (4, Kind::Run), (7, Kind::Output)]);
        assert_eq!(page.links, [(10, "b.md#c".to_owned()), (10, "e".to_owned())]);
        assert_eq!(page.outputs().count(), 1);
        for (text, want) in [
            ("```sh no-run:\n```\n", "1: no block is called \"sh no-run:\""),
            ("\n```sh\n", "2: the block does not end"),
            ("```sh\n```sh\n", "2: a fence within a block"),
        ] {
            assert_eq!(Page::parse("", text).expect_err(text), want);
        }
    }
}
