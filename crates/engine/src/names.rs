//! Names and ids of containers.

use crate::error::Error;

const ADJECTIVES: &str = "able agile amber ample azure bold brave breezy bright brisk calm candid \
    cheery civil clear clever coral cosy crisp deft eager early fair fleet fond frank free fresh \
    gentle glad golden grand hardy honest jolly keen kind lively loyal lucid lucky mellow merry \
    mild modest neat noble olive patient placid plucky polite prime proud quick quiet rapid ready \
    rosy serene sharp silver sleek snug sober solid spry steady sunny swift tender tidy trusty \
    upbeat vivid warm wise witty young zesty";

const NOUNS: &str = "anchor barge bay beacon bell boom bow bowline brig buoy cabin canoe canvas \
    capstan catboat chart cleat clipper coast compass cove crane crest current cutter dinghy dock \
    dory draft ferry fjord fleet galley gangway gull halyard harbor hatch hawser heron inlet jetty \
    jib kayak keel ketch lagoon lantern launch log lugger mast mooring oar osprey paddle pelican \
    pier pilot pinnace port prow quay raft reef rigging rudder sail schooner sextant shoal skiff \
    sloop spar spray stern strait tender tern tide tiller trawler tug voyage wake wave wharf yawl";

/// A fresh id: 64 hexadecimal digits.
pub(crate) fn fresh_id() -> String {
    let mut bytes = [0_u8; 32];
    random(&mut bytes);
    hex(&bytes)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A fresh name, `adjective_noun`, that `taken` does not know.
pub(crate) fn fresh_name(taken: impl Fn(&str) -> bool) -> String {
    let (adjectives, nouns) = (words(ADJECTIVES), words(NOUNS));
    let mut bytes = [0_u8; 8];
    for attempt in 0_u32.. {
        random(&mut bytes);
        let number = usize::from_ne_bytes(bytes);
        let adjective = adjectives[number % adjectives.len()];
        let noun = nouns[number / adjectives.len() % nouns.len()];
        let name = match attempt {
            0..16 => format!("{adjective}_{noun}"),
            _ => format!("{adjective}_{noun}{attempt}"),
        };
        if !taken(&name) {
            return name;
        }
    }
    unreachable!("there are more numbers than containers")
}

/// The name without Docker's slash, if it can be one.
///
/// # Errors
///
/// It must match `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    if bytes.len() >= 2 && bytes.first().is_some_and(first) && bytes.iter().copied().all(legal) {
        return Ok(name);
    }
    Err(Error::InvalidName(name.to_owned()))
}

/// Whether `text` could be an id or the beginning of one.
pub(crate) fn is_id_prefix(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn words(list: &'static str) -> Vec<&'static str> {
    list.split_whitespace().collect()
}

fn random(bytes: &mut [u8]) {
    let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "getrandom(2) fills up to 256 bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_name_is_legal_and_not_taken() {
        let name = fresh_name(|name| !name.ends_with(|c: char| c.is_ascii_digit()));
        assert_eq!(checked(&name).ok(), Some(name.as_str()));
        assert!(name.ends_with("16"), "{name}");
    }

    #[test]
    fn only_harmless_names_are_legal() {
        for (name, legal) in [
            ("web", true),
            ("/web", true),
            ("w", false),
            ("", false),
            ("_web", false),
            ("we b", false),
            ("web/../x", false),
        ] {
            assert_eq!(checked(name).is_ok(), legal, "{name}");
        }
    }

    #[test]
    fn an_id_is_64_digits_and_never_twice_the_same() {
        let (one, two) = (fresh_id(), fresh_id());
        assert!(one.len() == 64 && is_id_prefix(&one));
        assert_ne!(one, two);
    }
}
