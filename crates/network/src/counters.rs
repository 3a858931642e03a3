//! What went through the interfaces of a network namespace.
//!
//! Spec: proc(5) "/proc/net/dev".

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use crate::netns::{Error, Namespace};

/// What went through one interface, as seen from inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Counters {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Namespace {
    /// The counters of its interfaces, but for `lo`'s and those of a VM's taps, which pass on what the
    /// interfaces count.
    pub fn counters(&self) -> Result<BTreeMap<String, Counters>, Error> {
        let read = || fs::read_to_string("/proc/thread-self/net/dev");
        let text = sys::netns::within(self.as_fd(), read).map_err(|source| Error::File {
            doing: "read /proc/net/dev in",
            path: self.path().to_owned(),
            source,
        })?;
        let counts = |name: &str| name != "lo" && !name.starts_with(sys::tap::PREFIX);
        Ok(text.lines().filter_map(parse).filter(|(name, _)| counts(name)).collect())
    }
}

fn parse(line: &str) -> Option<(String, Counters)> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = numbers[..]
    else {
        return None;
    };
    let counters = Counters {
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    };
    Some((name.trim().to_owned(), counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_sixteen_numbers() {
        let (name, counters) =
            parse("  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0").expect("an interface");
        let all = (counters.rx_bytes, counters.rx_dropped, counters.tx_bytes, counters.tx_dropped);
        assert_eq!((&*name, all), ("eth0", (1, 4, 5, 8)));
        assert_eq!(parse(" face |bytes    packets errs drop"), None);
    }
}
