// SPDX-License-Identifier: GPL-3.0-or-later
//! `get flows`: what connection tracking of a node knows of connections to services.

use clap::Args;
use netlab_api::proxy::{Flows, ServiceFlow};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::age;
use crate::output::columns::or_none;
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::svc;

/// Flags that only flows have.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Flows")]
pub(super) struct FlowArgs {
    /// Flows: only those to this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Flows: only those of this protocol: tcp, udp, sctp, icmp, icmpv6
    #[arg(long, value_name = "PROTO")]
    protocol: Option<String>,
    /// Flows: also those to no service
    #[arg(long)]
    all: bool,
}

impl FlowArgs {
    /// Whether any was given.
    pub(super) fn is_given(&self) -> bool {
        self.service.is_some() || self.protocol.is_some() || self.all
    }
}

/// Whether words after `get` mean flows. They are no objects: no store has them.
pub(super) fn are_meant(words: &[String]) -> Result<bool, Failure> {
    match words {
        [word] if is_word(word) => Ok(true),
        [word, ..] if is_word(word) => Err(Failure::usage("flows have no names")
            .with_hint("`netlabctl get flows --service NAME` lists those to a service")),
        _ => Ok(false),
    }
}

fn is_word(word: &str) -> bool {
    ["flows", "flow"].iter().any(|it| word.eq_ignore_ascii_case(it))
}

pub(super) async fn flows(
    context: &Context,
    args: &FlowArgs,
    output: &Format,
    headers: bool,
) -> Result<(), Failure> {
    let name = args.service.as_deref().map(svc::name_of).transpose()?;
    let service = name.map(|name| (context.namespace.as_str(), name));
    let flows = context.client.flows(service, args.protocol.as_deref(), args.all).await?;
    let text = match output {
        Format::Table | Format::Wide => {
            if flows.flows.is_empty() {
                output::note(&format!("No flows found on node {}", flows.node));
                return Ok(());
            }
            let wide = matches!(output, Format::Wide);
            let look = Look { headers, colour: context.colour };
            table(&flows, wide).render(look, &mut Vec::new())
        }
        Format::Json => format::json_text(&format::value(&flows)),
        Format::Yaml => format::yaml(&format::value(&flows)),
        _ => return Err(Failure::usage("flows are printed as a table, wide, json or yaml")),
    };
    output::text(&text);
    if flows.left_out > 0 {
        output::note(&format!(
            "{} more flows are not listed: --service or --protocol chooses among them",
            flows.left_out
        ));
    }
    Ok(())
}

fn table(flows: &Flows, wide: bool) -> Table {
    let mut table = Table::new(&["PROTO", "SOURCE", "SERVICE", "ENDPOINT", "STATE", "TIMEOUT"]);
    if wide {
        let more = ["DESTINATION", "SEEN AS", "BYTES", "MARK"];
        table.headers.extend(more.map(str::to_owned));
    }
    table.rows = flows.flows.iter().map(|flow| row(flow, wide)).collect();
    table
}

fn row(flow: &ServiceFlow, wide: bool) -> Vec<String> {
    let ServiceFlow { source, destination, endpoint, .. } = flow;
    let pod = |name: &Option<String>, at: &std::net::SocketAddr| match name {
        Some(name) if !wide => format!("{name}:{}", at.port()),
        Some(name) => format!("{name} ({at})"),
        None => at.to_string(),
    };
    let mut row = vec![
        flow.protocol.clone(),
        pod(&flow.source_pod, source),
        flow.service.clone().unwrap_or_else(|| destination.to_string()),
        pod(&flow.endpoint_pod, endpoint),
        flow.state.clone(),
        age::human(flow.timeout_seconds.into()),
    ];
    if wide {
        row.push(destination.to_string());
        row.push(flow.seen_as.to_string());
        row.push(or_none(flow.bytes.map(|bytes| bytes.to_string()).unwrap_or_default()));
        row.push(format!("{:#x}", flow.mark));
    }
    row
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    fn flows() -> Flows {
        from_value(json!({
            "node": "n1",
            "flows": [
                {
                    "protocol": "tcp", "source": "10.42.0.9:40000", "sourcePod": "default/client",
                    "destination": "10.43.0.7:80", "service": "default/web:http",
                    "endpoint": "10.42.0.1:8080", "endpointPod": "default/web-0",
                    "seenAs": "10.42.0.9:40000", "state": "ESTABLISHED",
                    "timeoutSeconds": 431_999, "bytes": 1234,
                },
                {
                    "protocol": "udp", "source": "[fd42::9]:5000", "destination": "[fd43::8]:53",
                    "endpoint": "[2001:db8::1]:53", "seenAs": "[fd42::9]:5000",
                    "state": "UNREPLIED", "timeoutSeconds": 30, "mark": 16,
                },
            ],
        }))
        .unwrap()
    }

    fn text(wide: bool) -> String {
        table(&flows(), wide).render(Look { headers: true, colour: false }, &mut Vec::new())
    }

    #[test]
    fn flows_stand_with_the_names_of_their_ends() {
        expect![[r#"
            PROTO   SOURCE                 SERVICE            ENDPOINT             STATE         TIMEOUT
            tcp     default/client:40000   default/web:http   default/web-0:8080   ESTABLISHED   4d23h
            udp     [fd42::9]:5000         [fd43::8]:53       [2001:db8::1]:53     UNREPLIED     30s
        "#]].assert_eq(&text(false));
        expect![[r#"
            PROTO   SOURCE                             SERVICE            ENDPOINT                         STATE         TIMEOUT   DESTINATION    SEEN AS           BYTES    MARK
            tcp     default/client (10.42.0.9:40000)   default/web:http   default/web-0 (10.42.0.1:8080)   ESTABLISHED   4d23h     10.43.0.7:80   10.42.0.9:40000   1234     0x0
            udp     [fd42::9]:5000                     [fd43::8]:53       [2001:db8::1]:53                 UNREPLIED     30s       [fd43::8]:53   [fd42::9]:5000    <none>   0x10
        "#]].assert_eq(&text(true));
    }

    #[test]
    fn flows_are_asked_for_by_their_word_alone() {
        let meant = |words: &[&str]| {
            are_meant(&words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        assert!(meant(&["flows"]).unwrap() && meant(&["Flow"]).unwrap());
        assert!(!meant(&["pods"]).unwrap() && !meant(&[]).unwrap());
        assert!(meant(&["flows", "web"]).is_err());
    }
}
