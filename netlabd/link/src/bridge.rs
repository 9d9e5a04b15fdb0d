// SPDX-License-Identifier: GPL-3.0-or-later
//! Bridges: segments that several links are plugged into.

use std::fmt;

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use crate::{IfIndex, IfName};

/// A bridge to be made. A link is plugged in by [`crate::LinkChange::bridge`].
///
/// It has the lowest MTU of what is plugged in, unless another one is set once it is there: one
/// that is given as it is made does not count as set (`br_mtu_auto_adjust`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bridge {
    /// Its name.
    pub name: IfName,
    /// Its number, chosen by the caller so that one batch can make it and use it.
    pub index: IfIndex,
}

impl Bridge {
    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.get();
        message.attributes = vec![
            LinkAttribute::IfName(self.name.to_string()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        message
    }
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bridge { name, index } = self;
        write!(f, "name {name} index {} type bridge", index.get())
    }
}

#[cfg(test)]
mod tests;
