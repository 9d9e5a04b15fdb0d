// SPDX-License-Identifier: GPL-3.0-or-later
//! Datagrams, up to [`BATCH`] per system call: recvmmsg(2) and sendmmsg(2). Never waits.
//!
//! At a socket that is bound to all addresses, each datagram also tells at which it arrived, so
//! that its answer leaves from there (`IP_PKTINFO` of ip(7), RFC 3542 section 6 for IPv6).
#![allow(
    unsafe_code,
    reason = "many datagrams per system call have no safe wrapper without allocation"
)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams per system call.
pub(super) const BATCH: usize = 32;

/// Bytes of a datagram that are read. Questions are far smaller; of a longer one nothing after
/// this is looked at.
const DATAGRAM: usize = 2048;

/// Bytes for what the kernel tells of a datagram: one `in6_pktinfo` with its header, and room.
const CONTROL: usize = 64;

/// Control messages begin at the alignment of `cmsghdr`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// The local end of a datagram at a socket that is bound to all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local {
    /// The address at which it arrived.
    pub(super) address: IpAddr,
    /// The interface; only addresses of one link need it.
    pub(super) interface: u32,
}

/// One datagram that was received.
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) peer: SocketAddr,
    pub(super) local: Option<Local>,
}

/// Room for a batch of datagrams.
pub(super) struct Inbox {
    bytes: Vec<[u8; DATAGRAM]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[Control; BATCH]>,
    /// Where each part of a datagram goes: into the fields above.
    parts: Box<[libc::iovec; BATCH]>,
    /// Point at all of these. The kernel writes into those that it uses.
    headers: Box<[libc::mmsghdr; BATCH]>,
    /// The headers that must be made, or made anew, before the kernel may have them.
    written: usize,
}

impl Inbox {
    /// Empty room.
    pub(super) fn new() -> Inbox {
        Inbox {
            // Zero as the kernel gives it: what is never received takes no memory.
            bytes: vec![[0; DATAGRAM]; BATCH],
            // SAFETY: all bytes zero is a `sockaddr_storage`.
            names: Box::new([unsafe { MaybeUninit::zeroed().assume_init() }; BATCH]),
            controls: Box::new([Control([0; CONTROL]); BATCH]),
            // SAFETY: all bytes zero is an `iovec`.
            parts: Box::new([unsafe { MaybeUninit::zeroed().assume_init() }; BATCH]),
            // SAFETY: all bytes zero is a `mmsghdr`.
            headers: Box::new([unsafe { MaybeUninit::zeroed().assume_init() }; BATCH]),
            written: BATCH,
        }
    }

    /// Receives what is there; how many. None are there: [`io::ErrorKind::WouldBlock`].
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for at in 0..self.written {
            self.parts[at].iov_base = self.bytes[at].as_mut_ptr().cast();
            self.parts[at].iov_len = DATAGRAM;
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[at]).cast();
            header.msg_namelen = NAME_LENGTH;
            header.msg_iov = &raw mut self.parts[at];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points at memory of `self`, with its length, which no field moves.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        // It writes into the headers of what it received and into no others.
        self.written = usize::try_from(received).unwrap_or(0);
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// The datagram at a place of the last batch. `None` when it is from no IP address.
    pub(super) fn datagram(&self, at: usize) -> Option<Datagram<'_>> {
        Some(Datagram {
            bytes: &self.bytes[at][..(self.headers[at].msg_len as usize).min(DATAGRAM)],
            peer: read_name(&self.names[at])?,
            local: self.local(at),
        })
    }

    fn local(&self, at: usize) -> Option<Local> {
        let length = self.headers[at].msg_hdr.msg_controllen;
        if length == 0 {
            return None;
        }
        // SAFETY: all bytes zero is a `msghdr`.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_control = self.controls[at].0.as_ptr().cast_mut().cast();
        header.msg_controllen = length.min(CONTROL as _);
        // SAFETY: the header describes control messages as the kernel wrote them, and the macros
        // stay within their length. Payloads are read unaligned, only if the whole fits.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            while !message.is_null() {
                let payload = (*message).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO)
                        if payload >= size_of::<libc::in_pktinfo>() =>
                    {
                        let data = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>();
                        let info = data.read_unaligned();
                        let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                        return Some(Local { address: address.into(), interface: 0 });
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                        if payload >= size_of::<libc::in6_pktinfo>() =>
                    {
                        let data = libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>();
                        let info = data.read_unaligned();
                        let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                        let local = address.is_unicast_link_local();
                        let interface = if local { info.ipi6_ifindex } else { 0 };
                        return Some(Local { address: address.into(), interface });
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
        }
        None
    }
}

/// One datagram to send.
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) peer: SocketAddr,
    pub(super) local: Option<Local>,
}

/// Sends up to [`BATCH`] datagrams. What the kernel does not take is lost, as datagrams may be:
/// clients ask again, and nobody waits here.
pub(super) fn send(socket: &UdpSocket, datagrams: &[Outgoing<'_>]) {
    let count = datagrams.len().min(BATCH);
    // SAFETY: all bytes zero are values of these types; they are filled below.
    let mut parts: [libc::iovec; BATCH] = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { MaybeUninit::zeroed().assume_init() };
    // Filled one by one, so that what is not used costs nothing.
    let mut names: [MaybeUninit<libc::sockaddr_storage>; BATCH] =
        [const { MaybeUninit::uninit() }; BATCH];
    let mut controls: [MaybeUninit<Control>; BATCH] = [const { MaybeUninit::uninit() }; BATCH];
    for (at, datagram) in datagrams.iter().enumerate().take(count) {
        parts[at].iov_base = datagram.bytes.as_ptr().cast_mut().cast();
        parts[at].iov_len = datagram.bytes.len();
        let header = &mut headers[at].msg_hdr;
        header.msg_namelen = write_name(&mut names[at], datagram.peer);
        header.msg_name = names[at].as_mut_ptr().cast();
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        if let Some(local) = datagram.local {
            let control = controls[at].write(Control([0; CONTROL]));
            write_control(header, control, local);
        }
    }
    let mut sent = 0;
    while sent < count {
        // SAFETY: every header points at memory that outlives the call, with its length; the
        // kernel only reads what the cast makes mutable.
        let more = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[sent..count].as_mut_ptr(),
                (count - sent) as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        match usize::try_from(more) {
            Ok(more) => sent += more.max(1),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // The first of them cannot be sent, such as to a peer without a route.
            Err(_) => sent += 1,
        }
    }
}

const NAME_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and the storage is large and aligned enough.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn write_name(name: &mut MaybeUninit<libc::sockaddr_storage>, peer: SocketAddr) -> libc::socklen_t {
    match peer {
        SocketAddr::V4(peer) => {
            let value = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: peer.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*peer.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large and aligned enough for any address.
            unsafe { name.as_mut_ptr().cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(peer) => {
            let value = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: peer.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: peer.ip().octets() },
                sin6_scope_id: peer.scope_id(),
            };
            // SAFETY: as above.
            unsafe { name.as_mut_ptr().cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Lets a datagram leave from `local`.
fn write_control(header: &mut libc::msghdr, control: &mut Control, local: Local) {
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    // SAFETY: the control buffer is zero, aligned as a `cmsghdr` and larger than one with either
    // payload, so the first header is inside; the length is then cut to what is used.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let length = match local.address {
            IpAddr::V4(address) => {
                (*message).cmsg_level = libc::IPPROTO_IP;
                (*message).cmsg_type = libc::IP_PKTINFO;
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(address).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
                size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(address) => {
                (*message).cmsg_level = libc::IPPROTO_IPV6;
                (*message).cmsg_type = libc::IPV6_PKTINFO;
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                    ipi6_ifindex: local.interface,
                };
                libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().write_unaligned(info);
                size_of::<libc::in6_pktinfo>()
            }
        };
        (*message).cmsg_len = libc::CMSG_LEN(length as libc::c_uint) as _;
        header.msg_controllen = libc::CMSG_SPACE(length as libc::c_uint) as _;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(at: &str) -> (UdpSocket, UdpSocket) {
        let server = UdpSocket::bind(at).unwrap();
        let client = UdpSocket::bind(at).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        (server, client)
    }

    #[test]
    fn datagrams_come_and_go_in_batches() {
        let (server, client) = pair("127.0.0.1:0");
        let mut inbox = Inbox::new();
        let nothing = inbox.receive(&server).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        for at in 0..40u8 {
            client.send(&[at; 3]).unwrap();
        }
        assert_eq!(inbox.receive(&server).unwrap(), BATCH);
        let outgoing: Vec<_> = (0..BATCH)
            .map(|at| {
                let datagram = inbox.datagram(at).unwrap();
                assert_eq!(datagram.peer, client.local_addr().unwrap());
                assert_eq!(datagram.local, None);
                Outgoing { bytes: datagram.bytes, peer: datagram.peer, local: None }
            })
            .collect();
        send(&server, &outgoing);
        drop(outgoing);
        let mut bytes = [0; 16];
        for at in 0..BATCH {
            assert_eq!(client.recv(&mut bytes).unwrap(), 3);
            assert_eq!(usize::from(bytes[0]), at);
        }
        assert_eq!(inbox.receive(&server).unwrap(), 8);
    }

    #[test]
    fn what_cannot_be_sent_holds_up_nothing() {
        let (server, client) = pair("127.0.0.1:0");
        let outgoing =
            |peer: &str| Outgoing { bytes: b"x", peer: peer.parse().unwrap(), local: None };
        // An address of the other family is refused by the kernel.
        let here = client.local_addr().unwrap().to_string();
        send(&server, &[outgoing("[::1]:9"), outgoing(&here), outgoing("[::1]:9")]);
        assert_eq!(client.recv(&mut [0; 16]).unwrap(), 1);
    }
}
