// SPDX-License-Identifier: GPL-3.0-or-later
//! Elements as the kernel takes and tells them.
//!
//! Values carry their types, so that encoding needs no set; bytes do not, so decoding does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustables::sys;

use super::{Data, Element, Protocol, Tuple, Value};
use crate::instruction::{decode_verdict, encode_verdict};
use crate::message::{
    Attributes, UDATA_COMMENT, comment_of, comment_userdata, put_attribute, put_nested, put_u32,
};
use crate::rule::Comment;
use crate::set::Datatype;
use crate::set::encoding::Shape;

/// More bytes than any element has.
const LONGEST: usize = 1024;
/// How long a list of elements may become: an attribute has at most 64 KiB.
pub(crate) const LIST: usize = 60_000;
const _: () = assert!(LIST + LONGEST < 1 << 16);

/// Appends an element to a list of elements.
pub(crate) fn put_element(Element { key, data, comment }: &Element, out: &mut Vec<u8>) {
    put_keyed(key, out, |out| {
        match data {
            Some(Data::Values(values)) => put_nested(out, sys::NFTA_SET_ELEM_DATA, |out| {
                let single = values.values().nth(1).is_none();
                put_bytes(out, sys::NFTA_DATA_VALUE, |out| {
                    values.values().for_each(|value| put_value(value, single, Edge::First, out));
                });
            }),
            Some(Data::Verdict(verdict)) => {
                put_nested(out, sys::NFTA_SET_ELEM_DATA, |out| encode_verdict(verdict, out));
            }
            None => {}
        }
        if let Some(comment) = comment {
            let userdata = comment_userdata(comment.as_str());
            put_attribute(out, sys::NFTA_SET_ELEM_USERDATA, &userdata);
        }
    });
}

/// Appends a key to a list of elements, to delete it.
pub(crate) fn put_key(key: &Tuple, out: &mut Vec<u8>) {
    put_keyed(key, out, |_| {});
}

/// One of the two ends of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

fn put_keyed(key: &Tuple, out: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
    let single = key.values().nth(1).is_none();
    let interval = key.values().any(|value| matches!(value, Value::Network(_)));
    let put = |attribute, edge, out: &mut Vec<u8>| {
        put_nested(out, attribute, |out| {
            put_bytes(out, sys::NFTA_DATA_VALUE, |out| {
                key.values().for_each(|value| put_value(value, single, edge, out));
            });
        });
    };
    put_nested(out, sys::NFTA_LIST_ELEM, |out| {
        put(sys::NFTA_SET_ELEM_KEY, Edge::First, out);
        if interval && !single {
            put(sys::NFTA_SET_ELEM_KEY_END, Edge::Last, out);
        }
        rest(out);
    });
    // Of a single field the end is an element of its own: the first address beyond, if any.
    if let (true, true, Some(Value::Network(network))) = (interval, single, key.values().next())
        && let Some(beyond) = beyond(&network)
    {
        put_nested(out, sys::NFTA_LIST_ELEM, |out| {
            put_nested(out, sys::NFTA_SET_ELEM_KEY, |out| {
                put_attribute(out, sys::NFTA_DATA_VALUE, &octets(beyond));
            });
            put_u32(out, sys::NFTA_SET_ELEM_FLAGS, sys::NFT_SET_ELEM_INTERVAL_END);
        });
    }
}

/// An attribute whose value `content` writes.
fn put_bytes(out: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_attribute(out, kind, &[]);
    content(out);
    let len = u16::try_from(out.len() - start).expect("a key has at most five fields");
    out[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

/// One of several values fills whole registers.
fn put_value(value: Value, single: bool, edge: Edge, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        Value::Address(IpAddr::V4(address)) => out.extend_from_slice(&address.octets()),
        Value::Address(IpAddr::V6(address)) => out.extend_from_slice(&address.octets()),
        Value::Network(network) => out.extend_from_slice(&octets(match edge {
            Edge::First => network.network(),
            Edge::Last => network.broadcast(),
        })),
        Value::Protocol(protocol) => out.push(protocol.number()),
        Value::Port(port) => out.extend_from_slice(&port.to_be_bytes()),
        // In the host's order, as meta and numgen leave them in a register.
        Value::Number(number) | Value::Class(number) => {
            out.extend_from_slice(&number.to_ne_bytes());
        }
    }
    if !single {
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn beyond(network: &IpNet) -> Option<IpAddr> {
    match network.broadcast() {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|it| Ipv4Addr::from_bits(it).into()),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|it| Ipv6Addr::from_bits(it).into()),
    }
}

/// What is needed to read the elements of a set.
pub(crate) struct Decoder {
    key: Vec<Datatype>,
    /// The types of the values; none if there are no values.
    values: Option<Vec<Datatype>>,
    verdicts: bool,
    interval: bool,
    /// Whether elements have a time to live.
    timed: bool,
}

/// An element, as far as one message part tells.
#[derive(Debug)]
pub(crate) enum Part {
    Whole(Element),
    /// Of a single field: the first address, and what belongs to it.
    First(IpAddr, Element),
    /// Of a single field: the first address beyond.
    Beyond(IpAddr),
}

impl Decoder {
    /// For a set of this shape; none if it holds what netlab never writes.
    pub(crate) fn new(shape: &Shape) -> Option<Self> {
        let verdicts = shape.holds_verdicts();
        let values = shape.values();
        if shape.data.is_some() && !verdicts && values.is_none() {
            return None;
        }
        let (interval, timed) = (shape.is_interval(), shape.is_dynamic());
        Some(Self { key: shape.key()?, values, verdicts, interval, timed })
    }

    /// Reads one element of a list; none if netlab would never write it.
    pub(crate) fn read(&self, element: Attributes<'_>) -> Option<Part> {
        let has = |attribute| element.get(attribute).is_some();
        let times = [sys::NFTA_SET_ELEM_TIMEOUT, sys::NFTA_SET_ELEM_EXPIRATION];
        let foreign =
            [sys::NFTA_SET_ELEM_EXPR, sys::NFTA_SET_ELEM_EXPRESSIONS, sys::NFTA_SET_ELEM_OBJREF];
        if foreign.into_iter().any(has) || !self.timed && times.into_iter().any(has) {
            return None;
        }
        let bytes = |kind| element.get_nested(kind)?.get(sys::NFTA_DATA_VALUE);
        let flags = element.get_u32(sys::NFTA_SET_ELEM_FLAGS).unwrap_or(0);
        let first = bytes(sys::NFTA_SET_ELEM_KEY)?;
        if self.interval && self.key.len() == 1 {
            let address = read_address(self.key[0], first)?;
            return match flags {
                0 => {
                    Some(Part::First(address, self.rest(Value::Address(address).into(), element)?))
                }
                sys::NFT_SET_ELEM_INTERVAL_END => Some(Part::Beyond(address)),
                _ => None,
            };
        }
        if flags != 0 {
            return None;
        }
        let last = bytes(sys::NFTA_SET_ELEM_KEY_END).unwrap_or(first);
        let key = if self.interval {
            read_networks(&self.key, first, last)?
        } else {
            read_tuple(&self.key, first)?
        };
        Some(Part::Whole(self.rest(key, element)?))
    }

    fn rest(&self, key: Tuple, element: Attributes<'_>) -> Option<Element> {
        let data = match element.get_nested(sys::NFTA_SET_ELEM_DATA) {
            Some(data) if self.verdicts => Some(Data::Verdict(decode_verdict(data)?)),
            Some(data) => {
                let types = self.values.as_deref()?;
                Some(Data::Values(read_tuple(types, data.get(sys::NFTA_DATA_VALUE)?)?))
            }
            None => None,
        };
        let comment = element
            .get(sys::NFTA_SET_ELEM_USERDATA)
            .and_then(|data| comment_of(data, UDATA_COMMENT))
            .map(Comment::new);
        Some(Element { key, data, comment })
    }
}

/// Joins the ends of networks; none if they are not networks.
pub(crate) fn join(parts: Vec<Part>) -> Option<Vec<Element>> {
    let mut elements = Vec::with_capacity(parts.len());
    let mut edges: Vec<(IpAddr, Option<Element>)> = Vec::new();
    for part in parts {
        match part {
            Part::Whole(element) => elements.push(element),
            Part::First(address, element) => edges.push((address, Some(element))),
            Part::Beyond(address) => edges.push((address, None)),
        }
    }
    // One network may end where the next begins.
    edges.sort_by_key(|(address, element)| (*address, element.is_some()));
    let mut edges = edges.into_iter().peekable();
    while let Some((first, element)) = edges.next() {
        // nft marks the beginning of all addresses as an end.
        let Some(element) = element else { continue };
        let beyond = edges.next_if(|(_, element)| element.is_none()).map(|(address, _)| address);
        let network = network(first, last_before(beyond, first)?)?;
        elements.push(Element { key: Value::Network(network).into(), ..element });
    }
    Some(elements)
}

fn last_before(beyond: Option<IpAddr>, like: IpAddr) -> Option<IpAddr> {
    match (beyond, like) {
        (Some(IpAddr::V4(it)), _) => Some(Ipv4Addr::from_bits(it.to_bits().checked_sub(1)?).into()),
        (Some(IpAddr::V6(it)), _) => Some(Ipv6Addr::from_bits(it.to_bits().checked_sub(1)?).into()),
        (None, IpAddr::V4(_)) => Some(Ipv4Addr::BROADCAST.into()),
        (None, IpAddr::V6(_)) => Some(Ipv6Addr::from_bits(u128::MAX).into()),
    }
}

/// The network from the first to the last address, if that is one.
fn network(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let network: IpNet = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            Ipv4Net::new(a, (a.to_bits() ^ b.to_bits()).leading_zeros() as u8).ok()?.into()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            Ipv6Net::new(a, (a.to_bits() ^ b.to_bits()).leading_zeros() as u8).ok()?.into()
        }
        _ => return None,
    };
    (network.network() == first && network.broadcast() == last).then_some(network)
}

fn read_address(datatype: Datatype, bytes: &[u8]) -> Option<IpAddr> {
    match read_value(datatype, bytes)? {
        Value::Address(address) => Some(address),
        _ => None,
    }
}

/// Splits bytes into fields. The last may lack its padding.
fn fields<'a>(types: &'a [Datatype], bytes: &'a [u8]) -> impl Iterator<Item = Option<Value>> + 'a {
    let mut at = 0;
    types.iter().map(move |datatype| {
        let field = bytes.get(at..at + datatype.len());
        at += datatype.len().next_multiple_of(4);
        read_value(*datatype, field?)
    })
}

fn read_tuple(types: &[Datatype], bytes: &[u8]) -> Option<Tuple> {
    fields(types, bytes).collect()
}

/// In an interval set, each address is a network.
fn read_networks(types: &[Datatype], first: &[u8], last: &[u8]) -> Option<Tuple> {
    fields(types, first)
        .zip(fields(types, last))
        .map(|(first, last)| match (first?, last?) {
            (Value::Address(first), Value::Address(last)) => {
                network(first, last).map(Value::Network)
            }
            (first, last) => (first == last).then_some(first),
        })
        .collect()
}

fn read_value(datatype: Datatype, bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.get(..datatype.len())?;
    let number = || bytes.try_into().ok().map(u32::from_ne_bytes);
    Some(match datatype {
        Datatype::Ipv4Addr => Value::Address(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        Datatype::Ipv6Addr => Value::Address(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        Datatype::InetProto => Value::Protocol(Protocol::from_number(bytes[0])?),
        Datatype::InetService => Value::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
        Datatype::Mark | Datatype::Index => Value::Number(number()?),
        Datatype::ClassId => Value::Class(number()?),
    })
}
