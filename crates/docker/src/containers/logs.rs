//! Log lines in the form of streams.

use engine::LogLine;

use crate::clock;

/// A line's bytes as clients expect them: with a terminal as they are, without one in a frame that
/// says which stream it is of. In front come the time and the attributes, if they are asked for.
///
/// ```text
///   type (1 stdout, 2 stderr), 0, 0, 0, length (4 bytes, big endian), payload
/// ```
pub(crate) fn encode(line: &LogLine, tty: bool, with: Front) -> Vec<u8> {
    let mut front = String::new();
    if with.timestamps {
        front += &clock::rfc3339_fixed(line.time);
        front.push(' ');
    }
    if with.details {
        front += &details(line);
        front.push(' ');
    }
    let length = front.len() + line.bytes.len();
    let mut bytes = Vec::with_capacity(8 + length);
    if !tty {
        // A line is at most 16 KiB long.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        bytes.extend([if line.stderr { 2 } else { 1 }, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(front.as_bytes());
    bytes.extend(&line.bytes);
    bytes
}

/// What stands in front of a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Front {
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
}

/// A line's attributes: `a=b,c=d`.
fn details(line: &LogLine) -> String {
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pairs = line.attributes.iter();
    pairs
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_line_is_framed_unless_there_is_a_terminal() {
        let attributes = BTreeMap::from([("a".to_owned(), "b c".to_owned())]);
        let line = LogLine { stderr: true, time: UNIX_EPOCH, bytes: b"hi\n".to_vec(), attributes };
        let (none, timestamps) = (Front::default(), Front { timestamps: true, details: false });
        assert_eq!(encode(&line, false, none), b"\x02\0\0\0\0\0\0\x03hi\n");
        assert_eq!(encode(&line, true, none), b"hi\n");
        assert_eq!(encode(&line, true, timestamps), b"1970-01-01T00:00:00.000000000Z hi\n");
        let all = Front { timestamps: true, details: true };
        assert_eq!(encode(&line, true, all), b"1970-01-01T00:00:00.000000000Z a=b+c hi\n");
        assert_eq!(encode(&line, false, timestamps)[..8], [2, 0, 0, 0, 0, 0, 0, 34]);
    }
}
