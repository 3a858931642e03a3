//! Profiles from bytes, and what the kernel asks of a program. For `crate::probe`.

use serde_json::{Value, json};

use super::syscall::TABLE;
use super::{Filter, Instruction, MAX_LENGTH, Part};

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const ARCHITECTURES: [&str; 4] =
    ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"];
const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// Bytes, then zeros.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        list[self.byte() % list.len()]
    }

    fn some(&mut self, list: &[&'static str]) -> Vec<&'static str> {
        let bits = self.byte();
        let chosen = |(at, name): (usize, &&'static str)| ((bits >> at) & 1 == 1).then_some(*name);
        list.iter().enumerate().filter_map(chosen).collect()
    }

    /// Small numbers, and some with bits in both halves.
    fn number(&mut self) -> u64 {
        let (value, shift) = (self.byte() as u64, self.byte() % 64);
        value.rotate_left(u32::try_from(shift).unwrap_or(0))
    }

    fn rule(&mut self) -> Value {
        let mut rule = json!({"action": self.pick(&ACTIONS), "names": []});
        for _ in 0..=self.byte() % 4 {
            let name = TABLE[((self.byte() << 8) | self.byte()) % TABLE.len()].0;
            rule["names"].as_array_mut().expect("a list").push(json!(name));
        }
        if self.byte().is_multiple_of(4) {
            rule["errnoRet"] = json!(self.byte() << (self.byte() % 12));
        }
        let condition = |source: &mut Self| {
            json!({"index": source.byte() % 7, "op": source.pick(&OPERATORS),
                   "value": source.number(), "valueTwo": source.number()})
        };
        let conditions: Vec<Value> = (0..self.byte() % 8).map(|_| condition(self)).collect();
        rule["args"] = json!(conditions);
        rule
    }
}

/// The profile that these bytes mean.
pub(crate) fn profile(bytes: &[u8]) -> Value {
    let mut source = Source(bytes);
    let mut profile = json!({
        "defaultAction": source.pick(&ACTIONS),
        "architectures": source.some(&ARCHITECTURES),
        "listenerPath": "/agent",
    });
    let options = source.byte();
    if options & 1 == 1 {
        profile["flags"] = json!(source.some(&FLAGS));
    }
    if options & 2 == 2 {
        profile["defaultErrnoRet"] = json!(source.byte());
    }
    let mut rules = Vec::new();
    while !source.0.is_empty() {
        rules.push(source.rule());
    }
    profile["syscalls"] = json!(rules);
    profile
}

/// Panics unless the kernel takes the programs.
pub(crate) fn check(filter: &Filter) {
    check_part(&filter.own);
    if let Some((part, _)) = &filter.listener {
        check_part(part);
    }
}

/// The rules of the kernel's `bpf_check_classic` and `seccomp_check_filter` for what we emit.
fn check_part(part: &Part) {
    let program = part.instructions();
    assert!((1..=MAX_LENGTH).contains(&program.len()), "{} instructions", program.len());
    for (at, one) in program.iter().enumerate() {
        check_one(*one, program.len() - at - 1);
    }
    assert_eq!(program.last().map(|one| one.code), Some(0x06), "the last is no return");
}

/// `left`: how many instructions follow.
fn check_one(one: Instruction, left: usize) {
    let within = |distance: usize| assert!(distance < left, "{one:?}: {left} follow");
    match one.code {
        0x20 => assert!(one.k < 64 && one.k.is_multiple_of(4), "{one:?}"),
        0x54 => {}
        0x05 => within(one.k as usize),
        0x15 | 0x25 | 0x35 => {
            within(usize::from(one.jt));
            within(usize::from(one.jf));
        }
        0x06 => {
            let actions = [0x8000, 0, 3, 5, 0x7fc0, 0x7ff0, 0x7ffc, 0x7fff];
            assert!(actions.contains(&(one.k >> 16)), "{one:?}");
        }
        _ => panic!("{one:?} is not allowed"),
    }
}
