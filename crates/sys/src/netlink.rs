//! Links, addresses, routes, rates and redirections of a network namespace, by rtnetlink.
//!
//! A blocking client for the few requests that Hull makes: the engine wires bridges, veths and macvlans, the
//! VM's shim a tap, the agent the guest's interface. A [`Netlink`] speaks for the network namespace
//! in which it was opened, wherever it is used later; see [`crate::netns`].
//!
//! Spec: rtnetlink(7), netlink(7); the kernel's Documentation/userspace-api/netlink.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

mod address;
mod link;
mod redirect;
mod shape;
mod stacked;

pub use address::{Address, Route};
pub use link::{Link, Mac, Peer};
pub use shape::Shape;
pub use stacked::Macvlan;

/// A conversation with the kernel about one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one for the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change and waits for the kernel's verdict on it.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, flags | NLM_F_ACK, drop)
    }

    /// Asks for everything of the kind that `message` names.
    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut found = Vec::new();
        self.request(message, NLM_F_DUMP, |answer| found.push(answer))?;
        Ok(found)
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.take_datagram(&datagram, &mut take)? {
                return Ok(());
            }
        }
    }

    /// Takes the messages of one datagram; gives whether the last of the answer was among them.
    fn take_datagram(
        &self,
        mut datagram: &[u8],
        take: &mut impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<bool> {
        while !datagram.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => take(answer),
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(verdict) if verdict.code.is_none() => return Ok(true),
                NetlinkPayload::Error(verdict) => return Err(verdict.to_io()),
                _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
