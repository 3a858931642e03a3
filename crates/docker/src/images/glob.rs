//! Patterns for names, as Go's `path.Match` has them.

/// Whether `text` is of the form that `pattern` gives: `?` is any character and `*` any number of them,
/// but for the slash; `[a-c]` and `[^a-c]` are one of these and none of these; a backslash takes the next
/// character as it is.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = next(pattern) else { return text.is_empty() };
    if let One::Any = first {
        let ends = text.char_indices().map(|(at, c)| (at, c == '/')).chain([(text.len(), true)]);
        let mut reachable = true;
        return ends
            .take_while(|(_, stop)| std::mem::replace(&mut reachable, !stop))
            .any(|(at, _)| fits(rest, &text[at..]));
    }
    text.chars()
        .next()
        .is_some_and(|found| first.is(found) && fits(rest, &text[found.len_utf8()..]))
}

/// Whether nothing in `pattern` is left open.
pub(super) fn is_whole(mut pattern: &str) -> bool {
    while let Some((first, rest)) = next(pattern) {
        if let One::Nothing = first {
            return false;
        }
        pattern = rest;
    }
    true
}

/// What one part of a pattern stands for.
enum One<'a> {
    Any,
    Character,
    This(char),
    Of {
        set: &'a str,
        inside: bool,
    },
    /// The pattern is damaged here.
    Nothing,
}

impl One<'_> {
    fn is(&self, found: char) -> bool {
        match self {
            Self::Any | Self::Nothing => false,
            Self::Character => found != '/',
            Self::This(wanted) => found == *wanted,
            Self::Of { set, inside } => found != '/' && within(set, found) == *inside,
        }
    }
}

/// The first part of a pattern, and the rest.
fn next(pattern: &str) -> Option<(One<'_>, &str)> {
    let mut rest = pattern.chars();
    let one = match rest.next()? {
        '*' => One::Any,
        '?' => One::Character,
        '\\' => rest.next().map_or(One::Nothing, One::This),
        '[' => {
            let set = rest.as_str();
            let (set, inside) = set.strip_prefix('^').map_or((set, true), |set| (set, false));
            return Some(match set.find(']').filter(|end| *end > 0) {
                Some(end) => (One::Of { set: &set[..end], inside }, &set[end + 1..]),
                None => (One::Nothing, ""),
            });
        }
        character => One::This(character),
    };
    Some((one, rest.as_str()))
}

/// Whether the character is in a set such as `a-cx`.
fn within(set: &str, found: char) -> bool {
    let set: Vec<char> = set.chars().collect();
    let mut at = 0;
    while at < set.len() {
        let range = set.get(at + 1) == Some(&'-') && at + 2 < set.len();
        let (low, high) = (set[at], set[if range { at + 2 } else { at }]);
        if (low..=high).contains(&found) {
            return true;
        }
        at += if range { 3 } else { 1 };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_but_a_slash() {
        for (pattern, text, want) in [
            ("alpine", "alpine", true),
            ("alpine*", "alpine:3.10", true),
            ("*", "alpine", true),
            ("*", "", true),
            ("*", "me/app", false),
            ("*/*", "me/app", true),
            ("*/app", "me/app:1", false),
            ("*pp*", "app", true),
            ("a?pine", "alpine", true),
            ("a?pine", "a/pine", false),
            ("", "alpine", false),
            ("alpine", "", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]x", "dx", true),
            ("[^a-c]x", "/x", false),
            ("[xyz]*", "zebra", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(fits(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_is_left_open_is_told() {
        for (pattern, want) in [("a[b]", true), ("a[b", false), ("a\\", false), ("[]", false)] {
            assert_eq!(is_whole(pattern), want, "{pattern}");
        }
    }
}
