// SPDX-License-Identifier: GPL-3.0-or-later
//! What the zone answers, by the specification and as CoreDNS does.

use std::fmt::Write as _;

use hickory_proto::op::Message;
use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;
use crate::dns::message::{read_query, write_answer};
use crate::dns::record::{Owner, Record, RecordData, RecordType};

mod table;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn settings() -> ZoneSettings {
    ZoneSettings {
        domain: name("cluster.local."),
        reverse: ["10.42.0.0/16", "10.43.0.0/16", "10.96.0.0/12", "fd42::/48", "fd43::/112"]
            .map(|network| network.parse().unwrap())
            .to_vec(),
        dns_addresses: vec!["10.43.0.10".parse().unwrap(), "fd43::a".parse().unwrap()],
        ttl: 5,
        pods: PodNames::Disabled,
        endpoint_pod_names: false,
        ignore_empty_service: false,
        fallthrough: Vec::new(),
        zonal: true,
    }
}

pub(super) fn service(namespace: &str, service: &str, mut spec: Value) -> Service {
    let spec_map = spec.as_object_mut().unwrap();
    if let Some(ips) = spec_map.get("clusterIPs").cloned() {
        spec_map.insert("clusterIP".to_owned(), ips[0].clone());
    }
    from_value(json!({
        "metadata": { "name": service, "namespace": namespace }, "spec": spec,
    }))
    .unwrap()
}

pub(super) fn slice(
    namespace: &str,
    service: &str,
    slice: &str,
    ports: Value,
    endpoints: Value,
) -> EndpointSlice {
    let kind = if endpoints.to_string().contains("::") { "IPv6" } else { "IPv4" };
    from_value(json!({

        "metadata": {
            "name": slice, "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": kind, "ports": ports, "endpoints": endpoints,
    }))
    .unwrap()
}

/// Records as a zone file has them, `@` for the name that was asked.
fn record(record: &Record) -> String {
    let owner = match &record.owner {
        Owner::Asked => "@".to_owned(),
        Owner::Name(name) => name.to_string(),
    };
    let data = match &record.data {
        RecordData::A(address) => format!("A {address}"),
        RecordData::Aaaa(address) => format!("AAAA {address}"),
        RecordData::Ptr(name) => format!("PTR {name}"),
        RecordData::Cname(name) => format!("CNAME {name}"),
        RecordData::Ns(name) => format!("NS {name}"),
        RecordData::Txt(strings) => format!("TXT {}", String::from_utf8_lossy(&strings[0])),
        RecordData::Srv { priority, weight, port, target } => {
            format!("SRV {priority} {weight} {port} {target}")
        }
        RecordData::Soa { primary, mailbox, refresh, retry, expire, minimum, .. } => {
            format!("SOA {primary} {mailbox} {refresh} {retry} {expire} {minimum}")
        }
    };
    format!("{owner} {} {data}", record.ttl)
}

pub(super) fn kind(text: &str) -> RecordType {
    match text {
        "A" => RecordType::A,
        "AAAA" => RecordType::AAAA,
        "SRV" => RecordType::SRV,
        "PTR" => RecordType::PTR,
        "TXT" => RecordType::TXT,
        "SOA" => RecordType::SOA,
        "NS" => RecordType::NS,
        "CNAME" => RecordType::CNAME,
        "ANY" => RecordType::ANY,
        "MX" => RecordType(15),
        "HINFO" => RecordType(13),
        other => panic!("no type {other}"),
    }
}

/// What comes of a question: the code and all records, a line each, sorted within a section.
pub(super) fn asked(zone: &Zone, asked: &str, of: &str) -> String {
    let question = Question { name: name(asked), kind: kind(of) };
    let mut text = String::new();
    let (rcode, sections) = match zone.answer(&question) {
        Found::Elsewhere => return "elsewhere".to_owned(),
        Found::Alias { chain, target } => (format!("alias of {target}"), vec![("", chain)]),
        Found::Answer(Answer { rcode, answer, authority, additional }) => {
            (rcode.to_string(), vec![("", answer), ("auth ", authority), ("add ", additional)])
        }
    };
    text.push_str(&rcode);
    for (section, records) in sections {
        let mut lines: Vec<String> = records.iter().map(record).collect();
        lines.sort();
        for line in lines {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{section}{line}");
        }
    }
    text
}

fn packet(asked: &str, kind: RecordType, with_edns: bool) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(with_edns)];
    packet.extend(name(asked).wire());
    packet.extend(kind.0.to_be_bytes());
    packet.extend([0, 1]);
    if with_edns {
        packet.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

/// One change of a small cluster.
#[derive(Debug, Clone)]
enum Change {
    Put(usize, usize),
    Remove(usize),
    PutSlice(usize, usize),
    RemoveSlice(usize),
    PutPod(usize, u8),
    RemovePod(usize),
    PutNamespace(usize),
    RemoveNamespace(usize),
}

const NAMESPACES: [&str; 2] = ["default", "shop"];
const SERVICES: [(&str, &str); 4] =
    [("default", "web"), ("default", "db"), ("shop", "web"), ("shop", "api")];

fn shape(service: usize, shape: usize) -> Service {
    let (namespace, name) = SERVICES[service];
    let spec = match shape {
        0 => {
            json!({ "clusterIPs": [format!("10.43.1.{service}")], "ports": [{ "name": "http", "port": 80 }] })
        }
        1 => json!({ "clusterIPs": [format!("10.43.1.{service}"), format!("fd43::1:{service}")],
                     "ports": [{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }] }),
        2 => json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] }),
        3 => json!({ "type": "ExternalName", "externalName": "web.shop.svc.cluster.local" }),
        4 => json!({ "type": "ExternalName", "externalName": "www.example.com" }),
        _ => json!({ "clusterIP": "None" }),
    };
    super::tests::service(namespace, name, spec)
}

fn sliced(slice: usize, shape: usize) -> EndpointSlice {
    let (namespace, service) = SERVICES[(slice + shape) % SERVICES.len()];
    let namespace = if namespace == SERVICES[slice].0 { namespace } else { SERVICES[slice].0 };
    let endpoints = match shape {
        0 => {
            json!([{ "addresses": ["10.42.0.1"] }, { "addresses": ["10.42.0.2"], "hostname": "a" }])
        }
        1 => json!([{ "addresses": ["10.42.0.1"], "conditions": { "ready": false } }]),
        2 => json!([{ "addresses": ["fd42::1"], "hostname": "a" }, { "addresses": ["fd42::2"] }]),
        _ => json!([{ "addresses": ["10.42.0.1"], "zone": "z1", "hostname": "b" }]),
    };
    super::tests::slice(
        namespace,
        service,
        &format!("s{slice}"),
        json!([{ "name": "http", "port": 8080 }]),
        endpoints,
    )
}

#[derive(Default, Clone)]
struct Model {
    services: std::collections::BTreeMap<usize, usize>,
    slices: std::collections::BTreeMap<usize, usize>,
    pods: std::collections::BTreeMap<usize, u8>,
    namespaces: std::collections::BTreeSet<usize>,
}

impl Model {
    fn build(&self) -> Zone {
        let mut zone = zone();
        // In another order than changes come in.
        for (number, address) in &self.pods {
            pod(&mut zone, *number, *address);
        }
        self.slices.iter().for_each(|(slice, shape)| zone.put_slice(&sliced(*slice, *shape)));
        self.services.iter().for_each(|(it, form)| zone.put_service(&shape(*it, *form)));
        self.namespaces.iter().for_each(|it| zone.put_namespace(NAMESPACES[*it]));
        zone
    }

    fn change(&mut self, zone: &mut Zone, change: &Change) {
        match *change {
            Change::Put(it, form) => {
                zone.put_service(&shape(it, form));
                self.services.insert(it, form);
            }
            Change::Remove(it) => {
                zone.remove_service(SERVICES[it].0, SERVICES[it].1);
                self.services.remove(&it);
            }
            Change::PutSlice(it, form) => {
                zone.put_slice(&sliced(it, form));
                self.slices.insert(it, form);
            }
            Change::RemoveSlice(it) => {
                zone.remove_slice(SERVICES[it].0, &format!("s{it}"));
                self.slices.remove(&it);
            }
            Change::PutPod(it, address) => {
                pod(zone, it, address);
                self.pods.insert(it, address);
            }
            Change::RemovePod(it) => {
                zone.remove_pod(NAMESPACES[it % 2], &format!("p{it}"));
                self.pods.remove(&it);
            }
            Change::PutNamespace(it) => {
                zone.put_namespace(NAMESPACES[it]);
                self.namespaces.insert(it);
            }
            Change::RemoveNamespace(it) => {
                zone.remove_namespace(NAMESPACES[it]);
                self.namespaces.remove(&it);
            }
        }
    }
}

fn pod(zone: &mut Zone, number: usize, address: u8) {
    let address = IpAddr::from([10, 42, 0, address]);
    zone.put_pod(NAMESPACES[number % 2], &format!("p{number}"), &[address]);
}

fn zone() -> Zone {
    let mut zone = Zone::new(ZoneSettings { pods: PodNames::Verified, ..settings() });
    zone.set_synced();
    zone
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..4usize, 0..6usize).prop_map(|(it, form)| Change::Put(it, form)),
        (0..4usize).prop_map(Change::Remove),
        (0..4usize, 0..4usize).prop_map(|(it, form)| Change::PutSlice(it, form)),
        (0..4usize).prop_map(Change::RemoveSlice),
        (0..4usize, 1..4u8).prop_map(|(it, address)| Change::PutPod(it, address)),
        (0..4usize).prop_map(Change::RemovePod),
        (0..2usize).prop_map(Change::PutNamespace),
        (0..2usize).prop_map(Change::RemoveNamespace),
    ]
}

const ASKED: [&str; 25] = [
    "cluster.local.",
    "svc.cluster.local.",
    "dns-version.cluster.local.",
    "ns.dns.cluster.local.",
    "default.svc.cluster.local.",
    "shop.svc.cluster.local.",
    "WEB.default.svc.Cluster.local.",
    "db.default.svc.cluster.local.",
    "web.shop.svc.cluster.local.",
    "api.shop.svc.cluster.local.",
    "a.web.default.svc.cluster.local.",
    "10-42-0-1.web.shop.svc.cluster.local.",
    "fd42--2.api.shop.svc.cluster.local.",
    "_http._tcp.web.default.svc.cluster.local.",
    "_http._tcp.api.shop.svc.cluster.local.",
    "_tcp.db.default.svc.cluster.local.",
    "z1.pin._zone.web.shop.svc.cluster.local.",
    "a.z1.prefer._zone.web.shop.svc.cluster.local.",
    "10-42-0-1.default.pod.cluster.local.",
    "default.pod.cluster.local.",
    "1.1.43.10.in-addr.arpa.",
    "1.0.42.10.in-addr.arpa.",
    "42.10.in-addr.arpa.",
    "www.example.com.",
    "x.y.z.a.b.c.web.default.svc.cluster.local.",
];

const KINDS: [&str; 8] = ["A", "AAAA", "SRV", "PTR", "TXT", "SOA", "NS", "ANY"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn after_any_changes_the_zone_is_as_one_made_from_nothing(
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let (mut model, mut changed) = (Model::default(), zone());
        for change in &changes {
            model.change(&mut changed, change);
        }
        let fresh = model.build();
        for asked_name in ASKED {
            for of in KINDS {
                prop_assert_eq!(asked(&changed, asked_name, of), asked(&fresh, asked_name, of));
            }
        }
        let names = |zone: &Zone| -> std::collections::BTreeSet<String> {
            zone.records(None)
                .iter()
                .filter(|it| it.record.data.kind() != RecordType::SOA)
                .map(|it| format!("{:?}", it.record))
                .collect()
        };
        prop_assert_eq!(names(&changed), names(&fresh));
    }

    #[test]
    fn what_is_listed_is_what_is_answered(changes in prop::collection::vec(change(), 1..40)) {
        let (mut model, mut zone) = (Model::default(), zone());
        for change in &changes {
            model.change(&mut zone, change);
        }
        let answered = |name: &Name, kind| -> Vec<String> {
            let question = Question { name: name.clone(), kind };
            let records = match zone.answer(&question) {
                Found::Answer(answer) => answer.answer,
                Found::Alias { chain, .. } => chain,
                Found::Elsewhere => Vec::new(),
            };
            let owned = records.into_iter().map(|mut one| {
                if one.owner == Owner::Asked {
                    one.owner = Owner::Name(name.clone());
                }
                record(&one)
            });
            owned.collect()
        };
        let listed = zone.records(None);
        for one in &listed {
            let (Owner::Name(name), text) = (&one.record.owner, record(&one.record)) else {
                panic!("{one:?} has no owner")
            };
            let answers = answered(name, one.record.data.kind());
            prop_assert!(answers.contains(&text), "{text} is listed, and {answers:#?} answered");
        }
        let listed: Vec<String> = listed.iter().map(|one| record(&one.record)).collect();
        for ((namespace, service), form) in
            model.services.iter().map(|(it, form)| (SERVICES[*it], *form))
        {
            // Forms with addresses of their own, and such as lead to addresses.
            let kinds: &[RecordType] = match form {
                0 | 1 => &[RecordType::A, RecordType::AAAA, RecordType::SRV],
                2 | 5 => &[RecordType::A, RecordType::AAAA],
                _ => &[RecordType::CNAME],
            };
            let name = name(&format!("{service}.{namespace}.svc.cluster.local."));
            for text in kinds.iter().flat_map(|kind| answered(&name, *kind)) {
                prop_assert!(listed.contains(&text), "{text} is answered, and not listed");
            }
        }
    }

    #[test]
    fn bytes_say_what_values_say(
        changes in prop::collection::vec(change(), 1..30), edns in any::<bool>(),
        limit in 100usize..2000,
    ) {
        let (mut model, mut zone) = (Model::default(), zone());
        for change in &changes {
            model.change(&mut zone, change);
        }
        for asked_name in ASKED {
            for of in KINDS {
                let query = read_query(&packet(asked_name, kind(of), edns)).unwrap();
                let mut written = b"before".to_vec();
                let direct = zone.answer_into(&query, limit, &mut written);
                match zone.answer(&query.question) {
                    Found::Answer(answer) => {
                        let mut expected = b"before".to_vec();
                        write_answer(&query, &answer, true, limit, &mut expected);
                        prop_assert_eq!(direct, Direct::Answered);
                        prop_assert_eq!(&written, &expected);
                        prop_assert!(written.len() - 6 <= limit);
                        Message::from_vec(&written[6..]).unwrap();
                    }
                    Found::Alias { .. } => prop_assert_eq!(direct, Direct::Alias),
                    Found::Elsewhere => prop_assert_eq!(direct, Direct::Elsewhere),
                }
            }
        }
    }

    #[test]
    fn any_name_below_the_domain_is_answered(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..9),
        of in 0..KINDS.len(),
    ) {
        let domain = name("cluster.local.");
        let labels = labels.iter().map(Vec::as_slice).chain(domain.labels());
        let question = Question { name: Name::from_labels(labels).unwrap(), kind: kind(KINDS[of]) };
        let found = zone().answer(&question);
        prop_assert!(matches!(found, Found::Answer(_)), "{found:?}");
    }
}

#[test]
fn a_service_that_lost_its_slices_and_itself_leaves_nothing() {
    let mut zone = zone();
    let fresh = format!("{:?}", Zone { serial: 0, ..self::zone() });
    zone.put_slice(&sliced(0, 0));
    zone.put_service(&shape(0, 2));
    zone.put_pod("default", "p", &["10.42.0.1".parse().unwrap()]);
    zone.put_namespace("default");
    zone.remove_service("default", "web");
    zone.remove_slice("default", "s0");
    zone.remove_pod("default", "p");
    zone.remove_namespace("default");
    assert_eq!(format!("{:?}", Zone { serial: 0, ..zone }), fresh);
}

#[test]
fn services_and_slices_that_are_not_kept_are_gone() {
    let mut zone = zone();
    (0..2).for_each(|it| zone.put_service(&shape(it, 2)));
    (0..2).for_each(|it| zone.put_slice(&sliced(it, 0)));
    let records = zone.transfer();
    let all = |_: &str, _: &str| true;
    zone.keep_services(&all);
    zone.keep_slices(&all);
    assert_eq!(zone.transfer(), records);
    let kept = shape(1, 2).metadata.name;
    zone.keep_services(&|namespace, name| namespace == "default" && name == kept);
    zone.keep_slices(&|_, name| name == "s1");
    let keys = |key: &Key| String::from_utf8_lossy(key).into_owned();
    let slices: Vec<String> = zone.slices.keys().map(keys).collect();
    assert_eq!(slices, ["default.s1"]);
    let with_service = zone.entries.values().filter(|entry| entry.service.is_some());
    let services: Vec<String> = with_service.map(|entry| keys(&entry.key)).collect();
    assert_eq!(services, [format!("default.{kept}")]);
}

#[test]
fn the_serial_grows_with_changes_and_only_with_those() {
    let mut zone = zone();
    zone.put_service(&shape(0, 0));
    let serial = zone.serial();
    zone.put_service(&shape(0, 0));
    zone.put_namespace("default");
    zone.remove_service("default", "nobody");
    assert_eq!(zone.serial(), serial + 1);
}

#[test]
fn a_transfer_begins_and_ends_with_the_soa() {
    let mut zone = zone();
    zone.put_service(&shape(0, 1));
    zone.put_service(&shape(1, 2));
    zone.put_slice(&sliced(1, 0));
    let records = zone.transfer();
    let kinds: Vec<RecordType> = records.iter().map(|record| record.data.kind()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), (RecordType::SOA, RecordType::SOA));
    assert_eq!(kinds.iter().filter(|kind| **kind == RecordType::SOA).count(), 2);
    let text: Vec<String> = records.iter().map(record).collect();
    for line in [
        "cluster.local. 5 NS ns.dns.cluster.local.",
        "dns-version.cluster.local. 28800 TXT 1.1.0",
        "web.default.svc.cluster.local. 5 AAAA fd43::1:0",
        "_http._tcp.web.default.svc.cluster.local. 5 SRV 0 50 80 web.default.svc.cluster.local.",
        // Of each port at the name alone, with the weight that is answered there.
        "web.default.svc.cluster.local. 5 SRV 0 25 80 web.default.svc.cluster.local.",
        "web.default.svc.cluster.local. 5 SRV 0 25 53 web.default.svc.cluster.local.",
    ] {
        assert!(text.iter().any(|it| it == line), "{line} is missing: {text:#?}");
    }
}
