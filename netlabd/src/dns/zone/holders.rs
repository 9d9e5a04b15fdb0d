// SPDX-License-Identifier: GPL-3.0-or-later
//! Which services have an address, as a cluster IP or as an endpoint's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Key;

/// Services by address. Nearly every address is of one service, and there may be many: a map for
/// each family has no room for what is not there.
#[derive(Debug, Default)]
pub(super) struct Holders {
    v4: HashMap<Ipv4Addr, Key>,
    v6: HashMap<Ipv6Addr, Key>,
    /// The others of an address that more than one has, in the order in which they came.
    more: HashMap<IpAddr, Vec<Key>>,
}

impl Holders {
    /// Who has an address: first who has had it for longest.
    pub(super) fn of(&self, address: IpAddr) -> impl Iterator<Item = &Key> {
        let first = match address {
            IpAddr::V4(address) => self.v4.get(&address),
            IpAddr::V6(address) => self.v6.get(&address),
        };
        let others = (!self.more.is_empty()).then(|| self.more.get(&address)).flatten();
        first.into_iter().chain(others.into_iter().flatten())
    }

    /// A service has an address.
    pub(super) fn add(&mut self, address: IpAddr, service: &Key) {
        if self.of(address).any(|known| known == service) {
            return;
        }
        match self.set(address, Some(service.clone())) {
            None => {}
            Some(first) => {
                self.set(address, Some(first));
                self.more.entry(address).or_default().push(service.clone());
            }
        }
    }

    /// A service has an address no more.
    pub(super) fn remove(&mut self, address: IpAddr, service: &Key) {
        let mut others = self.more.remove(&address).unwrap_or_default();
        match self.set(address, None) {
            Some(first) if first != *service => {
                self.set(address, Some(first));
                others.retain(|other| other != service);
            }
            _ if others.is_empty() => {}
            _ => drop(self.set(address, Some(others.remove(0)))),
        }
        if !others.is_empty() {
            self.more.insert(address, others);
        }
    }

    /// Puts the first one in place; who was there.
    fn set(&mut self, address: IpAddr, first: Option<Key>) -> Option<Key> {
        match (address, first) {
            (IpAddr::V4(address), Some(first)) => self.v4.insert(address, first),
            (IpAddr::V4(address), None) => self.v4.remove(&address),
            (IpAddr::V6(address), Some(first)) => self.v6.insert(address, first),
            (IpAddr::V6(address), None) => self.v6.remove(&address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_all_that_have_it_in_the_order_in_which_they_came() {
        for address in ["10.43.0.1", "fd43::1"] {
            let address: IpAddr = address.parse().unwrap();
            let mut holders = Holders::default();
            let key = |name: &str| Key::from(name.as_bytes());
            let all = |holders: &Holders| {
                let names = holders.of(address).map(|key| String::from_utf8_lossy(key).into());
                names.collect::<Vec<String>>().join(" ")
            };
            for name in ["a", "b", "a", "c", "b"] {
                holders.add(address, &key(name));
            }
            assert_eq!(all(&holders), "a b c");
            holders.remove(address, &key("x"));
            assert_eq!(all(&holders), "a b c");
            holders.remove(address, &key("a"));
            assert_eq!(all(&holders), "b c");
            holders.remove(address, &key("c"));
            assert_eq!(all(&holders), "b");
            holders.remove(address, &key("b"));
            assert_eq!(all(&holders), "");
            assert!(holders.more.is_empty());
        }
    }
}
