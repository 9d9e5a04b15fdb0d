// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::node::network::fabric::diff::diff;
use crate::node::network::fabric::wish::{Underlay, Uplink};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn uplink(index: u32, addresses: &[&str]) -> Uplink {
    Uplink {
        index: IfIndex::new(index),
        name: IfName::new(format!("eth{index}")).unwrap(),
        mtu: 1500,
        addresses: addresses.iter().map(|it| net(it)).collect(),
    }
}

fn peer(name: &str, addresses: &[&str], blocks: &[&str]) -> Peer {
    Peer {
        name: name.to_owned(),
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        blocks: blocks.iter().map(|it| net(it)).collect(),
    }
}

/// Node n1 in rack 1 with a neighbour n2, and n3 in rack 2.
fn racks(mode: RouteMode) -> FabricWish {
    FabricWish {
        this: "n1".to_owned(),
        mode,
        pod_networks: vec![net("10.42.0.0/16"), net("fd42::/48")],
        own_blocks: vec![net("10.42.0.0/26"), net("fd42::/122")],
        peers: vec![
            peer("n2", &["10.0.1.2", "2001:db8:1::2"], &["10.42.0.64/26", "fd42::40/122"]),
            peer("n3", &["10.0.2.3", "2001:db8:2::3"], &["10.42.0.128/26", "fd42::80/122"]),
        ],
        underlay: Underlay { uplinks: vec![uplink(2, &["10.0.1.1/24", "2001:db8:1::1/64"])] },
        tunnel: Vec::new(),
        accept_encapsulated: false,
        mtu: None,
    }
}

fn check(wish: &FabricWish, expected: Expect) {
    expected.assert_eq(&plan(wish).to_string());
}

#[test]
fn host_gw_leads_over_next_hops_and_says_which_nodes_have_none() {
    check(
        &racks(RouteMode::HostGw),
        expect![[r#"
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via 10.0.1.2 dev if2 proto 110
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via 2001:db8:1::2 dev if2 proto 110 metric 1024
        # MTU of pods: 1500
        # host-gw cannot reach node n3: 10.0.2.3 is in no subnet of this node: use auto or vxlan
        # host-gw cannot reach node n3: 2001:db8:2::3 is in no subnet of this node: use auto or vxlan
    "#]],
    );
}

#[test]
fn vxlan_leads_through_one_device_over_ipv4() {
    check(
        &racks(RouteMode::Vxlan),
        expect![[r#"
        ip link add name nlvx index 15728644 address 86:57:ac:1e:51:04 mtu 1450 group 28270 type vxlan id 28268 dstport 4789 local 10.0.1.1 nolearning
        ethtool -K nlvx tx off
        ip link set dev if15728644 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728644 up
        ip neigh replace 10.0.1.2 lladdr 12:10:a2:13:7c:15 dev if15728644 nud permanent
        ip neigh replace 10.0.2.3 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        ip -6 neigh replace fe80::1010:a2ff:fe13:7c15 lladdr 12:10:a2:13:7c:15 dev if15728644 nud permanent
        ip -6 neigh replace fe80::142a:40ff:fe19:eb13 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        bridge fdb replace 12:10:a2:13:7c:15 dev if15728644 dst 10.0.1.2 self static
        bridge fdb replace 16:2a:40:19:eb:13 dev if15728644 dst 10.0.2.3 self static
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via 10.0.1.2 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip route add 10.42.0.128/26 via 10.0.2.3 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via fe80::1010:a2ff:fe13:7c15 dev if15728644 proto 110 src 2001:db8:1::1 metric 1024
        ip -6 route add fd42::80/122 via fe80::142a:40ff:fe19:eb13 dev if15728644 proto 110 src 2001:db8:1::1 metric 1024
        # MTU of pods: 1450
    "#]],
    );
}

#[test]
fn auto_encapsulates_between_subnets_only() {
    check(
        &racks(RouteMode::Auto),
        expect![[r#"
        ip link add name nlvx index 15728644 address 86:57:ac:1e:51:04 mtu 1450 group 28270 type vxlan id 28268 dstport 4789 local 10.0.1.1 nolearning
        ethtool -K nlvx tx off
        ip link set dev if15728644 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728644 up
        ip neigh replace 10.0.2.3 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        ip -6 neigh replace fe80::142a:40ff:fe19:eb13 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        bridge fdb replace 16:2a:40:19:eb:13 dev if15728644 dst 10.0.2.3 self static
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via 10.0.1.2 dev if2 proto 110
        ip route add 10.42.0.128/26 via 10.0.2.3 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via 2001:db8:1::2 dev if2 proto 110 metric 1024
        ip -6 route add fd42::80/122 via fe80::142a:40ff:fe19:eb13 dev if15728644 proto 110 src 2001:db8:1::1 metric 1024
        # MTU of pods: 1450
    "#]],
    );
}

#[test]
fn a_cluster_that_changes_its_mode_takes_what_it_no_longer_sends() {
    let wish = FabricWish { accept_encapsulated: true, ..racks(RouteMode::HostGw) };
    let plan = plan(&wish);
    assert!(plan.state.devices.contains_key(&device_name(false)));
    assert_eq!(plan.pod_mtu, 1450);
    let routes = super::plan(&racks(RouteMode::HostGw)).state.routes;
    assert_eq!(plan.state.routes, routes);
}

#[test]
fn over_ipv6_alone_both_families_are_encapsulated_in_ipv6() {
    let mut wish = racks(RouteMode::Vxlan);
    wish.underlay.uplinks[0].addresses.remove(0);
    wish.peers.truncate(1);
    check(
        &wish,
        expect![[r#"
        ip link add name nlvx6 index 15728646 address 86:57:ac:1e:51:04 mtu 1430 group 28270 type vxlan id 28268 dstport 4789 local 2001:db8:1::1 nolearning
        ethtool -K nlvx6 tx off
        ip link set dev if15728646 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728646 up
        ip -6 neigh replace fe80::1010:a2ff:fe13:7c15 lladdr 12:10:a2:13:7c:15 dev if15728646 nud permanent
        bridge fdb replace 12:10:a2:13:7c:15 dev if15728646 dst 2001:db8:1::2 self static
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via inet6 fe80::1010:a2ff:fe13:7c15 dev if15728646 proto 110
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via fe80::1010:a2ff:fe13:7c15 dev if15728646 proto 110 src 2001:db8:1::1 metric 1024
        # MTU of pods: 1430
    "#]],
    );
}

#[test]
fn over_ipv4_alone_both_families_are_encapsulated_in_ipv4() {
    let mut wish = racks(RouteMode::Vxlan);
    wish.underlay.uplinks[0].addresses.remove(1);
    wish.peers.remove(0);
    wish.peers[0].addresses.truncate(1);
    check(
        &wish,
        expect![[r#"
        ip link add name nlvx index 15728644 address 86:57:ac:1e:51:04 mtu 1450 group 28270 type vxlan id 28268 dstport 4789 local 10.0.1.1 nolearning
        ethtool -K nlvx tx off
        ip link set dev if15728644 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728644 up
        ip neigh replace 10.0.2.3 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        ip -6 neigh replace fe80::142a:40ff:fe19:eb13 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        bridge fdb replace 16:2a:40:19:eb:13 dev if15728644 dst 10.0.2.3 self static
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.128/26 via 10.0.2.3 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::80/122 via fe80::142a:40ff:fe19:eb13 dev if15728644 proto 110 metric 1024
        # MTU of pods: 1450
    "#]],
    );
}

#[test]
fn without_an_ipv6_next_hop_host_gw_says_so_and_auto_encapsulates() {
    let mut wish = racks(RouteMode::HostGw);
    wish.peers.truncate(1);
    wish.peers[0].addresses.truncate(1);
    check(
        &wish,
        expect![[r#"
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via 10.0.1.2 dev if2 proto 110
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        # MTU of pods: 1500
        # host-gw cannot reach the IPv6 pods of node n2: it has no such address: use auto or vxlan, or give it one
    "#]],
    );
    wish.mode = RouteMode::Auto;
    check(
        &wish,
        expect![[r#"
        ip link add name nlvx index 15728644 address 86:57:ac:1e:51:04 mtu 1450 group 28270 type vxlan id 28268 dstport 4789 local 10.0.1.1 nolearning
        ethtool -K nlvx tx off
        ip link set dev if15728644 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728644 up
        ip -6 neigh replace fe80::1010:a2ff:fe13:7c15 lladdr 12:10:a2:13:7c:15 dev if15728644 nud permanent
        bridge fdb replace 12:10:a2:13:7c:15 dev if15728644 dst 10.0.1.2 self static
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via 10.0.1.2 dev if2 proto 110
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via fe80::1010:a2ff:fe13:7c15 dev if15728644 proto 110 src 2001:db8:1::1 metric 1024
        # MTU of pods: 1450
    "#]],
    );
}

#[test]
fn an_ipv4_block_has_an_ipv6_next_hop_where_there_is_no_other() {
    let mut wish = racks(RouteMode::HostGw);
    wish.underlay.uplinks[0].addresses.remove(0);
    wish.peers.truncate(1);
    check(
        &wish,
        expect![[r#"
        ip route add blackhole 10.42.0.0/26 proto 110
        ip route add 10.42.0.64/26 via inet6 2001:db8:1::2 dev if2 proto 110
        ip -6 route add blackhole fd42::/122 proto 110 metric 1024
        ip -6 route add fd42::40/122 via 2001:db8:1::2 dev if2 proto 110 metric 1024
        # MTU of pods: 1500
    "#]],
    );
}

#[test]
fn nodes_without_a_common_family_or_without_addresses_are_named() {
    let mut wish = racks(RouteMode::Vxlan);
    wish.underlay.uplinks[0].addresses.remove(1);
    wish.peers[0].addresses.clear();
    wish.peers[1].addresses.remove(0);
    let problems: Vec<_> = plan(&wish).problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "node n2 cannot be reached: it has told no address",
            "node n3 cannot be reached: it and this node have no addresses of one family",
        ]
    );
}

#[test]
fn blocks_that_cannot_be_a_peers_are_left_out() {
    let mut wish = racks(RouteMode::HostGw);
    wish.peers.truncate(1);
    wish.peers[0].blocks = vec![net("10.42.0.0/26"), net("0.0.0.0/0"), net("192.0.2.0/24")];
    let plan = plan(&wish);
    assert_eq!(plan.state.routes.len(), 2, "{plan}");
    assert_eq!(plan.problems.len(), 3, "{plan}");
}

#[test]
fn a_bridge_of_containers_that_every_node_has_is_no_common_subnet() {
    let mut wish = racks(RouteMode::Auto);
    wish.underlay.uplinks.push(uplink(7, &["172.17.0.1/16"]));
    wish.peers[1].addresses.push("172.17.0.1".parse().unwrap());
    let route = &plan(&wish).state.routes[&net("10.42.0.128/26")];
    assert_eq!(route.dev, Some(mark::VXLAN_INDEX));
}

#[test]
fn the_nodes_own_packets_come_from_the_tunnel_address_where_there_is_one() {
    let mut wish = racks(RouteMode::Auto);
    wish.tunnel = vec!["10.42.0.1".parse().unwrap(), "fd42::1".parse().unwrap()];
    let plan = plan(&wish);
    let source = |block| plan.state.routes[&net(block)].source.map(|it| it.to_string());
    assert_eq!(source("10.42.0.128/26").as_deref(), Some("10.42.0.1"));
    assert_eq!(source("fd42::80/122").as_deref(), Some("fd42::1"));
    assert_eq!(source("10.42.0.64/26"), None, "the kernel chooses that of the uplink");
    assert_eq!(plan.state.addresses.len(), 2);
}

#[test]
fn the_mtu_is_what_fits_every_way() {
    let mtu = |mode, change: &dyn Fn(&mut FabricWish)| {
        let mut wish = racks(mode);
        change(&mut wish);
        plan(&wish).pod_mtu
    };
    assert_eq!(mtu(RouteMode::HostGw, &|_| {}), 1500);
    assert_eq!(mtu(RouteMode::Vxlan, &|_| {}), 1450);
    assert_eq!(mtu(RouteMode::Auto, &|wish| wish.peers.clear()), 1450);
    assert_eq!(mtu(RouteMode::Auto, &|wish| wish.underlay.uplinks[0].mtu = 9000), 8950);
    let ipv6_only = |wish: &mut FabricWish| {
        wish.underlay.uplinks[0].addresses.retain(|net| net.addr().is_ipv6())
    };
    assert_eq!(mtu(RouteMode::Vxlan, &ipv6_only), 1430);
    assert_eq!(mtu(RouteMode::Vxlan, &|wish| wish.mtu = Some(1400)), 1400);
    assert_eq!(mtu(RouteMode::HostGw, &|wish| wish.underlay.uplinks.clear()), 1500);
    // Below that there is no IPv6.
    assert_eq!(mtu(RouteMode::Vxlan, &|wish| wish.underlay.uplinks[0].mtu = 1300), 1280);
    let ipv4_only = |wish: &mut FabricWish| {
        wish.underlay.uplinks[0].mtu = 1300;
        wish.pod_networks.truncate(1);
    };
    assert_eq!(mtu(RouteMode::Vxlan, &ipv4_only), 1250);
}

#[test]
fn the_mac_address_of_a_name_is_for_ever() {
    // Nodes of different releases must agree.
    assert_eq!(node_mac("n1").to_string(), "86:57:ac:1e:51:04");
    assert_eq!(node_mac("n2").to_string(), "12:10:a2:13:7c:15");
    let macs: std::collections::BTreeSet<_> =
        (0..100_000).map(|n| node_mac(&format!("node-{n}"))).collect();
    assert_eq!(macs.len(), 100_000);
    assert!(macs.iter().all(|mac| mac.octets()[0] & 0b11 == 0b10), "local and unicast");
}

#[test]
fn a_change_of_one_peer_writes_what_is_of_that_peer() {
    let before = racks(RouteMode::Auto);
    let mut after = before.clone();
    after.peers[1].addresses[0] = "10.0.3.3".parse().unwrap();
    after.peers[1].blocks.push(net("10.42.0.192/26"));
    let difference = diff(&plan(&before).state, &plan(&after).state);
    expect![[r#"
        ip neigh replace 10.0.3.3 lladdr 16:2a:40:19:eb:13 dev if15728644 nud permanent
        bridge fdb replace 16:2a:40:19:eb:13 dev if15728644 dst 10.0.3.3 self static
        ip route replace 10.42.0.128/26 via 10.0.3.3 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip route add 10.42.0.192/26 via 10.0.3.3 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip neigh del 10.0.2.3 dev if15728644
    "#]]
    .assert_eq(&difference.to_string());
}

#[test]
fn from_direct_to_encapsulated_and_back_nothing_is_taken_away_first() {
    let states = [RouteMode::HostGw, RouteMode::Vxlan].map(|mode| {
        let mut wish = racks(mode);
        wish.peers.truncate(1);
        plan(&wish).state
    });
    let text = |from: &State, to: &State| diff(from, to).to_string();
    expect![[r#"
        ip link add name nlvx index 15728644 address 86:57:ac:1e:51:04 mtu 1450 group 28270 type vxlan id 28268 dstport 4789 local 10.0.1.1 nolearning
        ethtool -K nlvx tx off
        ip link set dev if15728644 addrgenmode none forwarding 1 rp_filter 2
        ip link set dev if15728644 up
        ip neigh replace 10.0.1.2 lladdr 12:10:a2:13:7c:15 dev if15728644 nud permanent
        ip -6 neigh replace fe80::1010:a2ff:fe13:7c15 lladdr 12:10:a2:13:7c:15 dev if15728644 nud permanent
        bridge fdb replace 12:10:a2:13:7c:15 dev if15728644 dst 10.0.1.2 self static
        ip route replace 10.42.0.64/26 via 10.0.1.2 dev if15728644 proto 110 src 10.0.1.1 onlink
        ip -6 route replace fd42::40/122 via fe80::1010:a2ff:fe13:7c15 dev if15728644 proto 110 src 2001:db8:1::1 metric 1024
    "#]].assert_eq(&text(&states[0], &states[1]));
    expect![[r#"
        ip route replace 10.42.0.64/26 via 10.0.1.2 dev if2 proto 110
        ip -6 route replace fd42::40/122 via 2001:db8:1::2 dev if2 proto 110 metric 1024
        # later: ip link del dev nlvx
    "#]]
    .assert_eq(&text(&states[1], &states[0]));
}

fn mode() -> impl Strategy<Value = RouteMode> {
    prop::sample::select(RouteMode::ALL.to_vec())
}

/// Peers with some of few addresses and blocks, so that they meet.
fn wish() -> impl Strategy<Value = FabricWish> {
    let address = prop::sample::select(vec![
        "10.0.1.2",
        "10.0.2.2",
        "10.0.1.1",
        "2001:db8:1::2",
        "2001:db8:2::2",
        "172.17.0.1",
    ]);
    let block = prop::sample::select(vec![
        "10.42.0.0/26",
        "10.42.0.64/26",
        "10.42.1.0/26",
        "192.0.2.0/26",
        "fd42::/122",
        "fd42::40/122",
    ]);
    let one = (
        prop::sample::subsequence(vec!["n1", "n2", "n3"], 1..=1),
        prop::collection::vec(address, 0..4),
        prop::collection::vec(block.clone(), 0..4),
    )
        .prop_map(|(name, addresses, blocks)| peer(name[0], &addresses, &blocks));
    let up =
        prop::sample::subsequence(vec!["10.0.1.1/24", "2001:db8:1::1/64", "172.17.0.1/16"], 0..=3);
    (
        mode(),
        prop::collection::vec(one, 0..4),
        prop::collection::vec(block, 0..3),
        up,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mode, peers, own, up, accept_encapsulated, tunnel)| FabricWish {
            peers,
            own_blocks: own.iter().map(|it| net(it)).collect(),
            underlay: Underlay { uplinks: vec![uplink(2, &up)] },
            accept_encapsulated,
            tunnel: if tunnel { vec!["10.42.9.9".parse().unwrap()] } else { Vec::new() },
            ..racks(mode)
        })
}

/// What the kernel would have after a difference, as far as keys tell.
fn applied(from: &State, to: &State) -> State {
    let difference = diff(from, to);
    let mut state = from.clone();
    for name in &difference.unfit {
        let index = state.devices.remove(name).unwrap().vxlan.index;
        state.neighbours.retain(|_, it| it.dev != index);
        state.fdb.retain(|_, it| it.dev != index);
        state.addresses.retain(|_, it| it.dev != index);
        state.routes.retain(|_, it| it.dev != Some(index));
    }
    for device in &difference.made {
        let before = state.devices.insert(device.vxlan.name.clone(), device.clone());
        assert!(before.is_none(), "a device is made twice");
    }
    for request in difference.batch.requests() {
        match request.clone() {
            Request::SetAddress(it) => drop(state.addresses.insert(it.address, it)),
            Request::DelAddress(it) => assert!(state.addresses.remove(&it.address).is_some()),
            Request::SetNeighbour(it) => {
                state.neighbours.insert((it.dev, it.address), it);
            }
            Request::DelNeighbour(it) => {
                assert!(state.neighbours.remove(&(it.dev, it.address)).is_some());
            }
            Request::SetFdb(it) => drop(state.fdb.insert((it.dev, it.mac), it)),
            Request::DelFdb(it) => assert!(state.fdb.remove(&(it.dev, it.mac)).is_some()),
            Request::AddRoute(it) => {
                let next_hop = it.via.zip(it.dev).filter(|_| it.dev != Some(IfIndex::new(2)));
                assert!(
                    next_hop
                        .is_none_or(|(via, dev)| { state.neighbours.contains_key(&(dev, via)) }),
                    "{it} comes before its next hop"
                );
                assert!(state.routes.insert(it.destination, it).is_none(), "exists");
            }
            Request::SetRoute(it) => {
                assert!(state.routes.insert(it.destination, it).is_some(), "another's is replaced");
            }
            Request::DelRoute(it) => assert!(state.routes.remove(&it.destination).is_some()),
            Request::SetLink(_) | Request::SetVxlanLocal(_) => {
                for (name, device) in &to.devices {
                    if state.devices.contains_key(name) {
                        state.devices.insert(name.clone(), device.clone());
                    }
                }
            }
            other => panic!("{other}"),
        }
    }
    for name in &difference.retired {
        let index = state.devices.remove(name).unwrap().vxlan.index;
        state.neighbours.retain(|_, it| it.dev != index);
        state.fdb.retain(|_, it| it.dev != index);
        state.addresses.retain(|_, it| it.dev != index);
        assert!(state.routes.values().all(|it| it.dev != Some(index)), "a route goes with {name}");
    }
    state
}

proptest! {
    #[test]
    fn any_state_becomes_any_other_and_then_there_is_nothing_to_do(
        one in wish(),
        other in wish(),
        harm in 0..4_u8,
    ) {
        let mut from = plan(&one).state;
        let to = plan(&other).state;
        // What somebody else may have done meanwhile.
        for device in from.devices.values_mut() {
            match harm {
                1 => device.vxlan.port = 8472,
                2 => device.up = false,
                3 => device.vxlan.mtu = 1000,
                _ => {}
            }
        }
        prop_assert_eq!(applied(&from, &to), to.clone());
        prop_assert!(diff(&to, &to).is_empty());
    }

    #[test]
    fn order_makes_no_difference(one in wish()) {
        let mut names = one.peers.clone();
        names.sort();
        names.dedup_by(|a, b| a.name == b.name);
        let one = FabricWish { peers: names, ..one };
        let mut other = one.clone();
        other.peers.reverse();
        other.own_blocks.reverse();
        prop_assert_eq!(plan(&one), plan(&other));
    }

    #[test]
    fn every_block_of_a_peer_is_reached_or_told(one in wish()) {
        let plan = plan(&one);
        for peer in one.peers.iter().filter(|peer| peer.name != one.this) {
            let told = plan.problems.iter().any(|it| it.to_string().contains(&peer.name));
            for block in &peer.blocks {
                let reached = plan.state.routes.get(block).is_some_and(|it| it.via.is_some());
                prop_assert!(reached || told, "{} of {}\n{}", block, peer.name, plan);
            }
        }
    }

    #[test]
    fn nothing_outside_of_the_pod_networks_gets_a_route(one in wish()) {
        let inside = |net: &IpNet| one.pod_networks.iter().any(|it| it.contains(net));
        prop_assert!(plan(&one).state.routes.keys().all(inside));
    }
}
