//! The options as environment variables say them, for programs that no engine starts: a shim of
//! containerd's, and `hull-runtime`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::{Accel, Options};

/// A variable's value is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {value:?}: want {want}")]
pub struct InvalidVariable {
    /// The variable.
    pub name: &'static str,
    /// What it says.
    pub value: OsString,
    /// What it may say.
    pub want: &'static str,
}

impl Options {
    /// The options that hold where no request says more. `variable` gives a variable's value; an empty one
    /// is as good as none.
    ///
    /// `HULL_DATA_ROOT`, `HULL_EXEC_ROOT`, and for VMs `HULL_VM_QEMU`, `HULL_VM_KERNEL`, `HULL_VM_MODULES`,
    /// `HULL_VM_AGENT`, `HULL_VM_ACCEL`, `HULL_VM_MEMORY_MIB` and `HULL_VM_SCRATCH_MIB`.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] for an accelerator or a number that is none.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, InvalidVariable> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| given(name).map(PathBuf::from);
        let number = |name: &'static str| {
            let read = |value: OsString| {
                let parsed = value.to_str().and_then(|text| text.parse::<u32>().ok());
                let want = "a number of MiB, 1 or more";
                parsed.filter(|mib| *mib > 0).ok_or(InvalidVariable { name, value, want })
            };
            given(name).map(read).transpose()
        };
        let mut options = Self::default();
        options.data_root = path("HULL_DATA_ROOT").unwrap_or(options.data_root);
        options.exec_root = path("HULL_EXEC_ROOT").unwrap_or(options.exec_root);
        let vm = &mut options.vm;
        if let Some(program) = path("HULL_VM_QEMU") {
            vm.qemu = program;
        }
        vm.kernel = path("HULL_VM_KERNEL");
        vm.modules = path("HULL_VM_MODULES");
        vm.agent = path("HULL_VM_AGENT");
        if let Some(value) = given("HULL_VM_ACCEL") {
            vm.accel = accelerator(&value).ok_or(InvalidVariable {
                name: "HULL_VM_ACCEL",
                value,
                want: "auto, kvm or tcg",
            })?;
        }
        vm.memory_mib = number("HULL_VM_MEMORY_MIB")?.unwrap_or(vm.memory_mib);
        vm.scratch_mib = number("HULL_VM_SCRATCH_MIB")?.unwrap_or(vm.scratch_mib);
        Ok(options)
    }
}

fn accelerator(value: &OsStr) -> Option<Accel> {
    match value.to_str()? {
        "auto" => Some(Accel::Auto),
        "kvm" => Some(Accel::Kvm),
        "tcg" => Some(Accel::Tcg),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(list: &[(&str, &str)]) -> Result<Options, InvalidVariable> {
        Options::from_variables(|name| {
            list.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn what_no_variable_says_is_the_default() {
        assert_eq!(from(&[]), Ok(Options::default()));
        assert_eq!(from(&[("HULL_EXEC_ROOT", ""), ("HULL_VM_ACCEL", "")]), Ok(Options::default()));
        let options = from(&[
            ("HULL_DATA_ROOT", "/d"),
            ("HULL_VM_KERNEL", "/k"),
            ("HULL_VM_ACCEL", "tcg"),
            ("HULL_VM_MEMORY_MIB", "512"),
        ]);
        let options = options.expect("valid");
        assert_eq!((options.data_root, options.vm.kernel), ("/d".into(), Some("/k".into())));
        assert_eq!((options.vm.accel, options.vm.memory_mib), (Accel::Tcg, 512));
    }

    #[test]
    fn a_value_that_is_none_is_refused_by_its_variables_name() {
        for (name, value) in
            [("HULL_VM_ACCEL", "xen"), ("HULL_VM_MEMORY_MIB", "many"), ("HULL_VM_SCRATCH_MIB", "0")]
        {
            let error = from(&[(name, value)]).expect_err("refused");
            assert_eq!(error.name, name);
        }
    }
}
