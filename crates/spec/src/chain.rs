//! Printing an error once, at the edge.

use std::error::Error;
use std::fmt::Write;
use std::io;

/// An error and its causes on one line: `mount proc on /proc: operation not permitted (os error 1)`.
///
/// What the system says begins with a small letter, as Go prints it: callers of runc look for `no such
/// file or directory` and its like.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        let said = error.to_string();
        let system = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).is_some();
        match said.chars().next().filter(|_| system) {
            Some(first) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "{}{}", first.to_lowercase(), &said[first.len_utf8()..]);
            }
            None => text.push_str(&said),
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open {name}")]
    struct Open {
        name: &'static str,
        source: io::Error,
    }

    #[test]
    fn what_the_system_says_begins_with_a_small_letter() {
        let chained = |source| chain(&Open { name: "X", source });
        assert_eq!(
            chained(io::Error::from_raw_os_error(2)),
            "open X: no such file or directory (os error 2)"
        );
        assert_eq!(chained(io::Error::other("X is odd")), "open X: X is odd");
    }
}
