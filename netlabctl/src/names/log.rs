// SPDX-License-Identifier: GPL-3.0-or-later
//! `dns log`: who asked what, and how it was answered.

use clap::Args;
use netlab_api::dns::DnsLogEntry;

use super::took;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only questions of this pod, whichever node it is on
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Go on as questions come
    #[arg(short, long)]
    follow: bool,
    /// Only the last ones [default: all that the node remembers]
    #[arg(long, value_name = "COUNT")]
    tail: Option<u64>,
    /// json: one value a line
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
}

pub(super) async fn log(context: &Context, args: LogArgs) -> Result<(), Failure> {
    let pod = args.pod.as_deref().map(target::pod_name).transpose()?;
    let of = pod.as_deref().map(|pod| (context.namespace.as_str(), pod));
    let mut entries = match (context.client.dns_log(of, args.follow, args.tail).await, &pod) {
        (Ok(entries), _) => entries,
        (Err(error), Some(pod)) => return Err(context.explain(error, &context.pod(pod)).await),
        (Err(error), None) => return Err(error.into()),
    };
    let is_json = match args.output {
        Format::Table | Format::Wide => false,
        Format::Json => true,
        _ => return Err(Failure::usage("dns log prints a table or json")),
    };
    let mut widths = Vec::new();
    let mut headers = !args.no_headers;
    let mut any = false;
    while let Some(entry) = entries.next().await? {
        any = true;
        if entry.missed > 0 {
            output::note(&format!("{} questions before this one are not shown", entry.missed));
        }
        if is_json {
            output::line(&format::value(&entry).to_string());
            continue;
        }
        let look = Look { headers, colour: context.colour };
        output::text(&table(&entry).render(look, &mut widths));
        headers = false;
    }
    if !any && !is_json {
        output::note("No questions yet.");
    }
    Ok(())
}

fn table(entry: &DnsLogEntry) -> Table {
    let mut table = Table::new(&["TIME", "CLIENT", "PROTO", "TYPE", "NAME", "RCODE", "BY", "TOOK"]);
    table.rows.push(vec![
        entry.time.to_string(),
        entry.pod.clone().unwrap_or_else(|| entry.client.ip().to_string()),
        entry.protocol.clone(),
        entry.kind.clone(),
        entry.name.clone(),
        entry.rcode.clone(),
        entry.by.clone(),
        took(entry.micros),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_question_is_a_line_with_who_asked() {
        let entry: DnsLogEntry = from_value(json!({
            "time": "2026-01-02T03:04:05Z", "client": "10.42.0.5:4242", "pod": "shop/client",
            "protocol": "udp", "name": "web.shop.svc.cluster.local.", "type": "A",
            "rcode": "NOERROR", "size": 80, "micros": 14, "by": "zone",
        }))
        .unwrap();
        let look = Look { headers: true, colour: false };
        expect![[r#"
            TIME                   CLIENT        PROTO   TYPE   NAME                          RCODE     BY     TOOK
            2026-01-02T03:04:05Z   shop/client   udp     A      web.shop.svc.cluster.local.   NOERROR   zone   14µs
        "#]]
        .assert_eq(&table(&entry).render(look, &mut Vec::new()));
    }
}
