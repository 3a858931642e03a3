//! What a network's options say of the places on it, as text in its record.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use network::egress::Policy;
use network::{InterfaceName, Rates};
use spec::Isolation;

use super::Site;
use crate::config::Attachment;
use crate::error::{Error, NetworkError};

/// What names of containers' devices begin with, where nobody says.
const PREFIX: &str = "eth";

/// What places on a network are like that do not say it themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    /// Where containers may send to; `None` for everywhere.
    pub(crate) egress: Option<Policy>,
    /// How fast containers receive and send.
    pub(crate) rates: Rates,
    /// Where on the host ports are that name no address; `None` for everywhere.
    pub(crate) binding: Option<Ipv4Addr>,
    /// What the names of their devices begin with.
    prefix: Option<String>,
}

impl Defaults {
    /// Reads the options of a network.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] by the option's name.
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let invalid = |field, problem: String| Error::Invalid { field, problem };
        let get = |option: &str| options.get(option).map(String::as_str);
        let rate = |option, field| {
            let rate = get(option).map(str::parse).transpose();
            rate.map_err(|error: network::rate::Invalid| invalid(field, error.to_string()))
        };
        let egress = get("egress").map(str::parse).transpose();
        let egress = egress.map_err(|error: network::egress::Invalid| {
            invalid("option egress", error.to_string())
        })?;
        let rates = Rates {
            into: rate("rate-in", "option rate-in")?,
            out: rate("rate-out", "option rate-out")?,
        };
        let binding = "com.docker.network.bridge.host_binding_ipv4";
        let address = get(binding).map(str::parse::<Ipv4Addr>).transpose();
        let address = address.map_err(|_| {
            let given = get(binding).unwrap_or_default();
            invalid(binding, format!("{given:?} is no IPv4 address"))
        })?;
        let prefix = "com.docker.network.container_iface_prefix";
        if let Some(given) = get(prefix).filter(|given| !is_prefix(given)) {
            let problem = format!(
                "{given:?}: want at most 13 letters, digits, '-', '_' or '.', first a letter, and not {}",
                sys::tap::PREFIX
            );
            return Err(invalid(prefix, problem));
        }
        Ok(Self {
            egress,
            rates,
            binding: address.filter(|address| !address.is_unspecified()),
            prefix: get(prefix).map(str::to_owned),
        })
    }

    fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(PREFIX)
    }
}

/// Two digits may follow.
fn is_prefix(text: &str) -> bool {
    let full = format!("{text}10").parse::<InterfaceName>();
    !text.is_empty() && full.is_ok() && !text.starts_with(sys::tap::PREFIX)
}

/// Refuses a name that a namespace has already, or a VM's taps have.
pub(crate) fn check_device(name: &InterfaceName) -> Result<(), Error> {
    if name.as_str() != "lo" && !name.as_str().starts_with(sys::tap::PREFIX) {
        return Ok(());
    }
    let field = "DriverOpts.com.docker.network.endpoint.ifname";
    Err(Error::Invalid { field, problem: format!("{name}: that is another device's") })
}

impl Site {
    /// Refuses names of devices that this wall does not have: the agent of a VM knows its interfaces by
    /// theirs.
    pub(crate) fn check_names(&self, wish: &Attachment, isolation: Isolation) -> Result<(), Error> {
        let name = match &wish.interface {
            Some(name) => name.to_string(),
            None => format!("{}0", self.defaults.prefix()),
        };
        let number = name.strip_prefix(PREFIX).and_then(|digits| digits.parse::<u8>().ok());
        let usual = number.is_some_and(|number| name == format!("{PREFIX}{number}"));
        if isolation.shares_kernel() || usual {
            return Ok(());
        }
        let problem = format!(
            "{name}: on network {} behind the wall of a VM: its interfaces are called eth0, eth1 and so on",
            self.name
        );
        let field = match wish.interface {
            Some(_) => "com.docker.network.endpoint.ifname",
            None => "com.docker.network.container_iface_prefix",
        };
        Err(Error::Unsupported { field, problem })
    }

    /// What the container's device is called: as it wishes, else by the first number that is free.
    /// `taken` gives the network that has the name already.
    pub(crate) fn device_name(
        &self,
        wish: &Attachment,
        taken: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Error> {
        let Some(name) = wish.interface.as_ref().map(InterfaceName::as_str) else {
            let prefix = self.defaults.prefix();
            let mut names = (0..).map(|number: u32| format!("{prefix}{number}"));
            return Ok(names.find(|name| taken(name).is_none()).expect("numbers do not end"));
        };
        match taken(name) {
            None => Ok(name.to_owned()),
            Some(network) => {
                Err(NetworkError::DeviceTaken { name: name.to_owned(), network }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(option: &str, value: &str) -> Result<Defaults, Error> {
        Defaults::read(&[(option.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn ports_are_where_the_network_says() {
        let binding = "com.docker.network.bridge.host_binding_ipv4";
        let at = |value| read(binding, value).map(|defaults| defaults.binding);
        assert!(matches!(at("127.0.0.1"), Ok(Some(Ipv4Addr::LOCALHOST))));
        assert!(matches!(at("0.0.0.0"), Ok(None)));
        assert!(at("::1").is_err() && at("").is_err());
    }

    #[test]
    fn a_prefix_has_room_for_a_number() {
        let option = "com.docker.network.container_iface_prefix";
        for (value, valid) in [
            ("net", true),
            ("abcdefghijklm", true),
            ("abcdefghijklmn", false),
            ("", false),
            ("0net", false),
            ("a/b", false),
            ("hull-tap", false),
        ] {
            assert_eq!(read(option, value).is_ok(), valid, "{value}");
        }
    }
}
