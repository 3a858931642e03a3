//! The emitted program is run by a small interpreter and compared with what the rules say.

use super::profile::{Profile, RET_ALLOW, RET_ERRNO, RET_KILL_THREAD};
use super::*;

/// What a comparison should give.
type Holds = fn(u64, u64) -> bool;

pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const I386: u32 = 0x4000_0003;
const EPERM: u32 = RET_ERRNO | 1;
const ENOSYS: u32 = RET_ERRNO | 0x26;

/// What the kernel would return for one call.
pub(super) fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => arch,
        _ => {
            let value = args[(offset as usize - 16) / 8];
            (if offset.is_multiple_of(8) { value } else { value >> 32 } & 0xffff_ffff) as u32
        }
    };
    let (mut a, mut at) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let jump = |condition| usize::from(if condition { jt } else { jf });
        at += 1 + match code {
            0x20 => {
                a = word(k);
                0
            }
            0x54 => {
                a &= k;
                0
            }
            0x05 => k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x45 => jump(a & k != 0),
            0x06 => return k,
            other => panic!("code {other:#x}"),
        };
    }
}

fn compile(json: serde_json::Value) -> Vec<Instruction> {
    let config: LinuxSeccomp = serde_json::from_value(json).expect("a profile");
    emit::program(&Profile::of(&config).expect("compiles"))
}

#[test]
fn calls_are_allowed_by_name_on_each_architecture() {
    let program = compile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read", "write", "exit_group", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
        ],
    }));
    for (arch, number, first, want) in [
        (X86_64, 0, 0, RET_ALLOW),
        (X86_64, 1, 0, RET_ALLOW),
        (X86_64, 2, 0, EPERM),
        (X86_64, 83, 0, RET_ERRNO | 0x63),
        (X86_64, 231, 0, RET_ALLOW),
        (X86_64, 230, 0, EPERM),
        (X86_64, 232, 0, ENOSYS),
        (X86_64, 0x4000_0000, 0, RET_KILL_THREAD),
        (X86_64, u32::MAX, 0, EPERM),
        (I386, 3, 0, RET_ALLOW),
        (I386, 0, 0, EPERM),
        (I386, 359, 0, RET_ALLOW),
        (I386, 102, 1, RET_ALLOW),
        (I386, 102, 2, EPERM),
        (I386, 360, 0, ENOSYS),
        (0x4000_0028, 0, 0, RET_KILL_THREAD),
    ] {
        let got = run(&program, arch, number, [first, 0, 0, 0, 0, 0]);
        assert_eq!(got, want, "{arch:#x} {number} {first}");
    }
}

#[test]
fn conditions_compare_all_64_bits_without_sign() {
    let value: u64 = 0x1_0000_0005;
    let samples =
        [0, 4, 5, 6, value - 1, value, value + 1, 0x2_0000_0000, 0x2_0000_0005, u64::MAX, 1 << 63];
    let table: [(&str, Holds); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    for (op, holds) in table {
        let program = compile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                          "args": [{"index": 2, "value": value, "op": op}]}],
        }));
        for sample in samples {
            let want = if holds(sample, value) { RET_ALLOW } else { EPERM };
            let got = run(&program, X86_64, 135, [0, 0, sample, 0, 0, 0]);
            assert_eq!(got, want, "{sample:#x} {op} {value:#x}");
        }
    }
}

#[test]
fn masked_bits_and_several_conditions() {
    let program = compile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 0x7e02_0000u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                      {"index": 1, "value": 7, "op": "SCMP_CMP_NE"}]},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
                      {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        ],
    }));
    for (number, args, want) in [
        (56, [0x11, 0], RET_ALLOW),
        (56, [0x1000_0000, 0], EPERM),
        (56, [0x11, 7], EPERM),
        // Two conditions on one argument are two rules.
        (135, [0, 0], RET_ALLOW),
        (135, [8, 0], RET_ALLOW),
        (135, [9, 0], EPERM),
    ] {
        let got = run(&program, X86_64, number, [args[0], args[1], 0, 0, 0, 0]);
        assert_eq!(got, want, "{number} {args:?}");
    }
}

#[test]
fn a_rule_without_conditions_wins() {
    let program = compile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS",
             "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["mkdir"], "action": "SCMP_ACT_TRAP"},
        ],
    }));
    assert_eq!(run(&program, X86_64, 83, [0, 1, 0, 0, 0, 0]), RET_ERRNO | 5);
    // Whoever allows by default allows what is new, too.
    assert_eq!(run(&program, X86_64, 469, [0; 6]), RET_ALLOW);
}

#[test]
fn a_packed_filter_unpacks_to_itself() {
    let one = Instruction { code: 0x15, jt: 3, jf: 250, k: 0xdead_beef };
    assert_eq!(unpack(pack(one)), one);
}

#[test]
fn a_profile_with_an_agent_becomes_two_filters() {
    let config = serde_json::from_value(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "listenerPath": "agent",
        "listenerMetadata": "about",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
        ],
    }));
    let config: LinuxSeccomp = config.expect("a profile");
    let filter = Filter::compile(&config, Path::new("/bundle")).expect("compiles");
    let (asked, agent) = filter.listener.clone().expect("an agent");
    assert_eq!(agent.path, Path::new("/bundle/agent"));
    assert_eq!(agent.metadata.as_deref(), Some("about"));
    assert_eq!((filter.own.flags, asked.flags), (LOG, LOG | WAIT_KILLABLE_RECV));
    for (number, own, wanted) in
        [(0, RET_ALLOW, RET_ALLOW), (1, EPERM, RET_ALLOW), (83, RET_ALLOW, RET_NOTIFY)]
    {
        let answer = |part: &Part| run(&part.instructions(), X86_64, number, [0; 6]);
        assert_eq!((answer(&filter.own), answer(&asked)), (own, wanted), "{number}");
    }
}

#[test]
fn a_filter_is_the_same_after_it_was_kept() {
    let directory = std::env::temp_dir().join(format!("hull-seccomp-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("made");
    for action in ["SCMP_ACT_TRAP", "SCMP_ACT_NOTIFY"] {
        let config = serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/agent",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }));
        let config: LinuxSeccomp = config.expect("a profile");
        let filter = Filter::compile(&config, Path::new("/")).expect("compiles");
        filter.save(&directory).expect("written");
        assert_eq!(Filter::load(&directory).expect("read"), filter);
        assert_eq!(filter.own.flags, SPEC_ALLOW, "the default");
    }
    fs::write(directory.join(FILE), [1, 2, 3]).expect("written");
    assert!(Filter::load(&directory).is_err());
    fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let with = |rule: serde_json::Value| serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    for (json, want) in [
        (serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "default action"),
        (serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}), "4096"),
        (serde_json::json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}), "errnoRet 1"),
        (serde_json::json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}), "65536"),
        (
            serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "listenerMetadata",
        ),
        (
            serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW",
                               "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            "WAIT_KILLABLE_RECV",
        ),
        (
            with(serde_json::json!({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})),
            "listenerPath",
        ),
        (
            with(serde_json::json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"})),
            "listenerPath",
        ),
        (with(serde_json::json!({"names": [], "action": "SCMP_ACT_TRAP"})), "without names"),
        (with(serde_json::json!({"names": [""], "action": "SCMP_ACT_TRAP"})), "empty name"),
        (
            with(serde_json::json!({"names": ["mkdir"], "action": "SCMP_ACT_TRAP",
                                    "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]})),
            "argument 6",
        ),
    ] {
        let config: LinuxSeccomp = serde_json::from_value(json.clone()).expect("a profile");
        let error = Filter::compile(&config, Path::new("/")).expect_err("nonsense").to_string();
        assert!(error.contains(want), "{json}: {error}");
    }
}

#[test]
fn calls_newer_than_the_profile_are_unknown_unless_the_default_lets_them_through() {
    for (action, want) in [
        ("SCMP_ACT_ERRNO", ENOSYS),
        ("SCMP_ACT_KILL_PROCESS", ENOSYS),
        ("SCMP_ACT_TRAP", ENOSYS),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", RET_ALLOW),
    ] {
        let program = compile(serde_json::json!({
            "defaultAction": action,
            "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9}],
        }));
        assert_eq!(run(&program, X86_64, 1000, [0; 6]), want, "{action}");
    }
}
