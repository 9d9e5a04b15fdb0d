// SPDX-License-Identifier: GPL-3.0-or-later
//! A flow: what the kernel knows of one connection, or of what is like one.

use std::fmt;
use std::net::SocketAddr;

use crate::rule::Family;

/// Bits of a flow's status, `enum ip_conntrack_status` of `nf_conntrack_common.h`.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const SOURCE_TRANSLATED: u32 = 1 << 4;
const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// One end-to-end flow of packets, as connection tracking knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The IP protocol: 6 TCP, 17 UDP, 132 SCTP and so on.
    pub protocol: u8,
    /// The first packet: who sent it, and where to before any translation.
    pub original: Tuple,
    /// The packets in answer, as they arrive: the source is who truly answers.
    pub reply: Tuple,
    /// The conntrack zone; 0 unless rules say otherwise.
    pub zone: u16,
    /// The bits of its status (`IPS_…`).
    pub status: u32,
    /// The state of the protocol, for TCP and SCTP, under the name that the kernel gives it.
    pub state: Option<&'static str>,
    /// In so many seconds it is forgotten unless a packet comes.
    pub timeout_secs: u32,
    /// The mark that rules have put on it.
    pub mark: u32,
    /// The kernel's number for it, which another flow may have once this one is gone.
    pub id: u32,
    /// Packets and bytes of the original direction, where the kernel counts them
    /// (`net.netfilter.nf_conntrack_acct`).
    pub sent: Option<Counter>,
    /// The same of the other direction.
    pub received: Option<Counter>,
}

/// One direction of a flow. Ports are 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Where its packets come from.
    pub source: SocketAddr,
    /// Where they go to.
    pub destination: SocketAddr,
    /// What ICMP has in place of ports.
    pub icmp: Option<Icmp>,
}

/// What tells one ICMP question from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icmp {
    /// The type, such as 8 for an echo request.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The identifier.
    pub id: u16,
}

/// What went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// How many packets.
    pub packets: u64,
    /// How many bytes, IP headers included.
    pub bytes: u64,
}

impl Flow {
    /// IPv4 or IPv6.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.original.source.is_ipv4() { Family::Ip } else { Family::Ip6 }
    }

    /// Both sides have sent, and for TCP in the right order. Such flows are not the first to go
    /// when the table is full.
    #[must_use]
    pub fn is_assured(&self) -> bool {
        self.status & ASSURED != 0
    }

    /// The name of its IP protocol, as `tcp`.
    #[must_use]
    pub fn protocol_name(&self) -> &'static str {
        protocol_name(self.protocol)
    }

    /// An answer was seen.
    #[must_use]
    pub fn is_replied(&self) -> bool {
        self.status & SEEN_REPLY != 0
    }

    /// The destination of its first packet was changed: it came to a service.
    #[must_use]
    pub fn is_destination_translated(&self) -> bool {
        self.status & DESTINATION_TRANSLATED != 0
    }

    /// The source of its first packet was changed.
    #[must_use]
    pub fn is_source_translated(&self) -> bool {
        self.status & SOURCE_TRANSLATED != 0
    }
}

/// The name of an IP protocol, as `/etc/protocols` has it, of those that the kernel tracks.
fn protocol_name(protocol: u8) -> &'static str {
    match i32::from(protocol) {
        libc::IPPROTO_ICMP => "icmp",
        libc::IPPROTO_TCP => "tcp",
        libc::IPPROTO_UDP => "udp",
        libc::IPPROTO_DCCP => "dccp",
        libc::IPPROTO_GRE => "gre",
        libc::IPPROTO_ICMPV6 => "icmpv6",
        libc::IPPROTO_SCTP => "sctp",
        libc::IPPROTO_UDPLITE => "udplite",
        _ => "unknown",
    }
}

/// Whether a protocol has ports, or as GRE something that is kept in their place.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(
        i32::from(protocol),
        libc::IPPROTO_TCP
            | libc::IPPROTO_UDP
            | libc::IPPROTO_DCCP
            | libc::IPPROTO_GRE
            | libc::IPPROTO_SCTP
            | libc::IPPROTO_UDPLITE
    )
}

impl Tuple {
    fn write(&self, f: &mut fmt::Formatter<'_>, protocol: u8) -> fmt::Result {
        let Self { source, destination, icmp } = self;
        write!(f, "src={} dst={}", source.ip(), destination.ip())?;
        if i32::from(protocol) == libc::IPPROTO_GRE {
            write!(f, " srckey={:#x} dstkey={:#x}", source.port(), destination.port())?;
        } else if has_ports(protocol) {
            write!(f, " sport={} dport={}", source.port(), destination.port())?;
        }
        match icmp {
            Some(Icmp { kind, code, id }) => write!(f, " type={kind} code={code} id={id}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Flow {
    /// As a line of `conntrack -L`, less the kernel's own count of its users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counter = |f: &mut fmt::Formatter<'_>, counter: Option<Counter>| match counter {
            Some(Counter { packets, bytes }) => write!(f, " packets={packets} bytes={bytes}"),
            None => Ok(()),
        };
        let name = protocol_name(self.protocol);
        write!(f, "{name:<8} {} {} ", self.protocol, self.timeout_secs)?;
        if let Some(state) = self.state {
            write!(f, "{state} ")?;
        }
        self.original.write(f, self.protocol)?;
        counter(f, self.sent)?;
        if !self.is_replied() {
            f.write_str(" [UNREPLIED]")?;
        }
        f.write_str(" ")?;
        self.reply.write(f, self.protocol)?;
        counter(f, self.received)?;
        if self.is_assured() {
            f.write_str(" [ASSURED]")?;
        }
        write!(f, " mark={}", self.mark)?;
        if self.zone != 0 { write!(f, " zone={}", self.zone) } else { Ok(()) }
    }
}
