// SPDX-License-Identifier: GPL-3.0-or-later
use ipnet::IpNet;
use nix::errno::Errno;
use proptest::{collection::vec, prelude::*};

use std::net::IpAddr;

use super::*;
use crate::{
    Address, IfIndex, LinkAddr, LinkChange, Neighbour, Route, RouteKind, mark,
    testing::{Node, field},
};

/// No link has this number.
const MISSING: IfIndex = IfIndex::new(4_000_000);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A request, and whether it must be refused in an empty namespace whose `lo` is up.
fn request() -> impl Strategy<Value = (Request, bool)> {
    let mac = LinkAddr::new([2, 0, 0, 0, 0, 1]);
    (0..7_u8, any::<u8>(), any::<bool>()).prop_map(move |(kind, n, missing)| {
        let dev = if missing { MISSING } else { mark::LOOPBACK_INDEX };
        let v4 = net(&format!("10.9.0.{n}/32"));
        let v6 = net(&format!("fd99::{n:x}/128"));
        let request = match kind {
            0 => Request::SetAddress(Address { dev, address: v4 }),
            1 => Request::SetAddress(Address { dev, address: v6 }),
            2 => Request::SetRoute(Route::new(net(&format!("10.8.{n}.0/24")), dev)),
            3 => Request::SetRoute(Route::new(net(&format!("fd98:0:0:{n:x}::/64")), dev)),
            4 => Request::SetLink(LinkChange { mtu: Some(60_000), ..LinkChange::of(dev) }),
            5 => Request::SetNeighbour(Neighbour { dev, address: v4.addr(), mac }),
            _ => Request::SetNeighbour(Neighbour { dev, address: v6.addr(), mac }),
        };
        (request, missing)
    })
}

#[test]
fn every_refused_request_of_a_batch_is_named_and_no_other() {
    let node = std::cell::RefCell::new(Node::new());
    proptest!(ProptestConfig::with_cases(32), |(requests in vec(request(), 1..60))| {
        let batch: Batch = requests.iter().map(|(request, _)| request.clone()).collect();
        let outcome = node.borrow_mut().socket.send(&batch).unwrap();
        for (place, (request, refused)) in requests.iter().enumerate() {
            let error = outcome.error(place);
            prop_assert_eq!(error.is_some(), *refused, "{}: {:?}", request, error);
            if let Some(error) = error {
                prop_assert_eq!(error.request(), request.to_string());
                prop_assert!(error.to_string().contains(&request.to_string()));
                prop_assert!(error.is_not_found(), "{}", error);
            }
        }
    });
}

#[test]
fn a_batch_of_many_chunks_is_carried_out_in_order() {
    let mut node = Node::new();
    let route = |n: u32| {
        Request::AddRoute(Route::host(
            IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
            mark::LOOPBACK_INDEX,
        ))
    };
    let count = 3 * CHUNK_REQUESTS as u32 + 5;
    let batch: Batch = (0..count).chain([7, 5000]).map(route).collect();
    let outcome = node.socket.send(&batch).unwrap();
    let refused: Vec<_> =
        outcome.refused().iter().map(|(place, e)| (*place, e.is_exists())).collect();
    assert_eq!(refused, [(count as usize, true), (count as usize + 1, true)]);
    assert_eq!(field(&node.ip("-4 route show proto 110"), "dst").len(), count as usize);
}

#[test]
fn a_refusal_says_what_the_kernel_said() {
    let mut node = Node::new();
    let route =
        Route::new(net("10.1.0.0/16"), mark::LOOPBACK_INDEX).via("10.9.9.9".parse().unwrap());
    let error = node.socket.request(Request::AddRoute(route)).unwrap_err();
    let kernel_error = error.kernel_error().unwrap();
    assert_eq!(kernel_error.errno(), Errno::ENETUNREACH);
    assert_eq!(kernel_error.message(), Some("Nexthop has invalid gateway"));
    assert_eq!(
        error.to_string(),
        "the kernel refused `ip route add 10.1.0.0/16 via 10.9.9.9 dev if1 proto 110`: \
         network is unreachable (ENETUNREACH): Nexthop has invalid gateway"
    );
}

#[test]
fn adding_twice_exists_and_deleting_twice_is_not_found() {
    let mut node = Node::new();
    let address = Address { dev: mark::LOOPBACK_INDEX, address: net("10.9.0.1/32") };
    let route = Route::host("10.8.0.1".parse().unwrap(), mark::LOOPBACK_INDEX);
    for (add, del) in [
        (Request::AddAddress(address), Request::DelAddress(address)),
        (Request::AddRoute(route.clone()), Request::DelRoute(route)),
    ] {
        node.socket.request(add.clone()).unwrap();
        let error = node.socket.request(add).unwrap_err();
        assert!(error.kernel_error().unwrap().is_exists(), "{error}");
        node.socket.request(del.clone()).unwrap();
        let error = node.socket.request(del).unwrap_err();
        assert!(error.kernel_error().unwrap().is_not_found(), "{error}");
    }
}

#[test]
fn an_empty_batch_is_success() {
    let mut node = Node::new();
    node.socket.send_all(&Batch::new()).unwrap();
}

#[test]
fn lists_show_what_ip_made() {
    let mut node = Node::new();
    node.ip("link add va mtu 1400 index 77 type veth peer name vb");
    node.ip("link set va up alias somebody's group 5");
    node.ip("link set vb up");
    node.ip("address add 192.0.2.1/24 dev va");
    node.ip("-6 address add 2001:db8::1/64 dev va nodad");
    node.ip("route add 198.51.100.0/24 via 192.0.2.9 dev va proto 110 mtu 1300");
    node.ip("-6 route add 2001:db8:1::/64 via 2001:db8::9 dev va proto 110");
    node.ip("route add blackhole 203.0.113.0/24 proto 110 table 1000");
    node.ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev va nud permanent");
    let va = IfIndex::new(77);

    let link = node.socket.list_links().unwrap().into_iter().find(|it| it.index == va).unwrap();
    assert_eq!(link.name.as_str(), "va");
    assert_eq!(link.alias.as_deref(), Some("somebody's"));
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert_eq!((link.group, link.up, link.running, link.mtu), (5, true, true, 1400));

    let addresses = node.socket.list_addresses().unwrap();
    assert!(addresses.contains(&Address { dev: va, address: net("192.0.2.1/24") }));
    assert!(addresses.contains(&Address { dev: va, address: net("2001:db8::1/64") }));

    let ours = RouteFilter { protocol: Some(110), ..RouteFilter::default() };
    let routes = node.socket.list_routes(ours).unwrap();
    let via = |to: &str, next_hop: &str| Route::new(net(to), va).via(next_hop.parse().unwrap());
    assert_eq!(
        routes,
        [
            Route { mtu: Some(1300), ..via("198.51.100.0/24", "192.0.2.9") },
            Route { table: 1000, ..Route::blackhole(net("203.0.113.0/24")) },
            via("2001:db8:1::/64", "2001:db8::9"),
        ]
    );
    assert_eq!(routes[1].kind, RouteKind::Blackhole);

    let mac = "02:00:00:00:00:09".parse().unwrap();
    let neighbour = Neighbour { dev: va, address: "192.0.2.9".parse().unwrap(), mac };
    assert!(node.socket.list_neighbours().unwrap().contains(&neighbour));
}

#[test]
fn what_is_listed_can_be_deleted_as_it_is() {
    let mut node = Node::new();
    node.ip("link add va type veth peer name vb");
    node.ip("link set va up");
    node.ip("address add 192.0.2.1/24 dev va");
    node.ip("route add 198.51.100.0/24 via 192.0.2.9 proto 110 metric 7");
    node.ip("route add blackhole 203.0.113.0/24 proto 110");
    node.ip("-6 route add blackhole 2001:db8:1::/64 proto 110");
    let ours = RouteFilter { protocol: Some(110), ..RouteFilter::default() };
    let batch: Batch =
        node.socket.list_routes(ours).unwrap().into_iter().map(Request::DelRoute).collect();
    assert_eq!(batch.len(), 3);
    node.socket.send_all(&batch).unwrap();
    assert!(field(&node.ip("-4 route show proto 110"), "dst").is_empty());
    assert!(field(&node.ip("-6 route show proto 110"), "dst").is_empty());
}

#[test]
fn a_namespace_has_a_number_once_a_link_leads_to_it() {
    let mut node = Node::new();
    let stranger = Netns::create().unwrap();
    assert_eq!(node.socket.netns_id(&stranger).unwrap(), None);
    let pool = node.pool(0, crate::Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    let nsid = node.socket.netns_id(pod.netns()).unwrap();
    assert!(nsid.is_some());
    let links = node.socket.list_links().unwrap();
    let link = links.iter().find(|link| link.name == pod.id().host_name()).unwrap();
    assert_eq!(link.peer_nsid, nsid);
    assert_eq!(link.peer, Some(mark::POD_IF_INDEX));
}

#[test]
fn half_a_message_is_an_error() {
    for datagram in [&[0_u8; 7][..], &[255; 32], &[16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        let frame = Frames::new(datagram).next().unwrap();
        assert!(matches!(frame, Err(SocketError::Short { .. })), "{datagram:?}");
    }
}

#[test]
fn a_single_link_is_found_as_in_the_list_and_a_missing_one_is_no_error() {
    let mut node = Node::new();
    let listed = node.socket.list_links().unwrap();
    assert!(!listed.is_empty());
    for link in listed {
        assert_eq!(node.socket.get_link(link.index).unwrap(), Some(link));
    }
    assert_eq!(node.socket.get_link(MISSING).unwrap(), None);
}
