// SPDX-License-Identifier: GPL-3.0-or-later
//! What must be observed: a case is a client, a target, and who answers it with which source
//! address. Numbers are rows of kube-proxy's behaviour; see the table at the end of `main.rs`.

use crate::stage::Place;
use Expect::{Answers, Elsewhere, Refused, Silent};
use Place::{Host, Node, Pod};
use Seen::{Client, TheNode};
use To::{Balancer, ClusterIp, External, Loopback, NodePort, OtherPort, Unallocated};

/// Where a client connects to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    /// A service's cluster IP, at its port.
    ClusterIp(&'static str),
    /// A service's cluster IP, at a port that it has not.
    OtherPort(&'static str),
    /// An address of the service network that no service has.
    Unallocated,
    /// A service's port of a node, by the node's address.
    NodePort(&'static str, &'static str),
    /// The same by the client's own loopback address.
    Loopback(&'static str),
    /// The external address of service `outer`, at this port.
    External(u16),
    /// The address of a service's load balancer.
    Balancer(&'static str),
}

/// Whose address servers see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    /// The client's own.
    Client,
    /// One of a node.
    TheNode(&'static str),
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// Each of these servers answers, and no other.
    Answers(&'static [&'static str], Seen),
    /// It is refused at once.
    Refused,
    /// Nothing comes back.
    Silent,
    /// It leaves the cluster untouched, to where no such address is.
    Elsewhere,
}

/// A client, a target, and what must happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Row of kube-proxy's behaviour.
    pub(crate) row: u8,
    pub(crate) what: &'static str,
    pub(crate) from: Place,
    pub(crate) to: To,
    pub(crate) expect: Expect,
    /// Families: 0 is IPv4, 1 is IPv6.
    pub(crate) families: &'static [usize],
    /// The only protocol, if not all.
    pub(crate) protocol: Option<&'static str>,
}

const fn case(row: u8, what: &'static str, from: Place, to: To, expect: Expect) -> Case {
    Case { row, what, from, to, expect, families: &[0, 1], protocol: None }
}

impl Case {
    const fn in_family(self, families: &'static [usize]) -> Case {
        Case { families, ..self }
    }

    const fn over(self, protocol: &'static str) -> Case {
        Case { protocol: Some(protocol), ..self }
    }
}

const ALL: &[&str] = &["s1", "s2", "s3"];
const BOTH: &[&str] = &["s1", "s2"];

/// Clients inside the cluster, and those that come by routes to its networks.
pub(crate) const INSIDE: &[Case] = &[
    case(1, "pod, all endpoints", Pod("c1"), ClusterIp("plain"), Answers(ALL, Client)),
    case(1, "pod of another node", Pod("c3"), ClusterIp("plain"), Answers(ALL, Client)),
    case(1, "node", Node("n1"), ClusterIp("plain"), Answers(ALL, Client)),
    case(1, "another node", Node("n3"), ClusterIp("plain"), Answers(ALL, Client)),
    case(1, "one endpoint elsewhere", Pod("c2"), ClusterIp("alone"), Answers(&["s1"], Client)),
    case(2, "no such port, pod", Pod("c1"), OtherPort("plain"), Refused),
    case(2, "no such port, node", Node("n2"), OtherPort("plain"), Refused),
    case(2, "no such port, host", Host("laptop"), OtherPort("plain"), Refused),
    case(3, "no such service, pod", Pod("c1"), Unallocated, Silent),
    case(3, "no such service, node", Node("n2"), Unallocated, Silent),
    case(3, "no such service, host", Host("laptop"), Unallocated, Silent),
    case(4, "no endpoint, pod", Pod("c1"), ClusterIp("empty"), Refused),
    case(4, "no endpoint, node", Node("n1"), ClusterIp("empty"), Refused),
    case(4, "no endpoint, host", Host("laptop"), ClusterIp("empty"), Refused),
    case(4, "none is ready", Pod("c1"), ClusterIp("unready"), Refused),
    case(12, "one of this node", Pod("c1"), ClusterIp("near"), Answers(&["s1"], Client)),
    case(12, "one of that node", Pod("c2"), ClusterIp("near"), Answers(&["s2"], Client)),
    case(12, "none of this node", Pod("c3"), ClusterIp("near"), Silent),
    case(12, "node with one", Node("n1"), ClusterIp("near"), Answers(&["s1"], Client)),
    case(12, "node without", Node("n3"), ClusterIp("near"), Silent),
    case(12, "host by a node", Host("desk"), ClusterIp("near"), Answers(&["s2"], TheNode("n2"))),
    case(12, "none anywhere", Pod("c1"), ClusterIp("nobody"), Refused),
    case(16, "all are ending", Pod("c3"), ClusterIp("ending"), Answers(BOTH, Client)),
    case(16, "one is ending", Pod("c2"), ClusterIp("one-ends"), Answers(&["s1"], Client)),
    case(17, "zone of one", Pod("c1"), ClusterIp("zones"), Answers(&["s1"], Client)),
    case(17, "zone of two", Pod("c2"), ClusterIp("zones"), Answers(&["s2", "s3"], Client)),
    case(17, "node of a zone", Node("n3"), ClusterIp("zones"), Answers(&["s2", "s3"], Client)),
    case(17, "a hint is missing", Pod("c1"), ClusterIp("zone-unhinted"), Answers(ALL, Client)),
    case(17, "none for this", Pod("c1"), ClusterIp("zone-missing"), Answers(&["s2", "s3"], Client)),
    case(17, "node's own", Pod("c2"), ClusterIp("nodes"), Answers(&["s2"], Client)),
    case(17, "node without own", Pod("c3"), ClusterIp("nodes"), Answers(BOTH, Client)),
    case(20, "itself", Pod("s1"), ClusterIp("alone"), Answers(&["s1"], TheNode("n1"))),
    case(22, "host by n1", Host("laptop"), ClusterIp("plain"), Answers(ALL, TheNode("n1"))),
    case(22, "host by n2", Host("desk"), ClusterIp("plain"), Answers(ALL, TheNode("n2"))),
    case(23, "IPv4 has one", Pod("c2"), ClusterIp("half"), Answers(&["s1"], Client))
        .in_family(&[0]),
    case(23, "IPv6 has none", Pod("c2"), ClusterIp("half"), Refused).in_family(&[1]),
    case(
        23,
        "a port of IPv4",
        Host("laptop"),
        NodePort("half", "n2"),
        Answers(&["s1"], TheNode("n2")),
    )
    .in_family(&[0]),
    case(23, "a port of IPv6", Host("laptop"), NodePort("half", "n2"), Refused).in_family(&[1]),
    case(25, "TCP", Pod("c3"), ClusterIp("parted"), Answers(&["s1"], Client)).over("tcp"),
    case(25, "UDP, same port", Pod("c3"), ClusterIp("parted"), Answers(&["s2"], Client))
        .over("udp"),
    case(25, "SCTP, same port", Pod("c3"), ClusterIp("parted"), Refused).over("sctp"),
];

/// Addresses and ports for clients outside, used by these and by all others.
pub(crate) const OUTSIDE: &[Case] = &[
    case(4, "no endpoint, port", Host("laptop"), NodePort("empty", "n1"), Refused),
    case(4, "no endpoint, port of n3", Host("desk"), NodePort("empty", "n3"), Refused),
    case(4, "no endpoint, port, pod", Pod("c1"), NodePort("empty", "n1"), Refused),
    case(4, "no endpoint, own port", Node("n1"), NodePort("empty", "n1"), Refused),
    case(4, "no endpoint, balancer", Host("laptop"), Balancer("empty"), Refused),
    case(4, "no endpoint, balancer, pod", Pod("c2"), Balancer("empty"), Refused),
    case(4, "none ready, port", Host("laptop"), NodePort("unready", "n2"), Refused),
    case(5, "port of n1", Host("laptop"), NodePort("door", "n1"), Answers(BOTH, TheNode("n1"))),
    case(5, "port of n2", Host("laptop"), NodePort("door", "n2"), Answers(BOTH, TheNode("n2"))),
    case(5, "node without", Host("laptop"), NodePort("door", "n3"), Answers(BOTH, TheNode("n3"))),
    case(5, "pod, own node", Pod("c1"), NodePort("door", "n1"), Answers(BOTH, TheNode("n1"))),
    case(5, "pod, other node", Pod("c3"), NodePort("door", "n2"), Answers(BOTH, TheNode("n2"))),
    case(5, "node, own port", Node("n3"), NodePort("door", "n3"), Answers(BOTH, Client)),
    case(5, "node, other's", Node("n3"), NodePort("door", "n1"), Answers(BOTH, TheNode("n1"))),
    case(7, "loopback", Node("n1"), Loopback("door"), Refused),
    case(8, "host", Host("laptop"), External(80), Answers(ALL, TheNode("n1"))),
    case(8, "host by n2", Host("desk"), External(80), Answers(ALL, TheNode("n2"))),
    case(8, "pod", Pod("c3"), External(80), Answers(ALL, TheNode("n3"))),
    case(8, "node", Node("n2"), External(80), Answers(ALL, Client)),
    case(8, "other port, host", Host("laptop"), External(81), Elsewhere).over("tcp"),
    case(8, "other port, pod", Pod("c1"), External(81), Elsewhere).over("tcp"),
    case(9, "balancer, host", Host("laptop"), Balancer("balanced"), Answers(ALL, TheNode("n1"))),
    case(9, "balancer, pod", Pod("c2"), Balancer("balanced"), Answers(ALL, TheNode("n2"))),
    case(9, "balancer, node", Node("n3"), Balancer("balanced"), Answers(ALL, Client)),
    case(10, "may", Host("laptop"), Balancer("guarded"), Answers(&["s1", "s3"], TheNode("n1"))),
    case(10, "may not", Host("desk"), Balancer("guarded"), Silent),
    case(10, "node may", Node("n1"), Balancer("guarded"), Answers(&["s1", "s3"], Client)),
    case(10, "node may not", Node("n2"), Balancer("guarded"), Silent),
    case(10, "pod may not", Pod("c1"), Balancer("guarded"), Silent),
    case(
        10,
        "its port",
        Host("desk"),
        NodePort("guarded", "n2"),
        Answers(&["s1", "s3"], TheNode("n2")),
    ),
    case(10, "its cluster IP", Pod("c2"), ClusterIp("guarded"), Answers(&["s1", "s3"], Client)),
    case(13, "own of n1", Host("laptop"), NodePort("door-local", "n1"), Answers(&["s1"], Client)),
    case(13, "own of n2", Host("desk"), NodePort("door-local", "n2"), Answers(&["s2"], Client)),
    case(13, "n3 has none", Host("laptop"), NodePort("door-local", "n3"), Silent),
    case(13, "pod there", Pod("c3"), NodePort("door-local", "n3"), Answers(BOTH, Client)),
    case(13, "node itself", Node("n3"), NodePort("door-local", "n3"), Answers(BOTH, Client)),
    case(13, "pod afar", Pod("c3"), NodePort("door-local", "n1"), Answers(&["s1"], TheNode("n3"))),
    case(13, "node afar", Node("n3"), NodePort("door-local", "n2"), Answers(&["s2"], Client)),
    case(13, "balancer with", Host("desk"), Balancer("balanced-local"), Answers(&["s2"], Client)),
    case(13, "balancer without", Host("laptop"), Balancer("balanced-local"), Silent),
    case(13, "balancer, pod", Pod("c1"), Balancer("balanced-local"), Answers(&["s2"], Client)),
    case(13, "balancer, node", Node("n1"), Balancer("balanced-local"), Answers(&["s2"], Client)),
    case(16, "ends on n1", Host("laptop"), NodePort("ending", "n1"), Answers(&["s1"], Client)),
    case(16, "none on n3", Host("laptop"), NodePort("ending", "n3"), Silent),
    case(16, "ready on n1", Host("laptop"), NodePort("one-ends", "n1"), Answers(&["s1"], Client)),
    case(16, "ends on n2", Host("desk"), NodePort("one-ends", "n2"), Answers(&["s2"], Client)),
    case(25, "port, TCP", Host("desk"), NodePort("parted", "n3"), Answers(&["s1"], TheNode("n3")))
        .over("tcp"),
    case(25, "port, UDP", Host("desk"), NodePort("parted", "n3"), Answers(&["s2"], TheNode("n3")))
        .over("udp"),
];
