// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::dns::record::{Rcode, Record, RecordData};

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
        assert_eq!(rewriter.rewrite(&name(asked)), expected.map(name), "{kind:?} {from} {asked}");
    }
}

#[test]
fn the_first_that_fits_counts() {
    let rules =
        [(RewriteKind::Exact, "a.example", "one.example"), (RewriteKind::Suffix, "example", "two")];
    let rewriter = rewriter(&rules).unwrap();
    assert_eq!(rewriter.rewrite(&name("a.example.")), Some(name("one.example.")));
    assert_eq!(rewriter.rewrite(&name("b.example.")), Some(name("b.two.")));
    assert_eq!(rewriter.rewrite(&name("b.test.")), None);
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

#[test]
fn who_asked_sees_the_name_that_was_asked() {
    let (asked, rewritten) = (name("OLD.example."), name("new.example."));
    let data = RecordData::A("192.0.2.1".parse().unwrap());
    let other = Owner::Name(name("other."));
    let owners = [Owner::Name(rewritten.clone()), other.clone(), Owner::Asked];
    let record = |owner| Record { owner, ttl: 1, data: data.clone() };
    let mut answer = Answer {
        rcode: Rcode::NOERROR,
        answer: owners.map(record).into(),
        authority: vec![],
        additional: vec![],
    };
    restore(&mut answer, &rewritten);
    let owners: Vec<Owner> = answer.answer.into_iter().map(|record| record.owner).collect();
    assert_eq!(owners, [Owner::Asked, other, Owner::Asked]);

    // new.example. A, answered by an alias to b.new.example. (compressed) and its address.
    let mut message =
        b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x03NEW\x07example\0\0\x01\0\x01".to_vec();
    message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x04\x01b\xc0\x0c");
    message.extend(b"\xc0\x29\0\x01\0\x01\0\0\0\x09\0\x04\xc0\0\x02\x01");
    let restored = restore_wire(&message, &rewritten, &asked).unwrap();
    let restored = Message::from_vec(&restored).unwrap();
    assert_eq!(restored.metadata.id, 7);
    assert_eq!(restored.queries[0].name().to_string(), "OLD.example.");
    let lines: Vec<(String, String)> = restored
        .answers
        .iter()
        .map(|record| (record.name.to_string(), record.data.to_string()))
        .collect();
    let lines: Vec<(&str, &str)> = lines.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(lines[0].0, "OLD.example.");
    assert!(lines[0].1.eq_ignore_ascii_case("b.new.example."), "{lines:?}");
    assert!(lines[1].0.eq_ignore_ascii_case("b.new.example."), "{lines:?}");
    assert_eq!(lines[1].1, "192.0.2.1");
    assert!(restore_wire(b"short", &rewritten, &asked).is_none());
}
