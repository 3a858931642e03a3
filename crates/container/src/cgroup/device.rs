//! Which devices a container may use: rules in order, the last that matches decides.
//!
//! Nothing is allowed at first; then come the configuration's rules, then the devices that every
//! container has. cgroup v1 takes the rules as they are, v2 takes a BPF program made of them.
//!
//! Spec: OCI runtime-spec, config-linux.md "Allowed Device list", "Default Devices".

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use spec::oci::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};
use sys::bpf::Instruction;

use super::{Error, mounts};

const FIELD: &str = "linux.resources.devices";

/// One rule, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    /// `None` is both kinds, with all numbers.
    pub(super) kind: Option<Device>,
    /// `None` is every number.
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    /// `MKNOD`, `READ` and `WRITE`.
    pub(super) access: u32,
}

/// Kinds, numbered as `BPF_DEVCG_DEV_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Block = 1,
    Char = 2,
}

/// Numbered as `BPF_DEVCG_ACC_*`.
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// What every container may use: making nodes, and null, zero, full, tty, random, urandom, ptmx and
/// the pseudoterminals.
const DEFAULTS: [(Device, Option<u32>, Option<u32>, u32); 10] = [
    (Device::Char, None, None, MKNOD),
    (Device::Block, None, None, MKNOD),
    (Device::Char, Some(1), Some(3), ALL),
    (Device::Char, Some(1), Some(5), ALL),
    (Device::Char, Some(1), Some(7), ALL),
    (Device::Char, Some(1), Some(8), ALL),
    (Device::Char, Some(1), Some(9), ALL),
    (Device::Char, Some(5), Some(0), ALL),
    (Device::Char, Some(5), Some(2), ALL),
    (Device::Char, Some(136), None, ALL),
];

/// Fails when the configuration has rules, for a host that has no devices controller.
pub(super) fn unless_set(resources: Option<&LinuxResources>) -> Result<(), Error> {
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    // Allowing everything, or denying everything, is what engines send by habit.
    if rules.iter().all(|rule| rule.major().is_none() && rule.minor().is_none()) {
        return Ok(());
    }
    Err(Error::Absent { field: FIELD, what: "devices cgroup controller".into() })
}

/// The rules of a configuration, after which the default devices are allowed.
pub(super) fn rules(resources: Option<&LinuxResources>) -> Result<Vec<Rule>, Error> {
    let own = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let mut rules = vec![Rule { allow: false, kind: None, major: None, minor: None, access: ALL }];
    for rule in own {
        rules.push(parse(rule)?);
    }
    // Once everything is allowed, nothing need be added.
    let everything = |rule: &Rule| rule.kind.is_none() && rule.allow && rule.access == ALL;
    if !rules.last().is_some_and(everything) {
        rules.extend(DEFAULTS.map(|(kind, major, minor, access)| Rule {
            allow: true,
            kind: Some(kind),
            major,
            minor,
            access,
        }));
    }
    // A rule for everything makes those before it void.
    let start = rules.iter().rposition(|rule| rule.kind.is_none() && rule.access == ALL);
    Ok(rules.split_off(start.unwrap_or(0)))
}

/// A rule that allows, for those who keep lists of them.
pub(crate) struct Plain {
    pub(crate) block: bool,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    /// Of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// The list of what is allowed; `None` when everything is. Of rules that deny in between only what is
/// allowed after the last of them is sure.
pub(crate) fn plain(resources: Option<&LinuxResources>) -> Result<Option<Vec<Plain>>, Error> {
    let rules = rules(resources)?;
    if rules[0].allow && rules.len() == 1 {
        return Ok(None);
    }
    let start = rules.iter().rposition(|rule| !rule.allow).map_or(0, |last| last + 1);
    let plain = |rule: &Rule| {
        Some(Plain {
            block: rule.kind? == Device::Block,
            major: rule.major,
            minor: rule.minor,
            access: letters(rule.access),
        })
    };
    Ok(Some(rules[start..].iter().filter_map(plain).collect()))
}

fn parse(rule: &LinuxDeviceCgroup) -> Result<Rule, Error> {
    let invalid = |what: &str| Error::Invalid { field: FIELD, reason: format!("{what} in {rule}") };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| invalid("number out of range")),
    };
    let access = rule.access().as_deref().unwrap_or_default();
    let access = access.chars().try_fold(0, |bits, letter| match letter {
        'm' => Ok(bits | MKNOD),
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        _ => Err(invalid("access is not made of r, w and m")),
    })?;
    if access == 0 {
        return Err(invalid("no access"));
    }
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Device::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Device::Char),
        Some(LinuxDeviceType::P) => return Err(invalid("type p")),
    };
    let (major, minor) = (number(rule.major())?, number(rule.minor())?);
    if kind.is_none() && (major.is_some() || minor.is_some()) {
        return Err(invalid("type a with numbers"));
    }
    Ok(Rule { allow: rule.allow(), kind, major, minor, access })
}

/// Writes the rules to the files of the v1 controller.
pub(super) fn apply_v1(directory: &Path, resources: Option<&LinuxResources>) -> Result<(), Error> {
    write_v1(directory, &rules(resources)?)
}

fn write_v1(directory: &Path, rules: &[Rule]) -> Result<(), Error> {
    let open = |name: &str| {
        let path = directory.join(name);
        OpenOptions::new().write(true).open(&path).map_err(Error::file("open", path))
    };
    let (mut allow, mut deny) = (open("devices.allow")?, open("devices.deny")?);
    for rule in rules {
        let value = line(*rule);
        let (file, name) =
            if rule.allow { (&mut allow, "devices.allow") } else { (&mut deny, "devices.deny") };
        // One write is one rule.
        file.write_all(value.as_bytes()).map_err(|source| Error::Rejected {
            field: FIELD,
            value,
            file: name.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Turns the rules of a v1 cgroup from those of `old` into those of `new` without a moment in which
/// what both allow is denied.
pub(super) fn update_v1(
    directory: &Path,
    old: Option<&LinuxResources>,
    new: &LinuxResources,
) -> Result<(), Error> {
    let (before, after) = (rules(old)?, rules(Some(new))?);
    let is_list = |rules: &[Rule]| {
        !rules[0].allow && rules[0].kind.is_none() && rules[1..].iter().all(|rule| rule.allow)
    };
    if !is_list(&before) || !is_list(&after) {
        return apply_v1(directory, Some(new));
    }
    let removed = before[1..].iter().filter(|rule| !after.contains(rule));
    // What is removed may have been part of what stays.
    let steps =
        removed.map(|rule| Rule { allow: false, ..*rule }).chain(after[1..].iter().copied());
    let steps: Vec<Rule> = after[1..].iter().copied().chain(steps).collect();
    write_v1(directory, &steps)
}

/// A rule as cgroup v1 reads it.
pub(super) fn line(rule: Rule) -> String {
    let Some(kind) = rule.kind else { return "a".to_owned() };
    let kind = match kind {
        Device::Block => 'b',
        Device::Char => 'c',
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), letters(rule.access))
}

fn letters(access: u32) -> String {
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter();
    letters.filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect()
}

/// Attaches the rules as a program to a v2 cgroup, in place of the one that is there.
pub(super) fn apply_v2(directory: &Path, resources: Option<&LinuxResources>) -> Result<(), Error> {
    let program = program(&rules(resources)?);
    let cgroup = File::open(directory).map_err(Error::file("open", directory))?;
    match sys::bpf::set_device_program(&cgroup, &program) {
        Ok(()) => Ok(()),
        // Nobody but root may; without root nobody can make devices either.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && mounts::is_rootless() => Ok(()),
        Err(source) => Err(Error::Rejected {
            field: FIELD,
            value: format!("{} instructions", program.len()),
            file: "the device program".to_owned(),
            source,
        }),
    }
}

/// The program: rules from the last to the first, each returning its answer when it matches.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    use sys::bpf::{
        and, exit, jump_if_equal, jump_unless_equal, jump_unless_same, load_word, move_number,
        move_register, shift_right,
    };
    // Registers: 2 the kind, 3 the access asked for, 4 and 5 the numbers; 1 is scratch.
    let mut code = vec![
        load_word(2, 1, 0),
        and(2, 0xffff),
        load_word(3, 1, 0),
        shift_right(3, 16),
        load_word(4, 1, 4),
        load_word(5, 1, 8),
    ];
    for rule in rules.iter().rev() {
        // Each condition jumps over what follows it in the rule: filled in by distance from the end.
        let mut conditions: Vec<Box<dyn Fn(i16) -> Instruction>> = Vec::new();
        if let Some(kind) = rule.kind {
            conditions.push(Box::new(move |to| jump_unless_equal(2, kind as i32, to)));
        }
        if let Some(major) = rule.major {
            conditions.push(Box::new(move |to| jump_unless_equal(4, major.cast_signed(), to)));
        }
        if let Some(minor) = rule.minor {
            conditions.push(Box::new(move |to| jump_unless_equal(5, minor.cast_signed(), to)));
        }
        let mask = rule.access.cast_signed();
        if rule.access != ALL {
            conditions.push(Box::new(move |_| move_register(1, 3)));
            conditions.push(Box::new(move |_| and(1, mask)));
            // To allow, all that is asked must be in the rule; to deny, any of it.
            let allow = rule.allow;
            conditions.push(Box::new(move |to| {
                if allow { jump_unless_same(1, 3, to) } else { jump_if_equal(1, 0, to) }
            }));
        }
        let total = conditions.len() + 2;
        for (index, condition) in conditions.iter().enumerate() {
            code.push(condition(i16::try_from(total - index - 1).unwrap_or(i16::MAX)));
        }
        code.push(move_number(0, i32::from(rule.allow)));
        code.push(exit());
        if rule.kind.is_none() && rule.access == ALL {
            // The verifier refuses instructions that cannot be reached.
            return code;
        }
    }
    code.extend([move_number(0, 0), exit()]);
    code
}
