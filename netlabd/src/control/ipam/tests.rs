// SPDX-License-Identifier: GPL-3.0-or-later
//! The allocator against the promises it makes: nobody shares, nothing leaks, last freed is reused
//! last, blocks have one owner.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn holder(uid: &str) -> AddressHolder {
    AddressHolder { pod: format!("default/{uid}"), uid: uid.to_owned() }
}

fn now() -> Time {
    Time::from("2026-11-22T10:00:00Z".parse::<jiff::Timestamp>().expect("a valid time"))
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a valid prefix")
}

#[track_caller]
fn take(blocks: &mut Blocks, node: &str, network: &str, uid: &str) -> String {
    blocks.allocate(node, net(network), &holder(uid), now()).expect("free").to_string()
}

#[test]
fn the_first_pods_get_the_first_usable_addresses_of_both_families() {
    let mut blocks = Blocks::default();
    assert_eq!(take(&mut blocks, "n1", "10.42.0.0/16", "a"), "10.42.0.1");
    assert_eq!(take(&mut blocks, "n1", "10.42.0.0/16", "b"), "10.42.0.2");
    assert_eq!(take(&mut blocks, "n1", "fd42::/48", "a"), "fd42::1");
    let names: Vec<_> = blocks.changed().map(|b| b.metadata.name.as_str()).collect();
    assert_eq!(names, ["10-42-0-0-26", "fd42-0-0-0-0-0-0-0-122"]);
}

#[test]
fn each_node_claims_a_block_of_its_own_and_another_when_it_is_full() {
    let mut blocks = Blocks::default();
    take(&mut blocks, "n1", "10.42.0.0/16", "a");
    assert_eq!(take(&mut blocks, "n2", "10.42.0.0/16", "b"), "10.42.0.65");
    for pod in 0..62 {
        take(&mut blocks, "n1", "10.42.0.0/16", &format!("p{pod}"));
    }
    assert_eq!(take(&mut blocks, "n1", "10.42.0.0/16", "next"), "10.42.0.129");
    assert_eq!(blocks.of_node("n1").count(), 2);
    assert_eq!(blocks.allocated_count("n1", net("10.42.0.0/16")), 64);
}

#[test]
fn the_address_freed_last_is_reused_last() {
    let mut blocks = Blocks::default();
    let network = "10.42.0.0/26";
    let first = take(&mut blocks, "n1", network, "a");
    let second = take(&mut blocks, "n1", network, "b");
    blocks.release("b", [second.parse().expect("an address")]);
    blocks.release("a", [first.parse().expect("an address")]);
    let mut order: Vec<_> =
        (0..62).map(|i| take(&mut blocks, "n1", network, &format!("p{i}"))).collect();
    assert_eq!(order.pop(), Some(first));
    assert_eq!(order.pop(), Some(second));
}

#[test]
fn a_full_network_says_so_and_names_network_and_node() {
    let mut blocks = Blocks::default();
    for pod in 0..62 {
        take(&mut blocks, "n1", "10.42.0.0/26", &format!("p{pod}"));
    }
    let error = blocks.allocate("n1", net("10.42.0.0/26"), &holder("x"), now()).expect_err("full");
    assert_eq!(
        error.to_string(),
        "no address is left in the pod network `10.42.0.0/26` for node `n1`"
    );
}

#[test]
fn only_the_holder_can_give_an_address_back() {
    let mut blocks = Blocks::default();
    let address: IpAddr = take(&mut blocks, "n1", "10.42.0.0/16", "a").parse().expect("an address");
    blocks.release("b", [address]);
    assert_eq!(blocks.allocated_count("n1", net("10.42.0.0/16")), 1);
    blocks.release("a", [address, "192.0.2.1".parse().expect("an address")]);
    assert_eq!(blocks.allocated_count("n1", net("10.42.0.0/16")), 0);
}

proptest! {
    /// Any mix of takes and releases: no address is held twice, every block's free and allocated
    /// offsets are exactly its usable ones, and a block never changes hands.
    #[test]
    fn allocations_and_blocks_stay_consistent(
        steps in proptest::collection::vec((0..3usize, any::<bool>(), any::<prop::sample::Index>()), 1..300)
    ) {
        let network = net("10.42.0.0/24");
        let nodes = ["n1", "n2", "n3"];
        let mut blocks = Blocks::default();
        let mut held: Vec<(IpAddr, String)> = Vec::new();
        let mut owners: BTreeMap<IpNet, String> = BTreeMap::new();
        for (number, (node, take, pick)) in steps.into_iter().enumerate() {
            if take || held.is_empty() {
                let uid = format!("p{number}");
                if let Ok(address) = blocks.allocate(nodes[node], network, &holder(&uid), now()) {
                    held.push((address, uid));
                }
            } else {
                let (address, uid) = held.remove(pick.index(held.len()));
                blocks.release(&uid, [address]);
            }
            // What is written to the store is read back by the next transaction.
            let stored: Vec<_> = blocks.changed().cloned().collect();
            for block in stored {
                let owner = owners.entry(block.spec.cidr).or_insert(block.spec.node.clone());
                prop_assert_eq!(&*owner, &block.spec.node);
                let mut seen: BTreeSet<u8> = block.spec.free.iter().copied().collect();
                prop_assert_eq!(seen.len(), block.spec.free.len());
                for address in block.spec.allocated.keys() {
                    prop_assert!(seen.insert(offset_of(block.spec.cidr, *address)));
                }
                prop_assert!(seen.len() >= usize::from(BLOCK_SIZE) - 1);
            }
        }
        let distinct: BTreeSet<_> = held.iter().map(|(address, _)| address).collect();
        prop_assert_eq!(distinct.len(), held.len());
        let total: usize = nodes.iter().map(|n| blocks.allocated_count(n, network)).sum();
        prop_assert_eq!(total, held.len());
    }
}
