// SPDX-License-Identifier: GPL-3.0-or-later
//! `proxy show`: the rules that packets to a service meet, and what each does.

use clap::Args;
use clap::builder::PossibleValuesParser;
use netlab_api::ProxyMode;
use netlab_api::proxy::ProxyRules;

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::columns::or_none;
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::svc;

/// Endpoints that a row names.
const NAMED: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The service, as `web` or `svc/web`; without one, the rules that are there for all
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// The layout to show, also if another is in use [default: that which is in use]
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(ProxyMode::ALL.map(ProxyMode::as_str)))]
    r#as: Option<String>,
    /// json, yaml
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
}

pub(crate) async fn show(context: &Context, args: ShowArgs) -> Result<(), Failure> {
    let mode = args.r#as.map(|mode| mode.parse::<ProxyMode>()).transpose();
    let mode = mode.map_err(Failure::usage)?;
    let service = args.service.as_deref().map(svc::name_of).transpose()?;
    let namespace = context.namespace.as_str();
    let of = service.map(|name| (namespace, name));
    let rules = context.client.proxy_rules(of, mode).await?;
    let text = match args.output {
        Format::Table | Format::Wide => render(&rules, context.colour),
        Format::Json => format::json_text(&format::value(&rules)),
        Format::Yaml => format::yaml(&format::value(&rules)),
        _ => return Err(Failure::usage("proxy show prints a text, json or yaml")),
    };
    output::text(&text);
    Ok(())
}

fn render(rules: &ProxyRules, colour: bool) -> String {
    let text = rules.to_string();
    if rules.services.is_empty() {
        return text;
    }
    let mut table = Table::new(&["NAMESPACE", "SERVICE", "ADDRESSES", "ENDPOINTS"]);
    table.rows = rules
        .services
        .iter()
        .map(|service| {
            let named = service.endpoints.iter().take(NAMED).map(ToString::to_string);
            let mut endpoints = named.collect::<Vec<_>>().join(",");
            let more = service.endpoints.len().saturating_sub(NAMED);
            if more > 0 {
                endpoints += &format!(" + {more} more");
            }
            vec![
                service.namespace.clone(),
                service.name.clone(),
                service.fronts.join(","),
                or_none(endpoints),
            ]
        })
        .collect();
    text + "\n" + &table.render(Look { headers: true, colour }, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn rules_are_read_with_a_sentence_at_each() {
        let rules: ProxyRules = from_value(json!({
            "node": "n1",
            "mode": "iptables",
            "modeInUse": "nftables",
            "service": "default/web",
            "fronts": [{
                "kind": "clusterIP",
                "address": "10.43.0.7",
                "port": 80,
                "protocol": "TCP",
                "family": "ip",
                "hooks": [{
                    "hooks": ["PREROUTING (from outside)", "OUTPUT (of this node)"],
                    "rules": [
                        { "chain": "PREROUTING, OUTPUT", "rule": "jump KUBE-SERVICES", "comment": "all", "effect": "through KUBE-SERVICES" },
                        { "chain": "KUBE-SERVICES", "rule": "counter", "comment": "only this" },
                    ],
                }],
                "outcomes": [{ "client": "a pod", "result": "the source stays" }],
            }],
        }))
        .unwrap();
        expect![[r#"
            Service default/web, mode iptables, as it would be on node n1, which uses nftables

            cluster IP 10.43.0.7:80/TCP
              1. PREROUTING (from outside), OUTPUT (of this node)
                 PREROUTING, OUTPUT:
                   jump KUBE-SERVICES
                     # through KUBE-SERVICES
                 KUBE-SERVICES:
                   counter
                     # only this
              What comes of it
                 a pod  the source stays
        "#]]
        .assert_eq(&render(&rules, false));
    }

    #[test]
    fn services_stand_in_a_table_below_the_rules_of_all() {
        let endpoints: Vec<String> = (1..=5).map(|last| format!("10.42.0.{last}:8080")).collect();
        let rules: ProxyRules = from_value(json!({
            "node": "n1",
            "mode": "nftables",
            "modeInUse": "nftables",
            "base": [{
                "hooks": ["ip INPUT (for this node)"],
                "rules": [{ "chain": "filter-input", "rule": "jump check", "comment": "is there one?" }],
            }],
            "services": [
                { "namespace": "default", "name": "web", "fronts": ["10.43.0.7:80/TCP", "*:30080/TCP"], "endpoints": endpoints },
                { "namespace": "shop", "name": "db", "fronts": ["10.43.0.8:5432/TCP"], "endpoints": [] },
            ],
        }))
        .unwrap();
        expect![[r#"
            Rules whatever services there are, mode nftables, in use on node n1

              1. ip INPUT (for this node)
                 filter-input:
                   jump check
                     # is there one?

            NAMESPACE   SERVICE   ADDRESSES                      ENDPOINTS
            default     web       10.43.0.7:80/TCP,*:30080/TCP   10.42.0.1:8080,10.42.0.2:8080,10.42.0.3:8080 + 2 more
            shop        db        10.43.0.8:5432/TCP             <none>
        "#]]
        .assert_eq(&render(&rules, false));
    }
}
