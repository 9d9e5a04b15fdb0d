// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of types, classes, codes and lengths of time, as people and CoreDNS write them.

use std::borrow::Cow;

use netlab_api::dns::rcode;

pub use super::config::period::go_duration;
use super::record::{Rcode, RecordType};

/// Types that have a name here. The order is also that of the counters.
pub(super) const TYPES: [(RecordType, &str); 26] = [
    (RecordType::A, "A"),
    (RecordType::AAAA, "AAAA"),
    (RecordType::SRV, "SRV"),
    (RecordType::PTR, "PTR"),
    (RecordType::CNAME, "CNAME"),
    (RecordType::NS, "NS"),
    (RecordType::SOA, "SOA"),
    (RecordType::TXT, "TXT"),
    (RecordType(15), "MX"),
    (RecordType(65), "HTTPS"),
    (RecordType(64), "SVCB"),
    (RecordType(43), "DS"),
    (RecordType(48), "DNSKEY"),
    (RecordType(46), "RRSIG"),
    (RecordType(47), "NSEC"),
    (RecordType(50), "NSEC3"),
    (RecordType(35), "NAPTR"),
    (RecordType(13), "HINFO"),
    (RecordType(257), "CAA"),
    (RecordType(52), "TLSA"),
    (RecordType(39), "DNAME"),
    (RecordType(44), "SSHFP"),
    (RecordType::OPT, "OPT"),
    (RecordType::ANY, "ANY"),
    (RecordType::AXFR, "AXFR"),
    (RecordType::IXFR, "IXFR"),
];

/// The name of a type: `AAAA`, `TYPE65280`.
pub fn type_name(kind: RecordType) -> Cow<'static, str> {
    match TYPES.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("TYPE{}", kind.0)),
    }
}

/// The type of a name, in either case: `AAAA`, `TYPE65280`.
pub fn type_of(name: &str) -> Option<RecordType> {
    if let Some((kind, _)) = TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
        return Some(*kind);
    }
    let number = name.get(..4).filter(|head| head.eq_ignore_ascii_case("TYPE"))?;
    name[number.len()..].parse().ok().map(RecordType)
}

/// The code of a name, in either case: `NXDOMAIN`.
pub fn rcode_of(name: &str) -> Option<Rcode> {
    rcode::of(name).map(Rcode)
}

/// The name of a class: `IN`.
pub fn class_name(class: u16) -> Cow<'static, str> {
    match class {
        1 => Cow::Borrowed("IN"),
        3 => Cow::Borrowed("CH"),
        4 => Cow::Borrowed("HS"),
        254 => Cow::Borrowed("NONE"),
        255 => Cow::Borrowed("ANY"),
        other => Cow::Owned(format!("CLASS{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_have_their_names() {
        assert_eq!(type_name(RecordType::AAAA), "AAAA");
        assert_eq!(type_name(RecordType(65280)), "TYPE65280");
        assert_eq!(type_of("aaaa"), Some(RecordType::AAAA));
        assert_eq!(type_of("type65280"), Some(RecordType(65280)));
        assert_eq!(type_of("TYPEx"), None);
        assert_eq!(type_of("nothing"), None);
        assert_eq!(rcode_of("nxdomain"), Some(Rcode::NXDOMAIN));
        assert_eq!(rcode_of("NODOMAIN"), None);
        assert_eq!(class_name(1), "IN");
        assert_eq!(class_name(77), "CLASS77");
    }
}
