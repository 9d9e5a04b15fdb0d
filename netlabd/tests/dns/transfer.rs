// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole zones.

use crate::lab::{Lab, V4, question, udp};

const ALLOWED: &str = "[transfer]\nto = [\"10.42.0.0/16\"]";

#[test]
fn a_zone_goes_to_those_who_may_have_it() {
    let lab = Lab::new(ALLOWED);
    let zone = lab.dig(&lab.pod, &format!("+noall +answer @{V4} cluster.local AXFR"));
    let lines: Vec<Vec<_>> = zone.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.first().unwrap()[3], "SOA", "{zone}");
    assert_eq!(lines.first(), lines.last());
    let has = |name: &str, kind: &str, data: &str| {
        lines.iter().any(|line| line[0] == name && line[3] == kind && line[4] == data)
    };
    assert!(has("web.default.svc.cluster.local.", "A", "10.43.0.80"), "{zone}");
    assert!(has("web.default.svc.cluster.local.", "AAAA", "fd43::80"), "{zone}");
    assert!(has("many.default.svc.cluster.local.", "A", "10.42.7.100"), "{zone}");

    let serial = lines[0][6];
    let news = lab.dig(&lab.pod, &format!("+noall +answer @{V4} cluster.local IXFR={serial}"));
    assert_eq!(news.lines().count(), 1, "{news}");
    let old = lab.dig(&lab.pod, &format!("+noall +answer @{V4} +tcp cluster.local IXFR=1"));
    assert_eq!(old.lines().count(), zone.lines().count(), "{old}");
}

#[test]
fn others_are_refused() {
    let lab = Lab::new("");
    let refused = lab.dig(&lab.pod, &format!("@{V4} cluster.local AXFR"));
    assert!(refused.contains("Transfer failed"), "{refused}");
    lab.configure(ALLOWED);
    let node = lab.dig(&lab.node, &format!("@{V4} cluster.local AXFR"));
    assert!(node.contains("Transfer failed"), "{node}");
    let below = lab.dig(&lab.pod, &format!("@{V4} default.svc.cluster.local AXFR"));
    assert!(below.contains("Transfer failed"), "{below}");
    // In datagrams nothing but the refusal.
    let socket = udp(&lab.pod, V4);
    for kind in [251, 252] {
        let mut asked = question(1, "cluster.local");
        let at = asked.len() - 3;
        asked[at] = kind;
        socket.send(&asked).unwrap();
        let mut answer = [0; 512];
        assert_eq!(socket.recv(&mut answer).unwrap(), asked.len());
        assert_eq!(answer[3] & 0xf, 5);
    }
}
