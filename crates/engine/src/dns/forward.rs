//! Asking other name servers, in the words of who asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use spec::NAME_SERVER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The host's list of name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many servers are asked, one after another.
const SERVERS: usize = 3;
/// The longest answer that comes as a datagram.
const LONGEST: usize = 65_535;

/// How a query came, and is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Datagram,
    Stream,
}

/// The servers to ask: those of the container, else the host's.
pub(super) fn servers(own: &[String]) -> Vec<SocketAddr> {
    let host = if own.is_empty() {
        std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()
    } else {
        String::new()
    };
    let named = host.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let all = own.iter().map(String::as_str).chain(named);
    let all = all.filter_map(|text| text.parse::<IpAddr>().ok());
    all.take(SERVERS).map(|address| SocketAddr::new(address, NAME_SERVER.port())).collect()
}

/// The first answer that one of `servers` gives.
pub(super) async fn ask(servers: &[SocketAddr], query: &[u8], way: Way) -> Option<Vec<u8>> {
    for server in servers {
        let asked = async {
            match way {
                Way::Datagram => by_datagram(*server, query).await,
                Way::Stream => by_stream(*server, query).await,
            }
        };
        if let Ok(Ok(answer)) = timeout(PATIENCE, asked).await {
            return Some(answer);
        }
    }
    None
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each query, and answers of nobody else.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == query[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    send(&mut stream, query).await?;
    receive(&mut stream).await
}

/// Sends a message with its length in front.
pub(super) async fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Receives a message with its length in front.
pub(super) async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_own_servers_go_before_the_hosts() {
        let own = ["10.1.2.3".to_owned(), "fd00::1".to_owned()];
        let asked: Vec<_> = servers(&own).iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["10.1.2.3:53", "[fd00::1]:53"]);
    }

    #[tokio::test]
    async fn an_answer_to_another_query_is_not_taken() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let at = server.local_addr().expect("bound");
        let serve = async {
            let mut query = [0; 16];
            let (_, from) = server.recv_from(&mut query).await.expect("a query");
            server.send_to(&[9, 9, 1], from).await.expect("sent");
            server.send_to(&[7, 7, 2], from).await.expect("sent");
        };
        let (servers, query) = ([at], [7, 7, 0]);
        let asked = ask(&servers, &query, Way::Datagram);
        let ((), answer) = tokio::join!(serve, asked);
        assert_eq!(answer, Some(vec![7, 7, 2]));
    }
}
