// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists of what is in the namespace of a socket.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressMessage,
    link::{InfoKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage},
    neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState},
    nsid::{NsidAttribute, NsidMessage},
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
};

use super::pick::Pick;
use super::{Frames, KernelError, RouteSocket, SocketError, decode};
use crate::{
    Address, FdbEntry, IfIndex, Link, LinkRef, Neighbour, Netns, ProxyNeighbour, Route, RouteKind,
    Vxlan, request::encode,
};

/// How often a list is asked for again when what it shows changed meanwhile. While pods come and
/// go that can be so each time; the last answer is then good enough, because whoever compares it
/// with a wish looks again soon.
const ATTEMPTS: usize = 4;

/// Which routes are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only those with this `proto`.
    pub protocol: Option<u8>,
    /// Only those of this table; of the first 255 ones.
    pub table: Option<u8>,
    /// Only those of this kind.
    pub kind: Option<RouteKind>,
    /// Only those over this interface.
    pub dev: Option<IfIndex>,
    /// Only default routes.
    pub default: bool,
    /// None that lead straight to a link, as those to pods do, of which there are thousands.
    pub indirect: bool,
}

impl RouteSocket {
    /// All links, by index.
    ///
    /// # Errors
    /// [`SocketError`] when the kernel could not be asked or understood.
    pub fn list_links(&mut self) -> Result<Vec<Link>, SocketError> {
        let mut message = LinkMessage::default();
        // Counters are most of what the kernel would send.
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(message);
        let mut links =
            self.dump_picked("ip link show", &request, &Pick::Links, |message| match message {
                RouteNetlinkMessage::NewLink(message) => Link::from_message(&message),
                _ => None,
            })?;
        links.sort();
        Ok(links)
    }

    /// One link; none when there is no such one. With a thousand others about it takes a thousandth
    /// of what a list of all takes.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn get_link(&mut self, link: impl Into<LinkRef>) -> Result<Option<Link>, SocketError> {
        let mut message = link.into().to_message();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let request = RouteNetlinkMessage::GetLink(message);
        let found = self.ask("ip link show", &request, NLM_F_ACK, |message| match message {
            RouteNetlinkMessage::NewLink(message) => Link::from_message(&message),
            _ => None,
        });
        match found {
            Ok((found, _)) => Ok(found.into_iter().next()),
            Err(error) if error.kernel_error().is_some_and(KernelError::is_not_found) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses, IPv4 and IPv6, sorted.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_addresses(&mut self) -> Result<Vec<Address>, SocketError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses = self.dump("ip address show", &request, |message| match message {
            RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
            _ => None,
        })?;
        addresses.sort();
        Ok(addresses)
    }

    /// The routes that pass the filter, IPv4 and IPv6, sorted. The kernel filters.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_routes(&mut self, filter: RouteFilter) -> Result<Vec<Route>, SocketError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.protocol = RouteProtocol::from(filter.protocol.unwrap_or_default());
            message.header.table = filter.table.unwrap_or_default();
            message.header.kind = filter.kind.map_or(RouteType::Unspec, RouteKind::to_netlink);
            message.attributes.extend(filter.dev.map(|dev| RouteAttribute::Oif(dev.get())));
            let request = RouteNetlinkMessage::GetRoute(message);
            let found =
                self.dump_picked("ip route show", &request, &Pick::Routes(filter), |message| {
                    match message {
                        RouteNetlinkMessage::NewRoute(message) => Route::from_message(&message),
                        _ => None,
                    }
                });
            match found {
                Ok(found) => routes.extend(found),
                // A table exists from its first route on.
                Err(error) if error.kernel_error().is_some_and(KernelError::is_not_found) => {}
                Err(error) => return Err(error),
            }
        }
        routes.sort();
        Ok(routes)
    }

    /// The permanent neighbours, IPv4 and IPv6, sorted.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_neighbours(&mut self) -> Result<Vec<Neighbour>, SocketError> {
        let mut neighbours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            let request = RouteNetlinkMessage::GetNeighbour(message);
            neighbours.extend(self.dump("ip neigh show", &request, |message| match message {
                RouteNetlinkMessage::NewNeighbour(message)
                    if message.header.state == NeighbourState::Permanent =>
                {
                    Neighbour::from_message(&message).and_then(|(_, neighbour)| neighbour)
                }
                _ => None,
            })?);
        }
        neighbours.sort();
        Ok(neighbours)
    }

    /// The proxy neighbours, IPv4 and IPv6, sorted.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_proxy_neighbours(&mut self) -> Result<Vec<ProxyNeighbour>, SocketError> {
        let mut neighbours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.header.flags = NeighbourFlags::Proxy;
            let request = RouteNetlinkMessage::GetNeighbour(message);
            neighbours.extend(self.dump(
                "ip neigh show proxy",
                &request,
                |message| match message {
                    RouteNetlinkMessage::NewNeighbour(message) => {
                        ProxyNeighbour::from_message(&message)
                    }
                    _ => None,
                },
            )?);
        }
        neighbours.sort();
        Ok(neighbours)
    }

    /// The VXLAN devices, by name, each with what is known of it as a link.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_vxlans(&mut self) -> Result<Vec<(Link, Vxlan)>, SocketError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        // The kernel sends no other kind.
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan)]));
        let request = RouteNetlinkMessage::GetLink(message);
        let mut found =
            self.dump("ip link show type vxlan", &request, |message| match message {
                RouteNetlinkMessage::NewLink(message) => {
                    Some((Link::from_message(&message)?, Vxlan::from_message(&message)?))
                }
                _ => None,
            })?;
        found.sort();
        Ok(found)
    }

    /// The forwarding entries of a VXLAN device, sorted.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn list_fdb(&mut self, dev: IfIndex) -> Result<Vec<FdbEntry>, SocketError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = dev.get();
        let request = RouteNetlinkMessage::GetNeighbour(message);
        let mut found = self.dump("bridge fdb show", &request, |message| match message {
            RouteNetlinkMessage::NewNeighbour(message) => FdbEntry::from_message(&message),
            _ => None,
        })?;
        found.retain(|entry| entry.dev == dev);
        found.sort();
        Ok(found)
    }

    /// The number that the socket's namespace gives another one, if it has given one: it does
    /// so when a link between the two is made. [`crate::Monitor`] and [`Link::peer_nsid`] use
    /// these numbers.
    ///
    /// # Errors
    /// As [`RouteSocket::list_links`].
    pub fn netns_id(&mut self, netns: &Netns) -> Result<Option<i32>, SocketError> {
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
        let request = RouteNetlinkMessage::GetNsId(message);
        let ids = self.ask("ip netns list-id", &request, NLM_F_ACK, |message| match message {
            RouteNetlinkMessage::NewNsId(message) => {
                message.attributes.iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                    _ => None,
                })
            }
            _ => None,
        })?;
        Ok(ids.0.first().copied())
    }

    fn dump<T>(
        &mut self,
        what: &str,
        request: &RouteNetlinkMessage,
        keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, SocketError> {
        self.dump_picked(what, request, &Pick::All, keep)
    }

    /// The same of messages that `pick` picks out, and shortens, before they are decoded.
    fn dump_picked<T>(
        &mut self,
        what: &str,
        request: &RouteNetlinkMessage,
        pick: &Pick,
        mut keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, SocketError> {
        let mut attempt = 1;
        loop {
            let (found, interrupted) =
                self.ask_picked(what, request, NLM_F_DUMP, pick, &mut keep)?;
            if !interrupted || attempt == ATTEMPTS {
                return Ok(found);
            }
            attempt += 1;
        }
    }

    /// Asks and reads until the answer ends; also says whether it changed meanwhile.
    fn ask<T>(
        &mut self,
        what: &str,
        request: &RouteNetlinkMessage,
        flags: u16,
        keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<(Vec<T>, bool), SocketError> {
        self.ask_picked(what, request, flags, &Pick::All, keep)
    }

    fn ask_picked<T>(
        &mut self,
        what: &str,
        request: &RouteNetlinkMessage,
        flags: u16,
        pick: &Pick,
        mut keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<(Vec<T>, bool), SocketError> {
        let mut header = NetlinkHeader::default();
        header.message_type = request.message_type();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.next_sequence_number();
        let mut bytes = Vec::new();
        encode(header, request, &mut bytes);
        self.send_bytes(&bytes)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            self.receive()?;
            for frame in Frames::new(&self.received) {
                let frame = frame?;
                if frame.sequence_number != header.sequence_number {
                    continue;
                }
                interrupted |= frame.interrupted;
                match frame.answer {
                    None => {
                        if let Some(payload) = pick.of(frame.payload) {
                            found.extend(keep(decode(frame.message_type, &payload)?));
                        }
                    }
                    Some(answer) => {
                        return match answer.errno {
                            None => Ok((found, interrupted)),
                            Some(errno) => {
                                Err(KernelError::dump(what, errno, answer.message).into())
                            }
                        };
                    }
                }
            }
        }
    }
}
