// SPDX-License-Identifier: GPL-3.0-or-later
//! What this node's name server does, for people: how it answers, which names it has, who asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::PoisonError;
use std::time::SystemTime;

use hickory_proto::op::Message;
use jiff::Timestamp;
use netlab_api::dns::{DnsAttempt, DnsLogEntry, DnsRecord, DnsRecords, DnsTrace, ListedRecord};
use netlab_api::{ApiError, Pod, Reason};
use tokio::sync::mpsc;

use crate::control::access::{NameLogRequest, NameRequest, no_names};
use crate::dns::chain::Traced;
use crate::dns::log::{Entry, Followed, PodName};
use crate::dns::mnemonic::{type_name, type_of};
use crate::dns::name::Name;
use crate::dns::record::{Owner, Question, Record, RecordData, RecordType};
use crate::node::machine::Machine;
use crate::node::names::Answers;
use crate::node::pod::resolv::{ResolvConf, plan_resolv_conf};
use crate::node::pod::resolv_file;

/// Questions of the past that are told unless fewer are wanted.
const MOST_PAST: usize = 1000;

/// Questions that wait for a follower.
const WAITING: usize = 256;

/// Dots that a name needs to be tried as it is first, where a resolver is not told (resolv.conf(5)).
const NDOTS: u32 = 1;

fn answers(machine: &Machine) -> Result<Answers, ApiError> {
    machine.names.answers().ok_or_else(no_names)
}

/// Tries a name as a resolver does.
pub(super) async fn look_up(
    machine: &Machine,
    pod: Option<&Pod>,
    request: NameRequest,
) -> Result<DnsTrace, ApiError> {
    let answers = answers(machine)?;
    let conf = resolv_conf(machine, pod, request.namespace);
    let option = |name: &str| {
        let options = conf.options.iter().filter_map(|option| option.strip_prefix(name));
        options.filter_map(|value| value.strip_prefix(':')?.parse().ok()).next_back()
    };
    let ndots = option("ndots").unwrap_or(NDOTS);
    let address: Option<IpAddr> = request.name.parse().ok();
    let kinds = kinds(&request.kinds, address.is_some())?;
    let tries = match address {
        Some(address) => vec![reverse_name(address)],
        None => tries(&request.name, &conf.searches, ndots),
    };
    let bad = |name: &str, error: &dyn std::fmt::Display| {
        ApiError::new(Reason::BadRequest, format!("`{name}` cannot be looked up: {error}"))
    };
    let client = pod.and_then(|pod| pod.ips().next()).unwrap_or(Ipv4Addr::LOCALHOST.into());
    let mut attempts = Vec::new();
    for text in tries {
        let name: Name = text.parse().map_err(|error| bad(&text, &error))?;
        let mut found = false;
        for kind in &kinds {
            let question = Question { name: name.clone(), kind: *kind };
            let traced = answers.chain.trace(question, client).await;
            let attempt = attempt(&name, *kind, traced).map_err(|error| bad(&text, &error))?;
            found |= !attempt.answer.is_empty();
            attempts.push(attempt);
        }
        if found {
            break;
        }
    }
    let plan = machine.names.plan();
    Ok(DnsTrace {
        node: machine.options.name.clone(),
        from: pod.map(|pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!("{namespace}/{}", pod.metadata.name)
        }),
        asks_here: conf.nameservers.iter().any(|server| plan.addresses.contains(server)),
        servers: conf.nameservers,
        search: conf.searches,
        ndots,
        name: request.name,
        attempts,
    })
}

/// What stands in a pod's file, or in that of any pod of a namespace.
fn resolv_conf(machine: &Machine, pod: Option<&Pod>, namespace: Option<String>) -> ResolvConf {
    let node = resolv_file::of_node();
    let spec = pod.map(|pod| pod.spec.clone()).unwrap_or_default();
    let namespace = pod.and_then(|pod| pod.metadata.namespace.clone()).or(namespace);
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let has_family = |server: &IpAddr| {
        pod.is_none_or(|pod| pod.ips().any(|ip| ip.is_ipv4() == server.is_ipv4()))
    };
    let plan = machine.names.plan();
    let servers: Vec<IpAddr> = plan.pod_servers.iter().copied().filter(has_family).collect();
    plan_resolv_conf(&spec, &namespace, &servers, &machine.config().domain, &node)
}

fn kinds(wanted: &[String], is_address: bool) -> Result<Vec<RecordType>, ApiError> {
    if wanted.is_empty() {
        let kinds: &[RecordType] =
            if is_address { &[RecordType::PTR] } else { &[RecordType::A, RecordType::AAAA] };
        return Ok(kinds.to_vec());
    }
    let kind = |name: &String| {
        type_of(name).ok_or_else(|| {
            ApiError::new(Reason::BadRequest, format!("`{name}` is no type of records"))
                .with_hint("A, AAAA, SRV, PTR, TXT, CNAME, or a number as TYPE65")
        })
    };
    wanted.iter().map(kind).collect()
}

/// Names that a resolver tries, in order (resolv.conf(5)).
fn tries(name: &str, searches: &[String], ndots: u32) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let own = std::iter::once(format!("{name}."));
    let longer = searches.iter().map(|search| format!("{name}.{}.", search.trim_end_matches('.')));
    match name.matches('.').count() >= ndots as usize {
        true => own.chain(longer).collect(),
        false => longer.chain(own).collect(),
    }
}

fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let halves = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            halves.map(|half| format!("{half:x}.")).collect::<String>() + "ip6.arpa."
        }
    }
}

fn attempt(
    name: &Name,
    kind: RecordType,
    traced: Traced,
) -> Result<DnsAttempt, hickory_proto::serialize::binary::DecodeError> {
    let message = Message::from_vec(&traced.message)?;
    let records = |records: &[hickory_proto::rr::Record]| records.iter().map(read).collect();
    Ok(DnsAttempt {
        name: name.to_string(),
        kind: type_name(kind).into_owned(),
        rcode: crate::dns::record::Rcode(message.metadata.response_code.into()).to_string(),
        by: traced.by.to_string(),
        micros: u64::try_from(traced.took.as_micros()).unwrap_or(u64::MAX),
        answer: records(&message.answers),
        authority: records(&message.authorities),
        additional: records(&message.additionals),
        error: traced.error,
    })
}

fn read(record: &hickory_proto::rr::Record) -> DnsRecord {
    DnsRecord {
        name: record.name.to_ascii(),
        ttl: record.ttl,
        kind: record.record_type().to_string(),
        data: record.data.to_string(),
    }
}

/// The records that this node answers with.
pub(super) fn records(machine: &Machine, namespace: Option<&str>) -> Result<DnsRecords, ApiError> {
    let answers = answers(machine)?;
    let zone = answers.zone.read().unwrap_or_else(PoisonError::into_inner);
    let listed = zone.records(namespace).into_iter().map(|listed| ListedRecord {
        object: (!listed.kind.is_empty())
            .then(|| format!("{}/{}/{}", listed.kind, listed.namespace, listed.name)),
        record: written(&listed.record),
    });
    Ok(DnsRecords {
        node: machine.options.name.clone(),
        domain: zone.settings().domain.to_string(),
        serial: zone.serial(),
        synced: zone.is_synced(),
        records: listed.collect(),
    })
}

/// A record as zone files have it.
fn written(record: &Record) -> DnsRecord {
    let name = match &record.owner {
        Owner::Name(name) => name.to_string(),
        Owner::Asked => String::new(),
    };
    let data = match &record.data {
        RecordData::A(ip) => ip.to_string(),
        RecordData::Aaaa(ip) => ip.to_string(),
        RecordData::Ptr(name) | RecordData::Cname(name) | RecordData::Ns(name) => name.to_string(),
        RecordData::Txt(parts) => {
            let quoted = |part: &Vec<u8>| format!("\"{}\"", part.escape_ascii());
            parts.iter().map(quoted).collect::<Vec<_>>().join(" ")
        }
        RecordData::Srv { priority, weight, port, target } => {
            format!("{priority} {weight} {port} {target}")
        }
        RecordData::Soa { primary, mailbox, serial, refresh, retry, expire, minimum } => {
            format!("{primary} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
        }
    };
    let kind = type_name(record.data.kind()).into_owned();
    DnsRecord { name, ttl: record.ttl, kind, data }
}

/// Questions to this node: those of before, and with `follow` all that come.
pub(super) fn log(
    machine: &Machine,
    pod: Option<&Pod>,
    request: &NameLogRequest,
) -> Result<mpsc::Receiver<DnsLogEntry>, ApiError> {
    let answers = answers(machine)?;
    let pod = pod.map(|pod| PodName {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone(),
    });
    let is_wanted = move |entry: &Entry| {
        pod.as_ref().is_none_or(|pod| entry.pod.as_deref().is_some_and(|it| it == pod))
    };
    let log = answers.notes.log.clone();
    // Before the past is read, so that nothing is missing in between; what comes twice is left out.
    let mut follower = request.follow.then(|| log.follow());
    let past = log.last_of(request.tail.unwrap_or(MOST_PAST), &is_wanted);
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let newest = past.last().map(|entry| entry.time);
        for entry in past {
            if sender.send(told(&entry, 0)).await.is_err() {
                return;
            }
        }
        let Some(follower) = &mut follower else { return };
        let mut missed = 0;
        loop {
            let followed = tokio::select! {
                followed = follower.next() => followed,
                () = sender.closed() => return,
            };
            match followed {
                Followed::Lost(lost) => missed += lost,
                Followed::Query(entry) => {
                    if !is_wanted(&entry) || newest.is_some_and(|newest| entry.time <= newest) {
                        continue;
                    }
                    if sender.send(told(&entry, std::mem::take(&mut missed))).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    Ok(receiver)
}

fn told(entry: &Entry, missed: u64) -> DnsLogEntry {
    let time = Timestamp::try_from(entry.time).unwrap_or_else(|_| {
        // A clock before the year -9999 or after 9999.
        Timestamp::try_from(SystemTime::UNIX_EPOCH).expect("1970 is in range")
    });
    DnsLogEntry {
        time: time.into(),
        client: SocketAddr::new(entry.peer.ip().to_canonical(), entry.peer.port()),
        pod: entry.pod.as_ref().map(|pod| format!("{}/{}", pod.namespace, pod.name)),
        protocol: entry.protocol.as_str().to_owned(),
        name: entry.name.to_string(),
        kind: type_name(entry.kind).into_owned(),
        rcode: entry.rcode.to_string(),
        size: u32::try_from(entry.response_size).unwrap_or(u32::MAX),
        micros: u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX),
        by: entry.by.to_string(),
        missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_as_resolvers_do() {
        let searches = ["a.b".to_owned(), "b".to_owned()];
        assert_eq!(tries("web", &searches, 5), ["web.a.b.", "web.b.", "web."]);
        assert_eq!(tries("x.y", &searches, 1), ["x.y.", "x.y.a.b.", "x.y.b."]);
        assert_eq!(tries("x.", &searches, 5), ["x."]);
    }

    #[test]
    fn addresses_have_names_in_reverse() {
        assert_eq!(reverse_name("10.43.0.1".parse().unwrap()), "1.0.43.10.in-addr.arpa.");
        let name = reverse_name("fd43::1".parse().unwrap());
        assert!(name.starts_with("1.0.0.") && name.ends_with(".3.4.d.f.ip6.arpa."), "{name}");
        assert_eq!(name.len(), 32 * 2 + "ip6.arpa.".len());
    }
}
