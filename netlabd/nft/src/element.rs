// SPDX-License-Identifier: GPL-3.0-or-later
//! What is in sets and maps: keys, values and verdicts. Each prints the way `nft` writes it.
//!
//! A node with ten thousand services has some fifty thousand of these, several times over while
//! it compares them. So a [`Tuple`] keeps its values packed, in some twenty bytes.

pub(crate) mod encoding;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::expression::Verdict;
use crate::rule::Comment;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number in the header of IP.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => libc::IPPROTO_TCP as u8,
            Self::Udp => libc::IPPROTO_UDP as u8,
            Self::Sctp => libc::IPPROTO_SCTP as u8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One field of a key, or of what a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// A network, in interval sets, and there even for a single address. Host bits are ignored.
    Network(IpNet),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// A mark, or what `numgen` chooses.
    Number(u32),
    /// A class, as in `meta priority`: a major number in the upper half, a minor in the lower.
    Class(u32),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => network.trunc().fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Class(class) => fmt_class(*class, f),
        }
    }
}

/// `nft` has names for two classes, and writes the others in hexadecimal.
pub(crate) fn fmt_class(class: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match class {
        0 => f.write_str("none"),
        u32::MAX => f.write_str("root"),
        class => write!(f, "{:x}:{:x}", class >> 16, class & 0xffff),
    }
}

/// Values in a row: what `nft` writes with dots between. The order of tuples is that of their
/// values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple(Box<[u8]>);

/// The first byte of a packed value says what it is; the rest is big-endian, so that bytes
/// compare as values do.
mod tag {
    pub(super) const V4: u8 = 0;
    pub(super) const V6: u8 = 1;
    pub(super) const NET_V4: u8 = 2;
    pub(super) const NET_V6: u8 = 3;
    pub(super) const PROTOCOL: u8 = 4;
    pub(super) const PORT: u8 = 5;
    pub(super) const NUMBER: u8 = 6;
    pub(super) const CLASS: u8 = 7;
}

impl Tuple {
    /// Its values, in their order.
    pub fn values(&self) -> impl Iterator<Item = Value> + '_ {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || unpack(&mut rest))
    }
}

impl FromIterator<Value> for Tuple {
    fn from_iter<T: IntoIterator<Item = Value>>(values: T) -> Self {
        let mut bytes = Vec::with_capacity(32);
        values.into_iter().for_each(|value| pack(value, &mut bytes));
        Self(bytes.into_boxed_slice())
    }
}

impl<const N: usize> From<[Value; N]> for Tuple {
    fn from(values: [Value; N]) -> Self {
        values.into_iter().collect()
    }
}

impl From<Value> for Tuple {
    fn from(value: Value) -> Self {
        [value].into()
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values().enumerate().try_for_each(|(i, value)| {
            f.write_str(if i == 0 { "" } else { " . " })?;
            value.fmt(f)
        })
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

fn pack(value: Value, out: &mut Vec<u8>) {
    let mut put = |tag, value: &[u8]| {
        out.push(tag);
        out.extend_from_slice(value);
    };
    match value {
        Value::Address(IpAddr::V4(address)) => put(tag::V4, &address.octets()),
        Value::Address(IpAddr::V6(address)) => put(tag::V6, &address.octets()),
        Value::Network(IpNet::V4(net)) => {
            put(tag::NET_V4, &net.network().octets());
            out.push(net.prefix_len());
        }
        Value::Network(IpNet::V6(net)) => {
            put(tag::NET_V6, &net.network().octets());
            out.push(net.prefix_len());
        }
        Value::Protocol(protocol) => put(tag::PROTOCOL, &[protocol.number()]),
        Value::Port(port) => put(tag::PORT, &port.to_be_bytes()),
        Value::Number(number) => put(tag::NUMBER, &number.to_be_bytes()),
        Value::Class(class) => put(tag::CLASS, &class.to_be_bytes()),
    }
}

/// Takes the next value; none at the end. Only [`pack`] writes what this reads.
fn unpack(rest: &mut &[u8]) -> Option<Value> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (value, after) = rest.split_first_chunk::<N>()?;
        *rest = after;
        Some(*value)
    }
    let [tag] = take::<1>(rest)?;
    Some(match tag {
        tag::V4 => Value::Address(Ipv4Addr::from(take::<4>(rest)?).into()),
        tag::V6 => Value::Address(Ipv6Addr::from(take::<16>(rest)?).into()),
        tag::NET_V4 => {
            let address = Ipv4Addr::from(take::<4>(rest)?);
            let [len] = take::<1>(rest)?;
            Value::Network(IpNet::new(address.into(), len).ok()?)
        }
        tag::NET_V6 => {
            let address = Ipv6Addr::from(take::<16>(rest)?);
            let [len] = take::<1>(rest)?;
            Value::Network(IpNet::new(address.into(), len).ok()?)
        }
        tag::PROTOCOL => Value::Protocol(Protocol::from_number(take::<1>(rest)?[0])?),
        tag::PORT => Value::Port(u16::from_be_bytes(take(rest)?)),
        tag::NUMBER => Value::Number(u32::from_be_bytes(take(rest)?)),
        tag::CLASS => Value::Class(u32::from_be_bytes(take(rest)?)),
        _ => return None,
    })
}

/// A key and, in a map, what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The key. A set has each at most once.
    pub key: Tuple,
    /// What it leads to; none in a set.
    pub data: Option<Data>,
    /// What it is for, if it is worth the memory.
    pub comment: Option<Comment>,
}

impl Element {
    /// An element of a set.
    #[must_use]
    pub fn new(key: impl Into<Tuple>) -> Self {
        Self { key: key.into(), data: None, comment: None }
    }

    /// An element of a map, whose key leads to values.
    #[must_use]
    pub fn to_values(key: impl Into<Tuple>, values: impl Into<Tuple>) -> Self {
        Self { data: Some(Data::Values(values.into())), ..Self::new(key) }
    }

    /// An element of a map, whose key leads to a verdict.
    #[must_use]
    pub fn to_verdict(key: impl Into<Tuple>, verdict: Verdict) -> Self {
        Self { data: Some(Data::Verdict(verdict)), ..Self::new(key) }
    }

    /// The same with a comment.
    #[must_use]
    pub fn with_comment(self, comment: Comment) -> Self {
        Self { comment: Some(comment), ..self }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        if let Some(comment) = &self.comment {
            write!(f, " {comment}")?;
        }
        match &self.data {
            Some(Data::Values(values)) => write!(f, " : {values}"),
            Some(Data::Verdict(verdict)) => write!(f, " : {verdict}"),
            None => Ok(()),
        }
    }
}

/// What a key of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A verdict.
    Verdict(Verdict),
    /// Values, such as an address and a port.
    Values(Tuple),
}

#[cfg(test)]
mod tests {
    use super::{Element, Protocol, Tuple, Value};
    use crate::expression::Verdict;
    use crate::rule::Comment;

    fn key() -> [Value; 4] {
        let address = Value::Address([10, 43, 0, 1].into());
        [address, Value::Protocol(Protocol::Tcp), Value::Port(80), Value::Number(2)]
    }

    #[test]
    fn an_element_prints_its_key_its_comment_and_what_it_leads_to() {
        let to = [Value::Address("fd42::2".parse().unwrap()), Value::Port(8080)];
        assert_eq!(
            Element::to_values(key(), to).with_comment(Comment::new("web")).to_string(),
            "10.43.0.1 . tcp . 80 . 2 comment \"web\" : fd42::2 . 8080"
        );
        let network = Value::Network("10.1.2.3/8".parse().unwrap());
        assert_eq!(Element::to_verdict(network, Verdict::Drop).to_string(), "10.0.0.0/8 : drop");
        let classes = [0, 3, 0x1_000a, u32::MAX].map(|class| Tuple::from(Value::Class(class)));
        assert_eq!(classes.map(|it| it.to_string()), ["none", "0:3", "1:a", "root"]);
    }

    #[test]
    fn an_element_is_small() {
        // A hundred and fifty thousand, each with two blocks of 32 bytes, take some 20 MB.
        assert!(size_of::<Element>() <= 72, "{}", size_of::<Element>());
        assert!(Tuple::from(key()).0.len() <= 24);
    }
}
