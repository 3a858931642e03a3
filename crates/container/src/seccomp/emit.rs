//! From decisions to classic BPF.
//!
//! ```text
//!   load arch -> section by arch -> load number -> search tree of ranges -> return
//!                                                                      '-> conditions -> return
//! ```
//!
//! Neighbouring calls with the same answer are one range, so that a profile of 400 names takes ten
//! comparisons. Every piece of code ends in a return and is laid out behind what jumps to it, so all
//! jumps are forward and known when they are made.

use spec::oci::runtime::LinuxSeccompOperator as Operator;
use sys::seccomp::Instruction;

use super::profile::{Call, Condition, Profile, RET_KILL_THREAD, Section, Verdict};
use super::syscall::{Abi, X32_BIT};

const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ABOVE: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// The whole filter.
pub(super) fn program(profile: &Profile) -> Vec<Instruction> {
    let section = |abi| profile.sections.iter().find(|section| section.abi == abi);
    let body = |abi| section(abi).map(|section| tree(&ranges(section, profile.default)));
    // A foreign architecture, or x32 where the profile does not name it.
    let bad = || vec![instruction(RETURN, RET_KILL_THREAD)];
    let native = body(Abi::X86_64).unwrap_or_else(bad);
    let mut x86_64 = vec![instruction(LOAD_WORD, NUMBER)];
    // -1 is a call that a tracer has skipped, not one of x32.
    let skipped = || vec![instruction(RETURN, profile.default)];
    let x32 = body(Abi::X32).unwrap_or_else(|| branch(JUMP_EQUAL, u32::MAX, skipped(), bad()));
    x86_64.extend(branch(JUMP_AT_LEAST, X32_BIT, x32, native));
    let other = match body(Abi::X86) {
        None => bad(),
        Some(body) => {
            let load = [vec![instruction(LOAD_WORD, NUMBER)], body].concat();
            branch(JUMP_EQUAL, AUDIT_ARCH_I386, load, bad())
        }
    };
    let mut code = vec![instruction(LOAD_WORD, ARCH)];
    code.extend(branch(JUMP_EQUAL, AUDIT_ARCH_X86_64, x86_64, other));
    code
}

/// The program with other verdicts.
pub(super) fn with_verdicts(
    program: &[Instruction],
    change: impl Fn(Verdict) -> Verdict,
) -> Vec<Instruction> {
    let changed = |one: &Instruction| match one.code {
        RETURN => Instruction { k: change(one.k), ..*one },
        _ => *one,
    };
    program.iter().map(changed).collect()
}

/// `if A <op> k { yes } else { no }`, both of which end in returns.
fn branch(code: u16, k: u32, yes: Vec<Instruction>, no: Vec<Instruction>) -> Vec<Instruction> {
    let mut all = if let Ok(length) = u8::try_from(no.len()) {
        vec![Instruction { code, jt: length, jf: 0, k }]
    } else {
        // Too far for a conditional jump.
        let far = u32::try_from(no.len()).unwrap_or(u32::MAX);
        vec![Instruction { code, jt: 0, jf: 1, k }, instruction(JUMP, far)]
    };
    all.extend(no);
    all.extend(yes);
    all
}

/// Calls from `first` up to the next range's first, and what is decided for them.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    code: Vec<Instruction>,
}

/// All numbers from 0 up as ranges, neighbours of which differ.
fn ranges(section: &Section, default: Verdict) -> Vec<Range> {
    let plain = |verdict| vec![instruction(RETURN, verdict)];
    let mut list = vec![Range { first: 0, code: plain(default) }];
    let mut add = |first: u32, code: Vec<Instruction>| match list.last_mut() {
        Some(range) if range.first == first => range.code = code,
        Some(range) if range.code == code => {}
        _ => list.push(Range { first, code }),
    };
    let mut next = 0;
    for (number, call) in &section.calls {
        if *number > next {
            add(next, plain(default));
        }
        match call {
            Call::Always(verdict) => add(*number, plain(*verdict)),
            Call::Rules(rules) => add(*number, conditional(section.abi, rules, default)),
        }
        next = number + 1;
    }
    match section.unknown_from {
        Some((from, verdict)) => {
            if from > next {
                add(next, plain(default));
            }
            add(from.max(next), plain(verdict));
        }
        None => add(next, plain(default)),
    }
    // A first range that was overwritten may now equal its neighbour.
    list.dedup_by(|later, earlier| later.code == earlier.code);
    list
}

/// A binary search for the number in A.
fn tree(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => vec![instruction(RETURN, RET_KILL_THREAD)],
        [one] => one.code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(JUMP_AT_LEAST, high[0].first, tree(high), tree(low))
        }
    }
}

/// The rules in order, then the default.
fn conditional(
    abi: Abi,
    rules: &[(Vec<Condition>, Verdict)],
    default: Verdict,
) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, verdict) in rules {
        code.extend(rule(abi, conditions, *verdict));
    }
    code.push(instruction(RETURN, default));
    code
}

/// Where a comparison goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// Past this condition, which holds.
    Holds,
    /// Past this rule, which does not apply.
    Fails,
}

/// An instruction whose jumps are not yet distances.
struct Step(Instruction, To, To);

/// The conditions one after the other, and the answer when all hold.
fn rule(abi: Abi, conditions: &[Condition], verdict: Verdict) -> Vec<Instruction> {
    let blocks: Vec<Vec<Step>> = conditions.iter().map(|one| compare(abi, *one)).collect();
    let total: usize = blocks.iter().map(Vec::len).sum();
    let mut code = Vec::with_capacity(total + 1);
    let mut end = 0;
    for block in blocks {
        end += block.len();
        for Step(mut step, yes, no) in block {
            let here = code.len() + 1;
            // At most 6 conditions of 6 instructions: every distance fits.
            let distance = |to| match to {
                To::Next => 0,
                To::Holds => u8::try_from(end - here).unwrap_or(u8::MAX),
                To::Fails => u8::try_from(total + 1 - here).unwrap_or(u8::MAX),
            };
            (step.jt, step.jf) = (distance(yes), distance(no));
            code.push(step);
        }
    }
    code.push(instruction(RETURN, verdict));
    code
}

/// One comparison, high half first; 32-bit architectures have no high half.
fn compare(abi: Abi, condition: Condition) -> Vec<Step> {
    use To::{Fails, Holds, Next};
    let [low, high] = halves(condition.value);
    let [low_mask, high_mask] = halves(condition.mask);
    let offset = ARGUMENTS + 8 * condition.argument;
    let load = |offset, mask| {
        let mut steps = vec![Step(instruction(LOAD_WORD, offset), Next, Next)];
        if mask != u32::MAX {
            steps.push(Step(instruction(AND, mask), Next, Next));
        }
        steps
    };
    let test = |code, k, yes, no| Step(instruction(code, k), yes, no);
    let mut steps = Vec::new();
    if abi == Abi::X86_64 {
        steps.extend(load(offset + 4, high_mask));
        match condition.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => {
                steps.push(test(JUMP_EQUAL, high, Next, Fails));
            }
            Operator::ScmpCmpNe => steps.push(test(JUMP_EQUAL, high, Next, Holds)),
            Operator::ScmpCmpGt | Operator::ScmpCmpGe => {
                steps.push(test(JUMP_ABOVE, high, Holds, Next));
                steps.push(test(JUMP_EQUAL, high, Next, Fails));
            }
            Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
                steps.push(test(JUMP_ABOVE, high, Fails, Next));
                steps.push(test(JUMP_EQUAL, high, Next, Holds));
            }
        }
    }
    steps.extend(load(offset, low_mask));
    steps.push(match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => test(JUMP_EQUAL, low, Holds, Fails),
        Operator::ScmpCmpNe => test(JUMP_EQUAL, low, Fails, Holds),
        Operator::ScmpCmpGt => test(JUMP_ABOVE, low, Holds, Fails),
        Operator::ScmpCmpGe => test(JUMP_AT_LEAST, low, Holds, Fails),
        Operator::ScmpCmpLt => test(JUMP_AT_LEAST, low, Fails, Holds),
        Operator::ScmpCmpLe => test(JUMP_ABOVE, low, Fails, Holds),
    });
    steps
}

fn halves(value: u64) -> [u32; 2] {
    let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or(0);
    [half(value), half(value >> 32)]
}
