// SPDX-License-Identifier: GPL-3.0-or-later
//! `events`: what happened, the newest last.

use clap::Args;
use netlab_api::client::{Collection, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Event, Object, Time};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::columns::{self, event_cells, last_seen, seen};
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::target::{self, Target};
use crate::wait::follow::{Change, follow};

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only of this object: pod/web
    #[arg(long = "for", value_name = "TYPE/NAME")]
    object: Option<String>,
    /// Normal or Warning
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = ["Normal", "Warning"], ignore_case = true)]
    types: Vec<String>,
    /// Go on with events as they happen
    #[arg(short, long)]
    watch: bool,
    /// json, yaml, name, jsonpath=…
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
}

pub(crate) async fn events(context: &Context, args: EventsArgs) -> Result<(), Failure> {
    let mut fields = Vec::new();
    let mut of_node = false;
    if let Some(object) = &args.object {
        let (kind, name) = about(object)?;
        of_node = !kind.is_namespaced();
        fields.push(format!("involvedObject.kind={}", kind.name()));
        fields.push(format!("involvedObject.name={name}"));
    }
    let selectors = Selectors { fields: fields.join(","), ..Selectors::default() };
    // What happens to a node has no namespace that a person would think of.
    let everywhere = args.all_namespaces || of_node;
    let namespace = Some(context.namespace.as_str()).filter(|_| !everywhere);
    let wanted = |event: &Event| {
        let kind = format!("{:?}", event.kind);
        args.types.is_empty() || args.types.iter().any(|t| t.eq_ignore_ascii_case(&kind))
    };
    let mut widths = Vec::new();
    let mut headers = !args.no_headers;
    let mut print = |events: &[Event]| match &args.output {
        Format::Table | Format::Wide | Format::CustomColumns(_) => {
            let table = table(events, everywhere, Time::now());
            output::text(&table.render(Look { headers, colour: false }, &mut widths));
            headers = false;
        }
        format => {
            let objects: Vec<_> = events.iter().cloned().map(Object::Event).collect();
            output::text(&format::text(format, &objects, args.watch));
        }
    };
    if !args.watch {
        let mut events = context.client.list_as::<Event>(namespace, &selectors).await?.items;
        events.retain(wanted);
        events.sort_by_key(last_seen);
        let is_list = matches!(args.output, Format::Json | Format::Yaml | Format::JsonPath(_));
        if events.is_empty() && !is_list {
            let place = namespace.map(|n| format!(" in {n} namespace")).unwrap_or_default();
            output::note(&format!("No events found{place}."));
        } else {
            print(&events);
        }
        return Ok(());
    }
    let collection = Collection::new(Kind::Event, namespace);
    // A list that comes again after an interruption holds what was printed already.
    let mut newest = None;
    follow(context, &collection, &selectors, None, &mut |change| {
        let objects = match change {
            Change::Present(objects) => objects,
            Change::Changed(object) => vec![object],
            Change::Gone(_) => Vec::new(),
        };
        let mut events: Vec<Event> = objects
            .into_iter()
            .filter_map(|object| match object {
                Object::Event(event) => Some(event),
                _ => None,
            })
            .filter(|event| wanted(event))
            .filter(|event| revision(event) > newest)
            .collect();
        newest = newest.max(events.iter().filter_map(revision).max());
        events.sort_by_key(last_seen);
        if !events.is_empty() {
            print(&events);
        }
        std::ops::ControlFlow::<Result<(), Failure>>::Continue(())
    })
    .await?
}

/// Reads the object that `--for` names.
fn about(object: &str) -> Result<(Kind, String), Failure> {
    target::check_name(object)?;
    if object.contains('/') {
        return Target::one(&[object.to_owned()], "events --for");
    }
    let example = match Kind::from_word(object) {
        Some(kind) => format!("{}/NAME", kind.singular()),
        None => format!("pod/{object}"),
    };
    Err(Failure::usage(format!("`{object}` is no TYPE/NAME"))
        .with_hint(format!("write `--for {example}`")))
}

fn revision(event: &Event) -> Option<u64> {
    event.metadata.resource_version.parse().ok()
}

fn table(events: &[Event], namespaces: bool, now: Time) -> Table {
    let mut headers = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    if namespaces {
        headers.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&headers);
    for event in events {
        let mut row = event_cells(event, seen(event, now)).to_vec();
        if namespaces {
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            row.insert(0, columns::or_none(namespace));
        }
        table.rows.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_events_is_one_word() {
        assert_eq!(about("pod/c"), Ok((Kind::Pod, "c".to_owned())));
        let hint = |object| about(object).expect_err("refused").hints;
        assert_eq!(hint("c"), ["write `--for pod/c`"]);
        assert_eq!(hint("no"), ["write `--for node/NAME`"]);
        assert!(about("pod/").is_err() && about("").is_err());
    }
}
