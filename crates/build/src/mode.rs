//! `--chmod`: which mode a file gets.
//!
//! ```text
//!   644                       as it stands
//!   u=rwX,go=rX   who op what[op what…],…      from the mode that the file had
//! ```
//!
//! Spec: Dockerfile reference, "COPY --chmod"; POSIX, chmod, "Extended Description". As BuildKit has it, a
//! clause that names nobody is for all but what a mask of 022 takes away.

/// All that can be set.
const ALL: u32 = 0o7777;
/// What a clause that names nobody leaves alone.
const MASK: u32 = 0o022;

/// Which mode a file gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// This one.
    Exact(u32),
    /// The one it had, changed in order.
    Changed(Vec<Change>),
}

/// One change of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The bits of those who were named; `None` if nobody was.
    who: Option<u32>,
    how: How,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Add,
    Take,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Bits for everybody, and whether those of execution where it makes sense: of directories, and of what
    /// somebody may execute.
    Bits { bits: u32, search: bool },
    /// The permissions of another, which are this far up.
    Of { shift: u32 },
}

impl Chmod {
    /// Reads octal digits or clauses; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= ALL);
            return mode.map(Self::Exact);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '='])?;
            let (names, mut rest) = clause.split_at(at);
            let who = names.chars().map(bits_of).try_fold(0, |all, bits| Some(all | bits?))?;
            let who = (!names.is_empty()).then_some(who);
            while let Some(sign) = rest.chars().next() {
                let how = match sign {
                    '+' => How::Add,
                    '-' => How::Take,
                    _ => How::Set,
                };
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                changes.push(Change { who, how, what: What::parse(&rest[1..end])? });
                rest = &rest[end..];
            }
        }
        Some(Self::Changed(changes))
    }

    /// The mode of what had the mode `old`.
    pub fn of(&self, old: u32, is_directory: bool) -> u32 {
        match self {
            Self::Exact(mode) => *mode,
            Self::Changed(changes) => {
                changes.iter().fold(old & ALL, |mode, change| change.of(mode, is_directory))
            }
        }
    }
}

impl Change {
    fn of(&self, old: u32, is_directory: bool) -> u32 {
        let what = match self.what {
            What::Of { shift } => ((old >> shift) & 0o7) * 0o111,
            What::Bits { bits, search: true } if is_directory || old & 0o111 != 0 => bits | 0o111,
            What::Bits { bits, .. } => bits,
        };
        let bits = what & self.who.unwrap_or(ALL & !MASK);
        match self.how {
            How::Add => old | bits,
            How::Take => old & !bits,
            How::Set => old & !self.who.unwrap_or(ALL) | bits,
        }
    }
}

impl What {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "u" => return Some(Self::Of { shift: 6 }),
            "g" => return Some(Self::Of { shift: 3 }),
            "o" => return Some(Self::Of { shift: 0 }),
            _ => {}
        }
        let (mut bits, mut search) = (0, false);
        for one in text.chars() {
            match one {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                'X' => search = true,
                's' => bits |= 0o6000,
                't' => bits |= 0o1000,
                _ => return None,
            }
        }
        Some(Self::Bits { bits, search })
    }
}

/// All bits of somebody.
fn bits_of(who: char) -> Option<u32> {
    match who {
        'u' => Some(0o4700),
        'g' => Some(0o2070),
        'o' => Some(0o1007),
        'a' => Some(ALL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_set_or_changed() {
        let cases = [
            ("644", 0o755, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+w", 0o444, false, 0o644),
            ("=rw", 0o777, false, 0o644),
            ("go-rwx", 0o777, false, 0o700),
            ("g=u,o=", 0o741, false, 0o770),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("u=rw+x-r", 0o000, false, 0o300),
            ("ug+rw,o-r", 0o404, false, 0o660),
        ];
        for (text, old, is_directory, want) in cases {
            let chmod = Chmod::parse(text).expect(text);
            assert_eq!(chmod.of(old, is_directory), want, "{text} of {old:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "17777", "0x1", "rwx", "u", "z=r", "u=q", "u=rw,", "u=gr", ",u=r"] {
            assert_eq!(Chmod::parse(text), None, "{text}");
        }
    }
}
