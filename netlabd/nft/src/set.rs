// SPDX-License-Identifier: GPL-3.0-or-later
//! Sets and maps as values. Each prints the way `nft` writes it.
//!
//! A set holds keys, a map holds a value or a verdict for each key. Both are what rules look up,
//! at a cost that does not grow with them. What is in them is the matter of [`crate::element`].

pub(crate) mod encoding;

use std::fmt;
use std::time::Duration;

use crate::rule::{Comment, TableName};

/// Which set or map: a table and a name. The two share one space of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// The table it belongs to.
    pub table: TableName,
    /// The name within the table.
    pub name: String,
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// A set or, with data, a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Which set.
    pub name: SetName,
    /// The types of a key's fields, at most [`Set::MAX_FIELDS`] of them.
    pub key: Vec<Datatype>,
    /// What each key leads to; none for a set.
    pub data: Option<MapData>,
    /// Whether packets add elements, by [`crate::Expression::UpdateSet`]. netlab never compares
    /// what is in such a set.
    pub dynamic: bool,
    /// How long an element lives after it was last added; none for ever. In milliseconds.
    pub timeout: Option<Duration>,
    /// How many elements it can have. With a size known from the start, filling it takes half the
    /// time; none for a set that grows as needed.
    pub size: Option<u32>,
    /// As the size, but of no meaning: how many elements a new one gets room for, which makes it
    /// quicker to fill; with 0 it grows as needed. One that is there stays while what is desired has
    /// room in it, whatever its size. None for a set whose size is what [`Set::size`] says.
    pub room: Option<u32>,
    /// Whether its addresses are whole networks: each is a [`crate::Value::Network`] then.
    pub interval: bool,
    /// What it is for.
    pub comment: Comment,
}

impl Set {
    /// How many fields a key can have: the kernel keeps a type of six bits for each in 32 bits.
    pub const MAX_FIELDS: usize = 5;

    /// A set of such keys, which grows as needed and which no packet changes.
    #[must_use]
    pub fn new(name: SetName, key: Vec<Datatype>, comment: Comment) -> Self {
        let (data, dynamic, timeout, size, room, interval) = (None, false, None, None, None, false);
        Self { name, key, data, dynamic, timeout, size, room, interval, comment }
    }

    /// The size that the kernel is told when it makes the set.
    pub(crate) fn size_of_new(&self) -> Option<u32> {
        self.size.or(self.room.filter(|room| *room > 0))
    }

    /// The same as a map.
    #[must_use]
    pub fn with_data(self, data: MapData) -> Self {
        Self { data: Some(data), ..self }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.data.is_some() { "map" } else { "set" };
        write!(f, "{kind} {} {{ ", self.name)?;
        let data = match &self.data {
            Some(MapData::Values(types)) => types.as_slice(),
            Some(MapData::Verdict) | None => &[],
        };
        // A number out of numgen has a type without a name, so it is given by example; and then
        // all types are.
        let by_example = self.key.iter().chain(data).any(|datatype| *datatype == Datatype::Index);
        let types = |types: &[Datatype]| {
            let names = types.iter().map(|it| if by_example { it.example() } else { it.name() });
            names.collect::<Vec<_>>().join(" . ")
        };
        f.write_str(if by_example { "typeof " } else { "type " })?;
        f.write_str(&types(&self.key))?;
        match &self.data {
            Some(MapData::Verdict) => f.write_str(" : verdict")?,
            Some(MapData::Values(data)) => write!(f, " : {}", types(data))?,
            None => {}
        }
        f.write_str(";")?;
        if let Some(size) = self.size_of_new() {
            write!(f, " size {size};")?;
        }
        let flags = [
            ("interval", self.interval),
            ("dynamic", self.dynamic),
            ("timeout", self.timeout.is_some()),
        ];
        let flags: Vec<_> = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        if !flags.is_empty() {
            write!(f, " flags {};", flags.join(","))?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " timeout {};", Time(timeout))?;
        }
        write!(f, " {}; }}", self.comment)
    }
}

/// The type of a field. Its `Display` is `nft`'s name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datatype {
    /// An IPv4 address or, in an interval set, network.
    Ipv4Addr,
    /// An IPv6 address or, in an interval set, network.
    Ipv6Addr,
    /// A transport protocol.
    InetProto,
    /// A port.
    InetService,
    /// A mark of packets.
    Mark,
    /// A class of packets, as in `meta priority`.
    ClassId,
    /// A number that `numgen` chose. `nft` has no name for this type, and writes an example of
    /// it; to the kernel and in listings it is a mark.
    Index,
}

impl Datatype {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ipv4Addr,
        Self::Ipv6Addr,
        Self::InetProto,
        Self::InetService,
        Self::Mark,
        Self::ClassId,
        Self::Index,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Mark | Self::Index => "mark",
            Self::ClassId => "classid",
        }
    }

    /// An expression of this type. The modulus of an index says nothing.
    fn example(self) -> &'static str {
        match self {
            Self::Ipv4Addr => "ip daddr",
            Self::Ipv6Addr => "ip6 daddr",
            Self::InetProto => "meta l4proto",
            Self::InetService => "th dport",
            Self::Mark => "meta mark",
            Self::ClassId => "meta priority",
            Self::Index => "numgen random mod 2",
        }
    }

    /// How many bytes a value has, without padding.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Ipv4Addr | Self::Mark | Self::ClassId | Self::Index => 4,
            Self::Ipv6Addr => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the keys of a map lead to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MapData {
    /// A verdict. The kernel checks every verdict of the table again whenever one is added, so
    /// that a map which grows with what users make better holds values.
    Verdict,
    /// Values of these types.
    Values(Vec<Datatype>),
}

/// A time as `nft` writes it, to the millisecond.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
        {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Datatype, MapData, Set, Time};
    use crate::rule::{Comment, Family, TableName};

    fn set(key: &[Datatype]) -> Set {
        let name = TableName::own(Family::Ip).set("s");
        Set::new(name, key.to_vec(), Comment::new("c"))
    }

    #[test]
    fn a_set_prints_what_it_is_and_a_map_what_it_leads_to() {
        let key = [Datatype::Ipv4Addr, Datatype::InetProto, Datatype::InetService];
        assert_eq!(
            set(&key).to_string(),
            "set ip netlab s { type ipv4_addr . inet_proto . inet_service; comment \"c\"; }"
        );
        assert_eq!(
            set(&key[..1]).with_data(MapData::Verdict).to_string(),
            "map ip netlab s { type ipv4_addr : verdict; comment \"c\"; }"
        );
        let affinity = Set {
            dynamic: true,
            timeout: Some(Duration::from_secs(3 * 3600)),
            size: Some(9),
            ..set(&key[..1])
        };
        assert_eq!(
            affinity.to_string(),
            "set ip netlab s { type ipv4_addr; size 9; flags dynamic,timeout; timeout 3h; comment \"c\"; }"
        );
    }

    #[test]
    fn a_map_with_an_index_prints_its_types_by_example() {
        let data = MapData::Values(vec![Datatype::Ipv4Addr, Datatype::InetService]);
        assert_eq!(
            set(&[Datatype::Ipv4Addr, Datatype::Index]).with_data(data).to_string(),
            "map ip netlab s { typeof ip daddr . numgen random mod 2 : ip daddr . th dport; comment \"c\"; }"
        );
    }

    #[test]
    fn a_time_prints_its_units() {
        assert_eq!(Time(Duration::from_millis(90_061_007)).to_string(), "1d1h1m1s7ms");
        assert_eq!(Time(Duration::ZERO).to_string(), "0s");
    }
}
