// SPDX-License-Identifier: GPL-3.0-or-later
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use super::*;
use crate::testing::{MTU, Node, addresses, eventually, field, ip, pin_of, pings, run_in};

#[test]
fn an_id_is_read_as_it_is_printed() {
    let id = PodLinkId::from_bits(0xfff0_1234_5678_9abc);
    assert_eq!(id.to_string(), "23456789abc");
    assert_eq!("23456789abc".parse(), Ok(id));
    assert_eq!(id.pod_mac().to_string(), "02:34:56:78:9a:bc");
}

#[test]
fn a_host_name_leads_back_to_its_id() {
    let id = PodLinkId::random();
    assert_eq!(PodLinkId::from_host_name(&id.host_name()), Some(id));
}

#[test]
fn foreign_names_are_no_pod_links() {
    for name in ["nlmon0", "nlvx", "nl0123456789", "nl0123456789A", "eth0", "nl+1234567890"] {
        assert_eq!(PodLinkId::from_host_name(&IfName::new(name).unwrap()), None, "{name}");
    }
}

#[test]
fn two_pods_ping_each_other_through_the_node() {
    let mut node = Node::new();
    crate::sysctl::ensure_forwarding(&node.netns, &[]).unwrap();
    let pool = node.pool(2, Families::DUAL_STACK);
    let one = node.pod(&pool, 1);
    let _two = node.pod(&pool, 2);
    assert!(pings(one.netns(), "10.42.0.2"), "IPv4");
    assert!(pings(one.netns(), "fd42::2"), "IPv6");
}

#[test]
fn a_pod_and_its_node_talk_tcp_both_ways() {
    let mut node = Node::new();
    node.ip("address add 192.0.2.1/32 dev lo");
    node.ip("-6 address add 2001:db8::1/128 dev lo");
    let pool = node.pool(1, Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    for (client, server, address) in [
        (&**pod.netns(), &node.netns, "192.0.2.1:80"),
        (&**pod.netns(), &node.netns, "[2001:db8::1]:80"),
        (&node.netns, &**pod.netns(), "10.42.0.1:80"),
        (&node.netns, &**pod.netns(), "[fd42::1]:80"),
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let listener = server.run(|| TcpListener::bind(address).unwrap()).unwrap();
        let mut sender = client.run(|| TcpStream::connect(address).unwrap()).unwrap();
        sender.write_all(b"hello").unwrap();
        drop(sender);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello", "{address}");
    }
}

#[test]
fn a_pod_has_what_the_design_says_and_nothing_else() {
    let mut node = Node::new();
    let pool = node.pool(1, Families::DUAL_STACK);
    let pod = node.pod(&pool, 7);

    let links = ip(pod.netns(), "link show");
    assert_eq!(field(&links, "ifname"), ["lo", "eth0"]);
    let eth0 = &links[1];
    assert_eq!(eth0["mtu"], MTU);
    assert_eq!(eth0["ifindex"], 1000);
    assert_eq!(eth0["address"], pod.id().pod_mac().to_string());
    assert_eq!(eth0["operstate"], "UP");
    assert_eq!(links[0]["flags"][1], "UP", "{}", links[0]);

    let infos = ip(pod.netns(), "address show dev eth0");
    let infos = infos[0]["addr_info"].as_array().unwrap();
    assert_eq!(infos.len(), 2, "no link-local address: {infos:?}");
    assert_eq!((&infos[0]["local"], &infos[0]["prefixlen"]), (&"10.42.0.7".into(), &32.into()));
    assert_eq!((&infos[1]["local"], &infos[1]["prefixlen"]), (&"fd42::7".into(), &128.into()));
    assert_eq!(infos[1]["tentative"], serde_json::Value::Null);

    let routes = ip(pod.netns(), "-4 route show");
    assert_eq!(field(&routes, "dst"), ["default"]);
    assert_eq!(routes[0]["gateway"], "169.254.1.1");
    assert_eq!(routes[0]["flags"][0], "onlink");
    let routes = ip(pod.netns(), "-6 route show");
    assert_eq!(field(&routes, "dst"), ["default"]);
    assert_eq!(routes[0]["gateway"], "fe80::1");

    let neighbours = ip(pod.netns(), "neigh show nud permanent dev eth0");
    assert_eq!(field(&neighbours, "dst"), ["169.254.1.1", "fe80::1"]);
    assert_eq!(field(&neighbours, "lladdr"), ["ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:ee"]);
    for name in ["accept_ra", "accept_dad"] {
        let name = format!("net/ipv6/conf/eth0/{name}");
        assert_eq!(crate::sysctl::read(pod.netns(), &name).unwrap(), "0", "{name}");
    }
}

#[test]
fn the_nodes_side_has_what_the_design_says() {
    let mut node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let pod = node.pod(&pool, 7);
    let name = pod.id().host_name();

    let links = node.ip(&format!("link show dev {name}"));
    assert_eq!(links[0]["mtu"], MTU);
    assert_eq!(links[0]["address"], "ee:ee:ee:ee:ee:ee");
    assert_eq!(links[0]["ifalias"], "default/pod-7");
    assert_eq!(links[0]["group"], mark::LINK_GROUP.to_string());
    assert_eq!(links[0]["inet6_addr_gen_mode"], "none");
    assert_eq!(links[0]["operstate"], "UP");

    for (family, destination) in [("-4", "10.42.0.7"), ("-6", "fd42::7")] {
        let routes = node.ip(&format!("{family} route show dev {name}"));
        assert_eq!(field(&routes, "dst"), [destination]);
        assert_eq!(routes[0]["protocol"], "110");
    }
    let neighbours = node.ip(&format!("neigh show nud permanent dev {name}"));
    assert_eq!(field(&neighbours, "dst"), ["10.42.0.7", "fd42::7"]);
    let mac = pod.id().pod_mac().to_string();
    assert_eq!(field(&neighbours, "lladdr"), [mac.clone(), mac]);
    for setting in ["forwarding", "rp_filter"] {
        let setting = format!("net/ipv4/conf/{name}/{setting}");
        assert_eq!(crate::sysctl::read(&node.netns, &setting).unwrap(), "1", "{setting}");
    }
}

#[test]
fn a_pod_cannot_send_with_a_foreign_address() {
    let mut node = Node::new();
    let pool = node.pool(2, Families { v4: true, v6: false });
    let one = node.pod(&pool, 1);
    let _two = node.pod(&pool, 2);
    ip(one.netns(), "address add 10.42.0.99/32 dev eth0");
    node.ip("route add 10.42.0.99/32 dev lo");
    let spoofed = run_in(one.netns(), "ping -c 1 -W 1 -I 10.42.0.99 10.42.0.2");
    assert!(!spoofed.status.success());
    assert!(pings(one.netns(), "10.42.0.2"), "its own address still works");
}

#[test]
fn a_pod_of_one_family_has_nothing_of_the_other() {
    let mut node = Node::new();
    for (families, present, absent) in [
        (Families { v4: true, v6: false }, "-4", "-6"),
        (Families { v4: false, v6: true }, "-6", "-4"),
    ] {
        let pool = node.pool(0, families);
        let mut pod = pool.claim().unwrap();
        let mut wanted = addresses(9);
        wanted.v4 = wanted.v4.filter(|_| families.v4);
        wanted.v6 = wanted.v6.filter(|_| families.v6);
        pod.assign(wanted).unwrap();
        let mut batch = Batch::new();
        pod.plan_node_claim(wanted, Some("default/one"), &mut batch);
        node.socket.send_all(&batch).unwrap();
        for (family, count) in [(present, 1), (absent, 0)] {
            let routes = field(&ip(pod.netns(), &format!("{family} route show")), "dst");
            assert_eq!(routes.len(), count, "{family}: {routes:?}");
            let dev = pod.id().host_name();
            let routes = field(&node.ip(&format!("{family} route show dev {dev}")), "dst");
            assert_eq!(routes.len(), count, "{family}: {routes:?}");
        }
    }
}

#[test]
fn the_largest_packet_passes_and_a_larger_one_is_refused_by_name() {
    let mut node = Node::new();
    let pool = node.pool(2, Families::DUAL_STACK);
    let one = node.pod(&pool, 1);
    let _two = node.pod(&pool, 2);
    let headers = 28;
    let largest = MTU - headers;
    let ping = |seconds, size| {
        run_in(one.netns(), &format!("ping -c 1 -w {seconds} -M do -s {size} 10.42.0.2"))
    };
    assert!(ping(5, largest).status.success());
    let refused = ping(1, largest + 1);
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains(&format!("mtu={MTU}")) || text.contains("too long"), "{text}");
}

#[test]
fn assigning_and_claiming_again_changes_nothing() {
    let mut node = Node::new();
    let pool = node.pool(1, Families::DUAL_STACK);
    let mut pod = node.pod(&pool, 3);
    let look = |node: &Node, pod: &PreparedLink| {
        let name = pod.id().host_name();
        [
            ip(pod.netns(), "-4 route show"),
            ip(pod.netns(), "-6 route show"),
            ip(pod.netns(), "neigh show"),
            node.ip(&format!("-4 route show dev {name}")),
            node.ip(&format!("-6 route show dev {name}")),
            node.ip("neigh show"),
        ]
    };
    let before = look(&node, &pod);
    pod.assign(addresses(3)).unwrap();
    let mut batch = Batch::new();
    pod.plan_node_claim(addresses(3), Some("default/pod-3"), &mut batch);
    node.socket.send_all(&batch).unwrap();
    assert_eq!(look(&node, &pod), before);
    let infos = ip(pod.netns(), "address show dev eth0");
    assert_eq!(infos[0]["addr_info"].as_array().unwrap().len(), 2);
}

#[test]
fn removed_pods_leave_nothing_and_the_others_stay() {
    let mut node = Node::new();
    let pool = node.pool(3, Families::DUAL_STACK);
    let gone = [node.pod(&pool, 1), node.pod(&pool, 2)];
    let stays = node.pod(&pool, 3);
    pool.close().unwrap();
    let ids = gone.each_ref().map(PreparedLink::id);
    drop(gone);
    node.remove(&ids);

    assert_eq!(
        field(&node.ip("link show"), "ifname"),
        ["lo".to_owned(), stays.id().host_name().to_string()]
    );
    assert_eq!(field(&node.ip("-4 route show"), "dst"), ["10.42.0.3"]);
    assert_eq!(field(&node.ip("-6 route show proto 110"), "dst"), ["fd42::3"]);
    assert_eq!(field(&node.ip("neigh show nud permanent"), "dst"), ["10.42.0.3", "fd42::3"]);
    assert_eq!(list_pod_links(node.pin_dir()).unwrap(), [stays.id()]);
    assert!(pin_of(&node, &stays).exists());
    eventually("the namespace of a removed pod is gone", || {
        node.ip("netns list-id").as_array().map_or(0, Vec::len) == 1
    });

    node.remove(&ids);
}

#[test]
fn removing_nothing_removes_nothing() {
    let mut node = Node::new();
    let pool = node.pool(1, Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    node.remove(&[]);
    node.remove(&[PodLinkId::random()]);
    assert!(field(&node.ip("link show"), "ifname").contains(&pod.id().host_name().to_string()));
}

#[test]
fn a_closed_pool_leaves_claimed_links_only() {
    let mut node = Node::new();
    let pool = node.pool(4, Families::DUAL_STACK);
    let claimed = node.pod(&pool, 1);
    eventually("the pool is full", || pool.ready() == 4);
    assert_eq!(list_pod_links(node.pin_dir()).unwrap().len(), 5);
    pool.close().unwrap();
    assert_eq!(list_pod_links(node.pin_dir()).unwrap(), [claimed.id()]);
    let names = field(&node.ip("link show group 28268"), "ifname");
    assert_eq!(names, [claimed.id().host_name().to_string()]);
}

#[test]
fn a_claim_that_finds_the_pool_empty_still_gets_a_link() {
    let node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let ids: Vec<_> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.claim().unwrap().id())).collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).collect()
    });
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(pool.ready(), 0);
}

#[test]
fn a_claim_that_cannot_be_met_says_why() {
    let node = Node::new();
    let pool = PodLinkPool::start(PodLinkPoolOptions {
        node: node.netns.try_clone().unwrap(),
        pin_dir: node.pin_dir().join("missing"),
        size: 0,
        mtu: MTU,
        families: Families::DUAL_STACK,
    })
    .unwrap();
    let error = pool.claim().unwrap_err();
    assert!(matches!(error, PodLinkError::Netns { .. }), "{error:?}");
    // What was half made is gone again.
    assert_eq!(field(&node.ip("link show"), "ifname"), ["lo"]);
}

#[test]
fn a_pinned_pod_is_found_again_after_its_maker_is_gone() {
    let mut node = Node::new();
    let pool = node.pool(1, Families::DUAL_STACK);
    let pod = node.pod(&pool, 5);
    let (id, identity) = (pod.id(), pod.netns().identity());
    drop(pod);
    drop(pool);
    assert_eq!(list_pod_links(node.pin_dir()).unwrap(), [id]);
    let found = Netns::open(&id.pin(node.pin_dir())).unwrap();
    assert_eq!(found.identity(), identity);
    assert_eq!(field(&ip(&found, "link show dev eth0"), "ifname"), ["eth0"]);
}

#[test]
fn links_claimed_after_a_change_of_the_mtu_have_the_new_one_on_both_ends() {
    let mut node = Node::new();
    let pool = node.pool(4, Families::DUAL_STACK);
    eventually("the pool is full", || pool.ready() == 4);
    for mtu in [1400, 1500, 1430] {
        pool.set_mtu(&mut node.socket, mtu).unwrap();
        // More than were ready, so that both those and new ones are among them.
        for _ in 0..6 {
            let pod = pool.claim().unwrap();
            assert_eq!(pod.link().mtu, mtu);
            assert_eq!(ip(pod.netns(), "link show eth0")[0]["mtu"], mtu);
            let host = node.ip(&format!("link show {}", pod.id().host_name()));
            assert_eq!(host[0]["mtu"], mtu);
            let id = pod.id();
            drop(pod);
            node.remove(&[id]);
        }
    }
}
