// SPDX-License-Identifier: GPL-3.0-or-later
//! One query instead of five for names outside: the server walks the search path for the client, as
//! CoreDNS's plugin `autopath` does for pods. Pure.
//!
//! A pod's resolver asks first for the name in its own namespace. That is what sets this off: the
//! first name on the path that is there is answered at once, as an alias of the one asked.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{RData, Record as WireRecord};

use super::name::Name;
use super::record::{Answer, Owner, Record, RecordData};
use super::rewrite::wire_name;

/// Names to ask for, in order, when a pod of `namespace` asks for `name`: the first that is not
/// NXDOMAIN is the answer, and that to the first one if none is. Empty: this is not the first name
/// of a search path, answer it as it is.
pub fn candidates(name: &Name, namespace: &str, domain: &Name, searches: &[Name]) -> Vec<Name> {
    let Ok(services) = domain.prefixed(b"svc") else { return Vec::new() };
    let Ok(own) = services.prefixed(namespace.as_bytes()) else { return Vec::new() };
    let base = match name.strip_suffix(&own) {
        Some(base) if !base.is_empty() => base,
        _ => return Vec::new(),
    };
    let root = Name::root();
    [&own, &services, domain]
        .into_iter()
        .chain(searches)
        .chain([&root])
        .filter_map(|search| Name::from_wire(&[base, search.wire()].concat()).ok())
        .collect()
}

/// Makes what was found for `found` the answer to the name that was asked: an alias comes first. An
/// answer without records stays as it is.
pub fn alias(answer: &mut Answer, asked: &Name, found: &Name) {
    if asked == found {
        return;
    }
    let sections = [&mut answer.answer, &mut answer.authority, &mut answer.additional];
    for record in sections.into_iter().flatten() {
        if record.owner == Owner::Asked {
            record.owner = Owner::Name(found.clone());
        }
    }
    let Some(first) = answer.answer.first() else { return };
    let target = match &first.owner {
        Owner::Asked => return,
        Owner::Name(owner) => owner.clone(),
    };
    let alias = Record { owner: Owner::Asked, ttl: first.ttl, data: RecordData::Cname(target) };
    answer.answer.insert(0, alias);
}

/// The same for a message. `None` when it cannot be read.
pub fn alias_wire(message: &[u8], asked: &Name) -> Option<Vec<u8>> {
    let asked = wire_name(asked)?;
    let mut message = Message::from_vec(message).ok()?;
    if let Some(query) = message.queries.first_mut() {
        query.set_name(asked.clone());
    }
    if let Some(other) = message.answers.iter().find(|record| record.name != asked) {
        let data = RData::CNAME(CNAME(other.name.clone()));
        let alias = WireRecord::from_rdata(asked, other.ttl, data);
        message.answers.insert(0, alias);
    }
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::Rcode;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn the_path_is_walked_from_its_first_name_only() {
        let domain = name("cluster.local.");
        let searches = [name("example.org.")];
        let path = |text: &str| {
            let path = candidates(&name(text), "prod", &domain, &searches);
            path.iter().map(Name::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            path("www.example.com.PROD.svc.cluster.local."),
            [
                "www.example.com.prod.svc.cluster.local.",
                "www.example.com.svc.cluster.local.",
                "www.example.com.cluster.local.",
                "www.example.com.example.org.",
                "www.example.com.",
            ]
        );
        for other in [
            "www.example.com.other.svc.cluster.local.",
            "www.example.com.svc.cluster.local.",
            "prod.svc.cluster.local.",
            "www.example.com.",
        ] {
            assert!(path(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_name_that_would_be_too_long_is_left_out() {
        let long = name(&vec!["x".repeat(60); 3].join("."));
        let asked = name(&format!("{long}prod.svc.cluster.local."));
        let path = candidates(&asked, "prod", &name("cluster.local."), &[name(&"y.".repeat(60))]);
        assert_eq!(path.len(), 4);
        assert_eq!(path[3], long);
    }

    #[test]
    fn what_is_found_is_an_alias_of_what_was_asked() {
        let (asked, found) = (name("www.prod.svc.cluster.local."), name("www."));
        let data = RecordData::A("192.0.2.1".parse().unwrap());
        let record = Record { owner: Owner::Asked, ttl: 7, data: data.clone() };
        let mut answer = Answer {
            rcode: Rcode::NOERROR,
            answer: vec![record.clone()],
            authority: vec![],
            additional: vec![],
        };
        let before = answer.clone();
        alias(&mut answer, &asked, &asked);
        assert_eq!(answer, before);
        alias(&mut answer, &asked, &found);
        let cname = RecordData::Cname(found.clone());
        assert_eq!(answer.answer[0], Record { owner: Owner::Asked, ttl: 7, data: cname });
        assert_eq!(answer.answer[1], Record { owner: Owner::Name(found), ttl: 7, data });

        let mut empty = Answer { answer: vec![], ..before };
        alias(&mut empty, &asked, &name("www."));
        assert!(empty.answer.is_empty());
    }
}
