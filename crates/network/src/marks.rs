//! What a container's sockets are known by to the administrator's own rules: a class and priorities, of
//! cgroup v1's `net_cls` and `net_prio`.
//!
//! ```text
//!   classid=10:1         what tc's filter `cgroup` and nft's `meta cgroup` ask for; 0x100001 is the same
//!   priority=eth0:5,...  of what is sent by a device of the host
//! ```
//!
//! Both hold where the container's own sockets meet a device: in its namespace, on the parent of a macvlan,
//! on the host's network. What a bridge's host forwards has lost its socket.
//!
//! Spec: kernel cgroup-v1/net_cls.rst, net_prio.rst; tc-cgroup(8).

use std::fmt;
use std::fs;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::InterfaceName;

/// A class of tc's, `MAJOR:MINOR` in hexadecimal digits; never 0, which means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassId(u32);

/// The priority of what is sent by one device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Priority {
    /// The device.
    pub device: InterfaceName,
    /// As of the socket option `SO_PRIORITY`.
    pub value: u32,
}

/// What a container's sockets are known by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// The class of all that they send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassId>,
    /// Priorities, each device once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<Priority>,
}

/// The text is no class or no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a class.
    #[error(
        "invalid classid {0:?}: want MAJOR:MINOR in hexadecimal digits as tc has it, such as 10:1, or a \
         number from 1 to 0xffffffff"
    )]
    Class(String),
    /// Not a priority.
    #[error("invalid priority {0:?}: want DEVICE:NUMBER, such as eth0:5, more after commas")]
    Priority(String),
}

/// Why this host cannot have a mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// Its kernel does not know it.
    #[error("this host's kernel has no cgroup controller {0}")]
    Controller(&'static str),
    /// Nobody has asked the kernel for it.
    #[error(
        "cgroup controller {0} is not mounted on this host; have it mounted: mkdir -p \
         /sys/fs/cgroup/{0} && mount -t cgroup -o {0} {0} /sys/fs/cgroup/{0}"
    )]
    Unmounted(&'static str),
}

impl ClassId {
    /// As the kernel counts them: the major number is in the upper 16 bits.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl Marks {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the value of the option `priority`.
    pub fn read_priorities(text: &str) -> Result<Vec<Priority>, Invalid> {
        let list: Vec<Priority> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let again = |(at, one): (usize, &Priority)| {
            list[..at].iter().any(|other| other.device == one.device)
        };
        if list.iter().enumerate().any(again) {
            return Err(Invalid::Priority(text.to_owned()));
        }
        Ok(list)
    }

    /// The value of the option `priority`, if there are any.
    pub fn say_priorities(&self) -> Option<String> {
        let list: Vec<_> = self.priorities.iter().map(ToString::to_string).collect();
        (!list.is_empty()).then(|| list.join(","))
    }

    /// Refuses what this host has no cgroup controller for.
    ///
    /// # Errors
    ///
    /// [`Absent`], by the controller's name.
    pub fn check_host(&self) -> Result<(), Absent> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (known, mounts) = (read("/proc/cgroups"), read("/proc/self/mountinfo"));
        self.controllers().try_for_each(|name| present(name, &known, &mounts))
    }

    fn controllers(&self) -> impl Iterator<Item = &'static str> {
        let class = self.class.map(|_| "net_cls");
        class.into_iter().chain((!self.priorities.is_empty()).then_some("net_prio"))
    }
}

/// Whether a controller is in the texts of `/proc/cgroups` and `/proc/self/mountinfo`.
fn present(name: &'static str, known: &str, mounts: &str) -> Result<(), Absent> {
    if !known.lines().any(|line| line.split('\t').next() == Some(name)) {
        return Err(Absent::Controller(name));
    }
    let mounted = mounts.lines().any(|line| {
        let options = line.split_once(" - cgroup ").and_then(|(_, end)| end.rsplit(' ').next());
        options.is_some_and(|options| options.split(',').any(|option| option == name))
    });
    if mounted { Ok(()) } else { Err(Absent::Unmounted(name)) }
}

impl FromStr for ClassId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = text.split_once(':').map_or_else(|| whole(text), halves);
        let number = number.filter(|number| *number != 0);
        number.map(Self).ok_or_else(|| Invalid::Class(text.to_owned()))
    }
}

/// `MAJOR:MINOR`, in hexadecimal digits.
fn halves((major, minor): (&str, &str)) -> Option<u32> {
    let half = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    Some(u32::from(half(major)?) << 16 | u32::from(half(minor)?))
}

fn whole(text: &str) -> Option<u32> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = |(device, value): (&str, &str)| {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let value = value.parse().ok().filter(|_| digits)?;
            Some(Self { device: device.parse().ok()?, value })
        };
        text.rsplit_once(':').and_then(read).ok_or_else(|| Invalid::Priority(text.to_owned()))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.value)
    }
}

impl TryFrom<String> for ClassId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ClassId> for String {
    fn from(class: ClassId) -> Self {
        class.to_string()
    }
}

impl TryFrom<String> for Priority {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Priority> for String {
    fn from(priority: Priority) -> Self {
        priority.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_two_hexadecimal_numbers_or_one_number() {
        for (text, want) in [
            ("10:1", Some(0x0010_0001)),
            ("0x10:0x1", Some(0x0010_0001)),
            ("0x100001", Some(0x0010_0001)),
            ("1048577", Some(0x0010_0001)),
            ("ffff:ffff", Some(u32::MAX)),
            ("10:", None),
            (":1", None),
            ("0:0", None),
            ("0", None),
            ("10000:1", None),
            ("+1", None),
            ("+1:1", None),
            ("4294967296", None),
            ("a", None),
            ("", None),
        ] {
            let class = text.parse::<ClassId>().ok();
            assert_eq!(class.map(ClassId::number), want, "{text}");
            if let Some(class) = class {
                assert_eq!(class.to_string().parse(), Ok(class), "{text}");
            }
        }
    }

    #[test]
    fn priorities_name_each_device_once() {
        for (text, valid) in [
            ("eth0:5", true),
            ("eth0:5,eth1.7:0", true),
            ("eth0:5,eth0:6", false),
            ("eth0", false),
            ("eth0:-1", false),
            ("eth0:+1", false),
            ("eth0 1:1", false),
            ("eth0:5,", false),
            (":5", false),
        ] {
            let read = Marks::read_priorities(text);
            assert_eq!(read.is_ok(), valid, "{text}: {read:?}");
            if let Ok(priorities) = read {
                let marks = Marks { priorities, ..Marks::default() };
                assert_eq!(marks.say_priorities().as_deref(), Some(text));
            }
        }
    }

    #[test]
    fn a_controller_is_there_when_it_is_mounted() {
        let known = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nnet_cls\t0\t1\t1\n";
        let mounts =
            "30 25 0:26 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup none rw,net_cls,net_prio\n";
        let elsewhere = "30 25 0:26 / /net_cls rw - tmpfs net_cls rw,net_cls\n";
        assert_eq!(present("net_cls", known, mounts), Ok(()));
        assert_eq!(present("net_cls", known, elsewhere), Err(Absent::Unmounted("net_cls")));
        assert_eq!(present("net_prio", known, mounts), Err(Absent::Controller("net_prio")));
    }
}
