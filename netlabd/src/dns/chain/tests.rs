// SPDX-License-Identifier: GPL-3.0-or-later
//! The order of things, with a zone that has one service and upstreams that are not there.

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, RecordType as Kind};
use serde_json::json;

use super::*;
use crate::dns::config::PodNames;
use crate::dns::log::PodName;
use crate::dns::zone::ZoneSettings;

mod startup;

const POD: &str = "10.42.0.5";
const WEB: &str = "web.default.svc.cluster.local";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A chain of this configuration; one pod asks.
fn chain(config: &str) -> Chain {
    let chain = unsynced(config);
    chain.zone.write().unwrap().set_synced();
    chain
}

/// The same with a zone that is not told all yet.
fn unsynced(config: &str) -> Chain {
    let mut config: DnsConfig = toml::from_str(config).unwrap();
    // Refused at once by this machine.
    config.forward.to = Some(vec!["127.0.0.1:9".to_owned()]);
    config.loop_detection.enabled = false;
    let notes = Notes::new();
    let pod = PodName { namespace: "default".to_owned(), name: "client".to_owned() };
    let pod = Arc::new(pod);
    let clients = Clients::new(move |ip| (ip.to_string() == POD).then(|| Arc::clone(&pod)));
    clients.set_pod_networks(vec!["10.42.0.0/16".parse().unwrap()]);
    let mut zone = Zone::new(ZoneSettings {
        domain: name("cluster.local"),
        reverse: Vec::new(),
        dns_addresses: Vec::new(),
        ttl: 5,
        pods: PodNames::Disabled,
        endpoint_pod_names: false,
        ignore_empty_service: false,
        fallthrough: Vec::new(),
        zonal: true,
    });
    zone.put_namespace("default");
    let service = json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "clusterIP": "10.43.0.80", "clusterIPs": ["10.43.0.80"],
                  "ports": [{ "port": 80 }] },
    });
    zone.put_service(&serde_json::from_value(service).unwrap());
    let alias = json!({
        "metadata": { "name": "out", "namespace": "default" },
        "spec": { "type": "ExternalName", "externalName": "db.example" },
    });
    zone.put_service(&serde_json::from_value(alias).unwrap());
    let upstreams = Upstreams::new(
        &config,
        &[],
        Arc::clone(&notes.metrics) as Arc<dyn super::super::upstream::Meter>,
    );
    let parts = Parts {
        config: Arc::new(config),
        domain: name("cluster.local"),
        searches: Vec::new(),
        started: Instant::now(),
        clients: Arc::new(clients),
        zone: Arc::new(RwLock::new(zone)),
        upstreams,
        notes,
    };
    Chain::new(parts).unwrap()
}

fn question(text: &str, kind: u8) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name(text).wire());
    packet.extend_from_slice(&[0, kind, 0, 1]);
    packet
}

/// The response, and whether it had to wait.
async fn ask(chain: &Chain, text: &str, kind: u8) -> (Message, bool) {
    let mut out = Vec::new();
    let peer = SocketAddr::new(POD.parse().unwrap(), 4000);
    let packet = question(text, kind);
    let (bytes, waited) = match chain.now(&packet, peer, Protocol::Udp, Instant::now(), &mut out) {
        Step::Answered => (out, false),
        Step::Later(pending) => (chain.later(pending).await, true),
        Step::Silent | Step::Transfer(_) => panic!("no answer"),
    };
    let message = Message::from_vec(&bytes).unwrap();
    assert_eq!(message.metadata.id, 7);
    assert_eq!(message.queries[0].name().to_string(), name(text).to_string());
    (message, waited)
}

fn answers(message: &Message) -> Vec<String> {
    let text = |data: &RData| match data {
        RData::A(address) => address.0.to_string(),
        RData::CNAME(target) => target.0.to_string(),
        other => format!("{other:?}"),
    };
    let line =
        |record: &hickory_proto::rr::Record| format!("{} {}", record.name, text(&record.data));
    message.answers.iter().map(line).collect()
}

#[tokio::test]
async fn the_zone_answers_at_once_and_is_noted() {
    let chain = chain("");
    let (message, waited) = ask(&chain, WEB, 1).await;
    assert!(!waited && message.metadata.authoritative);
    assert_eq!(answers(&message), [format!("{WEB}. 10.43.0.80")]);
    let noted = chain.notes.log.last(1).pop().unwrap();
    assert_eq!((noted.name, noted.kind, noted.by), (name(WEB), RecordType::A, AnsweredBy::Zone));
    assert_eq!(noted.pod.unwrap().name, "client");
    assert!(noted.response_size > noted.size);
}

#[tokio::test]
async fn hosts_come_before_the_zone() {
    let config = format!("[hosts]\n\"192.0.2.7\" = [\"{WEB}\"]");
    let (message, waited) = ask(&chain(&config), WEB, 1).await;
    assert!(!waited);
    assert_eq!(answers(&message), [format!("{WEB}. 192.0.2.7")]);
}

#[tokio::test]
async fn a_rewritten_name_is_answered_as_it_was_asked() {
    let config = format!("[[rewrite]]\nfrom = \"shop.example\"\nto = \"{WEB}\"");
    let chain = chain(&config);
    let (message, _) = ask(&chain, "SHOP.example", 1).await;
    assert_eq!(answers(&message), ["SHOP.example. 10.43.0.80"]);
    // Others are not.
    let (message, waited) = ask(&chain, WEB, 1).await;
    assert!(!waited && answers(&message).len() == 1);
    // The client's own payload comes back on either way.
    for name in ["shop.example", WEB] {
        let opt = [0, 0, 41, 0, 100, 0, 0, 0, 0, 0, 0];
        let mut packet = [question(name, 1), opt.to_vec()].concat();
        packet[11] = 1;
        let mut out = Vec::new();
        let peer = SocketAddr::new(POD.parse().unwrap(), 4000);
        let step = chain.now(&packet, peer, Protocol::Udp, Instant::now(), &mut out);
        if let Step::Later(pending) = step {
            out = chain.later(pending).await;
        }
        assert_eq!(out[out.len() - opt.len()..], opt, "{name}");
    }
}

#[tokio::test]
async fn one_query_walks_a_pods_search_path() {
    let config =
        "pods = \"verified\"\n[autopath]\nenabled = true\n[hosts]\n\"192.0.2.7\" = \"db.example\"";
    let chain = chain(config);
    let asked = "db.example.default.svc.cluster.local";
    let (message, _) = ask(&chain, asked, 1).await;
    assert_eq!(
        answers(&message),
        [format!("{asked}. db.example."), "db.example. 192.0.2.7".into()]
    );
    let (message, _) = ask(&chain, WEB, 1).await;
    assert_eq!(answers(&message), [format!("{WEB}. 10.43.0.80")]);
    // The question comes back in its own case, whether there is such a name or not.
    for (asked, count) in
        [("weB.deFault.svc.CLUSTER.local", 1), ("no.DEFAULT.svc.cluster.loCal", 0)]
    {
        assert_eq!(ask(&chain, asked, 1).await.0.answers.len(), count);
    }
}

#[tokio::test]
async fn an_alias_leads_to_what_hosts_say_and_stays_without_them() {
    let asked = "out.default.svc.cluster.local";
    let with = chain("[hosts]\n\"192.0.2.7\" = \"db.example\"");
    let (message, _) = ask(&with, asked, 1).await;
    assert_eq!(
        answers(&message),
        [format!("{asked}. db.example."), "db.example. 192.0.2.7".into()]
    );
    let (message, _) = ask(&chain(""), asked, 1).await;
    assert_eq!(u16::from(message.metadata.response_code), Rcode::NOERROR.0);
    assert_eq!(answers(&message), [format!("{asked}. db.example.")]);
    assert_eq!(message.queries[0].query_type(), Kind::A);
}

#[tokio::test]
async fn upstreams_that_do_not_answer_are_servfail() {
    let chain = chain("");
    let (message, waited) = ask(&chain, "www.example", 1).await;
    assert!(waited);
    assert_eq!(u16::from(message.metadata.response_code), Rcode::SERVFAIL.0);
}

#[tokio::test]
async fn strangers_and_those_who_come_when_it_is_full_are_told_so() {
    let chain = chain("");
    let mut out = Vec::new();
    let stranger: SocketAddr = "203.0.113.77:4000".parse().unwrap();
    let packet = question(WEB, 1);
    let now = Instant::now();
    let step = chain.now(&packet, stranger, Protocol::Udp, now, &mut out);
    assert!(matches!(step, Step::Answered));
    assert_eq!((out.len(), out[3] & 0xf), (packet.len(), 5));
    for _ in 0..3 * refusals::REFUSALS {
        chain.now(&packet, stranger, Protocol::Udp, now, &mut out);
    }
    assert!(matches!(chain.now(&packet, stranger, Protocol::Udp, now, &mut out), Step::Silent));

    let pod = SocketAddr::new(POD.parse().unwrap(), 4000);
    let packet = question("www.example", 1);
    let Step::Later(pending) = chain.now(&packet, pod, Protocol::Udp, now, &mut out) else {
        panic!()
    };
    out.clear();
    chain.overloaded(&pending, &mut out);
    assert_eq!(out[3] & 0xf, 2);
    assert!(chain.panicked(&packet, &mut out));
    assert_eq!(out[3] & 0xf, 2);
}
