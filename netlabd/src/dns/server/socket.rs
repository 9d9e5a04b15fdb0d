// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets at which names are asked for: each at one address, so that answers leave from there.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};
use thiserror::Error;

use super::holder::holders;

/// Bytes of questions that the kernel keeps while all threads are busy: some thousands.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why an address cannot be listened at.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The socket cannot be made or bound.
    #[error("failed to listen at `{address}` ({protocol}) for names: {cure}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// What may help.
        cure: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A thread, or what wakes it, cannot be made.
    #[error("failed to start a thread that answers names: is the machine out of descriptors?")]
    Thread {
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

/// A UDP socket at one address.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) socket: UdpSocket,
    /// Where it is bound.
    pub(super) address: SocketAddr,
}

impl Udp {
    /// Opens one. Several may be at the same address: the kernel spreads clients over them.
    pub(super) fn open(address: SocketAddr) -> Result<Udp, ListenError> {
        let fd = make(address, SockType::Datagram, SockProtocol::Udp)
            .and_then(|fd| {
                setsockopt(&fd, sockopt::ReusePort, &true)?;
                // Beyond the machine's limit only with CAP_NET_ADMIN, and never needed to work.
                if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
                }
                match address {
                    SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
                        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
                    }
                    SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
                    }
                    _ => {}
                }
                place(&fd, address)?;
                Ok(fd)
            })
            .map_err(|source| refused(address, "udp", source))?;
        let socket = UdpSocket::from(fd);
        let address = socket.local_addr().unwrap_or(address);
        Ok(Udp { socket, address })
    }
}

/// Opens a TCP listener.
pub(super) fn open_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let fd = make(address, SockType::Stream, SockProtocol::Tcp)
        .and_then(|fd| {
            place(&fd, address)?;
            listen(&fd, Backlog::new(BACKLOG)?)?;
            Ok(fd)
        })
        .map_err(|source| refused(address, "tcp", source))?;
    Ok(TcpListener::from(fd))
}

fn make(address: SocketAddr, kind: SockType, protocol: SockProtocol) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    // Beside a server that is bound to all addresses, this one is more specific and has ours.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(fd)
}

/// Binds, also where the machine does not have the address yet: what puts it there may come later,
/// and brings it back when somebody takes it away.
fn place(fd: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    let name = SockaddrStorage::from(address);
    match bind(fd.as_raw_fd(), &name) {
        Err(nix::errno::Errno::EADDRNOTAVAIL) => {
            // This option counts for IPv6 as well.
            setsockopt(fd, sockopt::IpFreebind, &true)?;
            tracing::debug!(%address, "names are answered at an address that is not there yet");
            bind(fd.as_raw_fd(), &name)
        }
        other => other,
    }
}

fn refused(address: SocketAddr, protocol: &'static str, errno: nix::errno::Errno) -> ListenError {
    use nix::errno::Errno;
    let cure = match errno {
        Errno::EADDRINUSE => {
            let holders = holders(address, protocol).join(", ");
            let who = if holders.is_empty() { "another server" } else { &holders };
            format!("{who} has it: stop it, or bind it to other addresses")
        }
        Errno::EACCES | Errno::EPERM => "is CAP_NET_BIND_SERVICE missing?".to_owned(),
        Errno::EAFNOSUPPORT => "this machine has no such addresses".to_owned(),
        _ => "is it an address of this machine?".to_owned(),
    };
    ListenError::Bind { address, protocol, cure, source: errno.into() }
}
