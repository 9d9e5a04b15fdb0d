// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages as they should be, from which a fuzzer makes others.

use super::{ALIAS, OUTSIDE, RENAMED, SEARCHED};
use crate::dns::name::Name;

/// Bytes for [`Prepared::query`](super::Prepared::query).
pub fn queries() -> Vec<Vec<u8>> {
    const QUERY: u8 = 0x01;
    const NOTIFY: u8 = 0x24;
    let mut all = Vec::new();
    let names = [
        "b.a.svc.cluster.local.",
        "_p._tcp.h.a.svc.cluster.local.",
        "n.h.a.svc.cluster.local.",
        "z.pin._zone.h.a.svc.cluster.local.",
        "10-42-0-5.a.pod.cluster.local.",
        "i.a.svc.cluster.local.",
        "c.a.svc.cluster.local.",
        "nobody.a.svc.cluster.local.",
        "dns-version.cluster.local.",
        "ns.dns.cluster.local.",
        "1.0.43.10.in-addr.arpa.",
        "9.9.43.10.in-addr.arpa.",
        "db.example.db.example.",
        "db.example.a.svc.cluster.local.",
        "h.old.",
        "b.two.a.",
        OUTSIDE,
        RENAMED,
        SEARCHED,
        ALIAS,
    ];
    for name in names {
        for kind in [1, 28, 33, 255] {
            all.push(query(QUERY, name, kind, 1, &[]));
            all.push(query(QUERY, name, kind, 1, &opt(1232, 0, &[0, 10, 0, 2, 1, 2])));
        }
    }
    for kind in [2, 5, 6, 12, 13, 16, 41, 251, 252] {
        all.push(query(QUERY, "cluster.local.", kind, 1, &[]));
    }
    all.push(query(QUERY, "b.a.svc.cluster.local.", 1, 1, &opt(100, 0, &[])));
    all.push(query(QUERY, "b.a.svc.cluster.local.", 1, 1, &opt(4096, 1, &[])));
    all.push(query(QUERY, "version.bind.", 16, 3, &[]));
    all.push(query(NOTIFY, "cluster.local.", 6, 1, &[]));
    all
}

/// Bytes for [`Prepared::reply`](super::Prepared::reply).
pub fn replies() -> Vec<Vec<u8>> {
    const ASKED: &[u8] = &[0xc0, 12];
    let address = |last: u8| record(ASKED, 1, 300, &[10, 42, last & 1, last]);
    let soa =
        [wire("ns.example."), wire("x.example."), [0u8; 16].into(), vec![0, 0, 0, 9]].concat();
    let soa = record(&[0xc0, 16], 6, 900, &soa);
    // The alias's target stands 12 bytes behind its owner, and that 29 bytes into the message.
    let alias = record(ASKED, 5, 60, b"\x01c\xc0\x10");
    let target: &[u8] = &[0xc0, 41];
    let edns = |extended, options: &[u8]| {
        let mut opt = opt(1232, 0, options);
        opt[5] = extended;
        opt
    };
    let aaaa = |last| record(ASKED, 28, 7, &[[0x20, 1], [0, last]].repeat(4).concat());
    let mx = |to: &[u8]| record(ASKED, 15, 1, &[&[0, 10], to].concat());
    let many: Vec<Vec<u8>> = (0..90).map(address).collect();
    let some = vec![address(1), address(2), address(3)];
    let chain = vec![alias.clone(), record(target, 1, 30, &[10, 42, 0, 9]), alias];
    let glue = record(target, 1, u32::MAX, &[10, 42, 0, 8]);
    [
        reply(0, 0, [some.clone(), vec![], vec![]]),
        reply(0x10, 0, [some.clone(), vec![soa.clone()], vec![edns(0, &[0, 3, 0, 1, 7])]]),
        reply(0x18, 0, [many.clone(), vec![], vec![edns(0, &[])]]),
        reply(0, 0, [many, vec![], vec![record(&[0xc0, 16], 1, 9, &[10, 42, 0, 7])]]),
        reply(0, 0, [chain.clone(), vec![], vec![glue]]),
        reply(0x0a, 0, [chain, vec![], vec![edns(0, &[])]]),
        reply(0x21, 0, [vec![aaaa(1), aaaa(2)], vec![], vec![]]),
        reply(0x4d, 0, [vec![mx(target), mx(b"\x02mx\xc0\x10")], vec![], vec![]]),
        reply(3, 0, [vec![record(ASKED, 16, 5, b"\x03one\x03two")], vec![], vec![]]),
        reply(6, 0, [vec![record(ASKED, 65, 5, b"\0\x01\0\0\x01\0\x03\x02h2")], vec![], vec![]]),
        reply(0, 3, [vec![], vec![soa.clone()], vec![]]),
        reply(1, 0, [vec![], vec![soa], vec![edns(0, &[])]]),
        reply(0x10, 2, [vec![], vec![], vec![edns(0, &[0, 15, 0, 2, 0, 22])]]),
        reply(0x10, 0, [some, vec![], vec![edns(1, &[])]]),
        reply(0, 5, [vec![], vec![], vec![]]),
    ]
    .into()
}

fn query(flags: u8, name: &str, kind: u16, class: u16, additional: &[u8]) -> Vec<u8> {
    let more = u8::from(!additional.is_empty());
    let mut all = vec![0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, more];
    all.extend_from_slice(&wire(name));
    all.extend_from_slice(&kind.to_be_bytes());
    all.extend_from_slice(&class.to_be_bytes());
    all.extend_from_slice(additional);
    all
}

fn reply(how: u8, code: u8, sections: [Vec<Vec<u8>>; 3]) -> Vec<u8> {
    let mut all = vec![how, 1, 0x80 | code];
    for section in &sections {
        all.extend_from_slice(&[0, u8::try_from(section.len()).expect("few records")]);
    }
    all.extend(sections.concat().concat());
    all
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("little data");
    let mut all = owner.to_vec();
    all.extend_from_slice(&kind.to_be_bytes());
    all.extend_from_slice(&[0, 1]);
    all.extend_from_slice(&ttl.to_be_bytes());
    all.extend_from_slice(&length.to_be_bytes());
    all.extend_from_slice(data);
    all
}

fn opt(payload: u16, version: u8, options: &[u8]) -> Vec<u8> {
    let length = u8::try_from(options.len()).expect("few options");
    let [high, low] = payload.to_be_bytes();
    [&[0, 0, 41, high, low, 0, version, 0, 0, 0, length], options].concat()
}

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a name").wire().to_vec()
}
