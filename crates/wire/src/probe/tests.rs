use proptest::prelude::*;

use super::*;
use crate::frame::{MAX_DATA, WINDOW};

/// The steps of a script.
const DATA: u8 = 0;
const END: u8 = 1;
const CREDIT: u8 = 2;
const STOP: u8 = 3;
const ANSWER: u8 = 4;
const TEXT: u8 = 5;
const RAW: u8 = 6;
const READ: u8 = 7;
const WRITE: u8 = 8;
const LEAVE: u8 = 9;
const CALL: u8 = 10;

/// The longest piece of data, as a step says it.
const LONG: [u8; 2] = [0x00, 0x80];

#[test]
fn a_script_ends_as_the_protocol_says() {
    let full = [DATA, 1, LONG[0], LONG[1]].repeat((WINDOW / MAX_DATA) as usize);
    let and = |more: &[u8]| [&full[..], more].concat();
    let read = [READ, 1, 0xff, 0xff].repeat(2);
    let closed: [(&str, Vec<u8>); 8] = [
        ("nothing at all", vec![]),
        ("as much as there is credit for", full.clone()),
        ("more of it once half was read", and(&[&read[..], &read[..], &full[..8]].concat())),
        ("data for a stream that nobody reads", [DATA, 3, LONG[0], LONG[1]].repeat(20)),
        ("data for a reader that has left", and(&[&[LEAVE, 1, 0][..], &full[..]].concat())),
        ("an answer that comes too late", vec![CALL, 0, CALL, 1, ANSWER, 1, 1, ANSWER, 1, 4]),
        ("two answers to one call", vec![CALL, 0, ANSWER, 1, 0, ANSWER, 1, 1, CALL, 1]),
        ("a header and no body", vec![RAW, 8, 1, 0, 0, 0, 1, 0, 0, 0x3f]),
    ];
    for (name, script) in closed {
        let ended = guest(&script);
        assert!(matches!(*ended, Ended::Closed), "{name}: {ended:?}");
    }
    let broken: [(&str, Vec<u8>, &str); 16] = [
        ("data for no stream", vec![DATA, 4, 1, 0], "stream 4 was never opened"),
        ("the end of none", vec![END, 0], "stream 0 was never opened"),
        ("credit for none", vec![CREDIT, 4, 0, 0, 0], "stream 4 was never opened"),
        ("an answer that nobody asked for", vec![ANSWER, 1, 0], "nobody made that call"),
        ("one byte more", and(&[DATA, 1, 1, 0]), "stream 1 sent more than its credit"),
        ("data after the end", vec![END, 2, DATA, 2, 1, 0], "stream 2 sent more than its credit"),
        (
            "credit for nothing",
            vec![CREDIT, 1, 1, 0, 0],
            "stream 1 gave credit for bytes it never had",
        ),
        (
            "credit past all numbers",
            vec![WRITE, 1, 9, 0, CREDIT, 1, 0xff, 0xff, 16],
            "stream 1 gave credit for bytes it never had",
        ),
        ("no data", vec![DATA, 1, 0, 0], "frame of type data with 0 bytes"),
        ("too much in one frame", vec![DATA, 3, 1, 0x80], "frame of type data with 32769 bytes"),
        ("a call", vec![RAW, 8, 1, 0, 0, 0, 0, 2, 0, 0], "frame of type call with 2 bytes"),
        ("no such type", vec![RAW, 8, 1, 0, 0, 0, 6, 0, 0, 0], "unknown frame type 6"),
        (
            "endless",
            vec![RAW, 8, 1, 0, 0, 0, 1, 1, 0, 0x40],
            "frame of type answer with 4194305 bytes",
        ),
        (
            "an end with a body",
            vec![RAW, 9, 1, 0, 0, 0, 3, 1, 0, 0, 0],
            "frame of type end with 1 bytes",
        ),
        ("no JSON", vec![CALL, 0, TEXT, 1, 1, b'{'], "answer to call 1 is not what was asked for"),
        ("another answer", vec![CALL, 0, ANSWER, 1, 1, CALL, 1], "an exit code instead"),
    ];
    for (name, script, rule) in broken {
        let ended = guest(&script);
        let Ended::Violation(violation) = &*ended else { panic!("{name}: {ended:?}") };
        assert!(violation.to_string().contains(rule), "{name}: {violation}");
    }
    let stopped = guest(&[STOP, 2, WRITE, 2, 9, 0, LEAVE, 2, 1, CREDIT, 2, 9, 0, 0]);
    assert!(matches!(*stopped, Ended::Closed), "{stopped:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_script_breaks_a_promise(script in prop::collection::vec(any::<u8>(), 0..600)) {
        guest(&script);
    }

    /// Steps alone, so that most of them are of a guest that keeps some rules.
    #[test]
    fn no_order_of_steps_breaks_a_promise(
        steps in prop::collection::vec((0_u8..11, 0_u8..NAMES, any::<u8>(), any::<u8>()), 0..120),
    ) {
        let long = |(step, name, low, high): (u8, u8, u8, u8)| match step {
            DATA => vec![step, name, low, high & 0x7f],
            CREDIT => vec![step, name, low, high, 0],
            READ | WRITE => vec![step, name, low, high],
            ANSWER | LEAVE => vec![step, name, low],
            TEXT | RAW => vec![],
            _ => vec![step, name],
        };
        guest(&steps.into_iter().flat_map(long).collect::<Vec<_>>());
    }
}
