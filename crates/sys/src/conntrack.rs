//! What the kernel remembers of connections that it translates, and having it forget some.
//!
//! Spec: the kernel's include/uapi/linux/netfilter/nfnetlink_conntrack.h; nfnetlink.h.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr as Port, protocols::NETLINK_NETFILTER};

const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
/// The length of a message's head, and of what is before the attributes: the family, a version and a number.
const HEAD: usize = 16;
const FAMILY: usize = 4;

/// A connection as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Number of the protocol.
    pub protocol: u8,
    /// Where its first packet was sent to.
    pub to: SocketAddr,
    /// Who answers: another where packets are translated.
    pub answers: SocketAddr,
}

/// Has the kernel of this network namespace forget the connections that are `stale`: the next packet makes one
/// anew, by the rules that are then. Gives how many there were.
///
/// # Errors
///
/// Those of netlink(7): `EPROTONOSUPPORT` or `EINVAL` from a kernel that tells nothing of connections.
pub fn forget(stale: impl Fn(&Flow) -> bool) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&Port::new(0, 0))?;
    let mut found = Vec::new();
    exchange(&socket, GET, NLM_F_DUMP, &[0; FAMILY], |body| {
        if let Some((flow, original)) = parse(body)
            && stale(&flow)
        {
            let mut named = vec![body[0], 0, 0, 0];
            named.extend_from_slice(&attribute(0x8001, original));
            found.push(named);
        }
    })?;
    for named in &found {
        match exchange(&socket, DELETE, NLM_F_ACK, named, |_| ()) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(found.len())
}

/// Sends one request and takes the messages of its answer.
fn exchange(
    socket: &Socket,
    kind: u16,
    flags: u16,
    body: &[u8],
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let length = u32::try_from(HEAD + body.len()).expect("a request is short");
    let mut request = Vec::new();
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    socket.send(&request, 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code =
                        body.first_chunk().map_or(-libc::EBADMSG, |b| i32::from_ne_bytes(*b));
                    return if code == 0 {
                        Ok(())
                    } else {
                        Err(io::Error::from_raw_os_error(-code))
                    };
                }
                _ => take(body),
            }
            rest = next;
        }
    }
}

/// The first message's kind and body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEAD..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The connection, and how the kernel names it.
fn parse(body: &[u8]) -> Option<(Flow, &[u8])> {
    let all = body.get(FAMILY..)?;
    let original = find(all, 1)?;
    let (protocol, _, to) = tuple(original)?;
    let (_, answers, _) = tuple(find(all, 2)?)?;
    Some((Flow { protocol, to, answers }, original))
}

/// The protocol, who sends and to whom.
fn tuple(bytes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (ip, protocol) = (find(bytes, 1)?, find(bytes, 2)?);
    let address = |four, six| {
        let four = find(ip, four).and_then(|b| Some(IpAddr::from(*b.first_chunk::<4>()?)));
        four.or_else(|| Some(IpAddr::from(*find(ip, six)?.first_chunk::<16>()?)))
    };
    let port = |kind| Some(u16::from_be_bytes(*find(protocol, kind)?.first_chunk()?));
    let (from, to) = (address(1, 3)?, address(2, 4)?);
    let number = *find(protocol, 1)?.first()?;
    Some((number, SocketAddr::new(from, port(2)?), SocketAddr::new(to, port(3)?)))
}

/// The value of the first attribute of this kind.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(attributes).map_while(Result::ok);
    all.find(|one| one.kind() == kind).map(NlaBuffer::into_inner).and_then(|whole| {
        let length = u16::from_ne_bytes(*whole.first_chunk()?);
        whole.get(4..usize::from(length))
    })
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("a connection's name is short");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_where_it_goes_and_who_answers() {
        let ip = |from: [u8; 4], to: [u8; 4]| {
            attribute(0x8001, &[attribute(1, &from), attribute(2, &to)].concat())
        };
        let ports = |from: u16, to: u16| {
            let all = [
                attribute(1, &[17]),
                attribute(2, &from.to_be_bytes()),
                attribute(3, &to.to_be_bytes()),
            ];
            attribute(0x8002, &all.concat())
        };
        let original = [ip([127, 0, 0, 1], [127, 0, 0, 1]), ports(4000, 53)].concat();
        let answer = [ip([172, 30, 0, 2], [172, 30, 0, 1]), ports(5353, 4000)].concat();
        let mut body = vec![2, 0, 0, 0];
        body.extend(attribute(0x8001, &original));
        body.extend(attribute(0x8002, &answer));
        let (to, answers) = ("127.0.0.1:53", "172.30.0.2:5353");
        let want = Flow {
            protocol: 17,
            to: to.parse().expect("an address"),
            answers: answers.parse().expect("an address"),
        };
        assert_eq!(parse(&body), Some((want, &original[..])));
        assert_eq!(parse(&body[..20]), None);
    }
}
