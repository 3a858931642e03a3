//! System call filters: a profile compiled to BPF.
//!
//! The launcher compiles, init installs; the compiled filter is kept in the container's directory for
//! later execs.
//!
//! Spec: OCI runtime-spec, config-linux.md "Seccomp"; seccomp(2).

mod emit;
mod profile;
mod syscall;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::oci::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag as Flag};
use sys::seccomp::Instruction;

use profile::Profile;

/// Name of the compiled filter in the container's directory.
pub(crate) const FILE: &str = "seccomp";

/// The kernel's `BPF_MAXINSNS`.
const MAX_LENGTH: usize = 4096;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// `SECCOMP_FILTER_FLAG_*`.
    flags: u32,
    /// The instructions, each as one number.
    program: Vec<u64>,
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
    /// Compiles a profile.
    pub(crate) fn compile(config: &LinuxSeccomp) -> Result<Self, Error> {
        if config.listener_path().is_some() {
            return Err(Error::Unsupported("listenerPath".into()));
        }
        let mut flags = 0;
        for flag in config.flags().iter().flatten() {
            flags |= match flag {
                // One thread is in step with itself.
                Flag::SeccompFilterFlagTsync => 0,
                Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                Flag::SeccompFilterFlagWaitKillableRecv => {
                    return Err(Error::Unsupported(format!("flag {flag}")));
                }
            };
        }
        let program = emit::program(&Profile::of(config)?);
        if program.len() > MAX_LENGTH {
            return Err(Error::Invalid(format!("{} instructions are too many", program.len())));
        }
        let flags = u32::try_from(flags).unwrap_or(0);
        Ok(Self { flags, program: program.into_iter().map(pack).collect() })
    }

    /// Keeps the filter in a container's directory.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), crate::Error> {
        let path = directory.join(FILE);
        let mut bytes = self.flags.to_ne_bytes().to_vec();
        bytes.extend(self.program.iter().flat_map(|word| word.to_ne_bytes()));
        fs::write(&path, bytes).map_err(crate::Error::file("write", path))
    }

    /// The filter kept in a container's directory.
    pub(crate) fn load(directory: &Path) -> Result<Self, crate::Error> {
        let path = directory.join(FILE);
        let bytes = fs::read(&path).map_err(crate::Error::file("read", &path))?;
        let parsed = bytes.split_first_chunk::<4>().and_then(|(flags, rest)| {
            let words = rest.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes));
            let program = words.collect::<Result<_, _>>().ok()?;
            Some(Self { flags: u32::from_ne_bytes(*flags), program })
        });
        parsed.ok_or_else(|| crate::Error::file("read", path)(io::ErrorKind::InvalidData.into()))
    }

    /// Puts this process under the filter.
    pub(crate) fn install(&self) -> io::Result<()> {
        let program: Vec<Instruction> = self.program.iter().map(|word| unpack(*word)).collect();
        sys::seccomp::install(&program, self.flags)
    }
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
