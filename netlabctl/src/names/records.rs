// SPDX-License-Identifier: GPL-3.0-or-later
//! `dns records`: what the cluster's zone holds, and why.

use clap::Args;
use netlab_api::dns::DnsRecords;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::columns::or_none;
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct RecordsArgs {
    /// json, yaml
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
}

pub(super) async fn records(context: &Context, args: RecordsArgs) -> Result<(), Failure> {
    // Without -n all of it: the zone's own records are of no namespace.
    let namespace = context.namespace_given.then_some(context.namespace.as_str());
    let records = context.client.dns_records(namespace).await?;
    let text = match args.output {
        Format::Table | Format::Wide => {
            let look = Look { headers: !args.no_headers, colour: context.colour };
            table(&records).render(look, &mut Vec::new())
        }
        Format::Json => format::json_text(&format::value(&records)),
        Format::Yaml => format::yaml(&format::value(&records)),
        _ => return Err(Failure::usage("dns records are printed as a table, json or yaml")),
    };
    if !records.synced {
        output::note(&format!("node {} does not know all names yet", records.node));
    }
    if records.records.is_empty() {
        let place = namespace.map(|it| format!(" of namespace {it}")).unwrap_or_default();
        output::note(&format!("No records{place} found"));
        if let Some(namespace) = namespace
            && let Some(hint) = target::homeless(&context.client, namespace).await
        {
            output::note(&format!("hint: {hint}"));
        }
        return Ok(());
    }
    output::text(&text);
    Ok(())
}

fn table(records: &DnsRecords) -> Table {
    let mut table = Table::new(&["NAME", "TTL", "TYPE", "DATA", "OBJECT"]);
    table.rows = records
        .records
        .iter()
        .map(|listed| {
            let record = &listed.record;
            vec![
                record.name.clone(),
                record.ttl.to_string(),
                record.kind.clone(),
                record.data.clone(),
                or_none(listed.object.clone().unwrap_or_default()),
            ]
        })
        .collect();
    table
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_record_stands_with_its_object() {
        let records: DnsRecords = from_value(json!({
            "node": "n1", "domain": "cluster.local.", "serial": 7, "synced": true,
            "records": [
                { "name": "dns-version.cluster.local.", "ttl": 28800, "type": "TXT", "data": "\"1.1.0\"" },
                { "name": "web.shop.svc.cluster.local.", "ttl": 5, "type": "A", "data": "10.43.0.7",
                  "object": "service/shop/web" },
            ],
        }))
        .unwrap();
        let look = Look { headers: true, colour: false };
        expect![[r#"
            NAME                          TTL     TYPE   DATA        OBJECT
            dns-version.cluster.local.    28800   TXT    "1.1.0"     <none>
            web.shop.svc.cluster.local.   5       A      10.43.0.7   service/shop/web
        "#]]
        .assert_eq(&table(&records).render(look, &mut Vec::new()));
    }
}
