// SPDX-License-Identifier: GPL-3.0-or-later
//! VXLAN devices (RFC 7348) whose entries are all written by us: no multicast, no learning.

use std::{fmt, net::IpAddr};

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::{IfIndex, IfName, LinkAddr};

/// A VXLAN device. It carries Ethernet frames to other machines in UDP packets; to which one, a
/// [`crate::FdbEntry`] says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vxlan {
    /// Its name.
    pub name: IfName,
    /// Its number.
    pub index: IfIndex,
    /// The VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// The UDP port it sends to and receives at.
    pub port: u16,
    /// The address it sends from, whose family is that of all its peers; none when the kernel
    /// chooses, which ours never leave to it.
    pub local: Option<IpAddr>,
    /// Its Ethernet address.
    pub mac: LinkAddr,
    /// The largest packet it takes, without the outer headers.
    pub mtu: u32,
    /// The group it is in.
    pub group: u32,
    /// Whether it learns from packets who is where. Ours do not: a forged packet would divert
    /// traffic.
    pub learning: bool,
}

impl Vxlan {
    /// The kernel takes no settings of the address families in this message: those are for a
    /// [`crate::LinkChange`] before the one that sets the device up.
    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.get();
        let mut data = vec![
            InfoVxlan::Id(self.vni),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(self.learning),
        ];
        data.extend(self.local.map(local));
        message.attributes = vec![
            LinkAttribute::IfName(self.name.to_string()),
            LinkAttribute::Address(self.mac.octets().to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::Group(self.group),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]),
        ];
        message
    }

    /// The device by its name, and its local address alone: the kernel refuses a message that
    /// names the port, even when it is the same (`vxlan_nl2conf`).
    pub(crate) fn to_local_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        let mut data = vec![InfoVxlan::Id(self.vni)];
        data.extend(self.local.map(local));
        message.attributes = vec![
            LinkAttribute::IfName(self.name.to_string()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vxlan),
                LinkInfo::Data(InfoData::Vxlan(data)),
            ]),
        ];
        message
    }

    /// None for links of another kind.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut name = None;
        let mut vxlan = Self {
            name: IfName::new("lo").expect("`lo` is a valid name"),
            index: IfIndex::new(message.header.index),
            vni: 0,
            port: 0,
            local: None,
            mac: LinkAddr::new([0; 6]),
            mtu: 0,
            group: 0,
            learning: false,
        };
        let mut data = None;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = IfName::new(text.as_str()).ok(),
                LinkAttribute::Mtu(mtu) => vxlan.mtu = *mtu,
                LinkAttribute::Group(group) => vxlan.group = *group,
                LinkAttribute::Address(bytes) => vxlan.mac = LinkAddr::from_slice(bytes)?,
                LinkAttribute::LinkInfo(infos) => {
                    data = infos.iter().find_map(|info| match info {
                        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        vxlan.name = name?;
        for info in data? {
            match info {
                InfoVxlan::Id(vni) => vxlan.vni = *vni,
                InfoVxlan::Port(port) => vxlan.port = *port,
                InfoVxlan::Learning(learning) => vxlan.learning = *learning,
                InfoVxlan::Local(v4) => vxlan.local = Some(IpAddr::V4(*v4)),
                InfoVxlan::Local6(v6) => vxlan.local = Some(IpAddr::V6(*v6)),
                _ => {}
            }
        }
        Some(vxlan)
    }
}

fn local(address: IpAddr) -> InfoVxlan {
    match address {
        IpAddr::V4(v4) => InfoVxlan::Local(v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(v6),
    }
}

impl fmt::Display for Vxlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, index, vni, port, local, mac, mtu, group, learning } = self;
        write!(f, "name {name} index {} address {mac} mtu {mtu} group {group}", index.get())?;
        write!(f, " type vxlan id {vni} dstport {port}")?;
        if let Some(local) = local {
            write!(f, " local {local}")?;
        }
        f.write_str(if *learning { " learning" } else { " nolearning" })
    }
}

#[cfg(test)]
mod tests;
