//! Which program of the host has a port.
//!
//! Spec: proc(5) "/proc/net/tcp", "/proc/pid/fd"; the kernel's proc_net_tcp.rst.

use std::fs;

use super::Protocol;

/// The state of a socket that listens, and of one that has no peer.
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";

/// The program's name and number, if a program here can be seen to have the port.
pub(super) fn of(protocol: Protocol, port: u16) -> Option<String> {
    let (tables, state) = match protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENS),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
        Protocol::Sctp => return None,
    };
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    let inode = texts.into_iter().find_map(|text| inode(&text, port, state))?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.into_iter().find(|pid| has(*pid, &socket))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

fn has(pid: u32, socket: &str) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| link.as_os_str() == socket)
}

/// The inode of the socket that has the port, in such a table of the kernel's.
fn inode(table: &str, port: u16, state: &str) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit(':').next()?;
        let ours = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == state;
        ours.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_among_the_kernels_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 7 1\n\
            1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1\n";
        assert_eq!(inode(table, 8080, LISTENS).as_deref(), Some("42"));
        assert_eq!(inode(table, 8081, LISTENS), None);
    }

    #[test]
    fn this_program_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let owner = of(Protocol::Tcp, port).expect("found");
        assert!(owner.ends_with(&format!("(pid {})", std::process::id())), "{owner}");
    }
}
