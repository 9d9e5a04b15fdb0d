// SPDX-License-Identifier: GPL-3.0-or-later
//! A pod link as a person would make it by hand: the same plans, with names for numbers, and with
//! a namespace of `ip netns` in place of a pin.

use std::fmt::Write as _;

use super::{PodAddresses, PodLink};
use crate::{Batch, IfIndex, Request, Veth, VethEnd, mark};

impl PodLink {
    /// The lines, for `sh` in the node's namespace, that make this link for a pod in namespace
    /// `netns`, with these addresses.
    pub fn script(&self, netns: &str, addresses: PodAddresses, alias: &str) -> String {
        let mut script = Script { link: self, netns, text: String::new() };
        script.line(&format!("ip netns add {netns}"));
        script.line(&self.pair(netns));
        // Before the links are up.
        for (setting, value) in self.pod_sysctls() {
            script.line(&format!("ip netns exec {netns} sysctl -qw {setting}={value}"));
        }
        for (setting, value) in self.node_sysctls() {
            // Kernels before 6.17 do not have it.
            script.line(&format!("sysctl -eqw {setting}={value}"));
        }
        script.in_pod(&self.plan_pod_end());
        script.in_pod(self.plan_pod_claim(addresses).requests());
        let mut node = self.plan_node_setup();
        let mut claim = Batch::new();
        self.plan_node_claim(addresses, Some(alias), &mut claim);
        node.extend(claim.requests().iter().cloned());
        script.on_node(node.requests());
        script.text
    }

    /// The lines that remove a link made by [`PodLink::script`]. The pair goes as a whole, and the
    /// routes over it with it.
    pub fn removal_script(&self, netns: &str) -> String {
        format!("ip link del dev {}\nip netns del {netns}\n", self.id.host_name())
    }

    /// The pair, from the node's end, without numbers: the node may have given them to others.
    fn pair(&self, netns: &str) -> String {
        let Veth { near, far, mtu, .. } = self.plan_pair(None);
        let near = VethEnd { index: None, ..near };
        let far = VethEnd { index: None, ..far };
        let veth = Veth { near: far, far: near, far_netns: None, mtu };
        // What is said last of the far end is the namespace that it goes to.
        format!("{} netns {netns}", Request::AddVeth(veth))
    }
}

struct Script<'a> {
    link: &'a PodLink,
    netns: &'a str,
    text: String,
}

impl Script<'_> {
    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a string never fails");
    }

    fn on_node(&mut self, requests: &[Request]) {
        let PodLink { id, host_index, .. } = *self.link;
        let name = |index| (index == host_index).then(|| id.host_name().to_string());
        for line in requests.iter().flat_map(|request| request.by_hand(name)) {
            self.line(&line);
        }
    }

    fn in_pod(&mut self, requests: &[Request]) {
        let name = |index: IfIndex| match index {
            mark::LOOPBACK_INDEX => Some("lo".to_owned()),
            mark::POD_IF_INDEX => Some(mark::POD_IF_NAME.to_owned()),
            _ => None,
        };
        for line in requests.iter().flat_map(|request| request.by_hand(name)) {
            let rest = line.strip_prefix("ip").expect("all of a pod's end is said by `ip`");
            self.line(&format!("ip -n {}{rest}", self.netns));
        }
    }
}

#[cfg(test)]
mod tests;
