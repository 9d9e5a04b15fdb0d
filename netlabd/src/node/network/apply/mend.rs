// SPDX-License-Identifier: GPL-3.0-or-later
//! What is missing of a pod's link, and how it comes back: a part of it, all of it, or its pin.

use std::collections::BTreeMap;
use std::path::Path;

use netlab_link::{Batch, IfIndex, KernelError, Netns, NodeLinks, PodLink, PodLinkId};

use super::{Network, NetworkError, Wanted};
use crate::node::network::plan::{Difference, ObservedPod, diff};

/// The node's ends of pod links.
pub type HostLinks<'a> = BTreeMap<PodLinkId, &'a netlab_link::Link>;

/// The node's ends that were observed, by the link they belong to.
pub fn host_links(node: &NodeLinks) -> HostLinks<'_> {
    node.links
        .iter()
        .filter_map(|link| Some((PodLinkId::from_host_name(&link.name)?, link)))
        .collect()
}

impl Network {
    /// Compares a pod's link, inside and outside, with what it must be, and mends what is
    /// missing. Answers what was missing, and the link as it is now.
    ///
    /// `hosts` are the [`host_links`] of `node`, which whoever mends many makes once.
    ///
    /// # Errors
    /// When it cannot be mended.
    pub fn mend(
        &mut self,
        wanted: &Wanted,
        id: PodLinkId,
        node: &NodeLinks,
        hosts: &HostLinks<'_>,
        look_inside: bool,
    ) -> Result<(PodLink, Vec<String>), NetworkError> {
        let Wanted { pod, addresses } = wanted;
        let host = hosts.get(&id).copied().cloned();
        let inside = if look_inside { Some(self.observe_inside(pod, id)?) } else { None };
        let index = host.as_ref().map_or(IfIndex::new(0), |link| link.index);
        let link = self.link(id, index);
        let observed = ObservedPod { host, inside };
        match diff(&link, *addresses, pod, node, &observed) {
            Difference::None => Ok((link, Vec::new())),
            Difference::Gone { missing } => {
                let link = self.rebuild(wanted, id, observed.host.as_ref())?;
                Ok((link, missing))
            }
            Difference::Missing { node, pod: pod_side, missing } => {
                let sent = |source| NetworkError::Send { source };
                if !pod_side.is_empty() {
                    self.pod_socket(pod, id)?.send_all(&pod_side).map_err(sent)?;
                }
                self.socket.send_all(&node).map_err(sent)?;
                Ok((link, missing))
            }
        }
    }

    /// Makes the veth pair of a namespace anew, under its old name.
    fn rebuild(
        &mut self,
        wanted: &Wanted,
        id: PodLinkId,
        leftover: Option<&netlab_link::Link>,
    ) -> Result<PodLink, NetworkError> {
        let sent = |source| NetworkError::Send { source };
        if let Some(leftover) = leftover {
            let mut batch = Batch::new();
            batch.del_link(leftover.index);
            self.socket
                .send(&batch)
                .and_then(|o| Ok(o.ignore(KernelError::is_not_found).check()?))
                .map_err(sent)?;
        }
        // Any free number will do; the pool counts its own from a base of its own.
        let index =
            IfIndex::new(0x0200_0000 | (uuid::Uuid::new_v4().as_u128() as u32 & 0x00ff_ffff));
        let link = self.link(id, index);
        let mut pod_socket = self.pod_socket(&wanted.pod, id)?;
        pod_socket.send_all(&link.plan_pod_setup(self.node.clone())).map_err(sent)?;
        self.socket.send_all(&link.plan_node_setup()).map_err(sent)?;
        link.set_sysctls(&self.node, &self.pod_netns(&wanted.pod, id)?)?;
        pod_socket.send_all(&link.plan_pod_claim(wanted.addresses)).map_err(sent)?;
        let mut node_side = Batch::new();
        link.plan_node_claim(wanted.addresses, Some(&wanted.pod), &mut node_side);
        self.socket.send_all(&node_side).map_err(sent)?;
        Ok(link)
    }

    /// Pins a namespace that lives in a process again, after its pin was unmounted by hand.
    ///
    /// # Errors
    /// When the process' namespace cannot be had.
    pub fn pin_again(&self, pod: &str, id: PodLinkId, pid: i32) -> Result<(), NetworkError> {
        let enter = |source| NetworkError::Enter { pod: pod.to_owned(), source };
        let netns = Netns::open(Path::new(&format!("/proc/{pid}/ns/net"))).map_err(enter)?;
        netns.pin(&self.pin_path(id)).map_err(enter)
    }
}
