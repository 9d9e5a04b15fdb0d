// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "tokio cannot check that a descriptor stays open")]
//! Changes of the kernel's state, as they happen, that may mean drift.
//!
//! One socket in the node's namespace hears of its own namespace and of every one that has a
//! number there, which a pod's gets with its veth (`NETLINK_LISTEN_ALL_NSID`). Additions are not
//! reported, so that our own work does not wake us.
//!
//! It is a reason to look, not a record. The kernel drops messages when nobody reads them
//! ([`Event::Overflow`]), and it removes the IPv4 routes of a link that goes down without a word
//! about them: the link's change is then the message.

use std::{
    io::{self, IoSliceMut},
    net::IpAddr,
    os::fd::AsRawFd,
};

use netlink_packet_route::{RouteNetlinkMessage, link::LinkFlags};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt},
};
use tokio::io::unix::AsyncFd;

use crate::{
    Address, FdbEntry, IfIndex, IfName, Link, Neighbour, Netns, Route,
    socket::{Frames, SocketError, decode},
};

/// What the receive buffer is forced to. Making a pod is 30 messages of about 2 KiB each,
/// overhead included, so this holds a burst of some hundred pods while nobody reads.
const BUFFER_SIZE: usize = 32 << 20;

/// Larger than any single notification: they are built in buffers of a page or a little more.
const RECEIVE_SIZE: usize = 1 << 16;

/// The groups of `linux/rtnetlink.h`.
const GROUPS: [u32; 6] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
];

/// What a [`Monitor`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something went or changed.
    Change(Change),
    /// Messages were lost: anything may have changed, so look at everything.
    Overflow,
}

/// Something that went or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The namespace, by its number in the node's one ([`crate::RouteSocket::netns_id`]); none
    /// for the node's own.
    pub nsid: Option<i32>,
    /// What it was.
    pub what: What,
}

/// What went or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A link went, or left for another namespace.
    LinkDeleted {
        /// Its number.
        index: IfIndex,
        /// Its name.
        name: IfName,
    },
    /// A link is no longer as it was: up or down, its MTU, its name or any other property.
    LinkChanged {
        /// Its number.
        index: IfIndex,
        /// Its name.
        name: IfName,
        /// Whether it is up.
        up: bool,
        /// Its MTU.
        mtu: u32,
    },
    /// An address went.
    AddressDeleted(Address),
    /// A route went.
    RouteDeleted(Route),
    /// A neighbour went. Learned ones age and go all the time; look whether it was a wanted one.
    NeighbourDeleted {
        /// The interface.
        dev: IfIndex,
        /// The address.
        address: IpAddr,
    },
    /// A forwarding entry of a VXLAN device went.
    FdbDeleted(FdbEntry),
}

/// Hears of changes in a node's namespace and in those of its pods.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Socket>,
    pending: std::collections::VecDeque<Event>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Starts to listen. Subscribe before the first list, so that nothing falls in between.
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError::Open`] when CAP_NET_ADMIN or CAP_NET_BROADCAST is missing.
    pub fn open(node: &Netns) -> Result<Self, SocketError> {
        Self::open_with_buffer(node, BUFFER_SIZE)
    }

    fn open_with_buffer(node: &Netns, buffer_size: usize) -> Result<Self, SocketError> {
        let socket = node
            .run(|| open_socket(buffer_size))
            .map_err(|source| SocketError::Enter { source })??;
        // SAFETY: a `Socket` owns one descriptor, returns no other, closes it only when dropped,
        // and lives inside the `AsyncFd` from here on.
        let socket = unsafe { AsyncFd::register(socket) }
            .map_err(|error| SocketError::Open { source: error.into() })?;
        let buffer = vec![0; RECEIVE_SIZE];
        Ok(Self { socket, pending: std::collections::VecDeque::new(), buffer })
    }

    /// The next event. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`SocketError::Receive`] when the socket broke. A message that is not understood counts
    /// as [`Event::Overflow`]: what it said is lost.
    pub async fn next(&mut self) -> Result<Event, SocketError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let mut guard =
                self.socket.readable().await.map_err(|source| SocketError::Receive { source })?;
            let Self { buffer, pending, .. } = self;
            match guard.try_io(|socket| receive(socket.get_ref(), buffer, pending)) {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(source)) => return Err(SocketError::Receive { source }),
            }
        }
    }
}

fn open_socket(buffer_size: usize) -> Result<Socket, SocketError> {
    let failed = |source| SocketError::Open { source };
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    setsockopt(&socket, sockopt::RcvBufForce, &buffer_size).map_err(|e| failed(e.into()))?;
    socket.set_non_blocking(true).map_err(failed)?;
    socket.set_listen_all_namespaces(true).map_err(failed)?;
    socket.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
    for group in GROUPS {
        socket.add_membership(group).map_err(failed)?;
    }
    Ok(socket)
}

type Pending = std::collections::VecDeque<Event>;

/// Reads one datagram.
fn receive(socket: &Socket, buffer: &mut [u8], pending: &mut Pending) -> io::Result<()> {
    let mut control = cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(buffer)];
    let received =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
    let received = match received {
        Ok(received) => received,
        Err(Errno::ENOBUFS) => {
            discard_all(socket)?;
            pending.push_back(Event::Overflow);
            return Ok(());
        }
        Err(Errno::EINTR) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let nsid = received.cmsgs().ok().and_then(|mut control| {
        control.find_map(|message| match message {
            ControlMessageOwned::Unknown(message)
                if message.cmsg_header.cmsg_level == libc::SOL_NETLINK
                    && message.cmsg_header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID =>
            {
                Some(i32::from_ne_bytes(message.data_bytes.get(..4)?.try_into().ok()?))
            }
            _ => None,
        })
    });
    let truncated = received.flags.contains(MsgFlags::MSG_TRUNC);
    let bytes = received.bytes;
    if truncated {
        pending.push_back(Event::Overflow);
        return Ok(());
    }
    for frame in Frames::new(&buffer[..bytes]) {
        let what = frame.and_then(|frame| match frame.message_type {
            // The others are additions, or not of our groups.
            libc::RTM_NEWLINK
            | libc::RTM_DELLINK
            | libc::RTM_DELADDR
            | libc::RTM_DELROUTE
            | libc::RTM_DELNEIGH => Ok(what(decode(frame.message_type, frame.payload)?)),
            _ => Ok(None),
        });
        match what {
            Ok(Some(what)) => pending.push_back(Event::Change(Change { nsid, what })),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "a notification was not understood");
                pending.push_back(Event::Overflow);
            }
        }
    }
    Ok(())
}

/// Reads until there is nothing left. The kernel says once that it drops messages and then goes
/// on dropping them, silently, until the queue has been empty (`netlink_rcv_wake`). Whoever looks
/// at everything before that misses what happens between the look and that moment.
fn discard_all(socket: &Socket) -> io::Result<()> {
    let mut nothing = [0; 1];
    loop {
        let mut parts = [IoSliceMut::new(&mut nothing)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn what(message: RouteNetlinkMessage) -> Option<What> {
    match message {
        // All bits of the mask are set when a link is registered (`rtmsg_ifinfo`): an addition.
        RouteNetlinkMessage::NewLink(message) if message.header.change_mask != LinkFlags::all() => {
            let Link { index, name, up, mtu, .. } = Link::from_message(&message)?;
            Some(What::LinkChanged { index, name, up, mtu })
        }
        RouteNetlinkMessage::DelLink(message) => {
            let Link { index, name, .. } = Link::from_message(&message)?;
            Some(What::LinkDeleted { index, name })
        }
        RouteNetlinkMessage::DelAddress(message) => {
            Address::from_message(&message).map(What::AddressDeleted)
        }
        RouteNetlinkMessage::DelRoute(message) => {
            Route::from_message(&message).map(What::RouteDeleted)
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            if let Some(entry) = FdbEntry::from_message(&message) {
                return Some(What::FdbDeleted(entry));
            }
            let dev = IfIndex::new(message.header.ifindex);
            let (address, _) = Neighbour::from_message(&message)?;
            Some(What::NeighbourDeleted { dev, address })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
