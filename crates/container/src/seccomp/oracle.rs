//! Our programs give the verdicts that libseccomp's give, for profiles and calls at random.
//!
//! Left out is the `ENOSYS` for new calls, which runc adds and libseccomp does not know.
//!
//! Several rules for one call that do not all ask for exact values are compared with the plain reading
//! instead, the first that holds decides; so are rules of different actions that hold at once. libseccomp
//! 2.5 makes a tree of half words of such rules, in which the failure of one can hide another (`a == 0`
//! beside `a != 5 && b < 0` does not match 0), goes round in circles over some, and refuses others.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use spec::oci::runtime::LinuxSeccompOperator as Operator;

use super::profile::{Call, Condition, Profile, Verdict};
use super::syscall::{Abi, TABLE, X32_BIT, multiplexed, number};
use super::tests::{I386, X86_64, run};
use super::*;

/// Profiles in one run; tenfold found nothing more.
const CASES: u32 = 300;
/// An architecture that no profile here names.
const OTHER: u32 = 0xc000_00b7;
/// libseccomp's tokens.
const TOKENS: [(&str, u32); 3] = [
    ("SCMP_ARCH_X86_64", 0xc000_003e),
    ("SCMP_ARCH_X86", 0x4000_0003),
    ("SCMP_ARCH_X32", 0x4000_003e),
];
/// By libseccomp's number, less 1.
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const ACTIONS: [(&str, u32); 6] = [
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", 0),
    ("SCMP_ACT_TRAP", 0x0003_0000),
    ("SCMP_ACT_ERRNO", 0x0005_0000),
    ("SCMP_ACT_LOG", 0x7ffc_0000),
    ("SCMP_ACT_ALLOW", 0x7fff_0000),
];

/// libseccomp behind a pipe.
struct Oracle {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// `None`, with the reason printed, where there is no compiler or no libseccomp.
    fn start(name: &str) -> Option<Self> {
        let scratch = std::env::temp_dir().join(format!("hull-{name}-{}", std::process::id()));
        fs::create_dir_all(&scratch).expect("made");
        let program = scratch.join("oracle");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seccomp/oracle.c");
        let mut compiler = Command::new("cc");
        compiler.arg("-o").arg(&program).arg(source).arg("-lseccomp").stderr(Stdio::null());
        if !compiler.status().is_ok_and(|status| status.success()) {
            println!("skipped: needs cc and libseccomp-dev");
            let _ = fs::remove_dir_all(scratch);
            return None;
        }
        let mut command = Command::new(&program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        // It is mapped by now, or will be: an executed file may be unlinked.
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let mut oracle = Self {
            child,
            ask: ask.expect("a pipe"),
            answers: BufReader::new(answers.expect("a pipe")),
        };
        assert_eq!(oracle.say(&format!("number read {X86_64}")), "0");
        fs::remove_dir_all(scratch).expect("removed");
        Some(oracle)
    }

    fn say(&mut self, request: &str) -> String {
        writeln!(self.ask, "{request}").expect("it reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }

    fn number(&mut self, name: &str, token: u32) -> Option<u32> {
        self.say(&format!("number {name} {token}")).parse().ok()
    }

    /// libseccomp's program; `None` when it refuses a rule because of another, or makes a wrong one.
    fn program(&mut self, sample: &Sample) -> Option<Vec<Instruction>> {
        assert_eq!(self.say(&format!("new {}", sample.default.verdict())), "ok");
        for (_, token) in &sample.architectures {
            // The native one is there already.
            assert!(["ok", "exists"].contains(&self.say(&format!("arch {token}")).as_str()));
        }
        for rule in &sample.rules {
            for name in &rule.names {
                if self.say(&rule.request(name)) != "ok" {
                    return None;
                }
            }
        }
        let text = self.say("end");
        if text == "stuck" {
            return None;
        }
        let numbers: Vec<u32> = text.split(' ').map(|word| word.parse().expect(&text)).collect();
        let one = |four: &[u32]| Instruction {
            code: four[0].try_into().expect("16 bits"),
            jt: four[1].try_into().expect("8 bits"),
            jf: four[2].try_into().expect("8 bits"),
            k: four[3],
        };
        let program: Vec<Instruction> = numbers.chunks_exact(4).map(one).collect();
        (!takes_the_architecture_for_a_call(&program)).then_some(program)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program compares an architecture with the number of a call. Where one ABI lacks a call of the
/// rules, libseccomp may forget to load the number after it has looked at the architecture.
fn takes_the_architecture_for_a_call(program: &[Instruction]) -> bool {
    let mut holds_it = vec![false; program.len()];
    for (at, &Instruction { code, jt, jf, k }) in program.iter().enumerate() {
        let (holds, next) = match code {
            0x20 => (k == 4, vec![1]),
            0x06 => continue,
            0x05 => (holds_it[at], vec![1 + k as usize]),
            0x15 if holds_it[at] && k != X86_64 && k != I386 => return true,
            0x15 | 0x25 | 0x35 | 0x45 => {
                (holds_it[at], vec![1 + usize::from(jt), 1 + usize::from(jf)])
            }
            _ => (holds_it[at], vec![1]),
        };
        for step in next {
            holds_it[at + step] |= holds;
        }
    }
    false
}

/// An action and its errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Act {
    name: &'static str,
    base: u32,
    errno: u32,
}

impl Act {
    fn verdict(self) -> u32 {
        if self.name == "SCMP_ACT_ERRNO" { self.base | self.errno } else { self.base }
    }

    fn put(self, object: &mut Value, action: &str, errno: &str) {
        object[action] = json!(self.name);
        if self.name == "SCMP_ACT_ERRNO" {
            object[errno] = json!(self.errno);
        }
    }
}

/// One rule; a condition is an argument, a place in [`OPERATORS`] and two values.
#[derive(Debug, Clone)]
struct Rule {
    names: Vec<&'static str>,
    act: Act,
    conditions: Vec<(u32, usize, u64, u64)>,
}

impl Rule {
    fn request(&self, name: &str) -> String {
        let one = |(argument, operator, value, second): &(u32, usize, u64, u64)| {
            format!(" {argument} {} {value} {second}", operator + 1)
        };
        let conditions: String = self.conditions.iter().map(one).collect();
        format!("rule {} {name} {}{conditions}", self.act.verdict(), self.conditions.len())
    }

    fn json(&self) -> Value {
        let condition = |(argument, operator, value, second): &(u32, usize, u64, u64)| json!({"index": argument, "op": OPERATORS[*operator], "value": value, "valueTwo": second});
        let conditions: Vec<Value> = self.conditions.iter().map(condition).collect();
        let mut rule = json!({"names": self.names, "args": conditions});
        self.act.put(&mut rule, "action", "errnoRet");
        rule
    }
}

/// A profile, and the calls that are tried on it.
#[derive(Debug, Clone)]
struct Sample {
    default: Act,
    architectures: Vec<(&'static str, u32)>,
    rules: Vec<Rule>,
    numbers: Vec<u32>,
    arguments: Vec<[u64; 6]>,
}

impl Sample {
    /// Our decisions, without what runc adds.
    fn profile(&self) -> Profile {
        let names: Vec<&str> = self.architectures.iter().map(|(name, _)| *name).collect();
        let rules: Vec<Value> = self.rules.iter().map(Rule::json).collect();
        let mut json = json!({"architectures": names, "syscalls": rules});
        self.default.put(&mut json, "defaultAction", "defaultErrnoRet");
        let config: LinuxSeccomp = serde_json::from_value(json).expect("a profile");
        let mut profile = Profile::of(&config).expect("compiles");
        for section in &mut profile.sections {
            section.unknown_from = None;
        }
        profile
    }

    /// Numbers at and beside those of the rules, in each ABI.
    fn numbers(&self) -> Vec<u32> {
        let names = self.rules.iter().flat_map(|rule| rule.names.iter());
        let known = names.flat_map(|name| {
            [Abi::X86_64, Abi::X86, Abi::X32].into_iter().filter_map(|abi| number(name, abi))
        });
        let near = known.flat_map(|n| [n, n.wrapping_add(1), n.wrapping_sub(1), n | X32_BIT]);
        let edges = [0, 102, 117, X32_BIT - 1, X32_BIT, u32::MAX - 1, u32::MAX];
        near.chain(edges).chain(self.numbers.iter().copied()).collect()
    }

    /// Arguments at random, and at and beside the values of the conditions.
    fn arguments(&self) -> Vec<[u64; 6]> {
        let mut list = self.arguments.clone();
        let seeds: Vec<[u64; 6]> = list.iter().take(2).copied().collect();
        for (argument, _, value, second) in self.rules.iter().flat_map(|rule| &rule.conditions) {
            for near in near(*value).into_iter().chain(near(*second)) {
                for seed in &seeds {
                    let mut arguments = *seed;
                    arguments[*argument as usize] = near;
                    list.push(arguments);
                }
            }
        }
        // All conditions of one rule met at once.
        for rule in &self.rules {
            for pick in [0, 1, 2] {
                let mut arguments = seeds[0];
                for (argument, operator, value, second) in &rule.conditions {
                    let met = if *operator == 6 { second & value } else { near(*value)[pick] };
                    arguments[*argument as usize] = met;
                }
                list.push(arguments);
            }
        }
        list
    }
}

fn near(value: u64) -> [u64; 8] {
    let low = value & 0xffff_ffff;
    [
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value ^ 1 << 32,
        low,
        value.wrapping_add(1 << 32),
        value.wrapping_sub(1 << 32),
        value | 0xffff_ffff,
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    (select(&ACTIONS[..]), select(vec![0, 1, 38, 4094])).prop_map(|((name, base), errno)| Act {
        name,
        base,
        errno,
    })
}

fn values() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..24u64,
        select(vec![0xffff_ffff, 1 << 32, 0x1_0000_0005, u64::MAX, 1 << 63, 0x7e02_0000]),
        any::<u64>(),
    ]
}

fn conditions() -> impl Strategy<Value = Vec<(u32, usize, u64, u64)>> {
    let one = (0..6u32, 0..OPERATORS.len(), values(), values());
    prop_oneof![3 => Just(Vec::new()), 5 => prop::collection::vec(one, 1..4)]
}

/// Profiles of a few calls each, so that their rules meet.
fn samples(names: Vec<&'static str>) -> impl Strategy<Value = Sample> {
    let few = prop::collection::vec(select(names), 1..5).prop_map(|mut few| {
        few.extend(["socket", "shmat"]);
        few
    });
    let rule = |few: Vec<&'static str>| {
        let some = prop::collection::vec(select(few), 1..4);
        (some, acts(), conditions()).prop_map(|(names, act, conditions)| Rule {
            names,
            act,
            conditions,
        })
    };
    (
        acts(),
        prop::sample::subsequence(TOKENS.to_vec(), 0..=3),
        few.prop_flat_map(move |few| prop::collection::vec(rule(few), 0..10)),
        prop::collection::vec(any::<u32>(), 4),
        prop::collection::vec(prop::array::uniform6(values()), 6),
    )
        .prop_map(|(default, architectures, rules, numbers, arguments)| Sample {
            default,
            architectures,
            rules,
            numbers,
            arguments,
        })
}

/// Whether a condition is met; 32-bit architectures have no high half.
fn holds(condition: &Condition, abi: Abi, arguments: [u64; 6]) -> bool {
    let mask = condition.mask & abi.argument_bits();
    let (got, want) = (arguments[condition.argument as usize] & mask, condition.value & mask);
    match condition.operator {
        Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => got == want,
        Operator::ScmpCmpNe => got != want,
        Operator::ScmpCmpLt => got < want,
        Operator::ScmpCmpLe => got <= want,
        Operator::ScmpCmpGt => got > want,
        Operator::ScmpCmpGe => got >= want,
    }
}

fn abi(arch: u32, call: u32) -> Abi {
    match (arch, call >= X32_BIT) {
        (I386, _) => Abi::X86,
        (_, true) => Abi::X32,
        (_, false) => Abi::X86_64,
    }
}

/// The rules with conditions for a call, if there are any.
fn rules(profile: &Profile, abi: Abi, call: u32) -> Option<&[(Vec<Condition>, Verdict)]> {
    let section = profile.sections.iter().find(|section| section.abi == abi)?;
    match section.calls.get(&call)? {
        Call::Rules(rules) => Some(rules),
        Call::Always(_) => None,
    }
}

/// Whether libseccomp may be at a loss, see above.
fn is_tangled(rules: &[(Vec<Condition>, Verdict)]) -> bool {
    let exact = |one: &Condition| one.operator == Operator::ScmpCmpEq;
    rules.len() > 1 && !rules.iter().flat_map(|(conditions, _)| conditions).all(exact)
}

#[test]
fn verdicts_are_those_of_libseccomp() {
    let Some(mut oracle) = Oracle::start("verdicts") else { return };
    let names: Vec<&str> = TABLE
        .iter()
        .map(|row| row.0)
        .filter(|name| TOKENS.iter().any(|(_, token)| oracle.number(name, *token).is_some()))
        .collect();
    let oracle = RefCell::new(oracle);
    let [compared, disputed, refused] = [const { Cell::new(0u64) }; 3];
    let count = |cell: &Cell<u64>| cell.set(cell.get() + 1);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&samples(names), |sample| {
        let Some(theirs) = oracle.borrow_mut().program(&sample) else {
            count(&refused);
            return Ok(());
        };
        let profile = sample.profile();
        let ours = emit::program(&profile);
        let all = sample.arguments();
        for arch in [X86_64, I386, OTHER] {
            for call in sample.numbers() {
                let abi = abi(arch, call);
                let conditional = rules(&profile, abi, call).is_some();
                let some = if conditional { all.len() } else { 3 };
                for &arguments in &all[..some] {
                    let got = run(&ours, arch, call, arguments);
                    if arch != OTHER
                        && let Some(rules) = rules(&profile, abi, call)
                    {
                        let met = |one: &&(Vec<Condition>, Verdict)| {
                            one.0.iter().all(|condition| holds(condition, abi, arguments))
                        };
                        let mut met: Vec<u32> = rules.iter().filter(met).map(|one| one.1).collect();
                        let first = met.first().copied().unwrap_or(profile.default);
                        prop_assert_eq!(got, first, "{:#x} {:#x} {:x?}", arch, call, arguments);
                        met.dedup();
                        if met.len() > 1 || is_tangled(rules) {
                            count(&disputed);
                            continue;
                        }
                    }
                    count(&compared);
                    let want = run(&theirs, arch, call, arguments);
                    prop_assert_eq!(got, want, "{:#x} {:#x} {:x?}", arch, call, arguments);
                }
            }
        }
        Ok(())
    });
    let [compared, disputed, refused] = [compared, disputed, refused].map(|cell| cell.get());
    println!("{compared} verdicts compared, {disputed} disputed, {refused} profiles refused");
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn numbers_are_those_of_libseccomp() {
    let Some(mut oracle) = Oracle::start("numbers") else { return };
    let mut wrong = Vec::new();
    for row in &TABLE {
        let mut theirs = TOKENS.map(|(_, token)| oracle.number(row.0, token));
        let ours = [Abi::X86_64, Abi::X86, Abi::X32].map(|abi| number(row.0, abi));
        if multiplexed(row.0).is_some() {
            // A number of its own invention, for both ways of making the call.
            theirs[1] = ours[1];
        }
        // libseccomp is older than the last calls of the table.
        if theirs.iter().any(Option::is_some) && ours != theirs {
            wrong.push(format!("{}: {ours:?}, not {theirs:?}", row.0));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
