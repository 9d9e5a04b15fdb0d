// SPDX-License-Identifier: GPL-3.0-or-later
//! Why the pods of another node cannot be reached.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Something that cannot be reached, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The mode needs next hops, and a peer's address is in no subnet of this node.
    NotAdjacent {
        /// The peer.
        peer: String,
        /// Its address.
        address: IpAddr,
    },
    /// The mode needs next hops, and a peer has no address that blocks of a family could have as
    /// theirs.
    NoNextHop {
        /// The peer.
        peer: String,
        /// The family of the blocks.
        v6: bool,
    },
    /// A peer has no address at all.
    NoAddress {
        /// The peer.
        peer: String,
    },
    /// A peer and this node have no address of one family.
    NoCommonFamily {
        /// The peer.
        peer: String,
    },
    /// A peer claims a block that cannot be its.
    NotItsBlock {
        /// The peer.
        peer: String,
        /// The block.
        block: IpNet,
    },
    /// A route that is not netlab's is in the place of one that should be.
    InTheWay {
        /// Where both lead.
        block: IpNet,
    },
    /// The kernel refused a change.
    Refused {
        /// What was asked and what the kernel said.
        message: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdjacent { peer, address } => write!(
                f,
                "host-gw cannot reach node {peer}: {address} is in no subnet of this node: use \
                 auto or vxlan"
            ),
            Self::NoNextHop { peer, v6 } => write!(
                f,
                "host-gw cannot reach the {} pods of node {peer}: it has no such address: use auto \
                 or vxlan, or give it one",
                if *v6 { "IPv6" } else { "IPv4" }
            ),
            Self::NoAddress { peer } => {
                write!(f, "node {peer} cannot be reached: it has told no address")
            }
            Self::NoCommonFamily { peer } => write!(
                f,
                "node {peer} cannot be reached: it and this node have no addresses of one family"
            ),
            Self::NotItsBlock { peer, block } => write!(
                f,
                "block {block} of node {peer} is left out: it is outside of the pod network or \
                 another node's"
            ),
            Self::InTheWay { block } => write!(
                f,
                "there is a route to {block} that is not netlab's: see `ip route show {block}`, \
                 and remove it"
            ),
            Self::Refused { message } => f.write_str(message),
        }
    }
}
