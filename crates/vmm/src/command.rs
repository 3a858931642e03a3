//! QEMU's command line.
//!
//! A template and its clones must have the same machine: what follows from [`Machine`] is the same for
//! both, and only what is behind the devices ([`Behind`]) and how memory is filled ([`Memory`]) differ.
//! A clone gets no kernel: its memory holds one already, and leaving it out saves reading 20 MB.
//!
//! The machine is `microvm` with PCIe: it boots in less than half the time of `q35`, and half of a
//! clone's start is making the devices that it does not have. It has no timer that the kernel could
//! calibrate the processor's time stamp counter with under TCG, so the kernel is told its rate.

use std::ffi::{CStr, OsString};
use std::os::fd::RawFd;

use serde::Serialize;
use spec::options::Accel;

/// What the guest sees; equal for a template and its clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// `Kvm` or `Tcg`.
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
}

/// How many network interfaces a machine has. A device more costs a clone under 1 ms and 0.3 MB, and none
/// can be added while it runs: `microvm` has no slot for it. Disks come and go on a SCSI bus ([`BUS`]).
pub const NICS: usize = 4;

/// The numbers of the descriptors behind the devices.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    pub(crate) root: RawFd,
    pub(crate) scratch: RawFd,
    pub(crate) taps: [RawFd; NICS],
    pub(crate) agent: RawFd,
    pub(crate) monitor: RawFd,
}

/// The bus of the disks that are attached to a running machine.
pub(crate) const BUS: &str = "later.0";

/// Where guest memory is. A file's name stands for whatever the broker gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The worker's own.
    Anonymous,
    /// Written to the brokered file: a template in the making.
    Shared,
    /// The brokered file, with changes kept to itself; the devices' state comes by the monitor.
    Clone,
}

/// The name under which the worker opens its memory file: nothing is there, the broker answers.
pub(crate) const MEMORY: &CStr = c"/memory";

/// The whole line without the program's name. `boot` is the kernel's command line.
pub(crate) fn line(
    machine: &Machine,
    behind: &Behind,
    memory: Memory,
    boot: Option<&str>,
) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    platform(&mut line, machine);
    backend(&mut line, machine.memory_mib, memory);
    devices(&mut line, behind);
    if let Some(append) = boot {
        line.pair("-kernel", "/boot/kernel")
            .pair("-initrd", "/boot/initrd")
            .pair("-append", append);
    }
    line.0
}

/// The kernel's command line. `tsc_khz` is the rate of the host's time stamp counter, which TCG shows
/// to the guest as it is.
pub(crate) fn append(accel: Accel, tsc_khz: Option<u64>) -> String {
    let append = "console=ttyS0 quiet panic=-1 reboot=t no_timer_check audit=0";
    match (accel, tsc_khz) {
        (Accel::Kvm, _) => append.to_owned(),
        // Translated code does not speculate as the mitigations expect; they only cost.
        (_, None) => format!("{append} mitigations=off tsc=reliable"),
        (_, Some(khz)) => {
            format!("{append} mitigations=off tsc=reliable tsc_early_khz={khz}")
        }
    }
}

fn platform(line: &mut Line, machine: &Machine) {
    let accel = match machine.accel {
        Accel::Kvm => "kvm",
        // The translation cache would grow to 1 GiB. A container's start fills 40 MiB of it: one that is
        // smaller is emptied on the way, and what was in it translated anew.
        Accel::Tcg | Accel::Auto => "tcg,thread=multi,tb-size=64",
    };
    line.pair("-name", format!("guest=hull,process={}", crate::worker::NAME))
        .pair(
            "-machine",
            "microvm,memory-backend=ram,x-option-roms=off,auto-kernel-cmdline=off,\
             pit=on,pic=on,rtc=on,pcie=on",
        )
        .pair("-accel", accel)
        // Five-level page tables only make every walk longer.
        .pair("-cpu", "max,la57=off")
        .pair("-smp", machine.cpus.to_string())
        .pair("-m", format!("{}M", machine.memory_mib))
        .flag("-nodefaults")
        .flag("-no-user-config")
        .flag("-no-reboot")
        .pair("-display", "none")
        .pair(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
}

fn backend(line: &mut Line, mib: u32, memory: Memory) {
    let object = match memory {
        Memory::Anonymous => format!("memory-backend-ram,id=ram,size={mib}M"),
        Memory::Shared => {
            format!("memory-backend-file,id=ram,size={mib}M,mem-path=/memory,share=on")
        }
        Memory::Clone => {
            format!("memory-backend-file,id=ram,size={mib}M,mem-path=/memory,share=off")
        }
    };
    line.pair("-object", object);
    if memory == Memory::Clone {
        line.pair("-incoming", "defer");
    }
}

fn devices(line: &mut Line, behind: &Behind) {
    for (set, fd) in [(1, behind.root), (2, behind.scratch)] {
        line.pair("-add-fd", format!("fd={fd},set={set}"));
    }
    let disk = "driver=raw,file.driver=file,file.filename=/dev/fdset";
    line.pair("-chardev", "stdio,id=console,signal=off")
        .pair("-serial", "chardev:console")
        .pair("-chardev", format!("socket,id=monitor,fd={}", behind.monitor))
        .pair("-mon", "chardev=monitor,mode=control")
        .pair("-blockdev", format!("node-name=root,read-only=on,{disk}/1"))
        .pair("-device", "virtio-blk-pci,drive=root")
        .pair("-blockdev", format!("node-name=scratch,discard=unmap,{disk}/2"))
        .pair("-device", "virtio-blk-pci,drive=scratch")
        .pair("-device", "virtio-serial-pci")
        .pair("-chardev", format!("socket,id=agent,fd={}", behind.agent))
        .pair("-device", "virtserialport,chardev=agent,name=hull.agent");
    for (number, tap) in behind.taps.iter().enumerate() {
        // A clone must not announce the template's address.
        let device = format!("virtio-net-pci,netdev=net{number},romfile=,guest_announce=off");
        line.pair("-netdev", format!("tap,id=net{number},fd={tap}")).pair("-device", device);
    }
    line.pair("-device", "virtio-scsi-pci,id=later")
        // What the guest has freed, the host gets back.
        .pair("-device", "virtio-balloon-pci,free-page-reporting=on");
}

struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(machine: &Machine, memory: Memory, boot: Option<&str>) -> Vec<String> {
        let line = line(machine, &Behind::default(), memory, boot);
        line.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_clone_differs_from_its_template_in_memory_and_kernel_only() {
        let machine = Machine { accel: Accel::Tcg, memory_mib: 256, cpus: 1 };
        let template = of(&machine, Memory::Shared, Some("quiet"));
        let clone = of(&machine, Memory::Clone, None);
        let only = |ours: &[String], theirs: &[String]| -> Vec<String> {
            ours.iter().filter(|word| !theirs.contains(word)).cloned().collect()
        };
        let memory = "memory-backend-file,id=ram,size=256M,mem-path=/memory,share=";
        assert_eq!(
            only(&template, &clone),
            [
                &format!("{memory}on"),
                "-kernel",
                "/boot/kernel",
                "-initrd",
                "/boot/initrd",
                "-append",
                "quiet"
            ]
        );
        assert_eq!(only(&clone, &template), [&format!("{memory}off"), "-incoming", "defer"]);
    }

    #[test]
    fn only_an_emulated_processor_is_told_its_rate() {
        assert!(append(Accel::Tcg, Some(2_600_000)).contains("tsc_early_khz=2600000"));
        assert!(!append(Accel::Kvm, Some(2_600_000)).contains("tsc"));
    }
}
