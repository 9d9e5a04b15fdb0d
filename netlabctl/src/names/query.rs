// SPDX-License-Identifier: GPL-3.0-or-later
//! `dns query`: a name, and all that is tried to find it.

use std::net::IpAddr;

use clap::Args;
use netlab_api::client::NameQuery;
use netlab_api::dns::name::Name;
use netlab_api::dns::{DnsAttempt, DnsTrace};

use super::{said, took};
use crate::context::Context;
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::output::columns::or_none;
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The name as a program would be given it: `web`, `web.shop`, `example.com.`; or an address
    #[arg(value_name = "NAME")]
    name: String,
    /// As this pod asks, with its search domains, at its node
    #[arg(long, value_name = "POD")]
    from: Option<String>,
    /// Types of records: A, AAAA, SRV, PTR, TXT … [default: A,AAAA; PTR for an address]
    #[arg(short = 't', long = "type", value_name = "TYPE", value_delimiter = ',')]
    kinds: Vec<String>,
    /// wide (also the records that come along), json, yaml
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
}

pub(super) async fn query(context: &Context, args: QueryArgs) -> Result<(), Failure> {
    check(&args.name)?;
    let pod = args.from.as_deref().map(target::pod_name).transpose()?;
    let query = NameQuery {
        name: &args.name,
        kinds: &args.kinds,
        pod: pod.as_deref().map(|pod| (context.namespace.as_str(), pod)),
        namespace: pod.is_none().then_some(context.namespace.as_str()),
    };
    let trace = match (context.client.dns_query(&query).await, &pod) {
        (Ok(trace), _) => trace,
        (Err(error), Some(pod)) => return Err(context.explain(error, &context.pod(pod)).await),
        (Err(error), None) => return Err(error.into()),
    };
    let text = match args.output {
        Format::Table => render(&trace, false, context.colour),
        Format::Wide => render(&trace, true, context.colour),
        Format::Json => format::json_text(&format::value(&trace)),
        Format::Yaml => format::yaml(&format::value(&trace)),
        _ => return Err(Failure::usage("dns query prints a table, wide, json or yaml")),
    };
    output::text(&text);
    verdict(&trace)
}

/// Refuses what is given for a name by mistake: nobody has the answer that was meant.
fn check(name: &str) -> Result<(), Failure> {
    let bare = |name: &str| {
        let name = name.split('/').next().unwrap_or_default();
        let host = match name.strip_prefix('[') {
            Some(inner) => inner.split(']').next(),
            None => name.split(':').next(),
        };
        format!("`netlabctl dns query {}`", host.unwrap_or_default())
    };
    if name.is_empty() {
        return Err(Failure::usage("a name is missing").with_hint("`netlabctl dns query web`"));
    }
    if let Some((_, rest)) = name.split_once("://") {
        return Err(Failure::usage(format!("`{name}` is a URL")).with_hint(bare(rest)));
    }
    if name.contains([':', '/']) && name.parse::<IpAddr>().is_err() {
        return Err(Failure::usage(format!("`{name}` is no name")).with_hint(bare(name)));
    }
    let read: Result<Name, _> = name.parse();
    read.map(drop).map_err(|error| Failure::usage(error.to_string()))
}

/// What the asker gets in the end, for scripts: an error unless some type has records.
fn verdict(trace: &DnsTrace) -> Result<(), Failure> {
    if trace.attempts.iter().any(|attempt| !attempt.answer.is_empty()) {
        return Ok(());
    }
    let failed = trace.attempts.iter().find(|it| !is_negative(it));
    if let Some(attempt) = failed {
        let why = attempt.error.clone().unwrap_or_else(|| format!("so says {}", attempt.by));
        let text = format!("error: {} for `{}`: {why}", attempt.rcode, attempt.name);
        return Err(Failure::new(FAILED, text));
    }
    let is_there = trace.attempts.iter().find(|attempt| attempt.rcode == "NOERROR");
    Err(match is_there {
        Some(attempt) => {
            let kinds: Vec<&str> = trace
                .attempts
                .iter()
                .filter(|it| it.name == attempt.name)
                .map(|it| it.kind.as_str())
                .collect();
            let text =
                format!("error: `{}` has no records of type {}", attempt.name, kinds.join(" or "));
            Failure::new(NOT_FOUND, text)
        }
        None => Failure::new(NOT_FOUND, format!("error: no such name: `{}`", trace.name))
            .with_hint("`netlabctl dns records` lists the names of the cluster"),
    })
}

/// Whether an answer says that there is nothing, rather than that something went wrong.
fn is_negative(attempt: &DnsAttempt) -> bool {
    matches!(attempt.rcode.as_str(), "NOERROR" | "NXDOMAIN")
}

fn render(trace: &DnsTrace, wide: bool, colour: bool) -> String {
    let servers: Vec<String> = trace.servers.iter().map(ToString::to_string).collect();
    let who = match &trace.from {
        Some(pod) => format!("pod {pod} on node {}", trace.node),
        None => format!("as a pod on node {}", trace.node),
    };
    let mut text = format!(
        "{who}: nameserver {}; search {}; ndots {}\n",
        or_none(servers.join(", ")),
        or_none(trace.search.join(" ")),
        trace.ndots
    );
    if !trace.asks_here {
        text +=
            "The cluster's name server is none of its nameservers: below is what it would say.\n";
    }
    let mut table = Table::new(&["NAME", "TYPE", "RCODE", "BY", "TOOK", "TTL", "ANSWER"]);
    let mut last = "";
    for attempt in &trace.attempts {
        // A name stands once, before all its types.
        let name = if attempt.name == last { "" } else { &attempt.name };
        last = &attempt.name;
        table.rows.extend(rows(attempt, name, wide));
    }
    text.push('\n');
    text + &table.render(Look { headers: true, colour }, &mut Vec::new())
}

fn rows(attempt: &DnsAttempt, name: &str, wide: bool) -> Vec<Vec<String>> {
    let sections = [("", &attempt.answer), ("authority: ", &attempt.authority)];
    let more = [("additional: ", &attempt.additional)];
    let shown = if wide { sections.iter().chain(&more) } else { sections[..1].iter().chain(&[]) };
    let mut said: Vec<(String, String)> = shown
        .flat_map(|(section, records)| {
            records.iter().map(move |record| {
                let own = record.name.eq_ignore_ascii_case(&attempt.name);
                let whose = if own { String::new() } else { format!("{} ", record.name) };
                let what = said(record, &attempt.kind);
                (record.ttl.to_string(), format!("{section}{whose}{what}"))
            })
        })
        .collect();
    if said.is_empty() {
        said.push(("-".to_owned(), or_none(attempt.error.clone().unwrap_or_default())));
    }
    let mut head = [
        name.to_owned(),
        attempt.kind.clone(),
        attempt.rcode.clone(),
        attempt.by.clone(),
        took(attempt.micros),
    ];
    said.into_iter()
        .map(|(ttl, text)| {
            let row = std::mem::take(&mut head);
            row.into_iter().chain([ttl, text]).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    fn trace() -> DnsTrace {
        from_value(json!({
            "node": "n1", "from": "shop/client", "servers": ["10.43.0.10"],
            "search": ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"],
            "ndots": 5, "name": "db.store", "asksHere": true,
            "attempts": [
                { "name": "db.store.shop.svc.cluster.local.", "type": "A", "rcode": "NXDOMAIN",
                  "by": "zone", "micros": 11,
                  "authority": [{ "name": "cluster.local.", "ttl": 5, "type": "SOA", "data": "ns" }] },
                { "name": "db.store.svc.cluster.local.", "type": "A", "rcode": "NOERROR",
                  "by": "192.0.2.1:53", "micros": 1340,
                  "answer": [
                      { "name": "db.store.svc.cluster.local.", "ttl": 5, "type": "CNAME", "data": "db.example.com." },
                      { "name": "db.example.com.", "ttl": 30, "type": "A", "data": "192.0.2.7" },
                  ] },
                { "name": "db.store.svc.cluster.local.", "type": "AAAA", "rcode": "NOERROR",
                  "by": "zone", "micros": 9 },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn each_name_that_is_tried_stands_with_who_answered() {
        expect![[r#"
            pod shop/client on node n1: nameserver 10.43.0.10; search shop.svc.cluster.local svc.cluster.local cluster.local; ndots 5

            NAME                               TYPE   RCODE      BY             TOOK    TTL   ANSWER
            db.store.shop.svc.cluster.local.   A      NXDOMAIN   zone           11µs    -     <none>
            db.store.svc.cluster.local.        A      NOERROR    192.0.2.1:53   1.3ms   5     CNAME db.example.com.
                                                                                        30    db.example.com. 192.0.2.7
                                               AAAA   NOERROR    zone           9µs     -     <none>
        "#]]
        .assert_eq(&render(&trace(), false, false));
    }

    #[test]
    fn what_is_no_name_is_told_with_the_name_that_was_meant() {
        for name in ["web", "web.shop.", "_http._tcp.web", "10.43.0.10", "fd43::a", "."] {
            assert!(check(name).is_ok(), "{name}");
        }
        for (name, meant) in [
            ("", "query web`"),
            ("http://web:8080/a", "query web`"),
            ("web:80", "query web`"),
            ("10.43.0.10:53", "query 10.43.0.10`"),
            ("[fd43::a]:53", "query fd43::a`"),
            ("10.43.0.0/16", "query 10.43.0.0`"),
        ] {
            let failure = check(name).unwrap_err();
            assert!(failure.hints[0].ends_with(meant), "{name}: {}", failure.hints[0]);
        }
        assert!(check("a..b").unwrap_err().message.contains("`a..b` has an empty label"));
    }

    #[test]
    fn what_is_not_found_is_told_to_scripts() {
        assert!(verdict(&trace()).is_ok());
        let mut none = trace();
        none.attempts.truncate(1);
        assert_eq!(verdict(&none).unwrap_err().code, NOT_FOUND);
        let mut empty = trace();
        empty.attempts.drain(..2);
        assert_eq!(verdict(&empty).unwrap_err().code, NOT_FOUND);
        let mut broken = trace();
        broken.attempts.truncate(1);
        broken.attempts[0].rcode = "SERVFAIL".to_owned();
        let failure = verdict(&broken).unwrap_err();
        assert_eq!(failure.code, FAILED);
        assert!(failure.message.ends_with(": so says zone"), "{}", failure.message);
        broken.attempts[0].error = Some("i/o timeout".to_owned());
        assert!(verdict(&broken).unwrap_err().message.ends_with(": i/o timeout"));
    }
}
