// SPDX-License-Identifier: GPL-3.0-or-later
//! Names with addresses of their own, `[dns.hosts]`, as CoreDNS's plugin `hosts` answers them. Pure.
//!
//! What is not written there is asked of the next in the chain.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::config::{HostsTable, OneOrMany};
use super::name::{Name, NameError};
use super::record::{Answer, Owner, Question, Rcode, Record, RecordData, RecordType};

/// A name of an entry that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct HostsError {
    /// The entry's address.
    pub address: IpAddr,
    /// The name as written.
    pub name: String,
    /// Why it is none.
    #[source]
    pub error: NameError,
}

/// The entries.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// Keys are in lower case; so is what an address is called, as CoreDNS has it.
    names: HashMap<Name, Vec<IpAddr>>,
    addresses: HashMap<IpAddr, Vec<Name>>,
    /// Seconds for which they may be remembered.
    ttl: u32,
}

impl Hosts {
    /// Reads the entries.
    ///
    /// # Errors
    /// When a name is none.
    pub fn new(table: &HostsTable) -> Result<Hosts, HostsError> {
        let mut hosts = Hosts { ttl: table.ttl, ..Hosts::default() };
        for (&address, names) in &table.entries {
            // What a mapped address means is the IPv4 address in it.
            let address = address.to_canonical();
            let names = match names {
                OneOrMany::One(name) => std::slice::from_ref(name),
                OneOrMany::Many(names) => names,
            };
            // As in a file of hosts, several names may stand in one line.
            for text in names.iter().flat_map(|line| line.split_whitespace()) {
                let error = |error| HostsError { address, name: text.to_owned(), error };
                let name: Name = text.parse().map_err(error)?;
                let name = name.to_lowercase();
                let addresses = hosts.names.entry(name.clone()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
                if table.no_reverse {
                    continue;
                }
                let names = hosts.addresses.entry(address).or_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(hosts)
    }

    /// Whether there are none, so that nobody needs to look.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many names and addresses there are: `coredns_hosts_entries`.
    pub fn len(&self) -> usize {
        self.names.values().map(Vec::len).sum::<usize>()
            + self.addresses.values().map(Vec::len).sum::<usize>()
    }

    /// What the entries say. `None`: nothing, ask on.
    pub fn answer(&self, question: &Question) -> Option<Answer> {
        if self.is_empty() {
            return None;
        }
        if question.kind == RecordType::PTR
            && let Some(names) =
                reverse_address(&question.name).and_then(|address| self.addresses.get(&address))
        {
            return Some(self.told(names.iter().cloned().map(RecordData::Ptr)));
        }
        let addresses = self.names.get(&question.name)?;
        // A name that has only the other family has no data; it is not asked of others, who would
        // say that there is no such name.
        Some(self.told(addresses.iter().filter_map(|address| match (address, question.kind) {
            (IpAddr::V4(address), RecordType::A) => Some(RecordData::A(*address)),
            (IpAddr::V6(address), RecordType::AAAA) => Some(RecordData::Aaaa(*address)),
            _ => None,
        })))
    }

    fn told(&self, data: impl Iterator<Item = RecordData>) -> Answer {
        Answer {
            rcode: Rcode::NOERROR,
            answer: data.map(|data| Record { owner: Owner::Asked, ttl: self.ttl, data }).collect(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

/// The address whose reverse name this is: exactly one, below `in-addr.arpa` or `ip6.arpa`.
pub fn reverse_address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&[u8]> = name.labels().take(35).collect();
    let (below, zone) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
    if !zone[1].eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    if zone[0].eq_ignore_ascii_case(b"in-addr") && below.len() == 4 {
        let mut text = String::with_capacity(15);
        for label in below.iter().rev() {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(std::str::from_utf8(label).ok()?);
        }
        return text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    if zone[0].eq_ignore_ascii_case(b"ip6") && below.len() == 32 {
        let mut bits = 0u128;
        for label in below.iter().rev() {
            let &[digit] = *label else { return None };
            bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
        }
        return Some(IpAddr::V6(Ipv6Addr::from_bits(bits)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[(&str, &[&str])]) -> Hosts {
        Hosts::new(&table(entries)).unwrap()
    }

    fn table(entries: &[(&str, &[&str])]) -> HostsTable {
        let entries = entries.iter().map(|(address, names)| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            (address.parse().unwrap(), OneOrMany::Many(names))
        });
        HostsTable { entries: entries.collect(), ..HostsTable::default() }
    }

    fn ask(hosts: &Hosts, name: &str, kind: RecordType) -> Option<Vec<RecordData>> {
        let answer = hosts.answer(&Question { name: name.parse().unwrap(), kind })?;
        assert_eq!(answer.rcode, Rcode::NOERROR);
        assert!(answer.authority.is_empty() && answer.additional.is_empty());
        assert!(answer.answer.iter().all(|r| r.ttl == 3600 && r.owner == Owner::Asked));
        Some(answer.answer.into_iter().map(|record| record.data).collect())
    }

    #[test]
    fn names_and_addresses_are_found_both_ways() {
        let hosts = hosts(&[
            ("192.0.2.7", &["DB.example.com b.example.com."]),
            ("192.0.2.8", &["db.example.com", "db.example.com"]),
            ("2001:db8::7", &["six.example.com"]),
        ]);
        let a = |text: &str| RecordData::A(text.parse().unwrap());
        assert_eq!(
            ask(&hosts, "dB.Example.com.", RecordType::A),
            Some(vec![a("192.0.2.7"), a("192.0.2.8")])
        );
        assert_eq!(ask(&hosts, "db.example.com.", RecordType::AAAA), Some(vec![]));
        assert_eq!(ask(&hosts, "six.example.com.", RecordType::A), Some(vec![]));
        assert_eq!(ask(&hosts, "six.example.com.", RecordType(15)), Some(vec![]));
        assert_eq!(
            ask(&hosts, "six.example.com.", RecordType::AAAA),
            Some(vec![RecordData::Aaaa("2001:db8::7".parse().unwrap())])
        );
        let ptr = |text: &str| RecordData::Ptr(text.parse().unwrap());
        assert_eq!(
            ask(&hosts, "7.2.0.192.in-addr.arpa.", RecordType::PTR),
            Some(vec![ptr("db.example.com."), ptr("b.example.com.")])
        );
        let six = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.arpa.";
        assert_eq!(ask(&hosts, six, RecordType::PTR), Some(vec![ptr("six.example.com.")]));
        for (name, kind) in [
            ("example.com.", RecordType::A),
            ("x.db.example.com.", RecordType::A),
            ("9.2.0.192.in-addr.arpa.", RecordType::PTR),
            ("7.2.0.192.in-addr.arpa.", RecordType::A),
        ] {
            assert_eq!(ask(&hosts, name, kind), None, "{name}");
        }
    }

    #[test]
    fn how_they_are_told_may_be_said() {
        let table = table(&[("192.0.2.7", &["db.example.com"])]);
        let hosts = Hosts::new(&HostsTable { ttl: 60, no_reverse: true, ..table }).unwrap();
        let question = |name: &str, kind| Question { name: name.parse().unwrap(), kind };
        let answer = hosts.answer(&question("db.example.com", RecordType::A)).unwrap();
        assert_eq!(answer.answer[0].ttl, 60);
        let back = question("7.2.0.192.in-addr.arpa", RecordType::PTR);
        assert_eq!(hosts.answer(&back), None, "others are asked");
        assert_eq!(hosts.len(), 1);
    }

    #[test]
    fn a_reverse_name_is_of_one_whole_address() {
        let address = |text: &str| reverse_address(&text.parse().unwrap());
        assert_eq!(address("1.0.3.10.in-addr.arpa."), Some("10.3.0.1".parse().unwrap()));
        for text in [
            "0.3.10.in-addr.arpa.",
            "5.1.0.3.10.in-addr.arpa.",
            "01.0.3.10.in-addr.arpa.",
            "256.0.3.10.in-addr.arpa.",
            "+1.0.3.10.in-addr.arpa.",
            "1.0.ip6.arpa.",
            "arpa.",
            ".",
            "1.0.3.10.in-addr.example.",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_told() {
        let error = Hosts::new(&table(&[("192.0.2.1", &["a..b"])])).unwrap_err();
        assert_eq!(error.name, "a..b");
        assert!(
            Hosts::default()
                .answer(&Question { name: Name::root(), kind: RecordType::A })
                .is_none()
        );
    }
}
