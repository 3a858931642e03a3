//! Tap devices: the host's side of a virtual machine's network cable.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// What the names of VMs' taps begin with; the number of the guest's interface follows.
pub const PREFIX: &str = "hull-tap";

/// Makes the tap device `name` in the calling thread's network namespace (see [`crate::netns::within`])
/// and gives its frames. The device is down, and goes away with the last copy of the descriptor.
///
/// Frames carry a `virtio_net_hdr`, so that checksums and segmentation can be left undone.
///
/// # Errors
///
/// `EBUSY` when the name is taken, `EINVAL` when it is too long, `ENOENT` where the host has no
/// `/dev/net/tun`, `EPERM` without `CAP_NET_ADMIN`.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: TAP_FLAGS },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is, with a name that ends in zero.
    let ret = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(tap) }
}

/// Ethernet frames behind a `virtio_net_hdr`, without the protocol header in front of both.
#[expect(clippy::cast_possible_truncation, reason = "0x5002 fits the field, which is a short")]
const TAP_FLAGS: libc::c_short =
    (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
