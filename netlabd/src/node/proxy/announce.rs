// SPDX-License-Identifier: GPL-3.0-or-later
//! Load balancer addresses: one node has each, and says so on its uplink.
//!
//! ```text
//!   announcer (pure)    which node it is
//!   Announcer::ensure   proxy entry on the uplink: the kernel answers who asks for the address
//!                       gratuitous ARP, unsolicited advertisement: caches are corrected at once
//! ```
//!
//! The address is on no interface. Packets to it arrive because neighbours believe that it is here,
//! and rules translate them. The kernel answers for it because its route leads to another device
//! than the question comes by ([`super::anchor`]).
//!
//! An address that is taken over is told three times, since one frame may be lost: at once, and
//! twice by [`Announcer::tick`], spaced as the caller likes. One that was here already, when the
//! daemon starts, is not told: nobody believes otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use netlab_link::{
    Announcement, AnnouncementError, AnnouncementSocket, Batch, IfIndex, KernelError, Netns,
    NetnsError, ProxyNeighbour, Request, RouteSocket, SocketError, mark,
};
use ring::digest::{SHA256, digest};

use crate::node::forwarding::{self, ForwardingError};
use crate::node::network::fabric::Uplink;
use crate::node::network::fabric::observe::observe_underlay;

/// How often an address is told that was taken over.
const ROUNDS: u8 = 3;

/// Why addresses are not announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// There is no socket to the kernel.
    #[error("failed to open a socket for announcing addresses")]
    Open {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The namespace could not be kept.
    #[error("failed to keep the network namespace in which addresses are announced")]
    Netns {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The kernel could not be asked.
    #[error("failed to look at the addresses that are announced")]
    Observe {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The node cannot answer for addresses.
    #[error("failed to let the node answer for load balancer addresses")]
    Settings {
        /// Why.
        #[source]
        source: ForwardingError,
    },
    /// Changes could not be sent, or were refused.
    #[error("failed to change the addresses that are announced")]
    Apply {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// Neighbours could not be told.
    #[error("failed to tell neighbours of load balancer addresses")]
    Tell {
        /// Why.
        #[source]
        source: AnnouncementError,
    },
}

/// Which of the nodes has a load balancer address: each gets about as many as any other, and a node
/// that comes or goes moves only those that it gets or had (rendezvous hashing). Every node comes
/// to the same answer by itself, in whatever order the names are. None without nodes.
pub fn announcer<N: AsRef<str>>(address: IpAddr, ready_nodes: &[N]) -> Option<&str> {
    let weight = |name: &str| {
        // Every release must compute the same. The NUL ends the address, which has no fixed length.
        let text = format!("{address}\0{name}");
        digest(&SHA256, text.as_bytes()).as_ref().to_vec()
    };
    ready_nodes.iter().map(AsRef::as_ref).max_by_key(|name| (weight(name), *name))
}

/// What [`Announcer::ensure`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Addresses that this node has from now on, and told.
    pub taken: Vec<IpAddr>,
    /// Addresses that this node no longer answers for.
    pub released: Vec<IpAddr>,
    /// Addresses that no link of this node could be asked for: there is none of their family with
    /// a link-layer address.
    pub unplaced: Vec<IpAddr>,
}

impl Changes {
    /// Whether anything was written.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.released.is_empty()
    }
}

/// On which link an address is announced: that in whose subnet it is, else the one that leads to
/// most of the world, of those with an address of the family.
fn uplink_for(uplinks: &[Uplink], address: IpAddr) -> Option<&Uplink> {
    let length = |uplink: &Uplink| {
        let nets = uplink.addresses.iter().filter(|net| net.contains(&address));
        nets.map(IpNet::prefix_len).max()
    };
    let near = uplinks.iter().filter(|uplink| length(uplink).is_some()).max_by_key(|it| length(it));
    let same = |net: &IpNet| net.addr().is_ipv4() == address.is_ipv4();
    near.or_else(|| uplinks.iter().find(|uplink| uplink.addresses.iter().any(same)))
}

/// The settings with which the kernel answers for addresses on an uplink, in the order in which
/// they must be set.
fn settings(name: &str, v6: bool, accept_ra: Option<&str>) -> Vec<(String, &'static str)> {
    let family = if v6 { "ipv6" } else { "ipv4" };
    // Else an answer waits for up to 0.8 s.
    let mut settings = vec![(format!("net/{family}/neigh/{name}/proxy_delay"), "0")];
    if v6 {
        // A router takes default routes from router advertisements with 2 only, and forgets the ones
        // that it learned with 1.
        if accept_ra == Some("1") {
            settings.push((format!("net/ipv6/conf/{name}/accept_ra"), "2"));
        }
        // The kernel answers on interfaces of routers only.
        settings.push((format!("net/ipv6/conf/{name}/forwarding"), "1"));
        // Not the interface's own: that does not hold for questions to the address itself, by which
        // neighbours make sure that it is still here (`ip6_forward`).
        settings.push(("net/ipv6/conf/all/proxy_ndp".to_owned(), "1"));
    }
    settings
}

/// Announces this node's load balancer addresses.
#[derive(Debug)]
pub struct Announcer {
    netns: Netns,
    socket: RouteSocket,
    frames: AnnouncementSocket,
    journal: PathBuf,
    /// What was taken over of late, and how often it is still to be told.
    due: BTreeMap<IpAddr, (Announcement, u8)>,
}

impl Announcer {
    /// Opens the way to the kernel of a node. `journal` is that of [`forwarding`].
    ///
    /// # Errors
    /// When CAP_NET_ADMIN or CAP_NET_RAW is missing.
    pub fn open(netns: &Netns, journal: &Path) -> Result<Announcer, AnnounceError> {
        Ok(Announcer {
            netns: netns.try_clone().map_err(|source| AnnounceError::Netns { source })?,
            socket: RouteSocket::open_in(netns).map_err(|source| AnnounceError::Open { source })?,
            frames: AnnouncementSocket::open_in(netns)
                .map_err(|source| AnnounceError::Tell { source })?,
            journal: journal.to_owned(),
            due: BTreeMap::new(),
        })
    }

    /// Has this node answer for these addresses and no others. Compares with what the kernel has, so
    /// it also mends. What carries another mark than netlab's is left alone.
    ///
    /// # Errors
    /// When the kernel cannot be talked to or refuses. Everything is looked at again by the next call.
    pub fn ensure(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<Changes, AnnounceError> {
        let observed = self.observe()?;
        let mut changes = Changes::default();
        let mut wanted: BTreeMap<ProxyNeighbour, Announcement> = BTreeMap::new();
        if !addresses.is_empty() {
            let uplinks = self.uplinks()?;
            let mut prepared: BTreeSet<(IfIndex, bool)> = BTreeSet::new();
            for &address in addresses {
                let place = uplink_for(&uplinks, address).cloned();
                let told = match &place {
                    Some(uplink) => self.announcement(uplink.index, address)?,
                    None => None,
                };
                let (Some(uplink), Some(announcement)) = (place, told) else {
                    changes.unplaced.push(address);
                    continue;
                };
                if prepared.insert((uplink.index, address.is_ipv6())) {
                    self.prepare(&uplink, address.is_ipv6())?;
                }
                wanted.insert(ProxyNeighbour::new(uplink.index, address), announcement);
            }
        }
        let new: Vec<_> = wanted.keys().filter(|it| !observed.contains(*it)).copied().collect();
        let old: Vec<_> = observed.iter().filter(|it| !wanted.contains_key(*it)).copied().collect();
        // What moves from one link to another is answered for on both rather than on none.
        let batch: Batch = new
            .iter()
            .map(|entry| Request::SetProxyNeighbour(*entry))
            .chain(old.iter().map(|entry| Request::DelProxyNeighbour(*entry)))
            .collect();
        self.send(&batch)?;
        let stays = |entry: &ProxyNeighbour| wanted.keys().any(|it| it.address == entry.address);
        changes.released = old.iter().filter(|it| !stays(it)).map(|it| it.address).collect();
        self.due.retain(|address, _| wanted.keys().any(|entry| entry.address == *address));
        for entry in &new {
            self.due.insert(entry.address, (wanted[entry], ROUNDS));
        }
        changes.taken = new.iter().map(|entry| entry.address).collect();
        self.tell(|address| changes.taken.contains(&address))?;
        Ok(changes)
    }

    /// Tells once more of what was taken over of late, and says whether that is to be repeated:
    /// to be called a second or so after [`Announcer::ensure`] took anything.
    ///
    /// # Errors
    /// When a link does not take frames. The others are told even so.
    pub fn tick(&mut self) -> Result<bool, AnnounceError> {
        self.tell(|_| true)?;
        Ok(self.is_due())
    }

    /// Whether [`Announcer::tick`] has something to tell.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    fn tell(&mut self, which: impl Fn(IpAddr) -> bool) -> Result<(), AnnounceError> {
        let mut failed = None;
        for (_, (announcement, rounds)) in self.due.iter_mut().filter(|(it, _)| which(**it)) {
            *rounds -= 1;
            failed = failed.or(self.frames.send(announcement).err());
        }
        self.due.retain(|_, (_, rounds)| *rounds > 0);
        failed.map_or(Ok(()), |source| Err(AnnounceError::Tell { source }))
    }

    fn observe(&mut self) -> Result<BTreeSet<ProxyNeighbour>, AnnounceError> {
        let entries = self
            .socket
            .list_proxy_neighbours()
            .map_err(|source| AnnounceError::Observe { source })?;
        Ok(entries.into_iter().filter(|entry| entry.protocol == mark::ROUTE_PROTOCOL).collect())
    }

    fn uplinks(&mut self) -> Result<Vec<Uplink>, AnnounceError> {
        let underlay = observe_underlay(&mut self.socket);
        Ok(underlay.map_err(|source| AnnounceError::Observe { source })?.uplinks)
    }

    /// What there is to tell of an address on a link; none when the link has no link-layer address.
    fn announcement(
        &mut self,
        dev: IfIndex,
        address: IpAddr,
    ) -> Result<Option<Announcement>, AnnounceError> {
        let failed = |source| AnnounceError::Observe { source };
        let link = self.socket.get_link(dev).map_err(failed)?;
        let Some(mac) = link.and_then(|link| link.mac) else { return Ok(None) };
        let link_local = if address.is_ipv6() { self.link_local(dev)? } else { None };
        Ok(Some(Announcement { dev, address, mac, link_local }))
    }

    fn link_local(&mut self, dev: IfIndex) -> Result<Option<Ipv6Addr>, AnnounceError> {
        let addresses =
            self.socket.list_addresses().map_err(|source| AnnounceError::Observe { source })?;
        Ok(addresses.into_iter().filter(|it| it.dev == dev).find_map(|it| {
            match it.address.addr() {
                IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
                _ => None,
            }
        }))
    }

    fn prepare(&self, uplink: &Uplink, v6: bool) -> Result<(), AnnounceError> {
        let name = uplink.name.as_str();
        let accept_ra =
            netlab_link::sysctl::read(&self.netns, &format!("net/ipv6/conf/{name}/accept_ra"));
        let settings = settings(name, v6, accept_ra.ok().as_deref());
        forwarding::ensure_settings(&self.netns, &self.journal, &settings)
            .map_err(|source| AnnounceError::Settings { source })
    }

    fn send(&mut self, batch: &Batch) -> Result<(), AnnounceError> {
        let failed = |source| AnnounceError::Apply { source };
        if batch.is_empty() {
            return Ok(());
        }
        let outcome = self.socket.send(batch).map_err(failed)?;
        outcome.ignore(KernelError::is_not_found).check().map_err(|error| failed(error.into()))
    }
}

/// Has this node answer for no load balancer address any more. Settings are put back by
/// [`forwarding::restore`].
///
/// # Errors
/// When the kernel cannot be talked to, or refuses.
pub fn teardown(netns: &Netns) -> Result<(), AnnounceError> {
    let mut socket =
        RouteSocket::open_in(netns).map_err(|source| AnnounceError::Open { source })?;
    let entries =
        socket.list_proxy_neighbours().map_err(|source| AnnounceError::Observe { source })?;
    let batch: Batch = entries
        .into_iter()
        .filter(|entry| entry.protocol == mark::ROUTE_PROTOCOL)
        .map(Request::DelProxyNeighbour)
        .collect();
    let sent = socket.send(&batch);
    let sent = sent.and_then(|it| Ok(it.ignore(KernelError::is_not_found).check()?));
    sent.map_err(|source| AnnounceError::Apply { source })
}

#[cfg(test)]
mod tests;
