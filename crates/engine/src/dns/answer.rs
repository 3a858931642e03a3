//! What is known of a name, and how that is said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::container::Container;
use crate::shared::Shared;

/// Seconds for which an answer may be kept, as Docker's.
const TTL: u32 = 600;
/// What names of addresses end with.
const REVERSE: &str = ".in-addr.arpa";
/// And those of IPv6 addresses.
const REVERSE6: &str = ".ip6.arpa";

/// A name that a container knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) network: String,
    pub(super) address: IpAddr,
}

/// The names that a container knows, as far as a question is about them.
#[derive(Debug, Default)]
pub(super) struct Directory(Vec<Known>);

/// What a question is about.
#[derive(Debug)]
enum Sought {
    /// In lower case, without a dot behind it.
    Name(String),
    Address(IpAddr),
}

impl Sought {
    /// `None` where the name of an address is asked for that is none.
    fn by(asked: &Query) -> Option<Self> {
        let text = asked.name().to_ascii().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        if asked.query_type() == RecordType::PTR {
            return Some(Self::Address(address(text)?));
        }
        Some(Self::Name(text.to_owned()))
    }

    /// Whether who has the name on the network, at the address, is meant.
    fn means(&self, network: &str, address: IpAddr, name: &str) -> bool {
        match self {
            Self::Address(sought) => *sought == address,
            Self::Name(text) => text.split_at_checked(name.len()).is_some_and(|(own, rest)| {
                let behind = rest.strip_prefix('.');
                own.eq_ignore_ascii_case(name)
                    && behind.map_or(rest.is_empty(), |word| word.eq_ignore_ascii_case(network))
            }),
        }
    }
}

/// Where the answer is.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Known(Box<Message>),
    Elsewhere,
}

impl Directory {
    /// What `container` knows now of what is asked.
    pub(super) fn of(shared: &Shared, container: &Container, query: &Message) -> Self {
        let Some(sought) = query.queries.first().and_then(Sought::by) else {
            return Self::default();
        };
        let wanted = |network: &str, address, name: &str| sought.means(network, address, name);
        let known = shared.names(container, &shared.live(), wanted);
        let known = known.into_iter().map(|(network, address, name)| Known {
            name: name.to_ascii_lowercase(),
            network,
            address,
        });
        Self(known.collect())
    }

    /// The addresses of who is meant.
    fn addresses(&self, sought: &Sought) -> Vec<IpAddr> {
        let means = |known: &&Known| sought.means(&known.network, known.address, &known.name);
        let mut found: Vec<_> = self.0.iter().filter(means).map(|known| known.address).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The first name of who has the address.
    fn name(&self, address: IpAddr) -> Option<String> {
        let known = self.0.iter().find(|known| known.address == address)?;
        Some(format!("{}.{}.", known.name, known.network))
    }
}

/// The answer to a query; `None` for what is no query and so is not answered.
pub(super) fn answer(query: &Message, directory: &Directory) -> Option<Outcome> {
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let [asked] = query.queries.as_slice() else {
        return Some(Outcome::Known(Box::new(refusal(query, ResponseCode::FormErr))));
    };
    if query.metadata.op_code != OpCode::Query {
        return Some(Outcome::Known(Box::new(refusal(query, ResponseCode::NotImp))));
    }
    let records = match asked.query_class() {
        DNSClass::IN => records(asked, directory),
        _ => None,
    };
    let Some(records) = records else { return Some(Outcome::Elsewhere) };
    let mut answer = refusal(query, ResponseCode::NoError);
    answer.answers = records;
    Some(Outcome::Known(Box::new(answer)))
}

/// What is said where nobody else knew or was asked.
pub(super) fn failure(query: &Message, asked: bool) -> Message {
    refusal(query, if asked { ResponseCode::ServFail } else { ResponseCode::Refused })
}

/// An answer without records.
fn refusal(query: &Message, code: ResponseCode) -> Message {
    let asked = &query.metadata;
    let mut answer = Message::response(asked.id, asked.op_code);
    answer.metadata.response_code = code;
    answer.metadata.recursion_desired = asked.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.queries.clone_from(&query.queries);
    answer
}

/// The records for a name of the directory; an empty list for one that has none of this type, `None` for
/// one that is not there.
fn records(asked: &Query, directory: &Directory) -> Option<Vec<Record>> {
    let record = |data: RData| Record::from_rdata(asked.name().clone(), TTL, data);
    let sought = Sought::by(asked)?;
    if let Sought::Address(address) = sought {
        let name = Name::from_ascii(directory.name(address)?).ok()?;
        return Some(vec![record(RData::PTR(PTR(name)))]);
    }
    let mut addresses = directory.addresses(&sought);
    if addresses.is_empty() {
        return None;
    }
    // Of another type or family there is nothing, which is no reason to ask elsewhere.
    addresses.retain(|address| match asked.query_type() {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    });
    if addresses.is_empty() {
        return Some(Vec::new());
    }
    // Whoever takes the first takes another each time.
    let first = usize::from(turn()) % addresses.len();
    addresses.rotate_left(first);
    let data = |address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Some(addresses.into_iter().map(|address| record(data(address))).collect())
}

/// A number that is another each time.
fn turn() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The address that a name such as `2.0.30.172.in-addr.arpa` is of.
fn address(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(REVERSE6) {
        return address6(digits);
    }
    let backwards: Ipv4Addr = name.strip_suffix(REVERSE)?.parse().ok()?;
    Some(Ipv4Addr::from(backwards.to_bits().swap_bytes()).into())
}

/// The same of IPv6: 32 digits with dots between, the last one first. Spec: RFC 3596 2.5.
fn address6(digits: &str) -> Option<IpAddr> {
    let mut bits = 0_u128;
    let mut count = 0;
    for digit in digits.rsplit('.') {
        let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
        bits = bits.checked_mul(16)? | value;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let known = |name: &str, last: u8| Known {
            name: name.to_owned(),
            network: "Back".to_owned(),
            address: Ipv4Addr::new(172, 18, 0, last).into(),
        };
        let six = Known { address: "fd00:18::3".parse().expect("an address"), ..known("db", 3) };
        Directory(vec![known("web", 2), known("store", 2), known("db", 3), known("store", 3), six])
    }

    fn ask(name: &str, kind: RecordType) -> Option<Message> {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        match answer(&query, &directory()).expect("a query") {
            Outcome::Known(answer) => {
                assert_eq!(answer.metadata.id, query.metadata.id);
                Some(*answer)
            }
            Outcome::Elsewhere => None,
        }
    }

    fn texts(message: Option<Message>) -> Option<Vec<String>> {
        let mut texts: Vec<_> =
            message?.answers.iter().map(|record| record.data.to_string()).collect();
        texts.sort();
        Some(texts)
    }

    #[test]
    fn a_name_is_a_neighbours_or_elsewhere() {
        let a = |name: &str| texts(ask(name, RecordType::A));
        let list = |addresses: &[&str]| {
            Some(addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(a("web."), list(&["172.18.0.2"]));
        assert_eq!(a("WEB.back."), list(&["172.18.0.2"]));
        assert_eq!(a("web.Back."), list(&["172.18.0.2"]));
        assert_eq!(a("store."), list(&["172.18.0.2", "172.18.0.3"]));
        assert_eq!((a("web.front."), a("webs."), a("example.org.")), (None, None, None));
        // It has no address of that family, which is no reason to ask elsewhere.
        assert_eq!(texts(ask("web.", RecordType::AAAA)), list(&[]));
        assert_eq!(texts(ask("db.", RecordType::AAAA)), list(&["fd00:18::3"]));
        assert_eq!(a("db."), list(&["172.18.0.3"]));
    }

    #[test]
    fn an_address_is_a_neighbours_or_elsewhere() {
        let ptr = |name: &str| texts(ask(name, RecordType::PTR));
        assert_eq!(ptr("3.0.18.172.in-addr.arpa."), Some(vec!["db.Back.".to_owned()]));
        let six = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa.";
        assert_eq!(ptr(six), Some(vec!["db.Back.".to_owned()]));
        assert_eq!((ptr(&six[2..]), ptr("g.ip6.arpa.")), (None, None));
        assert_eq!(ptr("9.0.18.172.in-addr.arpa."), None);
        assert_eq!(ptr("web."), None);
    }

    #[test]
    fn of_several_addresses_another_is_first_each_time() {
        let first = || {
            let answer = ask("store.", RecordType::A).expect("known");
            answer.answers[0].data.to_string()
        };
        let seen: std::collections::BTreeSet<_> = (0..8).map(|_| first()).collect();
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let response = Message::response(7, OpCode::Query);
        assert!(answer(&response, &directory()).is_none());
    }
}
