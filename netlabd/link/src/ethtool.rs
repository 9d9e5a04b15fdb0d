// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "the ioctl takes a pointer inside a union of pointers")]
//! Who computes the checksums of packets that leave by a link: the kernel now, or the device.
//!
//! Through `SIOCETHTOOL` (`linux/ethtool.h`), which needs no ethtool netlink (Linux 5.8) and no
//! tool.

use std::{mem, os::fd::AsRawFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::{IfName, Netns, NetnsError};

/// `ETHTOOL_GTXCSUM` and `ETHTOOL_STXCSUM`: whether checksums are left to the device, for all
/// protocols at once.
const GET_TX_CHECKSUM: u32 = 0x16;
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether the checksums of packets that leave by a link are left to the device.
///
/// # Errors
/// [`EthtoolError`] when there is no such link.
pub fn tx_checksum_offload(netns: &Netns, link: &IfName) -> Result<bool, EthtoolError> {
    Ok(ask(netns, link, Value { command: GET_TX_CHECKSUM, data: 0 })? != 0)
}

/// Leaves checksums to the device, or has the kernel compute them before the device sees a packet.
/// Setting what is set is success.
///
/// # Errors
/// [`EthtoolError`] when there is no such link, or CAP_NET_ADMIN is missing.
pub fn set_tx_checksum_offload(netns: &Netns, link: &IfName, on: bool) -> Result<(), EthtoolError> {
    ask(netns, link, Value { command: SET_TX_CHECKSUM, data: on.into() }).map(drop)
}

fn ask(netns: &Netns, link: &IfName, value: Value) -> Result<u32, EthtoolError> {
    let asked = netns.run(|| ask_here(link, value));
    let asked = asked.map_err(|source| EthtoolError::Enter { source })?;
    asked.map_err(|source| EthtoolError::Ask { link: link.clone(), source })
}

fn ask_here(link: &IfName, mut value: Value) -> Result<u32, Errno> {
    // Any socket will do: it says which namespace is meant.
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // An `IfName` has at most 15 bytes, so the last of the 16 stays zero.
    for (to, from) in request.ifr_name.iter_mut().zip(link.as_str().bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads `request`, and reads and writes the `Value` that it points to; both
    // live until the call is over, and both commands use a `struct ethtool_value`.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    Errno::result(done)?;
    Ok(value.data)
}

/// A link's offloads could not be seen or set.
#[derive(Debug, thiserror::Error)]
pub enum EthtoolError {
    /// The namespace could not be entered.
    #[error("failed to enter a network namespace for the offloads of a link")]
    Enter {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The kernel refused.
    #[error("failed to handle the checksum offload of link `{link}`: is CAP_NET_ADMIN missing?")]
    Ask {
        /// The link.
        link: IfName,
        /// Why.
        #[source]
        source: Errno,
    },
}

impl EthtoolError {
    /// There is no such link.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Ask { source: Errno::ENODEV, .. })
    }
}
