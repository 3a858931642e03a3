//! Sets of numbers as the kernel takes and prints them: `0-3,7`.
//!
//! Spec: OCI runtime-spec, config.md "Linux Process" (`execCPUAffinity`), config-linux.md
//! "Memory policy"; cpuset(7) "List format".

use std::fmt;

/// The largest number: beyond every kernel, and small enough to be held.
const MAX: u32 = 64 * 1024;

/// Processors or memory nodes, a bit each, in words as the kernel's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Every number there can be.
    pub(crate) fn full() -> Self {
        Self(vec![u64::MAX; MAX as usize / 64])
    }

    /// Reads a list; spaces and empty places in it do not matter. An empty text is an empty set.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part:?} ends before it begins"));
            }
            (first..=last).for_each(|number| set.insert(number));
        }
        if set.0.is_empty() && !text.is_empty() { Err("no numbers".to_owned()) } else { Ok(set) }
    }

    fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }
}

/// As one number, the way the kernel's masks are written.
impl fmt::LowerHex for Bitmap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((highest, rest)) = self.0.split_last() else { return out.write_str("0x0") };
        write!(out, "{highest:#x}")?;
        rest.iter().rev().try_for_each(|word| write!(out, "{word:016x}"))
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number < MAX => Ok(number),
        _ if digits => Err(format!("{text} is above {}", MAX - 1)),
        _ => Err(format!("{text:?} is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_one_number() {
        for (text, want) in [("", "0x0"), ("0,1", "0x3"), ("64", "0x10000000000000000")] {
            assert_eq!(format!("{:x}", Bitmap::parse(text).expect(text)), want, "{text}");
        }
    }

    #[test]
    fn a_list_names_numbers_and_ranges() {
        for (text, want) in [
            ("", vec![]),
            ("0", vec![1]),
            ("0-3,7", vec![0x8f]),
            (" 1 , ,2,", vec![6]),
            ("64", vec![0, 1]),
            ("63-64", vec![1 << 63, 1]),
        ] {
            assert_eq!(Bitmap::parse(text), Ok(Bitmap(want)), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [",", " ", "a", "-1", "1-", "3-1", "+1", "0x1", "65536", "99999999999", "1 2"] {
            assert!(Bitmap::parse(text).is_err(), "{text:?}");
        }
    }
}
