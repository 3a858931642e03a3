//! The word that was meant.

use std::collections::BTreeSet;

/// The one of `words` that is at most two edits away from `word` and no further than any other, without
/// regard to case; none if `word` is one of them.
pub(super) fn near(word: &str, words: &[&str]) -> Option<String> {
    let word = word.to_lowercase();
    words
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance > 0 && *distance <= 2.min(candidate.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// The same among names of variables, whose case matters: a case that differs is an edit too.
pub(crate) fn nearest(word: &str, names: &BTreeSet<String>) -> Option<String> {
    let close = names.iter().filter_map(|name| {
        let edits = distance(word, name);
        (edits <= 2.min(name.len() / 2) && word.len() > 2).then_some((edits, name))
    });
    close.min().map(|(_, name)| name.clone())
}

/// How many letters to insert, delete or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // No word that is meant has more letters: the product stays small.
    if from.len() > 64 || to.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (b, cell) in to.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_two_edits_away_is_meant() {
        let words = ["FROM", "RUN", "CMD", "WORKDIR"];
        assert_eq!(near("FRO", &words).as_deref(), Some("FROM"));
        assert_eq!(near("workdri", &words).as_deref(), Some("WORKDIR"));
        assert_eq!(near("RNU", &words).as_deref(), None);
        assert_eq!(near("UN", &words).as_deref(), Some("RUN"));
        assert_eq!(near("from", &words), None);
        assert_eq!(near(&"x".repeat(100_000), &words), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
