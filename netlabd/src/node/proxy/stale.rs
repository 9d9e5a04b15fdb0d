// SPDX-License-Identifier: GPL-3.0-or-later
//! Flows of UDP that lead where nobody serves any more. Pure.
//!
//! Connection tracking goes on leading the packets of a client to the endpoint that it once got,
//! for as long as packets come; rules are not asked again. A client of TCP notices that its
//! endpoint is gone and connects anew, one of UDP may never. So flows go with the endpoint that
//! they lead to, and those that led nowhere, because there was no endpoint, when there is one.
//! Flows to endpoints that still serve stay, and those of other protocols do.
//!
//! Looks are two. The first comes right after the rules are written, and spares flows that were not
//! answered yet, to endpoints that served until now: the answer may be on its way, and without its
//! flow it would come to the client from an address that it does not know. The second, a moment
//! later, spares none; it also finds flows of packets that had met the old rules and were not
//! tracked yet when the first one looked.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use netlab_nft::conntrack::Flow;
use netlab_nft::{Family, Protocol};

use super::port::PortPlan;

/// Where packets of changed services arrive, and where they may lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    fronts: HashMap<SocketAddr, BTreeSet<SocketAddr>>,
    /// By family and port.
    doors: HashMap<(Family, u16), BTreeSet<SocketAddr>>,
    /// Who served before.
    served: BTreeSet<SocketAddr>,
}

/// IP protocol number of UDP.
pub const UDP: u8 = 17;

impl Stale {
    /// What a service was, before its [`Stale::is_now`]: nothing serves there, as far as is known.
    pub fn was<'a>(&mut self, plans: impl IntoIterator<Item = &'a PortPlan>) {
        for plan in plans.into_iter().filter(|plan| plan.id.protocol == Protocol::Udp) {
            self.served.extend(&plan.serving);
            self.note([plan], |_| Vec::new());
        }
    }

    /// What changed besides.
    pub fn absorb(&mut self, other: Stale) {
        for (front, serving) in other.fronts {
            self.fronts.entry(front).or_default().extend(serving);
        }
        for (door, serving) in other.doors {
            self.doors.entry(door).or_default().extend(serving);
        }
        self.served.extend(other.served);
    }

    /// What a service is.
    pub fn is_now<'a>(&mut self, plans: impl IntoIterator<Item = &'a PortPlan>) {
        self.note(plans, |plan| plan.serving.clone());
    }

    fn note<'a>(
        &mut self,
        plans: impl IntoIterator<Item = &'a PortPlan>,
        serving: impl Fn(&PortPlan) -> Vec<SocketAddr>,
    ) {
        for plan in plans.into_iter().filter(|plan| plan.id.protocol == Protocol::Udp) {
            for address in plan.cluster_ip.iter().chain(&plan.external_ips) {
                let front = SocketAddr::new(*address, plan.port);
                self.fronts.entry(front).or_default().extend(serving(plan));
            }
            if let Some(port) = plan.node_port {
                let door = (plan.id.family, port);
                self.doors.entry(door).or_default().extend(serving(plan));
            }
        }
    }

    /// Whether any flow could be stale.
    pub fn is_empty(&self) -> bool {
        self.fronts.is_empty() && self.doors.is_empty()
    }

    /// Families in which flows must be looked at.
    pub fn families(&self) -> BTreeSet<Family> {
        let fronts = self.fronts.keys().map(|front| family(front.ip()));
        fronts.chain(self.doors.keys().map(|(family, _)| *family)).collect()
    }

    /// Whether a flow is to go. `is_local` says which addresses are this node's, at which its node
    /// ports are.
    pub fn has(&self, flow: &Flow, is_local: impl Fn(IpAddr) -> bool) -> bool {
        if flow.protocol != UDP {
            return false;
        }
        let (to, from) = (flow.original.destination, flow.reply.source);
        if let Some(serving) = self.fronts.get(&to) {
            return !serving.contains(&from);
        }
        let Some(serving) = self.doors.get(&(family(to.ip()), to.port())) else { return false };
        !serving.contains(&from) && is_local(to.ip())
    }

    /// From here on no answer is on its way any more.
    pub fn spare_none(&mut self) {
        self.served.clear();
    }

    /// Whether the answer to a flow's first packet may be on its way.
    pub fn may_be_answered(&self, flow: &Flow) -> bool {
        !flow.is_replied() && self.served.contains(&flow.reply.source)
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ip } else { Family::Ip6 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::proxy::port::PortId;
    use netlab_nft::conntrack::Tuple;

    fn plan(serving: &[&str]) -> PortPlan {
        PortPlan {
            id: Arc::new(PortId {
                namespace: "default".to_owned(),
                service: "dns".to_owned(),
                port: String::new(),
                protocol: Protocol::Udp,
                family: Family::Ip,
            }),
            port: 53,
            cluster_ip: Some([10, 43, 0, 7].into()),
            external_ips: Vec::new(),
            balancer_ips: Vec::new(),
            guarded_ips: Vec::new(),
            source_ranges: None,
            node_port: Some(30_053),
            cluster: Vec::new(),
            local: Vec::new(),
            own: Vec::new(),
            serving: serving.iter().map(|text| text.parse().expect(text)).collect(),
            has_endpoints: !serving.is_empty(),
            internal_local: false,
            external_local: false,
            affinity: None,
            source: None,
        }
    }

    fn flow(protocol: u8, to: &str, answers: &str) -> Flow {
        let client: SocketAddr = "10.42.0.9:4000".parse().expect("an address");
        let (to, answers) = (to.parse().expect(to), answers.parse().expect(answers));
        Flow {
            protocol,
            original: Tuple { source: client, destination: to, icmp: None },
            reply: Tuple { source: answers, destination: client, icmp: None },
            zone: 0,
            status: 0,
            state: None,
            timeout_secs: 30,
            mark: 0,
            id: 1,
            sent: None,
            received: None,
        }
    }

    #[test]
    fn exactly_the_flows_go_that_lead_to_nobody_who_serves() {
        let mut stale = Stale::default();
        stale.was(&[plan(&["10.42.0.1:53", "10.42.0.2:53"])]);
        stale.is_now(&[plan(&["10.42.0.2:53"])]);
        let is_local = |address: IpAddr| address == IpAddr::from([192, 0, 2, 1]);
        let has = |protocol, to, answers| stale.has(&flow(protocol, to, answers), is_local);
        assert!(has(17, "10.43.0.7:53", "10.42.0.1:53"), "its endpoint is gone");
        assert!(!has(17, "10.43.0.7:53", "10.42.0.2:53"), "its endpoint serves");
        assert!(has(17, "10.43.0.7:53", "10.43.0.7:53"), "it was never translated");
        assert!(!has(6, "10.43.0.7:53", "10.42.0.1:53"), "TCP lives on");
        assert!(!has(17, "10.43.0.8:53", "10.42.0.1:53"), "another service");
        assert!(has(17, "192.0.2.1:30053", "10.42.0.1:53"), "by the node port");
        assert!(!has(17, "198.51.100.1:30053", "198.51.100.1:30053"), "a port of somebody else");
        assert_eq!(stale.families(), BTreeSet::from([Family::Ip]));
    }

    #[test]
    fn only_what_awaits_an_answer_of_somebody_who_served_is_spared() {
        let mut stale = Stale::default();
        stale.was(&[plan(&["10.42.0.1:53"])]);
        let mut waiting = flow(17, "10.43.0.7:53", "10.42.0.1:53");
        assert!(stale.may_be_answered(&waiting));
        waiting.status = 2;
        assert!(!stale.may_be_answered(&waiting), "it was answered");
        assert!(!stale.may_be_answered(&flow(17, "10.43.0.7:53", "10.42.0.9:53")), "by nobody");
        assert!(!stale.may_be_answered(&flow(17, "10.43.0.7:53", "10.43.0.7:53")), "by nobody");
    }

    #[test]
    fn a_service_that_is_gone_leaves_no_flow() {
        let mut stale = Stale::default();
        stale.was(&[plan(&["10.42.0.1:53"])]);
        assert!(stale.has(&flow(17, "10.43.0.7:53", "10.42.0.1:53"), |_| false));
        assert!(Stale::default().is_empty());
    }
}
