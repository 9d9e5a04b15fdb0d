// SPDX-License-Identifier: GPL-3.0-or-later
//! Links: interfaces as they are found, how one is changed, and veth pairs as they are made.

use std::{fmt, os::fd::AsRawFd, sync::Arc};

use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoKind,
    InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use crate::{IfIndex, IfName, LinkAddr, Netns};

/// The smallest MTU of a link with IPv4 (`IPV4_MIN_MTU`; RFC 791).
pub const MIN_MTU_V4: u32 = 68;

/// The smallest MTU of a link with IPv6 (RFC 8200 section 5). Below it the kernel has no IPv6 on a
/// link at all: addresses, routes and settings go, and a change of them is refused with EAFNOSUPPORT.
pub const MIN_MTU_V6: u32 = 1280;

/// The largest MTU of a veth pair or a bridge (`ETH_MAX_MTU`).
pub const MAX_MTU: u32 = 65_535;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: IfName,
    /// What someone wrote about it (`IFLA_IFALIAS`); netlab writes `namespace/pod`.
    pub alias: Option<String>,
    /// The kind, such as `veth` or `vxlan`; none for physical links and `lo`.
    pub kind: Option<String>,
    /// The group it is in; 0 unless set.
    pub group: u32,
    /// It is set up (`IFF_UP`).
    pub up: bool,
    /// It has a carrier too (`IFF_LOWER_UP`): for a veth, the other end is up.
    pub running: bool,
    /// The largest packet it takes.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<LinkAddr>,
    /// The index of the link it belongs to; for a veth the other end, in the namespace of
    /// [`Link::peer_nsid`].
    pub peer: Option<IfIndex>,
    /// The number that this namespace gives the one of the peer; none when it is the same one.
    pub peer_nsid: Option<i32>,
}

impl Link {
    /// None when the message names no link that could be one.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let header = &message.header;
        let mut name = None;
        let mut link = Self {
            index: IfIndex::new(header.index),
            name: IfName::new("lo").expect("`lo` is a valid name"),
            alias: None,
            kind: None,
            group: 0,
            up: header.flags.contains(LinkFlags::Up),
            running: header.flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            mac: None,
            peer: None,
            peer_nsid: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = IfName::new(text.as_str()).ok(),
                LinkAttribute::IfAlias(text) => link.alias = Some(text.clone()),
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => link.mac = LinkAddr::from_slice(bytes),
                LinkAttribute::Link(index) if *index != 0 => link.peer = Some(IfIndex::new(*index)),
                LinkAttribute::LinkNetNsId(nsid) if *nsid >= 0 => link.peer_nsid = Some(*nsid),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link.name = name?;
        Some(link)
    }
}

/// A veth pair to be made. The near end is made in the namespace of the socket; the far end goes
/// straight to its namespace, under its final name and number: moving or renaming it afterwards
/// costs an RCU grace period, about 20 ms.
#[derive(Debug, Clone, PartialEq)]
pub struct Veth {
    /// The end in the socket's own namespace.
    pub near: VethEnd,
    /// The other end.
    pub far: VethEnd,
    /// The namespace of the far end; none for the socket's own.
    pub far_netns: Option<Arc<Netns>>,
    /// The MTU of both ends.
    pub mtu: u32,
}

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Its name.
    pub name: IfName,
    /// Its number; none lets the kernel choose.
    pub index: Option<IfIndex>,
    /// Its Ethernet address.
    pub mac: LinkAddr,
    /// The group it is in.
    pub group: u32,
}

impl VethEnd {
    fn to_message(&self, mtu: u32) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.map_or(0, IfIndex::get);
        message.attributes = vec![
            LinkAttribute::IfName(self.name.to_string()),
            LinkAttribute::Address(self.mac.octets().to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Group(self.group),
        ];
        message
    }
}

impl Veth {
    /// Neither end can be made up in this message: the driver answers ENOTCONN for an end whose
    /// other end does not exist yet.
    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut far = self.far.to_message(self.mtu);
        if let Some(netns) = &self.far_netns {
            far.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        }
        let mut message = self.near.to_message(self.mtu);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        message
    }
}

impl fmt::Display for Veth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |f: &mut fmt::Formatter<'_>, end: &VethEnd| {
            write!(f, "name {} address {} mtu {}", end.name, end.mac, self.mtu)?;
            if let Some(index) = end.index {
                write!(f, " index {}", index.get())?;
            }
            if end.group == 0 { Ok(()) } else { write!(f, " group {}", end.group) }
        };
        end(f, &self.near)?;
        f.write_str(" type veth peer ")?;
        end(f, &self.far)?;
        match &self.far_netns {
            Some(netns) => write!(f, " netns {netns}"),
            None => Ok(()),
        }
    }
}

/// How a link is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkRef {
    /// By its number.
    Index(IfIndex),
    /// By its name.
    Name(IfName),
}

impl LinkRef {
    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        match self {
            Self::Index(index) => message.header.index = index.get(),
            Self::Name(name) => message.attributes.push(LinkAttribute::IfName(name.to_string())),
        }
        message
    }
}

impl From<IfIndex> for LinkRef {
    fn from(index: IfIndex) -> Self {
        Self::Index(index)
    }
}

impl From<IfName> for LinkRef {
    fn from(name: IfName) -> Self {
        Self::Name(name)
    }
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A change of a link. What is none stays as it is.
///
/// The kernel sets a link up *before* it looks at the settings of the address families in the
/// same message (`do_setlink`). Where they must hold from the first packet on, send them in a
/// change of their own before the one with `up`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkChange {
    /// The link.
    pub link: LinkRef,
    /// Up or down.
    pub up: Option<bool>,
    /// The largest packet it takes.
    pub mtu: Option<u32>,
    /// The group it goes to.
    pub group: Option<u32>,
    /// What is written about it; empty removes the text. At most 255 bytes.
    pub alias: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<LinkAddr>,
    /// The bridge that it is plugged into (`IFLA_MASTER`).
    pub bridge: Option<IfIndex>,
    /// Turns on `net.ipv4.conf.X.forwarding`, with this `rp_filter`.
    pub ipv4_router: Option<ReversePath>,
    /// Keeps the kernel from making an IPv6 link-local address, and so from detecting
    /// duplicates, joining groups and soliciting routers: on a pod link nobody would answer.
    /// Refused for a link below [`MIN_MTU_V6`], also if the same change raises it: the kernel looks
    /// first.
    pub no_link_local: bool,
}

/// Which IPv4 packets a link takes, by their source address (RFC 3704).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// Those whose source is reached over the same link: for links to pods, which may send with
    /// their own address only.
    Strict = 1,
    /// Those whose source is reached at all: for links to nodes, where the ways there and back
    /// may differ for a while.
    Loose = 2,
}

impl LinkChange {
    /// A change of nothing yet.
    pub fn of(link: impl Into<LinkRef>) -> Self {
        Self {
            link: link.into(),
            up: None,
            mtu: None,
            group: None,
            alias: None,
            mac: None,
            bridge: None,
            ipv4_router: None,
            no_link_local: false,
        }
    }

    pub(crate) fn to_message(&self) -> LinkMessage {
        let mut message = self.link.to_message();
        if let Some(up) = self.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        }
        let attributes = &mut message.attributes;
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.group.map(LinkAttribute::Group));
        attributes.extend(self.alias.clone().map(LinkAttribute::IfAlias));
        attributes.extend(self.bridge.map(|bridge| LinkAttribute::Controller(bridge.get())));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
        let mut families = Vec::new();
        if let Some(reverse_path) = self.ipv4_router {
            let mut conf = InetDevConf::default();
            conf.forwarding = 1;
            conf.rp_filter = reverse_path as i32;
            families.push(AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]));
        }
        if self.no_link_local {
            let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            families.push(AfSpecUnspec::Inet6(vec![mode]));
        }
        if !families.is_empty() {
            attributes.push(LinkAttribute::AfSpecUnspec(families));
        }
        message
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dev {}", self.link)?;
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(group) = self.group {
            write!(f, " group {group}")?;
        }
        if let Some(alias) = &self.alias {
            write!(f, " alias {alias:?}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        if let Some(bridge) = self.bridge {
            write!(f, " master {bridge}")?;
        }
        if self.no_link_local {
            f.write_str(" addrgenmode none")?;
        }
        if let Some(reverse_path) = self.ipv4_router {
            // iproute2 has no words for these: they are sysctls of the link.
            write!(f, " forwarding 1 rp_filter {}", reverse_path as i32)?;
        }
        match self.up {
            Some(true) => f.write_str(" up"),
            Some(false) => f.write_str(" down"),
            None => Ok(()),
        }
    }
}
