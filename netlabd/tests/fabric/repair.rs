// SPDX-License-Identifier: GPL-3.0-or-later
//! Others take away what is ours, and put what is theirs beside it.

use std::time::{Duration, Instant};

use netlab_api::RouteMode;
use netlab_link::monitor::What;
use netlab_link::{Change, Event, Monitor, Netns};
use netlabd::node::network::fabric::{Fabric, teardown};
use tokio::runtime::Runtime;

use crate::lab::{Lab, pod_networks, sh, try_sh};

/// Everything of a namespace that fabric may touch, as `ip` and `bridge` tell it, sorted: what is
/// put back stands elsewhere in a list.
fn snapshot(netns: &Netns) -> Vec<String> {
    let text = sh(
        netns,
        "ip -o -d link show type vxlan | sed 's/^[0-9]*: //'
         ip -o addr show | sed 's/^[0-9]*: //'
         ip route show table all; ip -6 route show table all
         ip neigh show nud permanent; bridge fdb show | grep dst || true
         ip link show nlvx >/dev/null 2>&1 && ethtool -k nlvx | grep -m 1 tx-checksum || true",
    );
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What people do, and what of it is told as missing.
const HARM: &[(&str, &[&str])] = &[
    ("ip route del 10.42.2.0/26", &["route 10.42.2.0/26"]),
    ("ip -6 route del fd42::3:0/122", &["route fd42::3:0/122"]),
    ("ip route del blackhole 10.42.1.0/26", &["route 10.42.1.0/26"]),
    ("ip neigh del 10.0.2.3 dev nlvx", &["neighbour 10.0.2.3"]),
    (
        "bridge fdb del 16:2a:40:19:eb:13 dev nlvx dst 10.0.2.3 self",
        &["forwarding entry 16:2a:40:19:eb:13 to 10.0.2.3"],
    ),
    ("ip addr del 10.42.1.1/32 dev nlvx", &["address 10.42.1.1/32", "route 10.42.3.0/26"]),
    ("ip link set nlvx mtu 1300", &["mtu 1450 of link nlvx"]),
    (
        "ip link set nlvx down",
        &[
            "link nlvx (it was down)",
            "neighbour 10.0.2.3",
            "neighbour fe80::142a:40ff:fe19:eb13",
            "address fd42::1:1/128",
            "route 10.42.3.0/26",
            "route fd42::3:0/122",
        ],
    ),
    ("ip link del nlvx", &["link nlvx"]),
    (
        "ip link del nlvx; ip link add nlvx group 28270 type vxlan id 5 dstport 8472 \
         local 10.0.1.1; ip link set nlvx up",
        &["link nlvx"],
    ),
];

#[test]
fn whatever_others_take_away_is_noticed_told_and_put_back() {
    let mut lab = Lab::racks();
    lab.set_mode(RouteMode::Auto);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    let wish = lab.wish(0, RouteMode::Auto);
    let fabric = &mut lab.nodes[0].fabric;
    let good = snapshot(&netns);
    assert!(good.iter().any(|line| line.contains("nlvx")), "{good:#?}");
    let runtime = Runtime::new().unwrap();
    let mut monitor = {
        let _inside = runtime.enter();
        Monitor::open(&netns).unwrap()
    };
    for (harm, told) in HARM {
        sh(&netns, harm);
        assert_ne!(snapshot(&netns), good, "{harm}");
        runtime.block_on(async {
            let noticed = async { while !fabric.concerns(&monitor.next().await.unwrap()) {} };
            tokio::time::timeout(Duration::from_secs(20), noticed).await.expect(harm);
        });
        assert!(!fabric.examine(&wish).unwrap().is_empty());
        let missing = fabric.repair(Instant::now()).unwrap();
        for what in *told {
            assert!(missing.iter().any(|it| it == what), "{harm}: {missing:?}");
        }
        assert_eq!(snapshot(&netns), good, "{harm}: {missing:?}");
        assert_eq!(fabric.repair(Instant::now()).unwrap(), [""; 0], "{harm}");
        assert_eq!(fabric.examine(&wish).unwrap(), [""; 0], "{harm}");
    }
    sh(&lab.nodes[0].pods[0].netns, "ping -c 1 -w 20 10.42.3.5; ping -c 1 -w 20 fd42::3:5");
}

#[test]
fn our_own_changes_do_not_concern_us() {
    let mut lab = Lab::racks();
    lab.set_mode(RouteMode::Auto);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut monitor = {
        let _inside = runtime.enter();
        Monitor::open(&netns).unwrap()
    };
    for mode in [RouteMode::Vxlan, RouteMode::HostGw, RouteMode::Auto] {
        let wish = lab.wish(0, mode);
        lab.nodes[0].ensure(&wish);
        // Comes after all of ours, and is of no concern either.
        sh(&netns, "ip link add other type veth peer name another; ip link del other");
        runtime.block_on(async {
            let ours = async {
                loop {
                    let event = monitor.next().await.unwrap();
                    assert!(!lab.nodes[0].fabric.concerns(&event), "{mode}: {event:?}");
                    if let Event::Change(Change { what: What::LinkDeleted { .. }, .. }) = event {
                        return;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), ours).await.unwrap();
        });
        // The other end of the pair.
        runtime.block_on(async {
            let end = tokio::time::timeout(Duration::from_secs(20), monitor.next());
            assert!(!lab.nodes[0].fabric.concerns(&end.await.unwrap().unwrap()));
        });
    }
}

#[test]
fn an_uplink_that_changes_concerns_us_and_its_routes_come_back_with_it() {
    let mut lab = Lab::flat(2);
    lab.set_mode(RouteMode::HostGw);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut monitor = {
        let _inside = runtime.enter();
        Monitor::open(&netns).unwrap()
    };
    sh(&netns, "ip link set eth0 down");
    let fabric = &lab.nodes[0].fabric;
    runtime.block_on(async {
        let noticed = async { while !fabric.concerns(&monitor.next().await.unwrap()) {} };
        tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
    });
    // Without an uplink there is nobody to reach: told, and no error.
    let wish = lab.wish(0, RouteMode::HostGw);
    assert_eq!(wish.underlay.uplinks, []);
    assert!(!lab.nodes[0].ensure(&wish).problems.is_empty());
    sh(
        &netns,
        "ip link set eth0 up; ip addr add 2001:db8:1::1/64 dev eth0 nodad
         ip route replace default via 10.0.1.254",
    );
    let wish = lab.wish(0, RouteMode::HostGw);
    assert_eq!(lab.nodes[0].ensure(&wish).problems, []);
    lab.nodes[0].fabric.repair(Instant::now()).unwrap();
    sh(&lab.nodes[0].pods[0].netns, "ping -c 1 -w 20 10.42.2.5; ping -c 1 -w 20 fd42::2:5");
}

/// What others may have that looks like ours.
const FOREIGN: &str = "
    ip route add 198.51.100.0/24 via 10.0.1.254 proto 110
    ip route add blackhole 203.0.113.0/24 proto 110
    ip route add 10.42.200.0/24 via 10.0.1.254
    ip -6 route add fd42:0:0:ff::/64 via 2001:db8:1::254
    ip link add vxlan.other type vxlan id 4096 dstport 4789 local 10.0.1.1 nolearning
    ip link set vxlan.other up
    bridge fdb add 02:00:00:00:00:99 dev vxlan.other dst 10.0.1.99
    ip neigh add 10.0.1.77 lladdr 02:00:00:00:00:77 dev eth0
    ip rule add from 203.0.113.0/24 lookup 77";

#[test]
fn what_is_of_others_stays_and_teardown_leaves_what_was_there_before() {
    let mut lab = Lab::racks();
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    sh(&netns, FOREIGN);
    let before = snapshot(&netns);
    for mode in [RouteMode::HostGw, RouteMode::Vxlan, RouteMode::Auto] {
        lab.set_mode(mode);
        lab.nodes[0].fabric.repair(Instant::now()).unwrap();
        let now = snapshot(&netns);
        let gone: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        assert!(gone.is_empty(), "{mode}: {gone:#?}");
    }
    for _ in 0..2 {
        teardown(&netns, &pod_networks()).unwrap();
        assert_eq!(snapshot(&netns), before);
    }
}

#[test]
fn a_route_of_anothers_in_the_place_of_ours_stays_and_is_told() {
    let mut lab = Lab::flat(2);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    sh(&netns, "ip route add 10.42.2.0/26 via 10.0.1.254");
    let outcomes = lab.set_mode(RouteMode::HostGw);
    let told: Vec<_> = outcomes[0].problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "there is a route to 10.42.2.0/26 that is not netlab's: see `ip route show 10.42.2.0/26`, \
          and remove it"
        ]
    );
    assert!(sh(&netns, "ip route show 10.42.2.0/26").contains("via 10.0.1.254"));
    // The rest is there, and once it is out of the way this is as well.
    sh(&lab.nodes[0].pods[0].netns, "ping -c 1 -w 20 fd42::2:5");
    sh(&netns, "ip route del 10.42.2.0/26");
    lab.nodes[0].fabric.repair(Instant::now()).unwrap();
    sh(&lab.nodes[0].pods[0].netns, "ping -c 1 -w 20 10.42.2.5");
    let wish = lab.wish(0, RouteMode::HostGw);
    assert_eq!(lab.nodes[0].ensure(&wish).problems, []);
}

#[test]
fn a_device_of_anothers_with_our_name_stays_and_is_told() {
    let mut lab = Lab::flat(2);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    sh(&netns, "ip link add nlvx type vxlan id 7 dstport 4789 local 10.0.1.1");
    let before = sh(&netns, "ip -d link show nlvx");
    let outcomes = lab.set_mode(RouteMode::Vxlan);
    let told = format!("{:?}", outcomes[0].problems);
    assert!(told.contains("EEXIST"), "{told}");
    assert_eq!(sh(&netns, "ip -d link show nlvx"), before);
    assert!(!try_sh(&netns, "ip route show 10.42.2.0/26 | grep nlvx").status.success());
}

#[test]
fn the_next_daemon_finds_all_as_it_must_be_and_removes_what_is_no_longer_wished() {
    let mut lab = Lab::racks();
    lab.set_mode(RouteMode::Auto);
    let netns = lab.nodes[0].netns.try_clone().unwrap();
    let good = snapshot(&netns);
    let wish = lab.wish(0, RouteMode::Auto);
    lab.nodes[0].fabric = Fabric::open(&netns).unwrap();
    assert!(!lab.nodes[0].ensure(&wish).changed);
    assert_eq!(snapshot(&netns), good);

    lab.nodes[0].fabric = Fabric::open(&netns).unwrap();
    let mut fewer = wish.clone();
    fewer.peers.retain(|peer| peer.name != "n3");
    assert!(lab.nodes[0].ensure(&fewer).changed);
    let routes = sh(&netns, "ip route; ip -6 route; ip neigh; bridge fdb");
    assert!(!routes.contains("10.42.3.0") && !routes.contains("10.0.2.3"), "{routes}");
    assert!(lab.nodes[0].ensure(&wish).changed);
    assert_eq!(snapshot(&netns), good);
}
