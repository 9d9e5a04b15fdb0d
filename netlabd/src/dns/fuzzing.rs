// SPDX-License-Identifier: GPL-3.0-or-later
//! The way in for a fuzzer: whatever bytes a client or an upstream might send. Only with feature
//! `fuzzing`; nothing else is to be built on it.

use hickory_proto::op::Message;
use serde_json::{from_value, json};

use super::config::DnsConfig;
use super::handler::{self, Unusual};
use super::message::{HEADER, Query, read_query, wire};
use super::record::Rcode;
use super::upstream;
use super::zone::{Direct, Zone, ZoneSettings};

/// Bytes that a response over UDP may have.
const LIMIT: usize = 1232;

/// A small zone, made once.
#[derive(Debug)]
pub struct Prepared {
    zone: Zone,
}

impl Default for Prepared {
    fn default() -> Prepared {
        Prepared::new()
    }
}

impl Prepared {
    /// A service with an address, a headless one with two endpoints, and an alias.
    pub fn new() -> Prepared {
        let domain = "cluster.local.".parse().expect("a name");
        let networks = ["10.42.0.0/16", "10.43.0.0/16", "fd43::/112"]
            .map(|network| network.parse().expect("a network"));
        let servers = vec!["10.43.0.10".parse().expect("an address")];
        let settings = ZoneSettings::of(&DnsConfig::default(), domain, networks.into(), servers);
        let mut zone = Zone::new(settings);
        zone.put_namespace("a");
        for (name, spec) in [
            (
                "b",
                json!({ "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1", "fd43::1"],
                "ports": [{ "name": "p", "port": 80, "protocol": "TCP" }] }),
            ),
            (
                "h",
                json!({ "clusterIP": "None", "clusterIPs": ["None"],
                "ports": [{ "name": "p", "port": 80, "protocol": "TCP" }] }),
            ),
            ("x", json!({ "type": "ExternalName", "externalName": "www.example" })),
        ] {
            let service = json!({ "metadata": { "name": name, "namespace": "a" }, "spec": spec });
            zone.put_service(&from_value(service).expect("a service"));
        }
        let slice = json!({
            "metadata": { "name": "h-1", "namespace": "a",
                "labels": { "kubernetes.io/service-name": "h" } },
            "addressType": "IPv4", "ports": [{ "name": "p", "port": 80, "protocol": "TCP" }],
            "endpoints": [{ "addresses": ["10.42.0.1"], "hostname": "n" },
                { "addresses": ["10.42.0.2"] }],
        });
        zone.put_slice(&from_value(slice).expect("a slice"));
        zone.set_synced();
        Prepared { zone }
    }

    /// Gives bytes to all that reads messages. Nothing may panic, and what is written must be a
    /// message that the client can read, knows by its id, and has room for.
    pub fn query(&self, bytes: &[u8]) {
        let mut out = Vec::new();
        if let Some(query) = read_query(bytes) {
            self.answer(&query, bytes);
        }
        match handler::read(bytes, &mut out) {
            Unusual::Silent => {}
            Unusual::Refused(rcode) => {
                check(bytes, &out, bytes.len());
                assert_eq!(u16::from(out[3] & 0xf), rcode.0 & 0xf, "the code");
            }
            Unusual::Plain(query) | Unusual::Notify(query) | Unusual::Transfer { query, .. } => {
                self.answer(&query, bytes);
            }
        }
        handler::write_error(bytes, Rcode::REFUSED, &mut out);
        if bytes.len() >= HEADER {
            check(bytes, &out, bytes.len());
        }
        raw(bytes);
    }

    fn answer(&self, query: &Query, bytes: &[u8]) {
        for limit in [query.udp_limit(LIMIT), usize::from(u16::MAX)] {
            let mut out = Vec::new();
            if matches!(self.zone.answer_into(query, limit, &mut out), Direct::Answered) {
                check(bytes, &out, limit);
            }
            out.clear();
            if upstream::fuzz_reply(bytes, query, limit, &mut out) {
                assert!(out.len() <= limit, "{} bytes, of {limit}", out.len());
                assert_eq!(out[..2], bytes[..2], "the id");
            }
        }
    }
}

/// Walks through and changes what may be no message at all.
fn raw(bytes: &[u8]) {
    let count = wire::records(bytes).map_or(0, Iterator::count);
    let mut changed = bytes.to_vec();
    wire::patch_ttls(&mut changed, |ttl| ttl / 2);
    assert_eq!(changed.len(), bytes.len(), "bytes of a message with other times");
    assert_eq!(wire::records(&changed).map_or(0, Iterator::count), count, "records");
    wire::truncate(&mut changed, 512);
    assert!(changed.len() <= bytes.len(), "bytes of a message that was cut");
}

fn check(asked: &[u8], response: &[u8], limit: usize) {
    assert!(response.len() <= limit, "{} bytes, of {limit}", response.len());
    assert_eq!(response[..2], asked[..2], "the id");
    assert!(response[2] & 0x80 != 0, "no response");
    Message::from_vec(response).expect("a message that others can read");
}
