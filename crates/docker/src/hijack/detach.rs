//! The keys by which a client leaves a terminal.
//!
//! Clients of Docker mostly look for them themselves; for those that send raw bytes the server does.
//! A part of the sequence is held back until it is clear that it is not the whole.

use crate::error::Error;

/// What ends an attachment when nothing else is asked for: `ctrl-p`, `ctrl-q`.
const USUAL: [u8; 2] = [0x10, 0x11];

/// A sequence of keys, and how much of it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    typed: usize,
}

impl Keys {
    /// `ctrl-p,ctrl-q`, `a`, `ctrl-[,x`; the usual ones when nothing is given.
    ///
    /// # Errors
    ///
    /// 400 in Docker's words for what is no key.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Error> {
        let sequence = match text {
            None => USUAL.to_vec(),
            Some(text) => {
                let keys = text.split(',').map(key).collect::<Option<Vec<_>>>();
                keys.ok_or_else(|| {
                    Error::invalid(format!("Invalid detach keys ({text}) provided"))
                })?
            }
        };
        Ok(Self { sequence, typed: 0 })
    }

    /// What of `input` goes on to the process; `None` once the whole sequence was typed.
    pub(crate) fn pass(&mut self, input: &[u8]) -> Option<Vec<u8>> {
        let mut through = Vec::with_capacity(input.len());
        for byte in input {
            if *byte != self.sequence[self.typed] {
                through.extend(&self.sequence[..self.typed]);
                self.typed = 0;
            }
            if *byte != self.sequence[self.typed] {
                through.push(*byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.sequence.len() {
                return None;
            }
        }
        Some(through)
    }
}

fn key(text: &str) -> Option<u8> {
    let byte = |text: &str| match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    };
    match text.strip_prefix("ctrl-") {
        None => byte(text).filter(u8::is_ascii),
        Some(letter) => match byte(letter)? {
            letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
            letter @ (b'@' | b'['..=b'_') => Some(letter - b'@'),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_control_characters() {
        for (text, want) in [
            (None, Some(vec![16, 17])),
            (Some("ctrl-a"), Some(vec![1])),
            (Some("ctrl-@,ctrl-_"), Some(vec![0, 31])),
            (Some("a,b"), Some(vec![b'a', b'b'])),
            (Some("ctrl-A"), None),
            (Some("ab"), None),
            (Some("a,"), None),
        ] {
            assert_eq!(Keys::parse(text).ok().map(|keys| keys.sequence), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_the_whole_sequence_goes_through() {
        let mut keys = Keys::parse(None).expect("legal");
        assert_eq!(keys.pass(b"a\x10").as_deref(), Some(&b"a"[..]));
        assert_eq!(keys.pass(b"b\x10\x10").as_deref(), Some(&b"\x10b\x10"[..]));
        assert_eq!(keys.pass(b"\x11c"), None);
    }
}
