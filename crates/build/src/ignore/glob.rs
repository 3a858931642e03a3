//! Patterns of paths: those of Go's `filepath.Match`, and with `**` on top those of `.dockerignore`.
//!
//! A match is looked for by walking the path once with the set of all places in the pattern that it may
//! have come to, so that no pattern takes longer than its length times that of the path.

use super::BadPattern;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One(char),
    /// `?`: any but a slash.
    Any,
    /// `*`: any number of them.
    Many,
    /// `**/` or `**`: nothing, or anything that ends in a slash.
    Deep,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`, `[^a-z]`: ranges, and whether it is any but these.
    Class(Vec<(char, char)>, bool),
}

/// A pattern, read.
#[derive(Debug, Clone)]
pub(super) struct Glob(Vec<Part>);

/// What a path is to a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The whole path matches.
    pub whole: bool,
    /// It, or a directory that it is in, matches.
    pub covered: bool,
    /// Something beneath it may match.
    pub beneath: bool,
}

impl Glob {
    /// A pattern of `filepath.Match`; with `deep`, of `.dockerignore`.
    pub(super) fn new(pattern: &str, deep: bool) -> Result<Self, BadPattern> {
        let bad = || BadPattern { pattern: pattern.to_owned() };
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' if deep && chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Part::Rest } else { Part::Deep }
                }
                '*' => {
                    if parts.last() == Some(&Part::Many) {
                        continue;
                    }
                    Part::Many
                }
                '?' => Part::Any,
                '[' => class(&mut chars).ok_or_else(bad)?,
                '\\' => Part::One(chars.next().ok_or_else(bad)?),
                c => Part::One(c),
            });
        }
        Ok(Self(parts))
    }

    /// Whether the whole of `path` matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.verdict(path).whole
    }

    /// What `path` is to the pattern.
    pub(super) fn verdict(&self, path: &str) -> Verdict {
        let mut places = vec![false; self.0.len() + 1];
        self.arrive(&mut places, 0);
        let mut covered = false;
        for c in path.chars() {
            covered |= c == '/' && places.last() == Some(&true);
            places = self.step(&places, c);
        }
        let whole = places.last() == Some(&true);
        let beneath = self.step(&places, '/').contains(&true);
        Verdict { whole, covered: covered || whole, beneath }
    }

    /// The places that those of `places` come to by `c`.
    fn step(&self, places: &[bool], c: char) -> Vec<bool> {
        let mut next = vec![false; places.len()];
        for ((place, part), _) in self.0.iter().enumerate().zip(places).filter(|(_, here)| **here) {
            match part {
                Part::One(one) if *one == c => self.arrive(&mut next, place + 1),
                Part::Any if c != '/' => self.arrive(&mut next, place + 1),
                Part::Many if c != '/' => self.arrive(&mut next, place),
                Part::Rest => self.arrive(&mut next, place),
                Part::Deep => {
                    // In the middle of it, nothing is skipped: only a slash ends it.
                    if let Some(stays) = next.get_mut(place) {
                        *stays = true;
                    }
                    if c == '/' {
                        self.arrive(&mut next, place + 1);
                    }
                }
                Part::Class(ranges, negated) => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    if inside != *negated {
                        self.arrive(&mut next, place + 1);
                    }
                }
                _ => {}
            }
        }
        next
    }

    /// Marks a place, and those behind it that need no character.
    fn arrive(&self, places: &mut [bool], place: usize) {
        for at in place..places.len() {
            if let Some(marked) = places.get_mut(at) {
                *marked = true;
            }
            if !matches!(self.0.get(at), Some(Part::Many | Part::Deep | Part::Rest)) {
                break;
            }
        }
    }
}

/// What is behind `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Part> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Part::Class(ranges, negated));
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
    }
}

/// A character of a class; `-` and `]` only behind a backslash.
fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}
