// SPDX-License-Identifier: GPL-3.0-or-later
//! What it costs with many nodes.

use std::time::{Duration, Instant};

use netlab_api::RouteMode;
use netlabd::node::network::fabric::{FabricWish, Peer};

use crate::lab::{Lab, sh};

const PEERS: u8 = 200;

/// Others than the lab has, half of them in this node's subnet, with a block of each family.
fn crowd(mut wish: FabricWish) -> FabricWish {
    wish.peers = (0..PEERS)
        .map(|n| Peer {
            name: format!("crowd-{n}"),
            addresses: vec![format!("10.0.{}.{}", 1 + n % 2, 10 + n).parse().unwrap()],
            blocks: vec![
                format!("10.42.{}.0/26", 50 + n).parse().unwrap(),
                format!("fd42::{n:x}:0:0/122").parse().unwrap(),
            ],
        })
        .collect();
    wish
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    let time = start.elapsed();
    println!("{what}: {time:?}");
    (done, time)
}

#[test]
fn two_hundred_peers_are_one_batch_and_the_same_wish_again_is_a_comparison() {
    let mut lab = Lab::racks();
    let wish = crowd(lab.wish(0, RouteMode::Auto));
    let node = &mut lab.nodes[0];
    let (first, _) = timed("first programming", || node.ensure(&wish));
    assert!(first.changed && first.problems.is_empty());
    let routes = sh(&node.netns, "ip route show proto 110; ip -6 route show proto 110");
    let blocks = routes.lines().filter(|line| line.contains("/26") || line.contains("/122"));
    assert_eq!(blocks.count(), usize::from(PEERS) * 2 + 2);

    let same = wish.clone();
    let (again, unchanged) = timed("the same again", || node.ensure(&same));
    assert!(!again.changed);
    let mut other = wish.clone();
    other.peers[7].addresses[0] = "10.0.2.9".parse().unwrap();
    let (one, changed) = timed("one peer changes", || node.ensure(&other));
    assert!(one.changed);
    let (missing, _) = timed("a look at all of it", || node.fabric.repair(Instant::now()).unwrap());
    assert_eq!(missing, [""; 0]);
    // Bounds for an unoptimised build on a machine that does other things; what is printed is ten
    // times and more below.
    assert!(unchanged < Duration::from_millis(2), "{unchanged:?}");
    assert!(changed < Duration::from_millis(100), "{changed:?}");
}
