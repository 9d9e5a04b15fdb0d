// SPDX-License-Identifier: GPL-3.0-or-later
//! Walks the cases, in each layout and family, over each protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use netlab_tests::observe;

use crate::agent::{Ask, Outcomes, PORT};
use crate::cases::{Case, Expect, INSIDE, OUTSIDE, Seen, To};
use crate::offer::{OUTER, UNALLOCATED};
use crate::stage::{Layout, Place, SERVICE_NETWORKS, Stage};

/// Connections of a case that several servers answer: that one of three gets none by chance
/// happens once in ten thousand million cases.
const MANY: u64 = 60;

/// Connections where all must be alike.
const FEW: u64 = 5;

#[test]
fn every_client_meets_every_service_as_it_must_in_layout_nftables() {
    walk("cases-nft", Layout::Nftables);
}

#[test]
fn every_client_meets_every_service_as_it_must_in_layout_iptables() {
    walk("cases-ipt", Layout::Iptables);
}

fn walk(name: &str, layout: Layout) {
    let stage = Stage::full(name, layout);
    watch_services(&stage);
    let mut questions: BTreeMap<Place, Vec<(Case, String, Ask)>> = BTreeMap::new();
    for case in INSIDE.iter().chain(OUTSIDE) {
        for family in case.families {
            let all = stage.protocols.iter();
            for protocol in all.filter(|it| case.protocol.is_none_or(|only| only == **it)) {
                let ask = question(&stage, case, *family, protocol);
                let what = format!(
                    "row {} ({}): {:?} to {:?}, {protocol} to {}:{}",
                    case.row, case.what, case.from, case.to, ask.to, ask.port
                );
                questions.entry(case.from).or_default().push((*case, what, ask));
            }
        }
    }
    let failures: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = questions
            .iter()
            .map(|(place, questions)| {
                let stage = &stage;
                scope.spawn(move || {
                    let asks: Vec<Ask> = questions.iter().map(|(_, _, ask)| ask.clone()).collect();
                    let found = stage.agent(*place).ask_all(&asks);
                    let cases = questions.iter().zip(&found);
                    let judged = cases.filter_map(|((case, what, _), found)| {
                        let why = judge(stage, case, found).err()?;
                        Some(format!("{what}: {why}"))
                    });
                    judged.collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client answers")).collect()
    });
    let asked: usize = questions.values().map(Vec::len).sum();
    println!("{asked} cases in layout {}", layout.as_str());
    assert!(failures.is_empty(), "{} of {asked} cases:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(seen_services(&stage), 0, "packets to services left the cluster");
}

/// What to ask for a case.
fn question(stage: &Stage, case: &Case, family: usize, protocol: &'static str) -> Ask {
    let (to, port) = match case.to {
        To::ClusterIp(service) => (stage.cluster_ip(service, family), PORT),
        To::OtherPort(service) => (stage.cluster_ip(service, family), PORT + 1),
        To::Unallocated => (UNALLOCATED[family].to_owned(), PORT),
        To::NodePort(service, node) => {
            let address = stage.main_addresses(node)[family].clone();
            (address, stage.node_port(service, protocol))
        }
        To::Loopback(service) => {
            (["127.0.0.1", "::1"][family].to_owned(), stage.node_port(service, protocol))
        }
        To::External(port) => (OUTER[family].to_owned(), port),
        To::Balancer(service) => (stage.balancer_ip(service, family), PORT),
    };
    let (count, timeout) = match case.expect {
        Expect::Answers([_], _) => (FEW, 5.0),
        Expect::Answers(..) => (MANY, 5.0),
        Expect::Refused | Expect::Elsewhere => (1, 5.0),
        Expect::Silent => (1, 1.0),
    };
    Ask { to, port, protocol, count, timeout, source: None }
}

/// Whether a case came out as it must.
fn judge(stage: &Stage, case: &Case, found: &Outcomes) -> Result<(), String> {
    let kinds: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let is_one_of =
        |wanted: &[&str]| kinds.len() == 1 && kinds.iter().all(|it| wanted.contains(it));
    let is_so = match case.expect {
        Expect::Refused => is_one_of(&["refused"]),
        Expect::Silent => is_one_of(&["silence"]),
        Expect::Elsewhere => is_one_of(&["ENETUNREACH", "EHOSTUNREACH"]),
        Expect::Answers(servers, seen) => {
            let sources = stage.addresses(match (seen, case.from) {
                (Seen::TheNode(node), _) => node,
                (Seen::Client, Place::Pod(name) | Place::Node(name) | Place::Host(name)) => name,
            });
            let mut answered = BTreeSet::new();
            for kind in &kinds {
                match kind.split_once(' ') {
                    Some((server, source)) if sources.iter().any(|it| it == source) => {
                        answered.insert(server);
                    }
                    Some(_) => return Err(format!("{found:?}, the source is none of {sources:?}")),
                    None => return Err(format!("{found:?}, expected {:?}", case.expect)),
                }
            }
            answered == servers.iter().copied().collect()
        }
    };
    if is_so { Ok(()) } else { Err(format!("{found:?}, expected {:?}", case.expect)) }
}

/// Counts packets to service addresses that arrive at the router, which nobody sent there.
fn watch_services(stage: &Stage) {
    let rules = format!(
        "table inet watch {{ chain arrivals {{ type filter hook prerouting priority 0; \
         ip daddr {} counter; ip6 daddr {} counter; }}\n}}\n",
        SERVICE_NETWORKS[0], SERVICE_NETWORKS[1]
    );
    stage.cluster.router.exec_with_input(&["nft", "-f", "-"], rules.as_bytes()).ok();
}

fn seen_services(stage: &Stage) -> u64 {
    let counters = observe::nft(&stage.cluster.router);
    let expressions = counters.iter().flat_map(|item| observe::items(&item["rule"]["expr"]));
    let packets = expressions.filter_map(|expression| expression["counter"]["packets"].as_u64());
    let packets: Vec<u64> = packets.collect();
    assert_eq!(packets.len(), 2, "{counters:?}");
    packets.iter().sum()
}
