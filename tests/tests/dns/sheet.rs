// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads sheets of cases, and tells whether an answer is as a case has it.
//!
//! ```text
//! # name                   type    what comes back
//! web.default.svc.~        A       @ 5 A 10.43.1.1                          records of the answer
//! web.default.svc.~        SRV     @ 5 SRV 0 100 80 web.default.svc.~ + web.default.svc.~ 5 A …
//! web.default.svc.~        TXT     NODATA                                   and the zone's SOA
//! nobody.default.svc.~     A       NXDOMAIN                                 likewise
//! www.example.org.         A       others @ <120 A 198.51.100.80            what others said
//! other.example.           A       REFUSED
//! ```
//!
//! `~` is the cluster's domain, `@` the name that was asked, in the case in which it was asked.
//! Records are parted by ` ; `, those after ` + ` are the additional section. `<120` is a TTL of up
//! to 120 that counts down. Each section is a set: order is chance, but for aliases, which come
//! first. `^10.43.1.1` is the reverse name of an address, `/16` behind it the network whose zone
//! says no.

use std::net::IpAddr;

use crate::dig::Told;

/// The cluster's domain.
pub(crate) const DOMAIN: &str = "cluster.local.";

/// How much of a TTL may have passed that counts down.
const PASSED: u32 = 60;

/// A case of a sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) kind: String,
    status: String,
    /// Of names that others answer, the authority and what is added are theirs.
    is_ours: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
}

/// Reads a sheet. `ttl` is that of the zone, which counts for its SOA.
#[track_caller]
pub(crate) fn read(sheet: &str, ttl: u32) -> Vec<Case> {
    let lines = sheet.lines().enumerate();
    lines.filter_map(|(index, line)| case(index + 1, line, ttl)).collect()
}

#[track_caller]
fn case(number: usize, line: &str, ttl: u32) -> Option<Case> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let mut parts = line.splitn(2, char::is_whitespace);
    let name = parts.next().unwrap_or_default();
    let (kind, rest) = parts
        .next()
        .and_then(|rest| rest.trim().split_once(char::is_whitespace))
        .unwrap_or_else(|| panic!("line {number} needs a name, a type and an answer: {line}"));
    let (name, zone) = match name.strip_prefix('^') {
        Some(address) => reverse(address),
        None => {
            let name = name.replace('~', DOMAIN);
            let zone = name[name.len().saturating_sub(DOMAIN.len())..].to_owned();
            (name, zone)
        }
    };
    let rest = rest.trim();
    let (is_ours, rest) = match rest.strip_prefix("others ") {
        Some(rest) => (false, rest.trim()),
        None => (true, rest),
    };
    let mut case = Case {
        line: number,
        kind: kind.to_owned(),
        status: "NOERROR".to_owned(),
        is_ours,
        answer: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        name,
    };
    match rest {
        "NODATA" => case.authority.push(soa(&zone, ttl)),
        "NXDOMAIN" => {
            case.status = "NXDOMAIN".to_owned();
            case.authority.push(soa(&zone, ttl));
        }
        "REFUSED" | "SERVFAIL" | "NOTIMP" | "FORMERR" => case.status = rest.to_owned(),
        records => {
            let (answer, additional) = records.split_once(" + ").unwrap_or((records, ""));
            let split = |text: &str| {
                let parts = text.split(" ; ").map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| expand(part, &case.name)).collect::<Vec<_>>()
            };
            (case.answer, case.additional) = (split(answer), split(additional));
        }
    }
    Some(case)
}

fn expand(record: &str, name: &str) -> String {
    record.replace('~', DOMAIN).replace('@', name)
}

/// The SOA of a zone that says no. Names in it have the case of the question.
fn soa(zone: &str, ttl: u32) -> String {
    format!("{zone} {ttl} SOA ns.dns.{zone} hostmaster.{zone} # 7200 1800 86400 {ttl}")
}

/// The reverse name of an address, and of its network when a length follows.
#[track_caller]
fn reverse(text: &str) -> (String, String) {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let (labels, bits, end): (Vec<String>, usize, &str) = match address.parse().unwrap() {
        IpAddr::V4(ip) => {
            (ip.octets().iter().map(ToString::to_string).collect(), 8, "in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let halves = ip.octets().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            (halves.map(|half| format!("{half:x}")).collect(), 4, "ip6.arpa.")
        }
    };
    let name = |labels: &[String]| {
        let labels = labels.iter().rev().map(|label| format!("{label}."));
        labels.collect::<String>() + end
    };
    let length: usize = length.parse().expect("a length in bits");
    (name(&labels), name(&labels[..length / bits]))
}

impl Case {
    /// What differs, in words; nothing when all is as it must be.
    pub(crate) fn differs(&self, told: &Told) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, is_so: bool, found: &dyn std::fmt::Debug| {
            if !is_so {
                differences.push(format!("{what}, found {found:?}"));
            }
        };
        let question = format!("{} {}", self.name, self.kind);
        compare(&format!("question {question}"), told.question == question, &told.question);
        compare(&format!("status {}", self.status), told.status == self.status, &told.status);
        let has = |flag: &str| told.flags.iter().any(|it| it == flag);
        compare("flag qr", has("qr"), &told.flags);
        compare("no flag tc", !has("tc"), &told.flags);
        let is_answer = ["NOERROR", "NXDOMAIN"].contains(&self.status.as_str());
        compare("flag aa", has("aa") || !self.is_ours || !is_answer, &told.flags);
        for (section, wanted, found) in [
            ("answer", &self.answer, &told.answer),
            ("authority", &self.authority, &told.authority),
            ("additional", &self.additional, &told.additional),
        ] {
            let is_theirs = !self.is_ours && section != "answer";
            let what = format!("{section} {wanted:?}");
            compare(&what, is_theirs || same_set(wanted, found), found);
        }
        let is_alias = |record: &String| record.split(' ').nth(2) == Some("CNAME");
        let first_address = told.answer.iter().position(|record| !is_alias(record));
        let last_alias = told.answer.iter().rposition(is_alias);
        if let (Some(address), Some(alias)) = (first_address, last_alias) {
            compare("aliases before addresses", alias < address, &told.answer);
        }
        differences
    }
}

/// Whether each record that is wanted is there, and no other.
fn same_set(wanted: &[String], found: &[String]) -> bool {
    let mut left: Vec<&String> = found.iter().collect();
    let all_there = wanted.iter().all(|wanted| {
        let place = left.iter().position(|found| same(wanted, found));
        place.map(|place| left.remove(place)).is_some()
    });
    all_there && left.is_empty()
}

/// Whether two records are the same. Owners are compared with their case, data without: its names
/// may share bytes with the question's.
fn same(wanted: &str, found: &str) -> bool {
    let (wanted, found): (Vec<&str>, Vec<&str>) =
        (wanted.split_whitespace().collect(), found.split_whitespace().collect());
    if wanted.len() != found.len() || wanted.len() < 3 {
        return false;
    }
    let is_ttl = match wanted[1].strip_prefix('<') {
        Some(most) => {
            let most: u32 = most.parse().expect("a number follows `<`");
            found[1].parse().is_ok_and(|ttl: u32| ttl <= most && ttl + PASSED >= most)
        }
        None => wanted[1] == found[1],
    };
    // The serial number of an SOA may be any.
    let same_data = wanted[2..].iter().zip(&found[2..]).all(|(wanted, found)| {
        *wanted == "#" && found.parse::<u32>().is_ok() || wanted.eq_ignore_ascii_case(found)
    });
    wanted[0] == found[0] && is_ttl && same_data
}

#[test]
fn a_sheet_says_what_is_compared() {
    let sheet = "# a comment\nWeb.~ A  @ 5 A 10.0.0.1 ; @ 5 A 10.0.0.2\nx.~ A NXDOMAIN\n\
                 ^10.43.0.1/16 PTR NXDOMAIN\nw.example. A others @ <120 A 10.0.0.1";
    let cases = read(sheet, 5);
    assert_eq!(cases.len(), 4);
    let told = |question: &str, status: &str, flags: &str, answer: &[&str]| Told {
        question: question.to_owned(),
        status: status.to_owned(),
        flags: flags.split(' ').map(str::to_owned).collect(),
        answer: answer.iter().map(|record| (*record).to_owned()).collect(),
        ..Told::default()
    };
    let (one, two) = ("Web.cluster.local. 5 A 10.0.0.1", "Web.cluster.local. 5 A 10.0.0.2");
    let good = told("Web.cluster.local. A", "NOERROR", "qr aa", &[two, one]);
    assert!(cases[0].differs(&good).is_empty());
    for bad in [
        told("Web.cluster.local. A", "NOERROR", "qr aa", &[one]),
        told("Web.cluster.local. A", "NOERROR", "qr aa", &[one, two, two]),
        told("Web.cluster.local. A", "NOERROR", "qr", &[one, two]),
        told("Web.cluster.local. A", "NXDOMAIN", "qr aa", &[one, two]),
        told("web.cluster.local. A", "NOERROR", "qr aa", &[one, two]),
        told("Web.cluster.local. A", "NOERROR", "qr aa", &[one, "web.cluster.local. 5 A 10.0.0.2"]),
        told("Web.cluster.local. A", "NOERROR", "qr aa", &[one, "Web.cluster.local. 6 A 10.0.0.2"]),
        told("Web.cluster.local. A", "NOERROR", "qr aa tc", &[one, two]),
    ] {
        assert!(!cases[0].differs(&bad).is_empty(), "{bad}");
    }
    let negative = |soa: &str| Told {
        authority: vec![soa.to_owned()],
        ..told("x.cluster.local. A", "NXDOMAIN", "qr aa", &[])
    };
    let soa = "cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 \
               86400 5";
    assert!(cases[1].differs(&negative(soa)).is_empty());
    assert!(!cases[1].differs(&negative(&soa.replace("1800", "1801"))).is_empty());
    assert!(cases[2].authority[0].starts_with("43.10.in-addr.arpa. 5 SOA"), "{:?}", cases[2]);
    let counted = told("w.example. A", "NOERROR", "qr ra", &["w.example. 119 A 10.0.0.1"]);
    assert!(cases[3].differs(&counted).is_empty());
}
