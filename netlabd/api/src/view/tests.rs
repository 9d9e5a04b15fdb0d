// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

#[test]
fn a_view_survives_the_wire() {
    let name = PodName {
        name: "web-0".to_owned(),
        addresses: vec![IpAddr::from([10, 42, 0, 1])],
        ..PodName::default()
    };
    let events = [
        ViewEvent::Snapshot(Box::default()),
        ViewEvent::Ping,
        ViewEvent::Dial { tunnel: 7 },
        ViewEvent::Changes(ViewChanges {
            revision: 3,
            changes: vec![
                ViewChange::Pod(Box::default()),
                ViewChange::Name { namespace: "default".to_owned(), pod: name },
                ViewChange::NodeGone { name: "n2".to_owned() },
                ViewChange::Routing(Routing {
                    route_mode: RouteMode::Vxlan,
                    accept_encapsulated: true,
                }),
            ],
        }),
    ];
    for event in events {
        let text = serde_json::to_string(&event).expect("serialises");
        let back: ViewEvent = serde_json::from_str(&text).expect(&text);
        assert_eq!(back, event, "{text}");
    }
}

fn pod(uid: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = uid.to_owned();
    pod
}

#[test]
fn changes_lead_from_one_snapshot_to_the_next() {
    let name = |name: &str| PodName { name: name.to_owned(), ..PodName::default() };
    let node = |name: &str| ViewNode { name: name.to_owned(), ..ViewNode::default() };
    let mut view = ViewSnapshot {
        revision: 4,
        nodes: vec![node("n1"), node("n2")],
        pods: vec![pod("a"), pod("b")],
        ..ViewSnapshot::default()
    };
    let routing = Routing { route_mode: RouteMode::Vxlan, accept_encapsulated: false };
    let (namespace, gone) = ("default".to_owned(), "x".to_owned());
    let mut newer = node("n2");
    newer.blocks.push("10.42.0.64/26".parse().expect("a block"));
    view.apply(ViewChanges {
        revision: 9,
        changes: vec![
            ViewChange::PodGone {
                namespace: namespace.clone(),
                name: "b".to_owned(),
                uid: "b".to_owned(),
            },
            ViewChange::Pod(Box::new(pod("c"))),
            ViewChange::Name { namespace: namespace.clone(), pod: name("x") },
            ViewChange::Name { namespace: namespace.clone(), pod: name("y") },
            ViewChange::NameGone { namespace: namespace.clone(), name: gone },
            ViewChange::Node(newer.clone()),
            ViewChange::NodeGone { name: "n1".to_owned() },
            ViewChange::Routing(routing),
            ViewChange::Namespace { name: "shop".to_owned() },
            ViewChange::Namespace { name: "shop".to_owned() },
            ViewChange::Namespace { name: "default".to_owned() },
            ViewChange::NamespaceGone { name: "default".to_owned() },
            ViewChange::Dns(Box::new(DnsSettings { all_pods: true, ..DnsSettings::default() })),
        ],
    });
    let expected = ViewSnapshot {
        revision: 9,
        routing,
        nodes: vec![newer],
        pods: vec![pod("a"), pod("c")],
        names: vec![ViewNames { namespace, pods: vec![name("y")] }],
        namespaces: vec!["shop".to_owned()],
        dns: Some(DnsSettings { all_pods: true, ..DnsSettings::default() }),
        ..ViewSnapshot::default()
    };
    assert_eq!(view, expected);
}

#[test]
fn a_view_from_before_settings_travelled_is_understood() {
    let text = r#"{"revision":3,"routeMode":"auto","acceptEncapsulated":false,"nodes":[],
        "pods":[],"names":[],"proxyMode":"iptables"}"#;
    let view: ViewSnapshot = serde_json::from_str(text).expect("an older view");
    assert_eq!((view.revision, view.settings), (3, ClusterSettings::default()));
}

#[test]
fn an_empty_report_is_two_bytes() {
    assert_eq!(serde_json::to_string(&NodeReport::default()).expect("serialises"), "{}");
}
