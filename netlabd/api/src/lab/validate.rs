// SPDX-License-Identifier: GPL-3.0-or-later
//! What must hold between the sections of a lab file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value as Json;
use serde_path_to_error::Segment;

use super::{Expectation, Lab, LabLink, LabTest, ProbeTarget, TestSource};
use crate::dns::config::{DnsConfig, HostsTable};
use crate::names;

/// Most machines of one lab: a bridge has 1023 ports, and the router takes some.
const MOST_MACHINES: usize = 1000;

/// A fault of a lab: the section, which of them, its field, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `node`.
    pub(crate) section: &'static str,
    /// From 0.
    pub(crate) index: usize,
    /// `networks[0]`.
    pub(crate) field: String,
    /// After ```field` of node `n1` ``.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Whether the key is at fault, not what stands there.
    pub(crate) in_key: bool,
    /// Names that could have been meant instead of this one.
    pub(crate) meant: Option<(String, Vec<String>)>,
}

/// Everything that is wrong with a lab.
pub(crate) fn validate(lab: &Lab) -> Vec<Fault> {
    let mut faults = Faults { lab, found: Vec::new() };
    faults.settings();
    faults.networks();
    faults.machines();
    for (index, link) in lab.links.iter().enumerate() {
        faults.link(index, link);
    }
    for (index, test) in lab.tests.iter().enumerate() {
        faults.test(index, test);
    }
    faults.found
}

/// A way into `[lab.dns]` as TOML writes it, where keys may have dots.
fn field_of(path: &serde_path_to_error::Path) -> String {
    let mut field = "dns".to_owned();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => field += &format!("[{index}]"),
            Segment::Map { key } if key.contains(['.', ':']) => field += &format!(".\"{key}\""),
            Segment::Map { key } => field += &format!(".{key}"),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    field
}

struct Faults<'a> {
    lab: &'a Lab,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, section: &'static str, index: usize, field: &str, message: String) {
        let field = field.to_owned();
        let (hint, in_key, meant) = (None, false, None);
        self.found.push(Fault { section, index, field, message, hint, in_key, meant });
    }

    fn hint(&mut self, hint: impl Into<String>) {
        if let Some(last) = self.found.last_mut() {
            last.hint = Some(hint.into());
        }
    }

    fn settings(&mut self) {
        let settings = &self.lab.settings;
        if let Some(name) = &settings.name
            && let Err(error) = names::dns_label(name)
        {
            self.add("lab", 0, "name", format!("is not allowed: {}", error.message));
            self.found.last_mut().expect("one was just added").hint = error.hint;
        }
        self.prefixes("lab", 0, "podNetworks", &settings.pod_networks);
        for (at, network) in settings.pod_networks.iter().enumerate() {
            let least = if network.addr().is_ipv4() { 26 } else { 122 };
            if network.prefix_len() > least {
                let field = format!("podNetworks[{at}]");
                self.add("lab", 0, &field, format!("must be a /{least} or larger"));
            }
        }
        self.pools();
        self.dns();
    }

    /// What the daemon would refuse to start with.
    fn dns(&mut self) {
        let said = &self.lab.settings.dns;
        let hosts = said.get("hosts").and_then(Json::as_object);
        let bad = hosts.into_iter().flatten().map(|(address, _)| address);
        let is_bad = |key: &&String| {
            key.parse::<IpAddr>().is_err()
                && !HostsTable::OPTIONS.contains(&key.replace('_', "-").as_str())
        };
        let bad: Vec<&String> = bad.filter(is_bad).collect();
        for address in &bad {
            let field = format!("dns.hosts.\"{address}\"");
            self.add("lab", 0, &field, "stands where an address belongs".to_owned());
            self.hint("write `\"192.0.2.7\" = [\"db.example.com\"]`");
            self.found.last_mut().expect("one was just added").in_key = true;
        }
        if !bad.is_empty() {
            return;
        }
        let config: Result<DnsConfig, _> =
            serde_path_to_error::deserialize(Json::Object(said.clone()));
        match config {
            Ok(config) => {
                for error in config.check().err().map(|errors| errors.0).unwrap_or_default() {
                    let message = format!("cannot be {}: it {}", error.value, error.problem);
                    self.add("lab", 0, &error.key, message);
                    self.hint(error.cure);
                }
            }
            Err(error) => {
                let field = field_of(error.path());
                self.add("lab", 0, &field, format!("cannot be read: {}", error.inner()));
            }
        }
    }

    /// Pools of load balancer addresses: any number, apart from each other and from pods.
    fn pools(&mut self) {
        let settings = &self.lab.settings;
        for (at, pool) in settings.load_balancer_pools.iter().enumerate() {
            let field = format!("loadBalancerPools[{at}]");
            if pool.trunc() != *pool {
                self.add("lab", 0, &field, "has host bits".to_owned());
                self.hint(format!("write `{}`", pool.trunc()));
            }
            let earlier = settings.load_balancer_pools[..at].iter().map(|net| ("pool", net));
            let pods = settings.pod_networks.iter().map(|net| ("pod network", net));
            let overlaps = |net: &IpNet| net.contains(pool) || pool.contains(net);
            if let Some((what, other)) = earlier.chain(pods).find(|(_, net)| overlaps(net)) {
                self.add("lab", 0, &field, format!("overlaps with the {what} `{other}`"));
            }
        }
    }

    fn networks(&mut self) {
        let mut seen = BTreeSet::new();
        let mut taken: Vec<(&str, IpNet)> = Vec::new();
        for (index, network) in self.lab.networks.iter().enumerate() {
            self.name("network", index, &network.name);
            if !seen.insert(network.name.as_str()) {
                self.add("network", index, "name", "is taken by another network".to_owned());
            }
            self.prefixes("network", index, "subnets", &network.subnets);
            for (at, subnet) in network.subnets.iter().enumerate() {
                let field = format!("subnets[{at}]");
                let roomy = if subnet.addr().is_ipv4() { 30 } else { 126 };
                if subnet.prefix_len() > roomy {
                    self.add("network", index, &field, "has no room for machines".to_owned());
                }
                let overlaps = |other: &IpNet| other.contains(subnet) || subnet.contains(other);
                if let Some((other, _)) = taken.iter().find(|(_, other)| overlaps(other)) {
                    let message = format!("overlaps with a subnet of network `{other}`");
                    self.add("network", index, &field, message);
                }
                taken.push((&network.name, *subnet));
            }
        }
    }

    /// At most one prefix of each family, without host bits.
    fn prefixes(&mut self, section: &'static str, index: usize, field: &str, all: &[IpNet]) {
        let mut families = BTreeMap::new();
        for (at, prefix) in all.iter().enumerate() {
            let field = format!("{field}[{at}]");
            if prefix.trunc() != *prefix {
                self.add(section, index, &field, "has host bits".to_owned());
                self.hint(format!("write `{}`", prefix.trunc()));
            }
            if families.insert(prefix.addr().is_ipv4(), at).is_some() {
                let message = "is the second one of its address family".to_owned();
                self.add(section, index, &field, message);
            }
        }
    }

    fn machines(&mut self) {
        let lab = self.lab;
        let nodes = lab.nodes.iter().map(|n| ("node", &n.name, &n.network, &n.networks));
        let hosts = lab.hosts.iter().map(|h| ("host", &h.name, &h.network, &h.networks));
        let nodes: Vec<_> = nodes.enumerate().chain(hosts.enumerate()).collect();
        let mut seen = BTreeSet::new();
        if nodes.len() > MOST_MACHINES {
            self.add("node", 0, "name", format!("is one of over {MOST_MACHINES} machines"));
        }
        for (index, (section, name, network, networks)) in nodes {
            self.name(section, index, name);
            if !seen.insert(name.as_str()) {
                self.add(section, index, "name", "is taken by another machine".to_owned());
                self.hint("nodes and hosts share their names");
            }
            if network.is_some() && !networks.is_empty() {
                self.add(section, index, "network", "cannot stand beside `networks`".to_owned());
            }
            if let Some(network) = network {
                self.network(section, index, "network", network);
            }
            let mut plugged = BTreeSet::new();
            for (at, network) in networks.iter().enumerate() {
                let field = format!("networks[{at}]");
                self.network(section, index, &field, network);
                if !plugged.insert(network) {
                    self.add(section, index, &field, "stands there twice".to_owned());
                }
            }
        }
    }

    fn name(&mut self, section: &'static str, index: usize, name: &str) {
        if let Err(error) = names::dns_label(name) {
            self.add(section, index, "name", format!("is not allowed: {}", error.message));
            self.found.last_mut().expect("one was just added").hint = error.hint;
        } else if name == "router" {
            self.add(section, index, "name", "is the name of the lab's own router".to_owned());
        }
    }

    fn network(&mut self, section: &'static str, index: usize, field: &str, name: &str) {
        let known: Vec<String> = match self.lab.networks.is_empty() {
            true => vec![super::DEFAULT_NETWORK.to_owned()],
            false => self.lab.networks.iter().map(|network| network.name.clone()).collect(),
        };
        if !known.iter().any(|known| known == name) {
            self.add(section, index, field, format!("names no network: there is no `{name}`"));
            self.found.last_mut().expect("one was just added").meant =
                Some((name.to_owned(), known));
        }
    }

    fn machine(&mut self, section: &'static str, index: usize, field: &str, name: &str) {
        let mut known: Vec<String> = self.lab.machines().map(str::to_owned).collect();
        if self.lab.nodes.is_empty() {
            known.push(super::DEFAULT_NODE.to_owned());
        }
        if !known.iter().any(|known| known == name) {
            let message = format!("names no node and no host: there is no `{name}`");
            self.add(section, index, field, message);
            self.found.last_mut().expect("one was just added").meant =
                Some((name.to_owned(), known));
        }
    }

    fn link(&mut self, index: usize, link: &LabLink) {
        let faults = link.faults();
        match (&link.of, &link.between[..]) {
            (Some(name), []) => {
                self.machine("link", index, "of", name);
                if faults.is_none() {
                    self.add("link", index, "of", "is a link with nothing wrong".to_owned());
                    self.hint("write what is wrong with it: `down = true`, `rate = \"10mbit\"`");
                }
                if let Some(network) = &link.network {
                    self.network("link", index, "network", network);
                }
            }
            (None, [one, other]) => {
                self.machine("link", index, "between[0]", one);
                self.machine("link", index, "between[1]", other);
                if one == other {
                    let message = "must name two machines, not one twice".to_owned();
                    self.add("link", index, "between", message);
                }
                let only_down = super::Faults { down: true, ..super::Faults::default() };
                if link.network.is_some() || !(faults.is_none() || faults == only_down) {
                    let message = "parts two machines, and takes nothing else".to_owned();
                    self.add("link", index, "between", message);
                }
            }
            (None, []) => {
                self.add("link", index, "of", "is missing".to_owned());
                self.hint("write `of = \"n1\"`, or `between = [\"n1\", \"n2\"]`");
            }
            (Some(_), _) => {
                self.add("link", index, "between", "cannot stand beside `of`".to_owned());
            }
            (None, _) => {
                self.add("link", index, "between", "must name two machines".to_owned());
            }
        }
        if faults.jitter.is_some() && faults.delay.is_none() {
            self.add("link", index, "jitter", "needs a `delay` to vary".to_owned());
        }
        if faults.reorder.is_some() && faults.delay.is_none() {
            self.add("link", index, "reorder", "needs a `delay` to overtake".to_owned());
        }
    }

    fn test(&mut self, index: usize, test: &LabTest) {
        if let TestSource::Host(name) | TestSource::Node(name) = &test.from {
            self.machine("test", index, "from", name);
        }
        if matches!(test.expect, Expectation::Status(_))
            && !matches!(test.to, ProbeTarget::Http { .. })
        {
            let message = "is an HTTP status, and `to` is not asked by HTTP".to_owned();
            self.add("test", index, "expect", message);
        }
    }
}
