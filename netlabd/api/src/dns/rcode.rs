// SPDX-License-Identifier: GPL-3.0-or-later
//! Codes of answers by name (RFC 1035 section 4.1.1, RFC 2136, RFC 6891).

const RCODES: [(&str, u16); 12] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("BADVERS", 16),
];

/// The code of a name, in either case: 3 of `NXDOMAIN`.
pub fn of(name: &str) -> Option<u16> {
    RCODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| *code)
}
