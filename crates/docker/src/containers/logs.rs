//! Log lines in the form of streams.

use engine::LogLine;

use crate::clock;

/// A line's bytes as clients expect them: with a terminal as they are, without one in a frame that
/// says which stream it is of. `timestamps` puts the time in front.
///
/// ```text
///   type (1 stdout, 2 stderr), 0, 0, 0, length (4 bytes, big endian), payload
/// ```
pub(crate) fn encode(line: &LogLine, tty: bool, timestamps: bool) -> Vec<u8> {
    let time = if timestamps { clock::rfc3339_fixed(line.time) + " " } else { String::new() };
    let length = time.len() + line.bytes.len();
    let mut bytes = Vec::with_capacity(8 + length);
    if !tty {
        // A line is at most 16 KiB long.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        bytes.extend([if line.stderr { 2 } else { 1 }, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(time.as_bytes());
    bytes.extend(&line.bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_line_is_framed_unless_there_is_a_terminal() {
        let line = LogLine { stderr: true, time: UNIX_EPOCH, bytes: b"hi\n".to_vec() };
        assert_eq!(encode(&line, false, false), b"\x02\0\0\0\0\0\0\x03hi\n");
        assert_eq!(encode(&line, true, false), b"hi\n");
        assert_eq!(encode(&line, true, true), b"1970-01-01T00:00:00.000000000Z hi\n");
        assert_eq!(encode(&line, false, true)[..8], [2, 0, 0, 0, 0, 0, 0, 34]);
    }
}
