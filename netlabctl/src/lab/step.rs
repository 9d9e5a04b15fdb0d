// SPDX-License-Identifier: GPL-3.0-or-later
//! Steps towards a lab, as values. `Display` is what `ip`, `tc` and `sysctl` would say; the
//! namespace `netlab-shop-n1` in that text is the machine `n1` of lab `shop`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::ROUTER;

/// The setting, below `net/`, by which links that are made from then on wait a second for somebody
/// who has their link-local address already. Until then a machine finds no neighbour over IPv6, and
/// in a lab nobody has another's address.
pub(crate) const NO_DETECTION: &str = "ipv6/conf/default/accept_dad";

/// One change of a lab's network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// The lab, for the text.
    pub(crate) lab: String,
    /// The machine, or `router`.
    pub(crate) machine: String,
    pub(crate) what: What,
}

/// What a step does in its machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Ends what is in a namespace, and removes it.
    Remove,
    /// Deletes a link, with its other end.
    DelLink {
        dev: String,
    },
    /// Makes the namespace, with `lo` up.
    AddNetns,
    /// Makes a bridge, in the router.
    AddBridge {
        bridge: String,
        index: u32,
        mtu: u32,
    },
    /// Makes a link from the router to a machine, and plugs it in.
    AddCable {
        peer: String,
        peer_index: u32,
        bridge: String,
        bridge_index: u32,
        to: String,
        dev: String,
        index: u32,
        mac: String,
        mtu: u32,
    },
    SetAddress {
        dev: String,
        index: u32,
        address: IpNet,
    },
    DelAddress {
        dev: String,
        index: u32,
        address: IpNet,
    },
    SetUp {
        dev: String,
        index: u32,
    },
    SetDefaultRoute {
        dev: String,
        index: u32,
        via: IpAddr,
    },
    SetSysctl {
        name: &'static str,
        value: &'static str,
    },
    /// Starts the daemon of a node.
    StartDaemon {
        command: String,
    },
}

impl Step {
    pub(crate) fn new(lab: &str, machine: &str, what: What) -> Step {
        Step { lab: lab.to_owned(), machine: machine.to_owned(), what }
    }
}

/// Name of a machine's namespace in texts.
pub(crate) fn netns_name(lab: &str, machine: &str) -> String {
    format!("netlab-{lab}-{machine}")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = netns_name(&self.lab, &self.machine);
        let six = |is_ipv6: bool| if is_ipv6 { " -6" } else { "" };
        match &self.what {
            What::Remove => write!(f, "ip netns delete {name}"),
            What::DelLink { dev } => write!(f, "ip -n {name} link delete dev {dev}"),
            What::AddNetns => {
                writeln!(f, "ip netns add {name}")?;
                let key = format!("net/{NO_DETECTION}");
                writeln!(f, "ip netns exec {name} sysctl -qw {key}=0")?;
                write!(f, "ip -n {name} link set dev lo up")
            }
            What::AddBridge { bridge, index, mtu } => {
                writeln!(f, "ip -n {name} link add name {bridge} index {index} type bridge")?;
                write!(f, "ip -n {name} link set dev {bridge} mtu {mtu} up")
            }
            What::AddCable { peer, peer_index, bridge, to, dev, index, mac, mtu, .. } => {
                let to = netns_name(&self.lab, to);
                write!(
                    f,
                    "ip -n {name} link add name {peer} mtu {mtu} index {peer_index} type veth \
                     peer name {dev} address {mac} mtu {mtu} index {index} netns {to}\n\
                     ip -n {name} link set dev {peer} master {bridge} up"
                )
            }
            What::SetAddress { dev, address, .. } => {
                let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
                let six = six(address.addr().is_ipv6());
                write!(f, "ip -n {name}{six} address replace {address} dev {dev}{nodad}")
            }
            What::DelAddress { dev, address, .. } => {
                let six = six(address.addr().is_ipv6());
                write!(f, "ip -n {name}{six} address del {address} dev {dev}")
            }
            What::SetUp { dev, .. } => write!(f, "ip -n {name} link set dev {dev} up"),
            What::SetDefaultRoute { dev, via, .. } => {
                let six = six(via.is_ipv6());
                write!(f, "ip -n {name}{six} route replace default via {via} dev {dev}")
            }
            What::SetSysctl { name: key, value } => {
                write!(f, "ip netns exec {name} sysctl -qw {key}={value}")
            }
            What::StartDaemon { command } => write!(f, "ip netns exec {name} {command} &"),
        }
    }
}

impl Step {
    /// Whether it happens in the router's namespace, and concerns all machines.
    pub(crate) fn is_router(&self) -> bool {
        self.machine == ROUTER
    }
}
