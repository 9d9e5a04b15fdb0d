// SPDX-License-Identifier: GPL-3.0-or-later
//! Sets as the kernel takes and tells them.

use rustables::sys;

use super::{Datatype, MapData, Set};
use crate::message::{Attributes, comment_of, put_attribute, put_nested, put_text, put_u32};

/// The type of data that is a verdict (`NFT_DATA_VERDICT`). Other types are numbers that the
/// kernel keeps for `nft`, without a meaning of their own.
const VERDICT: u32 = 0xffff_ff00;
/// How many bits of a type number are for one field of several.
const FIELD_BITS: u32 = 6;
/// What `nft` calls the type of a number from numgen: an integer of any size.
const INTEGER: u32 = 4;
/// Contents of a set's user data, `enum nftnl_udata_set_types` of libnftnl.
const UDATA_KEY_ORDER: u8 = 0;
const UDATA_DATA_ORDER: u8 = 1;
const UDATA_COMMENT: u8 = 7;

/// Appends the attributes of a new set. `id` is its own within the transaction.
pub(crate) fn put_set(set: &Set, id: u32, out: &mut Vec<u8>) {
    let shape = Shape::of(set);
    put_text(out, sys::NFTA_SET_TABLE, &set.name.table.name);
    put_text(out, sys::NFTA_SET_NAME, &set.name.name);
    put_u32(out, sys::NFTA_SET_ID, id);
    put_u32(out, sys::NFTA_SET_FLAGS, shape.flags);
    put_u32(out, sys::NFTA_SET_KEY_TYPE, shape.key_type);
    put_u32(out, sys::NFTA_SET_KEY_LEN, shape.key_len);
    if let Some((data_type, len)) = shape.data {
        put_u32(out, sys::NFTA_SET_DATA_TYPE, data_type);
        if data_type != VERDICT {
            put_u32(out, sys::NFTA_SET_DATA_LEN, len);
        }
    }
    if let Some(timeout) = shape.timeout {
        put_attribute(out, sys::NFTA_SET_TIMEOUT, &timeout.to_be_bytes());
    }
    put_nested(out, sys::NFTA_SET_DESC, |out| {
        if let Some(size) = shape.size {
            put_u32(out, sys::NFTA_SET_DESC_SIZE, size);
        }
        if shape.flags & sys::NFT_SET_CONCAT != 0 {
            put_nested(out, sys::NFTA_SET_DESC_CONCAT, |out| {
                for datatype in &set.key {
                    put_nested(out, sys::NFTA_LIST_ELEM, |out| {
                        put_u32(out, sys::NFTA_SET_FIELD_LEN, datatype.len() as u32);
                    });
                }
            });
        }
    });
    put_attribute(out, sys::NFTA_SET_USERDATA, &userdata(set));
}

/// In what byte order `nft` prints numbers, and the comment.
fn userdata(set: &Set) -> Vec<u8> {
    let mut userdata = Vec::new();
    let mut put = |kind: u8, value: &[u8]| {
        let len = u8::try_from(value.len()).expect("a comment has at most 127 bytes");
        userdata.extend_from_slice(&[kind, len]);
        userdata.extend_from_slice(value);
    };
    put(UDATA_KEY_ORDER, &byte_order(&set.key).to_ne_bytes());
    match &set.data {
        Some(MapData::Values(types)) => put(UDATA_DATA_ORDER, &byte_order(types).to_ne_bytes()),
        Some(MapData::Verdict) => put(UDATA_DATA_ORDER, &0_u32.to_ne_bytes()),
        None => {}
    }
    let mut comment = set.comment.as_str().as_bytes().to_vec();
    comment.push(0);
    put(UDATA_COMMENT, &comment);
    userdata
}

/// `nft`'s `enum byteorder`: 1 is the host's, 2 is big-endian, 0 is for each field its own.
fn byte_order(types: &[Datatype]) -> u32 {
    match types {
        [Datatype::Mark | Datatype::ClassId | Datatype::Index] => 1,
        [Datatype::Ipv4Addr | Datatype::Ipv6Addr | Datatype::InetService] => 2,
        _ => 0,
    }
}

/// All of a set that cannot change while it exists, in the kernel's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    pub(crate) flags: u32,
    pub(crate) key_type: u32,
    pub(crate) key_len: u32,
    /// Type and length; the length of a verdict is the kernel's own affair, and 0 here.
    pub(crate) data: Option<(u32, u32)>,
    /// In milliseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) size: Option<u32>,
}

impl Shape {
    pub(crate) fn of(set: &Set) -> Self {
        let Set { key, data, dynamic, timeout, interval, .. } = set;
        let flags = [
            (sys::NFT_SET_MAP, data.is_some()),
            (sys::NFT_SET_EVAL, *dynamic),
            (sys::NFT_SET_TIMEOUT, timeout.is_some()),
            (sys::NFT_SET_INTERVAL, *interval),
            (sys::NFT_SET_CONCAT, *interval && key.len() > 1),
        ];
        Self {
            flags: flags.iter().filter(|(_, on)| *on).map(|(flag, _)| *flag).sum(),
            key_type: type_number(key),
            key_len: types_len(key),
            data: data.as_ref().map(|data| match data {
                MapData::Verdict => (VERDICT, 0),
                MapData::Values(types) => (type_number(types), types_len(types)),
            }),
            timeout: timeout.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            size: set.size_of_new(),
        }
    }

    /// Reads the attributes of a set.
    pub(crate) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let data = attributes.get_u32(sys::NFTA_SET_DATA_TYPE).map(|data_type| match data_type {
            VERDICT => (VERDICT, 0),
            other => {
                (as_written(other), attributes.get_u32(sys::NFTA_SET_DATA_LEN).unwrap_or_default())
            }
        });
        let timeout = attributes
            .get(sys::NFTA_SET_TIMEOUT)
            .and_then(|it| it.try_into().ok())
            .map(u64::from_be_bytes)
            .filter(|timeout| *timeout != 0);
        let description = attributes.get_nested(sys::NFTA_SET_DESC);
        Some(Self {
            flags: attributes.get_u32(sys::NFTA_SET_FLAGS).unwrap_or(0),
            key_type: as_written(attributes.get_u32(sys::NFTA_SET_KEY_TYPE).unwrap_or(0)),
            key_len: attributes.get_u32(sys::NFTA_SET_KEY_LEN)?,
            data,
            timeout,
            size: description.and_then(|it| it.get_u32(sys::NFTA_SET_DESC_SIZE)),
        })
    }

    /// Whether it is part of a single rule: such a set comes and goes with it.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.flags & sys::NFT_SET_ANONYMOUS != 0
    }

    /// Whether packets change what is in it.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.flags & (sys::NFT_SET_EVAL | sys::NFT_SET_TIMEOUT) != 0
    }

    pub(crate) fn is_interval(&self) -> bool {
        self.flags & sys::NFT_SET_INTERVAL != 0
    }

    pub(crate) fn holds_verdicts(&self) -> bool {
        self.data.is_some_and(|(data_type, _)| data_type == VERDICT)
    }

    /// The types of a key's fields; none if netlab cannot describe them.
    pub(crate) fn key(&self) -> Option<Vec<Datatype>> {
        types(self.key_type)
    }

    /// The types of a value's fields; none if it is a verdict or something else.
    pub(crate) fn values(&self) -> Option<Vec<Datatype>> {
        self.data.and_then(|(data_type, _)| types(data_type))
    }
}

/// The comment of a set.
pub(crate) fn comment(attributes: Attributes<'_>) -> Option<&str> {
    attributes.get(sys::NFTA_SET_USERDATA).and_then(|data| comment_of(data, UDATA_COMMENT))
}

impl Datatype {
    /// `nft`'s number of the type, `enum datatypes`.
    fn number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
            Self::Mark | Self::Index => 19,
            Self::ClassId => 23,
        }
    }
}

fn type_number(types: &[Datatype]) -> u32 {
    types.iter().fold(0, |number, it| number << FIELD_BITS | it.number())
}

/// `nft` gives a number from numgen another type than netlab does, with the same values.
fn as_written(number: u32) -> u32 {
    let last = number & ((1 << FIELD_BITS) - 1);
    if last == INTEGER { number - INTEGER + Datatype::Index.number() } else { number }
}

fn types(mut number: u32) -> Option<Vec<Datatype>> {
    let mut types = Vec::new();
    while number != 0 {
        let last = number & ((1 << FIELD_BITS) - 1);
        types.push(Datatype::ALL.into_iter().find(|it| it.number() == last)?);
        number >>= FIELD_BITS;
    }
    types.reverse();
    Some(types)
}

/// A field alone has its length; side by side, each begins in a register of its own.
fn types_len(types: &[Datatype]) -> u32 {
    match types {
        [one] => one.len() as u32,
        several => several.iter().map(|it| it.len().next_multiple_of(4) as u32).sum(),
    }
}
