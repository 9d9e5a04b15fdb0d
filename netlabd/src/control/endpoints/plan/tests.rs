// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::pod::Protocol;
use netlab_api::service::ServicePort;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn service(spec: serde_json::Value) -> Service {
    let metadata = json!({ "name": "web", "namespace": "shop", "labels": { "team": "a" } });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

fn web() -> Service {
    service(json!({
        "clusterIP": "10.43.0.9", "ipFamilies": ["IPv4", "IPv6"],
        "ports": [{ "port": 80, "targetPort": "http" }]
    }))
}

fn backing(number: u8) -> Backing {
    let fd42 = format!("fd42::{number:x}").parse().unwrap();
    let common = Common {
        namespace: "shop".to_owned(),
        node: Some(format!("n{}", number % 3)),
        ports: vec![container_port("http", 8080)],
        ..Common::default()
    };
    Backing {
        name: format!("web-{number}").into(),
        uid: format!("uid-{number}").into(),
        addresses: [[10, 42, 0, number].into(), fd42].into(),
        is_ready: true,
        is_terminating: false,
        common: Arc::new(common),
    }
}

/// The same pod with something else in what it has in common with others.
fn with(mut pod: Backing, change: impl FnOnce(&mut Common)) -> Backing {
    change(Arc::make_mut(&mut pod.common));
    pod
}

fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number, protocol: Protocol::Tcp }
}

fn zones() -> HashMap<String, String> {
    let zone = |node: &str, zone: &str| (node.to_owned(), zone.to_owned());
    HashMap::from([zone("n0", "a"), zone("n1", "b")])
}

/// Slices with numbers for names, as `diff_slices` leaves them.
struct Slices {
    observed: BTreeMap<String, EndpointSlice>,
    made: usize,
}

impl Slices {
    fn none() -> Slices {
        Slices { observed: BTreeMap::new(), made: 0 }
    }

    fn step(&mut self, service: &Service, pods: &[Backing]) -> Difference {
        let groups = groups_of(service, pods.iter(), &zones());
        let made = &mut self.made;
        let difference = diff_slices(service, groups, &self.observed, |address_type| {
            *made += 1;
            let mut slice = EndpointSlice { address_type, ..EndpointSlice::default() };
            slice.metadata.name = format!("web-{}", *made);
            slice
        });
        for slice in &difference.puts {
            self.observed.insert(slice.metadata.name.clone(), slice.clone());
        }
        for name in &difference.deletes {
            self.observed.remove(name).expect("only what is there is deleted");
        }
        difference
    }

    /// All endpoints, by family and ports, in order of their pods.
    fn groups(&self) -> Groups {
        let mut groups = Groups::new();
        for slice in self.observed.values() {
            let key = (slice.address_type, slice.ports.clone());
            groups.entry(key).or_default().extend(slice.endpoints.clone());
        }
        sorted(groups)
    }
}

fn sorted(mut groups: Groups) -> Groups {
    for endpoints in groups.values_mut() {
        endpoints.sort_by_key(|e| e.target_ref.as_ref().map(|pod| pod.name.clone()));
    }
    groups
}

#[test]
fn a_slice_says_what_kubernetes_says() {
    let mut slices = Slices::none();
    let pod = with(backing(1), |common| {
        common.hostname = Some("first".to_owned());
        common.subdomain = Some("web".to_owned());
    });
    slices.step(&web(), &[pod]);
    let observed: Vec<_> = slices.observed.values().collect();
    let expected = json!({
        "metadata": {
            "name": "web-1",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "netlabd",
                "kubernetes.io/service-name": "web",
                "team": "a",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": ["10.42.0.1"],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "hostname": "first",
            "nodeName": "n1",
            "zone": "b",
            "targetRef": { "kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "uid-1" },
        }],
        "ports": [{ "protocol": "TCP", "port": 8080 }],
    });
    let expected: EndpointSlice = serde_json::from_value(expected).unwrap();
    assert_eq!(*observed[0], expected);
    assert_eq!((observed.len(), observed[1].address_type), (2, AddressType::IPv6));
    assert_eq!(observed[1].endpoints[0].addresses, ["fd42::1"]);
}

#[test]
fn conditions_follow_readiness_and_deletion() {
    let conditions = |publishes: bool, is_ready: bool, is_terminating: bool| {
        let mut service = web();
        service.spec.publish_not_ready_addresses = publishes;
        let pod = Backing { is_ready, is_terminating, ..backing(1) };
        let endpoint = endpoint(&service, &pod, pod.addresses[0], &zones());
        let conditions = endpoint.conditions;
        (conditions.is_ready(), conditions.is_serving(), conditions.is_terminating())
    };
    assert_eq!(conditions(false, true, false), (true, true, false));
    assert_eq!(conditions(false, false, false), (false, false, false));
    assert_eq!(conditions(false, true, true), (false, true, true));
    assert_eq!(conditions(false, false, true), (false, false, true));
    assert_eq!(conditions(true, false, true), (true, false, true));
}

#[test]
fn pods_with_other_numbers_for_a_name_have_other_slices() {
    let other = with(backing(2), |common| common.ports = vec![container_port("http", 9090)]);
    let nameless = with(backing(3), |common| common.ports.clear());
    let groups = groups_of(&web(), [backing(1), other, nameless].iter(), &zones());
    let ports = |groups: &Groups| -> Vec<Vec<Option<u16>>> {
        groups.keys().map(|(_, ports)| ports.iter().map(|port| port.port).collect()).collect()
    };
    let of_family = [vec![], vec![Some(8080)], vec![Some(9090)]];
    assert_eq!(ports(&groups), [of_family.clone(), of_family].concat());
}

#[test]
fn hints_name_zones_only_when_every_ready_endpoint_has_one() {
    let hints = |distribution: &str, pods: &[Backing]| -> Vec<(Vec<String>, Vec<String>)> {
        let mut spec = json!({ "ipFamilies": ["IPv4"], "ports": [{ "port": 80 }] });
        spec["trafficDistribution"] = json!(distribution);
        let groups = groups_of(&service(spec), pods.iter(), &zones());
        let names = |hints: &[Hint]| hints.iter().map(|hint| hint.name.clone()).collect();
        let endpoints = groups.into_values().flatten();
        endpoints
            .map(|endpoint| endpoint.hints.unwrap_or_default())
            .map(|hints| (names(&hints.for_zones), names(&hints.for_nodes)))
            .collect()
    };
    let of = |zone: &str, node: &str| {
        let list = |name: &str| if name.is_empty() { vec![] } else { vec![name.to_owned()] };
        (list(zone), list(node))
    };
    // Pods 3 and 1 are on n0 and n1, in zones a and b; pod 2 is on n2, in no zone.
    let (first, second, lost) = (backing(3), backing(1), backing(2));
    let both = [first.clone(), second.clone()];
    assert_eq!(hints("PreferSameZone", &both), [of("a", ""), of("b", "")]);
    assert_eq!(hints("PreferClose", &both), [of("a", ""), of("b", "")]);
    assert_eq!(hints("PreferSameNode", &both), [of("a", "n0"), of("b", "n1")]);
    let with_lost = [first.clone(), lost.clone()];
    assert_eq!(hints("PreferSameZone", &with_lost), [of("", ""), of("", "")]);
    assert_eq!(hints("PreferSameNode", &with_lost), [of("", "n0"), of("", "n2")]);
    let unready = [first, Backing { is_ready: false, ..lost }];
    assert_eq!(hints("PreferSameZone", &unready), [of("a", ""), of("", "")]);
}

#[test]
fn without_pods_there_is_an_empty_slice_of_each_family_and_the_first_pod_fills_it() {
    let mut slices = Slices::none();
    slices.step(&web(), &[]);
    assert_eq!(slices.observed.len(), 2);
    assert!(slices.observed.values().all(|slice| slice.endpoints.is_empty()));
    let difference = slices.step(&web(), &[backing(1)]);
    assert_eq!((difference.puts.len(), difference.deletes.len(), slices.made), (2, 0, 2));
    let difference = slices.step(&web(), &[]);
    assert_eq!((difference.puts.len(), difference.deletes.len(), slices.made), (2, 0, 2));
}

#[test]
fn a_slice_has_at_most_a_hundred_endpoints() {
    let pods: Vec<Backing> = (1..=250).map(backing).collect();
    let mut slices = Slices::none();
    slices.step(&web(), &pods);
    let mut sizes: Vec<_> = slices.observed.values().map(|s| s.endpoints.len()).collect();
    sizes.sort();
    assert_eq!(sizes, [50, 50, 100, 100, 100, 100]);
    // Where one went there is room for the next.
    let (gone, rest) = pods.split_first().unwrap();
    slices.step(&web(), rest);
    let difference = slices.step(&web(), &[rest, std::slice::from_ref(gone)].concat());
    assert_eq!(difference.puts.len(), 2);
    assert_eq!(slices.observed.len(), 6);
}

#[test]
fn another_label_of_the_service_is_written_to_its_slices() {
    let mut slices = Slices::none();
    slices.step(&web(), &[backing(1)]);
    let mut changed = web();
    changed.metadata.labels.insert("team".to_owned(), "b".to_owned());
    changed.spec.cluster_ip = Some("None".to_owned());
    let difference = slices.step(&changed, &[backing(1)]);
    assert_eq!(difference.puts.len(), 2);
    let labels = &difference.puts[0].metadata.labels;
    assert_eq!(labels["team"], "b");
    assert_eq!(labels.get(HEADLESS_LABEL).map(String::as_str), Some(""));
}

#[test]
fn the_order_in_which_ports_are_named_is_no_difference() {
    let with =
        |ports: serde_json::Value| service(json!({ "ipFamilies": ["IPv4"], "ports": ports }));
    let (one, two) = (json!({ "name": "a", "port": 80 }), json!({ "name": "b", "port": 81 }));
    let mut slices = Slices::none();
    slices.step(&with(json!([one, two])), &[backing(1)]);
    assert_eq!(slices.step(&with(json!([two, one])), &[backing(1)]), Difference::default());
}

/// What a pod may be in a step: absent, or in one of some states.
fn state(number: u8) -> impl Strategy<Value = Option<Backing>> {
    (0..6_u8).prop_map(move |state| {
        let pod = backing(number);
        match state {
            0 => None,
            1 => Some(Backing { is_ready: false, ..pod }),
            2 => Some(Backing { is_terminating: true, ..pod }),
            3 => Some(with(pod, |common| common.ports = vec![container_port("http", 9090)])),
            4 => Some(Backing { addresses: pod.addresses[..1].into(), ..pod }),
            _ => Some(pod),
        }
    })
}

fn pods() -> impl Strategy<Value = Vec<Backing>> {
    let states: Vec<_> = (1..=230).map(state).collect();
    states.prop_map(|states| states.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn slices_hold_what_they_are_to_hold_whatever_was_before(
        steps in prop::collection::vec(pods(), 1..5),
    ) {
        let mut slices = Slices::none();
        for pods in steps {
            slices.step(&web(), &pods);
            let wanted = groups_of(&web(), pods.iter(), &zones());
            prop_assert_eq!(slices.groups(), sorted(wanted));
            for slice in slices.observed.values() {
                prop_assert!(slice.endpoints.len() <= MOST_ENDPOINTS);
            }
            let again = slices.step(&web(), &pods);
            prop_assert_eq!(again, Difference::default());
        }
    }

    #[test]
    fn one_pod_that_changes_writes_one_slice_of_each_family(
        before in pods(),
        at in 0..230_usize,
        ready in any::<bool>(),
    ) {
        prop_assume!(!before.is_empty());
        let mut slices = Slices::none();
        slices.step(&web(), &before);
        let mut after = before;
        let at = at % after.len();
        // It changes, goes, and comes again.
        after[at].is_ready ^= ready;
        after[at].is_terminating ^= !ready;
        let changed = slices.step(&web(), &after);
        let pod = after.remove(at);
        let gone = slices.step(&web(), &after);
        after.push(pod);
        let back = slices.step(&web(), &after);
        for (what, difference) in [("changed", changed), ("gone", gone), ("back", back)] {
            for family in [AddressType::IPv4, AddressType::IPv6] {
                let puts = difference.puts.iter().filter(|s| s.address_type == family).count();
                prop_assert!(puts <= 1, "{}: {} slices", what, puts);
            }
            prop_assert!(difference.puts.len() + difference.deletes.len() <= 2, "{}", what);
        }
    }
}

#[test]
fn a_port_by_name_must_be_of_the_same_protocol() {
    let port = |protocol| ServicePort {
        name: None,
        protocol,
        app_protocol: None,
        port: 80,
        target_port: Some(PortRef::Name("http".to_owned())),
        node_port: None,
    };
    assert_eq!(target_of(&port(Protocol::Tcp), &backing(1)), Some(8080));
    assert_eq!(target_of(&port(Protocol::Udp), &backing(1)), None);
}
