// SPDX-License-Identifier: GPL-3.0-or-later
use hickory_proto::op::Query;
use hickory_proto::rr::{Record as WireRecord, RecordType};

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn rewriter(rules: &[(RewriteKind, &str, &str)]) -> Result<Rewriter, RewriteError> {
    let rule = |&(kind, from, to): &(RewriteKind, &str, &str)| Rewrite {
        kind,
        from: from.to_owned(),
        to: to.to_owned(),
    };
    Rewriter::new(&rules.iter().map(rule).collect::<Vec<_>>())
}

#[test]
fn each_kind_rewrites_what_it_fits() {
    use RewriteKind::{Exact, Prefix, Regex, Substring, Suffix};
    for (kind, from, to, asked, expected) in [
        (Exact, "Old.Example", "new.example", "old.example.", Some("new.example.")),
        (Exact, "old.example", "new.example", "x.old.example.", None),
        (Prefix, "old", "new", "OLD.example.", Some("new.example.")),
        (Prefix, "old", "new", "my.old.example.", None),
        (Suffix, ".a.example", ".b.test.", "X.a.example.", Some("x.b.test.")),
        (Suffix, "a.example", "b.test", "x.a.example.y.", None),
        (Substring, "mid", "way", "a.mid.b.mid.", Some("a.way.b.way.")),
        (Substring, "mid", "way", "a.b.", None),
        (
            Regex,
            r"(.*)-(us-\d)\.old\.test\.$",
            "{2}.x.{1}.new.test",
            "web-us-1.old.test.",
            Some("us-1.x.web.new.test."),
        ),
        (Regex, "^(a)(b)?\\.$", "{1}{2}.whole.{0}", "a.", Some("a.whole.a.")),
        (Regex, "^b", "c", "a.b.", None),
        // No name comes of it, so nothing changes.
        (Prefix, "a", "", "a.example.", None),
    ] {
        let rewriter = rewriter(&[(kind, from, to)]).unwrap();
        let new = rewriter.rewrite(&name(asked)).map(|new| new.name);
        assert_eq!(new, expected.map(name), "{kind:?} {from} {asked}");
    }
}

#[test]
fn the_first_that_fits_counts() {
    let rules =
        [(RewriteKind::Exact, "a.example", "one.example"), (RewriteKind::Suffix, "example", "two")];
    let rewriter = rewriter(&rules).unwrap();
    let rewritten = |text| rewriter.rewrite(&name(text)).map(|new| new.name);
    assert_eq!(rewritten("a.example."), Some(name("one.example.")));
    assert_eq!(rewritten("b.example."), Some(name("b.two.")));
    assert_eq!(rewritten("b.test."), None);
}

#[test]
fn what_cannot_be_is_told() {
    let error = |kind, from, to| {
        let error = rewriter(&[(RewriteKind::Prefix, "a", "b"), (kind, from, to)]).unwrap_err();
        (error.index, error.error.key)
    };
    assert_eq!(error(RewriteKind::Regex, "(", "a"), (1, "from"));
    assert_eq!(error(RewriteKind::Regex, "(a)", "{2}"), (1, "to"));
    assert_eq!(error(RewriteKind::Exact, "a", "b..c"), (1, "to"));
    assert_eq!(error(RewriteKind::Substring, "", "b"), (1, "from"));
}

/// What of a response to a rewritten query is told to who asked, a line a record.
fn told(rule: (RewriteKind, &str, &str), asked: &str, records: &[&str]) -> Vec<String> {
    let asked = name(asked);
    let rewritten = rewriter(&[rule]).unwrap().rewrite(&asked).unwrap();
    let mut message = Message::query();
    message.metadata.id = 7;
    message.add_query(Query::query(wire_name(&rewritten.name).unwrap(), RecordType::A));
    let record = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let kind = words[1].parse().unwrap();
        let data = RData::try_from_str(kind, &words[2..].join(" ")).unwrap();
        WireRecord::from_rdata(words[0].parse().unwrap(), 9, data)
    };
    message.answers = records.iter().map(record).collect();
    let restored = restore_wire(&message.to_vec().unwrap(), &rewritten, &asked).unwrap();
    let restored = Message::from_vec(&restored).unwrap();
    assert_eq!(restored.metadata.id, 7);
    assert_eq!(restored.queries[0].name().to_string(), asked.to_string());
    let line = |record: &WireRecord| {
        assert_eq!(record.ttl, 9);
        format!("{} {} {}", record.name, record.record_type(), record.data)
    };
    restored.answers.iter().map(line).collect()
}

#[test]
fn who_asked_sees_the_name_that_was_asked() {
    let records = [
        "new.example. CNAME b.new.example.",
        "b.new.example. A 192.0.2.1",
        "new.example. SRV 0 100 80 new.example.",
        "new.example. MX 10 renew.example.",
        "other.example. NS new.example.",
        "example. SOA new.example. hostmaster.example. 1 2 3 4 5",
    ];
    let rule = (RewriteKind::Exact, "old.example", "new.example");
    assert_eq!(
        told(rule, "OLD.example.", &records),
        [
            "OLD.example. CNAME b.OLD.example.",
            "b.OLD.example. A 192.0.2.1",
            "OLD.example. SRV 0 100 80 OLD.example.",
            "OLD.example. MX 10 renew.example.",
            "other.example. NS OLD.example.",
            "example. SOA OLD.example. hostmaster.example. 1 2 3 4 5",
        ]
    );
    let rewritten = rewriter(&[rule]).unwrap().rewrite(&name("old.example.")).unwrap();
    assert!(restore_wire(b"short", &rewritten, &name("old.example.")).is_none());
}

#[test]
fn a_suffix_is_put_back_wherever_names_end_with_it() {
    let records = [
        "_http._tcp.web.b.test. SRV 0 50 80 web.b.test.",
        "web.B.test. CNAME other.B.Test.",
        "other.b.test. A 192.0.2.1",
        "b.test. NS ns.test.",
    ];
    let rule = (RewriteKind::Suffix, ".a.example", ".b.test");
    assert_eq!(
        told(rule, "_http._TCP.web.a.example.", &records),
        [
            "_http._TCP.web.a.example. SRV 0 50 80 web.a.example.",
            "web.a.example. CNAME other.a.example.",
            "other.a.example. A 192.0.2.1",
            "b.test. NS ns.test.",
        ]
    );
}
