// SPDX-License-Identifier: GPL-3.0-or-later
//! Flows as netlink messages (`linux/netfilter/nfnetlink_conntrack.h`). Pure.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;

use super::flow::has_ports;
use super::{Counter, Filter, Flow, Icmp, Tuple};
use crate::message::{self, Attributes, Message, put_attribute, put_nested, put_u32};
use crate::rule::Family;

/// The subsystem in the upper byte of a message's type (`NFNL_SUBSYS_CTNETLINK`).
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
/// `enum cntl_msg_types`.
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// `enum ctattr_type`.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_STATUS_MASK: u16 = 26;

/// `enum ctattr_tuple`.
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;

/// `enum ctattr_ip`.
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

/// `enum ctattr_l4proto`.
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;

/// `enum ctattr_protoinfo`, and in each of them the state.
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_SCTP: u16 = 3;
const CTA_PROTOINFO_STATE: u16 = 1;

/// `enum ctattr_counters`.
const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;

/// `IPS_DST_NAT`.
const DESTINATION_TRANSLATED: u32 = 1 << 5;

/// `enum tcp_conntrack`, as the kernel's `tcp_conntrack_names` call them.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// `enum sctp_conntrack`.
const SCTP_STATES: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];

/// The question for flows.
pub(super) fn list(filter: &Filter, sequence: u32) -> Vec<u8> {
    let family = filter.family.map_or(libc::AF_UNSPEC as u8, Family::number);
    let mut out = Vec::new();
    message::put_request(&mut out, GET, libc::NLM_F_DUMP as u16, sequence, family, |out| {
        if filter.translated {
            put_u32(out, CTA_STATUS, DESTINATION_TRANSLATED);
            put_u32(out, CTA_STATUS_MASK, DESTINATION_TRANSLATED);
        }
    });
    out
}

/// Appends the wish that a flow be deleted. A tuple is always in it: without one, the kernel would
/// delete all flows that there are.
///
/// It is the tuple of the answers, in which the endpoint is. The number alone does not tell a flow
/// from the next one between the same ends: it is a hash of where in memory the flow is and of its
/// original tuple (`nf_ct_get_id`), and memory is used again.
pub(super) fn delete(flow: &Flow, sequence: u32, acknowledge: bool, out: &mut Vec<u8>) {
    let flags = if acknowledge { libc::NLM_F_ACK as u16 } else { 0 };
    message::put_request(out, DELETE, flags, sequence, flow.family().number(), |out| {
        put_nested(out, CTA_TUPLE_REPLY, |out| put_tuple(out, &flow.reply, flow.protocol));
        if flow.zone != 0 {
            put_attribute(out, CTA_ZONE, &flow.zone.to_be_bytes());
        }
        put_u32(out, CTA_ID, flow.id);
    });
}

fn put_tuple(out: &mut Vec<u8>, tuple: &Tuple, protocol: u8) {
    put_nested(out, CTA_TUPLE_IP, |out| {
        let mut address = |v4, v6, address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => put_attribute(out, v4, &ip.octets()),
            IpAddr::V6(ip) => put_attribute(out, v6, &ip.octets()),
        };
        address(CTA_IP_V4_SRC, CTA_IP_V6_SRC, tuple.source);
        address(CTA_IP_V4_DST, CTA_IP_V6_DST, tuple.destination);
    });
    put_nested(out, CTA_TUPLE_PROTO, |out| {
        put_attribute(out, CTA_PROTO_NUM, &[protocol]);
        if has_ports(protocol) {
            put_attribute(out, CTA_PROTO_SRC_PORT, &tuple.source.port().to_be_bytes());
            put_attribute(out, CTA_PROTO_DST_PORT, &tuple.destination.port().to_be_bytes());
        }
        if let Some(Icmp { kind, code, id }) = tuple.icmp {
            let (kinds, codes, ids) = icmp_attributes(protocol);
            put_attribute(out, ids, &id.to_be_bytes());
            put_attribute(out, kinds, &[kind]);
            put_attribute(out, codes, &[code]);
        }
    });
}

/// The attributes of type, code and identifier.
fn icmp_attributes(protocol: u8) -> (u16, u16, u16) {
    if i32::from(protocol) == libc::IPPROTO_ICMPV6 {
        (CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_ICMPV6_CODE, CTA_PROTO_ICMPV6_ID)
    } else {
        (CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID)
    }
}

/// How a question or a wish ended; none of what is part of an answer.
pub(super) fn end(message: &Message<'_>) -> Option<Result<(), Errno>> {
    if !matches!(i32::from(message.kind), libc::NLMSG_ERROR | libc::NLMSG_DONE) {
        return None;
    }
    let errno = message.payload().first_chunk::<4>().map_or(0, |errno| i32::from_ne_bytes(*errno));
    Some(if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno.wrapping_neg())) })
}

/// The protocol of a flow, without reading the rest of it.
pub(super) fn protocol(message: &Message<'_>) -> Option<u8> {
    let tuple = message.attributes().get_nested(CTA_TUPLE_ORIG)?;
    number(tuple.get_nested(CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)
}

/// Reads a flow; none of what is no flow of IP.
pub(super) fn decode(message: &Message<'_>) -> Option<Flow> {
    if message.kind != NEW {
        return None;
    }
    // In one pass: there are many of them, each with a dozen attributes.
    let (mut original, mut reply, mut info) = (None, None, None);
    let mut flow = Flow {
        protocol: protocol(message)?,
        original: NOWHERE,
        reply: NOWHERE,
        zone: 0,
        status: 0,
        state: None,
        timeout_secs: 0,
        mark: 0,
        id: 0,
        sent: None,
        received: None,
    };
    for (kind, value) in message.attributes() {
        let number = || value.try_into().map_or(0, u32::from_be_bytes);
        match kind {
            CTA_TUPLE_ORIG => original = tuple(Attributes::new(value), flow.protocol),
            CTA_TUPLE_REPLY => reply = tuple(Attributes::new(value), flow.protocol),
            CTA_PROTOINFO => info = Some(Attributes::new(value)),
            CTA_STATUS => flow.status = number(),
            CTA_TIMEOUT => flow.timeout_secs = number(),
            CTA_MARK => flow.mark = number(),
            CTA_ID => flow.id = number(),
            CTA_ZONE => flow.zone = value.try_into().map_or(0, u16::from_be_bytes),
            CTA_COUNTERS_ORIG => flow.sent = counter(Attributes::new(value)),
            CTA_COUNTERS_REPLY => flow.received = counter(Attributes::new(value)),
            _ => {}
        }
    }
    flow.original = original?;
    flow.reply = reply?;
    flow.state = info.and_then(state);
    Some(flow)
}

/// Stands where a tuple is still to come.
const NOWHERE: Tuple = {
    let nowhere = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
    Tuple { source: nowhere, destination: nowhere, icmp: None }
};

fn tuple(attributes: Attributes<'_>, protocol: u8) -> Option<Tuple> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attributes.get_nested(CTA_TUPLE_IP)? {
        match kind {
            CTA_IP_V4_SRC => source = v4(value),
            CTA_IP_V4_DST => destination = v4(value),
            CTA_IP_V6_SRC => source = v6(value),
            CTA_IP_V6_DST => destination = v6(value),
            _ => {}
        }
    }
    let ports = attributes.get_nested(CTA_TUPLE_PROTO)?;
    let port = |kind| ports.get(kind).and_then(|it| it.try_into().ok()).map(u16::from_be_bytes);
    let (kinds, codes, ids) = icmp_attributes(protocol);
    let icmp = number(ports, kinds).map(|kind| Icmp {
        kind,
        code: number(ports, codes).unwrap_or_default(),
        id: port(ids).unwrap_or_default(),
    });
    Some(Tuple {
        source: SocketAddr::new(source?, port(CTA_PROTO_SRC_PORT).unwrap_or_default()),
        destination: SocketAddr::new(destination?, port(CTA_PROTO_DST_PORT).unwrap_or_default()),
        icmp,
    })
}

fn v4(value: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(value).ok().map(IpAddr::from)
}

fn v6(value: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

fn number(attributes: Attributes<'_>, kind: u16) -> Option<u8> {
    attributes.get(kind)?.first().copied()
}

fn counter(attributes: Attributes<'_>) -> Option<Counter> {
    let count =
        |kind| attributes.get(kind).and_then(|it| it.try_into().ok()).map(u64::from_be_bytes);
    Some(Counter { packets: count(CTA_COUNTERS_PACKETS)?, bytes: count(CTA_COUNTERS_BYTES)? })
}

fn state(info: Attributes<'_>) -> Option<&'static str> {
    let of = |kind, names: &'static [&'static str]| {
        let state = number(info.get_nested(kind)?, CTA_PROTOINFO_STATE)?;
        names.get(usize::from(state)).copied()
    };
    of(CTA_PROTOINFO_TCP, &TCP_STATES).or_else(|| of(CTA_PROTOINFO_SCTP, &SCTP_STATES))
}
