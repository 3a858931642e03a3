//! Sending no faster than at a rate: a token bucket as the interface's queueing discipline.
//!
//! Spec: tc-tbf(8); the kernel's net/sched/sch_tbf.c, include/uapi/linux/pkt_sched.h.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcOption};

use super::Netlink;
use super::redirect::message;

/// The handle of our discipline, `1:`.
const OURS: TcHandle = TcHandle { major: 1, minor: 0 };
/// `TC_LINKLAYER_ETHERNET`: a packet takes as many tokens as it has bytes, by no table.
const ETHERNET: u8 = 1;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;

/// How fast an interface sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may go at once after a silence.
    pub burst: u32,
    /// Bytes that may wait; what comes then is dropped.
    pub waiting: u32,
}

impl Netlink {
    /// Has the interface send so from now on, whatever discipline it had.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a burst of nothing, `ENOENT` when the kernel lacks `tbf`.
    pub fn shape(&mut self, index: u32, shape: Shape) -> io::Result<()> {
        let option = |kind, bytes: Vec<u8>| TcOption::Other(DefaultNla::new(kind, bytes));
        let options = vec![
            option(TCA_TBF_PARMS, parameters(shape)),
            option(TCA_TBF_RATE64, shape.rate.to_ne_bytes().to_vec()),
            option(TCA_TBF_BURST, shape.burst.to_ne_bytes().to_vec()),
        ];
        let attributes = vec![TcAttribute::Kind("tbf".to_owned()), TcAttribute::Options(options)];
        let discipline = message(index, OURS, TcHandle::ROOT, attributes);
        let replace = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(RouteNetlinkMessage::NewQueueDiscipline(discipline), replace)
    }

    /// Has the interface send as it did before it had a shape.
    ///
    /// # Errors
    ///
    /// `ENOENT` when it had none.
    pub fn unshape(&mut self, index: u32) -> io::Result<()> {
        let discipline = message(index, OURS, TcHandle::ROOT, Vec::new());
        self.change(RouteNetlinkMessage::DelQueueDiscipline(discipline), 0)
    }
}

/// A `struct tc_tbf_qopt`: two of `struct tc_ratespec`, of which the second, the peak rate, is empty; then
/// the limit, and buffer and mtu, which the burst stands for.
fn parameters(shape: Shape) -> Vec<u8> {
    let rate = u32::try_from(shape.rate).unwrap_or(u32::MAX);
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(rate.to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(shape.waiting.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}
