// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of types, classes, codes and lengths of time, as people and CoreDNS write them.

use std::borrow::Cow;
use std::time::Duration;

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

/// Codes by name.
const RCODES: [(&str, Rcode); 12] = [
    ("NOERROR", Rcode::NOERROR),
    ("FORMERR", Rcode::FORMERR),
    ("SERVFAIL", Rcode::SERVFAIL),
    ("NXDOMAIN", Rcode::NXDOMAIN),
    ("NOTIMP", Rcode::NOTIMP),
    ("REFUSED", Rcode::REFUSED),
    ("YXDOMAIN", Rcode(6)),
    ("YXRRSET", Rcode(7)),
    ("NXRRSET", Rcode(8)),
    ("NOTAUTH", Rcode(9)),
    ("NOTZONE", Rcode(10)),
    ("BADVERS", Rcode::BADVERS),
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
    RCODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| *code)
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

/// A length of time as Go writes it, which is what CoreDNS's lines have: `30s`, `1m0s`, `500ms`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        let nanos = duration.as_nanos();
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
            _ => format!("{}ms", decimal(nanos, 1_000_000)),
        };
    }
    let nanos = u128::from(seconds % 60) * 1_000_000_000 + u128::from(duration.subsec_nanos());
    let rest = decimal(nanos, 1_000_000_000);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `value / unit` with as many digits as are needed; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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

    #[test]
    fn lengths_of_time_are_written_as_go_does() {
        for (millis, text) in [
            (30_000, "30s"),
            (60_000, "1m0s"),
            (90_500, "1m30.5s"),
            (500, "500ms"),
            (3_600_000, "1h0m0s"),
            (3_723_000, "1h2m3s"),
            (0, "0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
    }
}
