// SPDX-License-Identifier: GPL-3.0-or-later
//! What a pod's link lacks. Pure: no kernel, no clock, no files.

use netlab_link::{
    Batch, Link, LinkChange, NodeLinks, PodAddresses, PodLink, PodNetwork, Request, mark,
};

/// What the kernel has of one pod's link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// The node's end.
    pub host: Option<Link>,
    /// What is inside the pod's namespace; `None` when nobody looked.
    pub inside: Option<PodNetwork>,
}

/// How a pod's link differs from what it must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// Nothing is missing.
    None,
    /// The veth pair is gone while the namespace is there: it must be made anew.
    Gone {
        /// What is missing, in `ip`'s words.
        missing: Vec<String>,
    },
    /// Single things are missing.
    Missing {
        /// To send in the node's namespace.
        node: Batch,
        /// To send in the pod's namespace.
        pod: Batch,
        /// What is missing, in `ip`'s words.
        missing: Vec<String>,
    },
}

/// Compares a pod's link with what it must be. What others added, on either side, stays.
pub fn diff(
    link: &PodLink,
    addresses: PodAddresses,
    alias: &str,
    node: &NodeLinks,
    observed: &ObservedPod,
) -> Difference {
    let Some(host) = &observed.host else {
        return Difference::Gone { missing: vec![format!("link {}", link.id.host_name())] };
    };
    let eth0 = |inside: &PodNetwork| {
        inside.links.iter().find(|link| link.name.as_str() == mark::POD_IF_NAME).cloned()
    };
    if let Some(inside) = &observed.inside
        && eth0(inside).is_none()
    {
        return Difference::Gone { missing: vec![format!("link {}", mark::POD_IF_NAME)] };
    }
    let mut found = Missing::default();
    found.link(link.mtu, link.host_index, host, "", Side::Node);
    if host.alias.as_deref() != Some(alias) {
        let change =
            LinkChange { alias: Some(alias.to_owned()), ..LinkChange::of(link.host_index) };
        // Not worth an event: nothing but people reads it.
        found.node.set_link(change);
    }
    for neighbour in link.plan_node_neighbours(addresses) {
        // Observed lists are sorted, and those of the node are long.
        if node.neighbours.binary_search(&neighbour).is_err() {
            found.node(
                Request::SetNeighbour(neighbour),
                &format!("neighbour {}", neighbour.address),
            );
        }
    }
    for route in link.plan_node_routes(addresses) {
        if node.routes.binary_search(&route).is_err() {
            let what = format!("route {}", route.destination);
            found.node(Request::SetRoute(route), &what);
        }
    }
    if let Some(inside) = &observed.inside {
        found.inside(link, addresses, inside);
    }
    found.into_difference()
}

enum Side {
    Node,
    Pod,
}

#[derive(Default)]
struct Missing {
    node: Batch,
    pod: Batch,
    missing: Vec<String>,
}

impl Missing {
    fn node(&mut self, request: Request, what: &str) {
        self.node.push(request);
        self.missing.push(what.to_owned());
    }

    fn pod(&mut self, request: Request, what: &str) {
        self.pod.push(request);
        self.missing.push(format!("{what} in the pod"));
    }

    fn link(
        &mut self,
        mtu: u32,
        index: netlab_link::IfIndex,
        observed: &Link,
        place: &str,
        side: Side,
    ) {
        let mut change = LinkChange::of(index);
        if !observed.up {
            change.up = Some(true);
            self.missing.push(format!("link {}{place} (it was down)", observed.name));
        }
        if observed.mtu != mtu {
            change.mtu = Some(mtu);
            self.missing.push(format!("mtu {mtu} of link {}{place}", observed.name));
        }
        if change.up.is_some() || change.mtu.is_some() {
            match side {
                Side::Node => self.node.set_link(change),
                Side::Pod => self.pod.set_link(change),
            }
        }
    }

    fn inside(&mut self, link: &PodLink, addresses: PodAddresses, inside: &PodNetwork) {
        for observed in &inside.links {
            if observed.name.as_str() == mark::POD_IF_NAME {
                self.link(link.mtu, observed.index, observed, " in the pod", Side::Pod);
            } else if observed.index == mark::LOOPBACK_INDEX && !observed.up {
                let up = LinkChange { up: Some(true), ..LinkChange::of(mark::LOOPBACK_INDEX) };
                self.pod(Request::SetLink(up), "link lo (it was down)");
            }
        }
        // Addresses before routes, as the kernel wants them.
        for address in link.plan_pod_addresses(addresses) {
            if !inside.addresses.contains(&address) {
                self.pod(Request::SetAddress(address), &format!("address {}", address.address));
            }
        }
        for neighbour in link.plan_pod_neighbours() {
            if !inside.neighbours.contains(&neighbour) {
                let what = format!("neighbour {}", neighbour.address);
                self.pod(Request::SetNeighbour(neighbour), &what);
            }
        }
        for route in link.plan_pod_routes() {
            if !inside.routes.contains(&route) {
                let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
                self.pod(Request::SetRoute(route), &format!("default route{via}"));
            }
        }
    }

    fn into_difference(self) -> Difference {
        if self.node.is_empty() && self.pod.is_empty() {
            return Difference::None;
        }
        Difference::Missing { node: self.node, pod: self.pod, missing: self.missing }
    }
}
