// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_link::IfName;

use super::*;

fn addresses() -> impl Iterator<Item = IpAddr> {
    (0..3000_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([198, 51, high, low])
    })
}

#[test]
fn each_node_has_about_as_many_addresses_as_any_other() {
    let nodes = ["n1", "n2", "n3"];
    for node in nodes {
        let count = addresses().filter(|it| announcer(*it, &nodes) == Some(node)).count();
        // A thousand, give or take six standard deviations.
        assert!((845..=1155).contains(&count), "{node} has {count}");
    }
}

#[test]
fn a_node_that_goes_moves_only_its_own_addresses() {
    let (before, after) = (["n1", "n2", "n3"], ["n1", "n3"]);
    for address in addresses() {
        let (was, is) = (announcer(address, &before), announcer(address, &after));
        assert!(was == is || was == Some("n2"), "{address} moved from {was:?} to {is:?}");
    }
}

#[test]
fn the_order_of_the_names_is_no_matter_and_without_nodes_there_is_none() {
    for address in addresses().take(100) {
        assert_eq!(
            announcer(address, &["n1", "n2", "n3"]),
            announcer(address, &["n3", "n1", "n2"])
        );
    }
    assert_eq!(announcer::<String>([192, 0, 2, 1].into(), &[]), None);
}

#[test]
fn every_release_gives_an_address_to_the_same_node() {
    // By `printf '192.0.2.241\0n1' | sha256sum` and so on, of which the greatest wins:
    // 58068d41, 2fc82ccb, da9ba269; 7d596bd6, c8c2038b, 09c4b59c; 962a7df2, 95ed8b2a, 7b917066.
    let nodes = ["n1", "n2", "n3"];
    let place = |address: &str| announcer(address.parse().unwrap(), &nodes);
    assert_eq!(place("192.0.2.241"), Some("n3"));
    assert_eq!(place("192.0.2.242"), Some("n2"));
    assert_eq!(place("2001:db8::f2"), Some("n1"));
}

#[test]
fn an_address_goes_to_the_link_in_whose_subnet_it_is() {
    let uplink = |index, nets: &[&str]| Uplink {
        index: IfIndex::new(index),
        name: IfName::new(format!("eth{index}")).unwrap(),
        mtu: 1500,
        addresses: nets.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let uplinks = [
        uplink(1, &["192.0.2.1/24"]),
        uplink(2, &["10.0.0.1/8", "2001:db8::1/64"]),
        uplink(3, &["10.1.0.1/16"]),
    ];
    let place =
        |address: &str| uplink_for(&uplinks, address.parse().unwrap()).map(|it| it.index.get());
    assert_eq!(place("10.9.0.9"), Some(2));
    assert_eq!(place("10.1.0.9"), Some(3), "the narrowest subnet");
    assert_eq!(place("203.0.113.9"), Some(1), "the main uplink");
    assert_eq!(place("2001:db8:9::9"), Some(2), "the first with an address of the family");
    assert_eq!(uplink_for(&uplinks[..1], "2001:db8::9".parse().unwrap()), None);
}
