//! System call filters: a profile compiled to BPF.
//!
//! The launcher compiles, init installs; the compiled filter is kept in the container's directory for
//! later execs.
//!
//! A profile with `SCMP_ACT_NOTIFY` becomes two filters. The first asks the agent and allows all else;
//! init installs it before it waits at the gate, so that the agent has its descriptor when `create`
//! returns, as with runc. The second decides the rest, as late as every other filter. For each call
//! the kernel takes the stricter of the two answers, which is the profile's.
//!
//! Spec: OCI runtime-spec, config-linux.md "Seccomp"; seccomp(2), seccomp_unotify(2).

mod emit;
pub(crate) mod listener;
#[cfg(test)]
mod oracle;
#[cfg(any(test, fuzzing))]
pub(crate) mod probe;
mod profile;
mod syscall;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};
use sys::seccomp::{Instruction, has_flags};

use profile::{Profile, RET_ALLOW, RET_NOTIFY, Verdict};

/// Name of the compiled filter in the container's directory.
pub(crate) const FILE: &str = "seccomp";

/// The kernel's `BPF_MAXINSNS`.
const MAX_LENGTH: usize = 4096;

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
const LOG: u32 = 1 << 1;
const SPEC_ALLOW: u32 = 1 << 2;
const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// What is decided here.
    own: Part,
    /// What the agent is asked, and who it is.
    listener: Option<(Part, Agent)>,
}

/// One program for the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// `SECCOMP_FILTER_FLAG_*`.
    flags: u32,
    /// The instructions, each as one number.
    program: Vec<u64>,
}

/// Who answers for the calls that the profile passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// Its socket, on the launcher's side.
    pub(crate) path: PathBuf,
    /// What it is told besides the state.
    pub(crate) metadata: Option<String>,
}

/// Why a profile cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Hull does not do it.
    #[error("{0}: not supported")]
    Unsupported(String),
    /// The profile makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Invalid(_) => Kind::Invalid,
        }
    }
}

impl Filter {
    /// Compiles a profile; a relative path of the agent's socket begins at the bundle.
    pub(crate) fn compile(config: &LinuxSeccomp, bundle: &Path) -> Result<Self, Error> {
        let agent = agent(config, bundle)?;
        let (flags, waiting) = flags(config, agent.is_some())?;
        let program = emit::program(&Profile::of(config)?);
        if program.len() > MAX_LENGTH {
            return Err(Error::Invalid(format!("{} instructions are too many", program.len())));
        }
        let part = |flags, change: fn(Verdict) -> Verdict| {
            let program = emit::with_verdicts(&program, change);
            Part { flags, program: program.into_iter().map(pack).collect() }
        };
        let decide = |verdict| if verdict == RET_NOTIFY { RET_ALLOW } else { verdict };
        let ask = |verdict| if verdict == RET_NOTIFY { RET_NOTIFY } else { RET_ALLOW };
        let listener = agent.map(|agent| (part(flags | waiting, ask), agent));
        Ok(Self { own: part(flags, decide), listener })
    }

    /// Who is to be given the listener.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.listener.as_ref().map(|(_, agent)| agent)
    }

    /// Keeps the filter in a container's directory.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), crate::Error> {
        let path = directory.join(FILE);
        let length = u32::try_from(self.own.program.len()).unwrap_or(u32::MAX);
        let mut bytes = [self.own.flags.to_ne_bytes(), length.to_ne_bytes()].concat();
        bytes.extend(self.own.program.iter().flat_map(|word| word.to_ne_bytes()));
        if self.listener.is_some() {
            serde_json::to_writer(&mut bytes, &self.listener)
                .map_err(|error| crate::Error::file("write", &path)(error.into()))?;
        }
        fs::write(&path, bytes).map_err(crate::Error::file("write", path))
    }

    /// The filter kept in a container's directory.
    pub(crate) fn load(directory: &Path) -> Result<Self, crate::Error> {
        let path = directory.join(FILE);
        let bytes = fs::read(&path).map_err(crate::Error::file("read", &path))?;
        Self::parse(&bytes)
            .ok_or_else(|| crate::Error::file("read", path)(io::ErrorKind::InvalidData.into()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = 8 * usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let (words, rest) = rest.split_at_checked(length)?;
        let words = words.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes));
        let program = words.collect::<Result<_, _>>().ok()?;
        let own = Part { flags: u32::from_ne_bytes(*flags), program };
        let listener = if rest.is_empty() { None } else { serde_json::from_slice(rest).ok()? };
        Some(Self { own, listener })
    }

    /// Puts this process under what is decided here.
    pub(crate) fn install(&self) -> io::Result<()> {
        sys::seccomp::install(&self.own.instructions(), self.own.flags)
    }

    /// Puts this process under what the agent is asked; gives the agent's descriptor.
    pub(crate) fn listen(&self) -> io::Result<Option<OwnedFd>> {
        let Some((part, _)) = &self.listener else { return Ok(None) };
        sys::seccomp::listen(&part.instructions(), part.flags).map(Some)
    }
}

impl Part {
    fn instructions(&self) -> Vec<Instruction> {
        self.program.iter().map(|word| unpack(*word)).collect()
    }
}

/// The agent, when the profile needs one.
fn agent(config: &LinuxSeccomp, bundle: &Path) -> Result<Option<Agent>, Error> {
    let path = config.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = config.listener_metadata().as_ref().filter(|text| !text.is_empty());
    if path.is_none() && metadata.is_some() {
        return Err(Error::Invalid("listenerMetadata without listenerPath".to_owned()));
    }
    let notifies = |rule: &LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActNotify;
    match (config.syscalls().iter().flatten().any(notifies), path) {
        (false, _) => Ok(None),
        (true, None) => {
            let reason = "listenerPath is not set, and SCMP_ACT_NOTIFY needs it";
            Err(Error::Invalid(reason.to_owned()))
        }
        (true, Some(path)) => {
            // Later execs come from other working directories.
            let path = bundle.join(path);
            let path = std::path::absolute(&path).unwrap_or(path);
            Ok(Some(Agent { path, metadata: metadata.cloned() }))
        }
    }
}

/// The flags of every filter, and those of one with a listener.
fn flags(config: &LinuxSeccomp, listening: bool) -> Result<(u32, u32), Error> {
    let Some(list) = config.flags() else {
        // As runc does where the configuration says nothing; a kernel that lacks it needs none.
        return Ok((Some(SPEC_ALLOW).filter(|flag| has_flags(*flag)).unwrap_or(0), 0));
    };
    let (mut flags, mut waiting) = (0, 0);
    for flag in list {
        match flag {
            // One thread is in step with itself.
            Flag::SeccompFilterFlagTsync => {}
            Flag::SeccompFilterFlagLog => flags |= LOG,
            Flag::SeccompFilterFlagSpecAllow => flags |= SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if !listening => {
                return Err(Error::Invalid(format!("flag {flag} without SCMP_ACT_NOTIFY")));
            }
            Flag::SeccompFilterFlagWaitKillableRecv => waiting = WAIT_KILLABLE_RECV,
        }
        let all = if waiting == 0 { flags } else { flags | waiting | NEW_LISTENER };
        if !has_flags(all) {
            return Err(Error::Unsupported(format!("flag {flag} by this kernel")));
        }
    }
    Ok((flags, waiting))
}

/// An instruction as one number: code, jt, jf, k from the top.
fn pack(instruction: Instruction) -> u64 {
    u64::from(instruction.code) << 48
        | u64::from(instruction.jt) << 40
        | u64::from(instruction.jf) << 32
        | u64::from(instruction.k)
}

fn unpack(word: u64) -> Instruction {
    let [_, _, _, _, jf, jt, ..] = word.to_le_bytes();
    Instruction {
        code: u16::try_from(word >> 48).unwrap_or(0),
        jt,
        jf,
        k: u32::try_from(word & 0xffff_ffff).unwrap_or(0),
    }
}
