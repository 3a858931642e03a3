//! Keys that leave a container's terminal: `ctrl-p,ctrl-q`.

use crate::error::Error;

/// The sequence, and how much of it has been typed.
#[derive(Debug)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    typed: usize,
}

impl Keys {
    /// Reads `KEY,KEY,…`, each a character or `ctrl-` and one of `a-z@[\]^_`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Argument {
            option: "--detach-keys",
            value: text.to_owned(),
            want: "keys between commas, each a character or ctrl-CHARACTER".into(),
        };
        let key = |word: &str| match word.as_bytes() {
            [byte] => Some(*byte),
            [b'c', b't', b'r', b'l', b'-', byte] => match byte.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
                sign @ (b'@' | b'['..=b'_') => Some(sign & 0x1f),
                _ => None,
            },
            _ => None,
        };
        let sequence: Option<Vec<u8>> = text.split(',').map(key).collect();
        Ok(Self { sequence: sequence.ok_or_else(invalid)?, typed: 0 })
    }

    /// What is to be sent of what was typed; true at its end when the sequence is complete.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.sequence.get(self.typed) == Some(byte) {
                self.typed += 1;
                if self.typed == self.sequence.len() {
                    self.typed = 0;
                    return (out, true);
                }
                continue;
            }
            // What was held back is meant for the program after all.
            out.extend(&self.sequence[..self.typed]);
            self.typed = usize::from(self.sequence.first() == Some(byte));
            if self.typed == 0 {
                out.push(*byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_held_back_until_it_is_none() {
        let mut keys = Keys::parse("ctrl-p,ctrl-q").expect("valid");
        assert_eq!(keys.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11"), (Vec::new(), true));
        for text in ["", "ab", "ctrl-", "ctrl-1", "a,,b"] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
        assert_eq!(Keys::parse("ctrl-@,x").expect("valid").sequence, [0, b'x']);
    }
}
