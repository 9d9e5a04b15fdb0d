// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses in the configuration, as people write them: a network may be one address, and a port
//! that is 53 may be left out. What is none is told with a word about how to write one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::HostsTable;

/// The port of name servers.
const PORT: u16 = 53;

struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into()));
        network.map(Network).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is no network: write one such as `192.0.2.0/24`, or an address"
            ))
        })
    }
}

struct Socket(SocketAddr);

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Socket, D::Error> {
        let text = String::deserialize(deserializer)?;
        let socket = text.parse().or_else(|_| text.parse().map(|it: IpAddr| (it, PORT).into()));
        socket.map(Socket).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is no address: write `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:53`"
            ))
        })
    }
}

/// A key of the table of hosts.
enum HostsKey {
    Ttl,
    NoReverse,
    Address(IpAddr),
}

impl<'de> Deserialize<'de> for HostsKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostsKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "ttl" => Ok(HostsKey::Ttl),
            "no-reverse" | "no_reverse" => Ok(HostsKey::NoReverse),
            _ => text.parse().map(HostsKey::Address).map_err(|_| {
                D::Error::custom(format!(
                    "`{text}` is no address: entries are `\"192.0.2.7\" = [\"db.example.com\"]`"
                ))
            }),
        }
    }
}

/// Options and addresses stand beside each other. What serde makes of that by itself, it reads
/// twice, and errors lose their place.
impl<'de> Deserialize<'de> for HostsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostsTable, D::Error> {
        deserializer.deserialize_map(HostsVisitor)
    }
}

struct HostsVisitor;

impl<'de> Visitor<'de> for HostsVisitor {
    type Value = HostsTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of addresses and their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HostsTable, A::Error> {
        let mut table = HostsTable::default();
        while let Some(key) = map.next_key()? {
            match key {
                HostsKey::Ttl => table.ttl = map.next_value()?,
                HostsKey::NoReverse => table.no_reverse = map.next_value()?,
                HostsKey::Address(address) => {
                    table.entries.insert(address, map.next_value()?);
                }
            }
        }
        Ok(table)
    }
}

/// Reads networks.
///
/// # Errors
/// When one is none.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let all: Vec<Network> = Vec::deserialize(deserializer)?;
    Ok(all.into_iter().map(|network| network.0).collect())
}

/// Reads addresses to listen at.
///
/// # Errors
/// When one is none.
pub fn sockets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let all: Vec<Socket> = Vec::deserialize(deserializer)?;
    Ok(all.into_iter().map(|socket| socket.0).collect())
}

#[cfg(test)]
mod tests {
    use crate::dns::config::DnsConfig;

    #[test]
    fn one_address_is_a_network_and_a_port_may_be_left_out() {
        let config: DnsConfig = toml::from_str(
            "allow = ['192.0.2.1', '2001:db8::/64']\n\
             listen = ['192.0.2.1', '2001:db8::1', '[2001:db8::1]:5353']\n\
             loadbalance.prefer = ['10.0.0.1']\n\
             hosts = { ttl = 60, no-reverse = true, '192.0.2.7' = 'db.example.com' }",
        )
        .unwrap();
        assert_eq!(config.allow, ["192.0.2.1/32", "2001:db8::/64"].map(|it| it.parse().unwrap()));
        let sockets = ["192.0.2.1:53", "[2001:db8::1]:53", "[2001:db8::1]:5353"];
        assert_eq!(config.listen, sockets.map(|it| it.parse().unwrap()));
        assert_eq!(config.loadbalance.prefer, ["10.0.0.1/32".parse().unwrap()]);
        // As nodes are sent it.
        let sent = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<DnsConfig>(&sent).unwrap(), config);
    }

    #[test]
    fn a_key_of_hosts_that_is_none_is_told_with_its_place() {
        let text = "[hosts]\nttl = 60\n'192.0.2.7' = 'db.example.com'\ntll = 5\n";
        let error = toml::from_str::<DnsConfig>(text).unwrap_err();
        let place = error.span().unwrap();
        assert_eq!(&text[place.start..place.start + 3], "tll", "{error}");
    }

    #[test]
    fn what_is_none_is_told_with_how_to_write_it() {
        for (text, told) in [
            ("allow = ['pods']", "`pods` is no network: write one such as `192.0.2.0/24`"),
            ("loadbalance.prefer = ['10.0.0.0/33']", "`10.0.0.0/33` is no network"),
            ("listen = [':53']", "`:53` is no address: write `192.0.2.1`"),
            ("hosts.tll = '60'", "`tll` is no address: entries are `\"192.0.2.7\" = "),
            ("forward.expire = '10'", "`10` is no length of time: write `10s`"),
            ("forward.expire = 'soon'", "`soon` is no length of time: write `5s`"),
        ] {
            let error = toml::from_str::<DnsConfig>(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
