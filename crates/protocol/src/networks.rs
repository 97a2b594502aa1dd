//! Which addresses nodes may have, so that a master calls no host outside.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the nodes of a cluster usually are: on this machine, in private networks (RFC 1918), in unique local ones
/// (RFC 4193, the half that is in use) and in the carriers' shared one (RFC 6598), which Kubernetes services and overlay
/// networks use. Link-local addresses are not in it, because clouds hand out credentials there.
const USUAL: &str = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::/8,100.64.0.0/10";
/// The length of the prefix `::ffff:0:0` under which IPv6 carries IPv4 addresses.
const MAPPED_PREFIX: u8 = 96;

/// A list of networks. As text, CIDR blocks with commas between them: `10.0.0.0/8,fd00::/8`; an address alone is a network
/// of one. IPv4 addresses count as such even where IPv6 carries them (`::ffff:10.0.0.1`): all addresses are
/// `0.0.0.0/0,::/0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Why some text is not a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// Nothing between two commas, or nothing at all.
    #[error("a network is missing: write CIDR blocks with commas between them, such as 10.0.0.0/8,fd00::/8")]
    Empty,
    /// Not a CIDR block.
    #[error("{0:?} is not a network: write a CIDR block such as 10.0.0.0/8 or fd00::/8, or one IP address")]
    NotANetwork(String),
    /// An address within a network instead of the network, which may be a slip in either half.
    #[error(
        "{given} is an address within a network: write {network} for the network or {address} for the address"
    )]
    HostBits {
        /// What was written.
        given: IpNet,
        /// The network that it is in.
        network: IpNet,
        /// The address alone.
        address: IpAddr,
    },
}

/// An address in none of the networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is in none of the networks in which nodes may be ({networks}): add its network to the setting"
)]
pub struct OutsideNetworks {
    /// The address.
    pub address: IpAddr,
    /// The networks.
    pub networks: Networks,
}

impl Networks {
    /// Whether one of the networks has the address in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Passes an address that is in one of the networks.
    ///
    /// # Errors
    /// [`OutsideNetworks`].
    pub fn admit(&self, address: IpAddr) -> Result<(), OutsideNetworks> {
        if self.contains(address) {
            return Ok(());
        }
        Err(OutsideNetworks { address: address.to_canonical(), networks: self.clone() })
    }
}

impl Default for Networks {
    /// Loopback, private, unique local and shared networks; no link-local ones.
    fn default() -> Self {
        USUAL.parse().expect("the usual networks are well written")
    }
}

impl FromStr for Networks {
    type Err = NetworksError;

    fn from_str(text: &str) -> Result<Self, NetworksError> {
        text.split(',').map(|part| parse_network(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_network(text: &str) -> Result<IpNet, NetworksError> {
    if text.is_empty() {
        return Err(NetworksError::Empty);
    }
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let given = text.parse::<IpNet>().or_else(|_| address());
    let given = given.map_err(|_| NetworksError::NotANetwork(text.chars().take(60).collect()))?;
    let network = given.trunc();
    if network != given {
        return Err(NetworksError::HostBits { given, network, address: given.addr() });
    }
    Ok(without_mapping(network))
}

/// The IPv4 network where one is written as IPv6 carries it.
fn without_mapping(network: IpNet) -> IpNet {
    let IpAddr::V4(address) = network.addr().to_canonical() else { return network };
    let Some(prefix) = network.prefix_len().checked_sub(MAPPED_PREFIX) else { return network };
    Ipv4Net::new(address, prefix).map_or(network, IpNet::V4)
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, network)| {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{network}")
        })
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_usual_networks_are_those_of_clusters_and_no_others() {
        let usual = Networks::default();
        for inside in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fd12:3456::1",
            "100.64.0.1",
            "100.127.255.255",
            "::ffff:10.1.2.3",
        ] {
            assert_eq!(usual.admit(address(inside)), Ok(()), "{inside}");
        }
        for outside in [
            "0.0.0.0",
            "8.8.8.8",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "172.32.0.1",
            "100.128.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "fc00::1",
            "2001:db8::1",
            "ff02::1",
        ] {
            assert!(!usual.contains(address(outside)), "{outside}");
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        for text in ["10.0.0.0/8", "::ffff:10.0.0.0/104", " 10.0.0.0/8 , ::1 "] {
            assert!(networks(text).contains(address("10.9.9.9")), "{text}");
            assert!(networks(text).contains(address("::ffff:10.9.9.9")), "{text}");
            assert!(!networks(text).contains(address("11.0.0.1")), "{text}");
        }
        assert!(!networks("::/0").contains(address("::ffff:8.8.8.8")));
        let all = networks("0.0.0.0/0,::/0");
        assert!(["8.8.8.8", "::ffff:8.8.8.8", "2001:db8::1"].iter().all(|one| all.contains(address(one))));
    }

    #[test]
    fn what_is_printed_reads_back() {
        let written = "10.0.0.0/8,fd00::/8,192.0.2.7/32";
        assert_eq!(networks("10.0.0.0/8, fd00::/8,192.0.2.7").to_string(), written);
        let json = serde_json::to_string(&networks(written)).unwrap();
        assert_eq!(json, format!("{written:?}"));
        assert_eq!(serde_json::from_str::<Networks>(&json).unwrap(), networks(written));
    }

    #[test]
    fn errors_say_what_to_write() {
        for (bad, part) in [
            ("", "a network is missing"),
            ("10.0.0.0/8,", "a network is missing"),
            ("10.0.0.0/33", r#""10.0.0.0/33" is not a network"#),
            ("localhost", "is not a network"),
            ("10.0.0.0/8 fd00::/8", "is not a network"),
            ("10.1.2.3/8", "write 10.0.0.0/8 for the network or 10.1.2.3 for the address"),
        ] {
            let error = bad.parse::<Networks>().unwrap_err().to_string();
            assert!(error.contains(part), "{bad}: {error}");
        }
        let outside = Networks::default().admit(address("::ffff:8.8.8.8")).unwrap_err().to_string();
        assert!(outside.starts_with("8.8.8.8 is in none"), "{outside}");
    }
}
