//! A profile as what is decided: for each architecture and call number, the rules that apply.
//!
//! Follows libseccomp, as runc uses it:
//! - a rule whose action is the default one is no rule; a name that the architecture lacks is skipped;
//! - a rule without conditions wins over those with conditions for the same call; of two without, the
//!   first wins;
//! - conditions of one rule must all hold, but when two of them are on the same argument each is a
//!   rule of its own;
//! - 32-bit x86 socket and IPC calls are meant in their multiplexed form too;
//! - a call newer than all that the profile names gives `ENOSYS`, so that programs fall back, unless
//!   the default action lets calls through.

use std::collections::BTreeMap;

use spec::oci::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator,
    LinuxSyscall,
};

use super::Error;
use super::syscall::{Abi, multiplexed, number};

/// `SECCOMP_RET_*` with its data.
pub(super) type Verdict = u32;

/// The greatest errno that the kernel lets a filter return.
const MAX_ERRNO: u32 = 4095;
/// The greatest number that a tracer can be told.
const MAX_TRACE: u32 = 0xffff;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
pub(super) const RET_ERRNO: Verdict = 0x0005_0000;
pub(super) const RET_KILL_THREAD: Verdict = 0;
pub(super) const RET_ALLOW: Verdict = 0x7fff_0000;
pub(super) const RET_NOTIFY: Verdict = 0x7fc0_0000;
const RET_KILL_PROCESS: Verdict = 0x8000_0000;
const RET_TRAP: Verdict = 0x0003_0000;
const RET_TRACE: Verdict = 0x7ff0_0000;
const RET_LOG: Verdict = 0x7ffc_0000;
/// The action without its data.
const ACTION: Verdict = 0xffff_0000;

/// What a filter decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    /// For calls without a rule, and where no rule's conditions hold.
    pub(super) default: Verdict,
    /// Each architecture that may be used.
    pub(super) sections: Vec<Section>,
}

/// One architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) abi: Abi,
    /// By call number.
    pub(super) calls: BTreeMap<u32, Call>,
    /// Calls from this number on are newer than the profile.
    pub(super) unknown_from: Option<(u32, Verdict)>,
}

/// What is decided for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// The same for all arguments.
    Always(Verdict),
    /// The first rule whose conditions all hold.
    Rules(Vec<(Vec<Condition>, Verdict)>),
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) operator: LinuxSeccompOperator,
    /// Bits that count.
    pub(super) mask: u64,
    /// What they are compared with.
    pub(super) value: u64,
}

impl Profile {
    /// Reads a configuration's profile.
    pub(super) fn of(config: &LinuxSeccomp) -> Result<Self, Error> {
        let default = verdict(config.default_action(), config.default_errno_ret())?;
        if default == RET_NOTIFY {
            // The launcher could never be told of the listener.
            let reason = "SCMP_ACT_NOTIFY cannot be used as default action";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let mut profile = Self { default, sections: Vec::new() };
        for abi in architectures(config) {
            let section = section(abi, config, default)?;
            profile.sections.push(section);
        }
        Ok(profile)
    }
}

/// The native architecture always, and those named that this kernel can run.
fn architectures(config: &LinuxSeccomp) -> Vec<Abi> {
    let mut list = vec![Abi::X86_64];
    for arch in config.architectures().iter().flatten() {
        let abi = match arch {
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            // Programs of others cannot run here, so nothing is left out.
            _ => continue,
        };
        if !list.contains(&abi) {
            list.push(abi);
        }
    }
    list
}

fn section(abi: Abi, config: &LinuxSeccomp, default: Verdict) -> Result<Section, Error> {
    let mut section = Section { abi, calls: BTreeMap::new(), unknown_from: None };
    let mut last = None;
    for rule in config.syscalls().iter().flatten() {
        let verdict = verdict(rule.action(), rule.errno_ret())?;
        let alternatives = alternatives(rule, abi)?;
        if rule.names().is_empty() {
            return Err(Error::Invalid("syscalls: an entry without names".to_owned()));
        }
        for name in rule.names() {
            check_name(name, verdict)?;
            let direct = number(name, abi);
            last = last.max(direct);
            if verdict == default {
                continue;
            }
            if let Some(number) = direct {
                section.add(number, &alternatives, verdict);
            }
            if abi == Abi::X86 {
                section.add_multiplexed(name, &alternatives, verdict);
            }
        }
    }
    let enosys = RET_ERRNO | ENOSYS;
    // A tracer answers for calls that it does not know by itself.
    if ![RET_ALLOW, RET_LOG, RET_TRACE].contains(&(default & ACTION)) {
        section.unknown_from = last.filter(|last| *last > 0).map(|last| (last + 1, enosys));
    }
    Ok(section)
}

fn check_name(name: &str, verdict: Verdict) -> Result<(), Error> {
    let reason = match name {
        "" => "syscalls.names: an empty name",
        // Init writes to the launcher to say where the listener is.
        "write" if verdict == RET_NOTIFY => "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        _ => return Ok(()),
    };
    Err(Error::Invalid(reason.to_owned()))
}

impl Section {
    fn add(&mut self, number: u32, alternatives: &[Vec<Condition>], verdict: Verdict) {
        for conditions in alternatives {
            let call = self.calls.entry(number).or_insert_with(|| Call::Rules(Vec::new()));
            match call {
                Call::Always(_) => {}
                Call::Rules(_) if conditions.is_empty() => *call = Call::Always(verdict),
                Call::Rules(rules) => rules.push((conditions.clone(), verdict)),
            }
        }
    }

    /// The first argument then says which call it is; a condition on it cannot be checked, since the
    /// real arguments are in memory.
    fn add_multiplexed(&mut self, name: &str, alternatives: &[Vec<Condition>], verdict: Verdict) {
        let Some((carrier, argument)) = multiplexed(name) else { return };
        let which = Condition {
            argument: 0,
            operator: LinuxSeccompOperator::ScmpCmpEq,
            mask: u64::MAX,
            value: argument.into(),
        };
        for conditions in alternatives {
            let rest = conditions.iter().filter(|condition| condition.argument != 0);
            let all = [which].into_iter().chain(rest.copied()).collect();
            self.add(carrier, &[all], verdict);
        }
    }
}

/// The sets of conditions of a rule, any of which is enough; one empty set for none.
fn alternatives(rule: &LinuxSyscall, abi: Abi) -> Result<Vec<Vec<Condition>>, Error> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let count = |argument| conditions.iter().filter(|one| one.argument == argument).count();
    let twice = conditions.iter().any(|one| count(one.argument) > 1);
    let mut list: Vec<Vec<Condition>> = if twice {
        conditions.into_iter().map(|one| vec![one]).collect()
    } else {
        vec![conditions]
    };
    // What looks at no bit holds always: the rule may be one without conditions.
    for all in &mut list {
        all.retain(|one| one.mask & abi.argument_bits() != 0);
    }
    Ok(list)
}

fn condition(argument: &LinuxSeccompArg) -> Result<Condition, Error> {
    let index = u32::try_from(argument.index()).ok().filter(|index| *index < 6);
    let index = index
        .ok_or_else(|| Error::Invalid(format!("argument {} is not 0 to 5", argument.index())))?;
    let masked = argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq;
    let (mask, value) = if masked {
        (argument.value(), argument.value_two().unwrap_or(0))
    } else {
        (u64::MAX, argument.value())
    };
    Ok(Condition { argument: index, operator: argument.op(), mask, value: value & mask })
}

fn verdict(action: Action, errno: Option<u32>) -> Result<Verdict, Error> {
    let known = match action {
        Action::ScmpActErrno => return with_data(action, RET_ERRNO, errno, MAX_ERRNO),
        Action::ScmpActTrace => return with_data(action, RET_TRACE, errno, MAX_TRACE),
        Action::ScmpActKill | Action::ScmpActKillThread => RET_KILL_THREAD,
        Action::ScmpActKillProcess => RET_KILL_PROCESS,
        Action::ScmpActTrap => RET_TRAP,
        Action::ScmpActLog => RET_LOG,
        Action::ScmpActAllow => RET_ALLOW,
        Action::ScmpActNotify => RET_NOTIFY,
    };
    match errno {
        Some(errno) => Err(Error::Invalid(format!("errnoRet {errno}: {action} has none"))),
        None => available(action, known),
    }
}

fn with_data(action: Action, base: Verdict, data: Option<u32>, max: u32) -> Result<Verdict, Error> {
    match data.unwrap_or(EPERM) {
        data if data > max => {
            Err(Error::Invalid(format!("errnoRet {data}: above {max}, for {action}")))
        }
        data => available(action, base).map(|base| base | data),
    }
}

/// The verdict, when this kernel knows it.
fn available(action: Action, verdict: Verdict) -> Result<Verdict, Error> {
    // These are as old as filters are.
    let old = [RET_KILL_THREAD, RET_TRAP, RET_ERRNO, RET_TRACE, RET_ALLOW];
    if old.contains(&verdict) || sys::seccomp::has_action(verdict) {
        return Ok(verdict);
    }
    Err(Error::Unsupported(format!("action {action} by this kernel")))
}
