//! Patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `?`, `*`, and a backslash before what is itself.

use super::Reason;
use super::reader::MAX_LENGTH;

/// How many steps one substitution may take: a value of a megabyte and a pattern of 20 characters.
const MAX_STEPS: usize = 20_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    One(char),
    Any,
    Many,
}

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if parts.last() == Some(&Part::Many) => {}
                '*' => parts.push(Part::Many),
                '?' => parts.push(Part::Any),
                '\\' => parts.push(Part::One(chars.next().unwrap_or('\\'))),
                c => parts.push(Part::One(c)),
            }
        }
        Self(parts)
    }

    /// `value` without the shortest or longest match at its beginning.
    pub(super) fn without_prefix(&self, value: &str, longest: bool) -> Result<String, Reason> {
        let value: Vec<char> = value.chars().collect();
        let end = self.matched(&value, longest, &mut { MAX_STEPS })?.unwrap_or(0);
        Ok(value.iter().skip(end).collect())
    }

    /// `value` without the shortest or longest match at its end.
    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> Result<String, Reason> {
        let backwards = Self(self.0.iter().rev().copied().collect());
        let value: Vec<char> = value.chars().rev().collect();
        let end = backwards.matched(&value, longest, &mut { MAX_STEPS })?.unwrap_or(0);
        let rest: Vec<char> = value.into_iter().skip(end).collect();
        Ok(rest.into_iter().rev().collect())
    }

    /// `value` with the first match, or all, replaced, each as long as can be.
    pub(super) fn replace(&self, value: &str, by: &str, all: bool) -> Result<String, Reason> {
        let value: Vec<char> = value.chars().collect();
        let mut steps = MAX_STEPS;
        let mut replaced = String::new();
        let mut rest = value.as_slice();
        while let Some((first, behind)) = rest.split_first() {
            let length = self.matched(rest, true, &mut steps)?.unwrap_or_default();
            if length == 0 {
                replaced.push(*first);
                rest = behind;
            } else {
                replaced.push_str(by);
                rest = rest.get(length..).unwrap_or_default();
                if !all {
                    break;
                }
            }
            if replaced.len() > MAX_LENGTH {
                return Err(Reason::TooLong);
            }
        }
        replaced.extend(rest);
        Ok(replaced)
    }

    /// The length of the match at the beginning of `text`, if there is one.
    ///
    /// Walks `text` once, with the set of places in the pattern where a match may have come to: no pattern
    /// takes longer than its length times that of the text.
    fn matched(
        &self,
        text: &[char],
        longest: bool,
        steps: &mut usize,
    ) -> Result<Option<usize>, Reason> {
        let mut found = None;
        let mut places = vec![false; self.0.len() + 1];
        self.arrive(&mut places, 0);
        for at in 0..=text.len() {
            if places.last() == Some(&true) {
                found = Some(at);
                if !longest {
                    break;
                }
            }
            let Some(c) = text.get(at) else { break };
            *steps = steps.checked_sub(self.0.len() + 1).ok_or(Reason::TooSlow)?;
            let mut next = vec![false; places.len()];
            for (place, part) in self.0.iter().enumerate() {
                if !places.get(place).copied().unwrap_or_default() {
                    continue;
                }
                match part {
                    Part::Many => self.arrive(&mut next, place),
                    Part::Any => self.arrive(&mut next, place + 1),
                    Part::One(one) if one == c => self.arrive(&mut next, place + 1),
                    Part::One(_) => {}
                }
            }
            if !next.contains(&true) {
                break;
            }
            places = next;
        }
        Ok(found)
    }

    /// Marks a place, and the one behind it if a `*` there may match nothing.
    fn arrive(&self, places: &mut [bool], place: usize) {
        if let Some(marked) = places.get_mut(place) {
            *marked = true;
        }
        if self.0.get(place) == Some(&Part::Many)
            && let Some(marked) = places.get_mut(place + 1)
        {
            *marked = true;
        }
    }
}
