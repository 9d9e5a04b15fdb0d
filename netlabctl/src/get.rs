// SPDX-License-Identifier: GPL-3.0-or-later
//! `get`: lists objects, and the flows of a node.

mod flows;
mod watch;

use std::collections::BTreeMap;

use clap::Args;
use netlab_api::client::Selectors;
use netlab_api::resource::Kind;
use netlab_api::{Object, Time};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::columns::{self, View};
use crate::output::format::{self, Format};
use crate::output::table::{Look, Table};
use crate::target::{Found, Target};

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// TYPE, TYPE NAME… or TYPE/NAME…; several types with commas; or `flows`
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    flows: flows::FlowArgs,
}

/// Flags of a list; names of objects may come before them.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Those with these labels: `app=web,tier!=db,env in (a,b)`
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Those with these fields: `status.phase=Running,spec.nodeName=n1`
    #[arg(long)]
    field_selector: Option<String>,
    /// wide, json, yaml, name, jsonpath=…, custom-columns=…
    #[arg(short, long, default_value = "", hide_default_value = true)]
    output: Format,
    /// Go on with changes as they happen
    #[arg(short, long)]
    watch: bool,
    /// Only changes, not what is there already
    #[arg(long)]
    watch_only: bool,
    /// A column with the labels
    #[arg(long)]
    show_labels: bool,
    /// A column for each of these labels: app,tier
    #[arg(short = 'L', long, value_name = "LABEL", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
    /// Order by a path: `.metadata.creationTimestamp`
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// No error for names that are not there
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "false", require_equals = true, hide_default_value = true)]
    ignore_not_found: bool,
}

impl ListArgs {
    /// A list of objects of one type.
    pub(crate) fn of(self, type_word: &str) -> GetArgs {
        GetArgs { words: vec![type_word.to_owned()], list: self, flows: flows::FlowArgs::default() }
    }
}

pub(crate) async fn get(context: &Context, args: GetArgs) -> Result<(), Failure> {
    if flows::are_meant(&args.words)? {
        let headers = !args.list.no_headers;
        return flows::flows(context, &args.flows, &args.list.output, headers).await;
    }
    if args.flows.is_given() {
        return Err(Failure::usage("--service, --protocol and --all are for flows")
            .with_hint("`netlabctl get flows --service NAME`"));
    }
    let target = Target::parse(&args.words)?;
    let args = args.list;
    if args.watch || args.watch_only {
        // What cannot be watched is not listed first.
        watch::subject(&target)?;
    }
    let selectors = Selectors {
        labels: args.selector.clone().unwrap_or_default(),
        fields: args.field_selector.clone().unwrap_or_default(),
    };
    let mut found = context.find(&target, &selectors, args.all_namespaces).await?;
    match &args.sort_by {
        Some(path) => format::sort(&mut found.objects, path)?,
        // As kubectl orders them: the newest at the end, where the eye is.
        None => found.objects.sort_by_key(|object| match object {
            Object::Event(event) => columns::last_seen(event),
            _ => None,
        }),
    }
    let mut printer = Printer::new(context, &args, &target);
    if !args.watch_only {
        let single = matches!(&target, Target::Named(named) if named.len() == 1);
        if found.objects.is_empty() && found.missing.is_empty() && !args.watch {
            printer.nothing(&target, single).await;
        } else if !(found.objects.is_empty() && single) {
            printer.print(&found.objects, single);
        }
    }
    if args.watch || args.watch_only {
        Found::finish(&found.missing)?;
        return watch::watch(context, &args, &target, selectors, found.revision, &mut printer)
            .await;
    }
    if args.ignore_not_found { Ok(()) } else { Found::finish(&found.missing) }
}

/// Prints objects, again and again, under one line of headers a kind.
struct Printer<'a> {
    context: &'a Context,
    args: &'a ListArgs,
    several_kinds: bool,
    headed: bool,
    widths: BTreeMap<Kind, Vec<usize>>,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, args: &'a ListArgs, target: &Target) -> Printer<'a> {
        let several_kinds = target.kinds().len() > 1;
        Printer { context, args, several_kinds, headed: false, widths: BTreeMap::new() }
    }

    async fn nothing(&self, target: &Target, single: bool) {
        match (&self.args.output, target) {
            (Format::Json | Format::Yaml | Format::JsonPath(_), _) => {
                output::text(&format::text(&self.args.output, &[], single));
            }
            (_, Target::Kinds(kinds)) => {
                self.context.tell_none_found(kinds, self.args.all_namespaces).await;
            }
            _ => output::note("No resources found"),
        }
    }

    fn print(&mut self, objects: &[Object], single: bool) {
        match &self.args.output {
            Format::Table | Format::Wide => self.tables(objects),
            Format::CustomColumns(columns) => {
                let table = format::custom_table(columns, objects);
                // Custom columns are of all kinds alike.
                self.table(Kind::Pod, &table);
            }
            format => output::text(&format::text(format, objects, single)),
        }
    }

    fn tables(&mut self, objects: &[Object]) {
        let view = View {
            label_columns: &self.args.label_columns,
            wide: matches!(self.args.output, Format::Wide),
            namespaces: self.args.all_namespaces,
            labels: self.args.show_labels,
            slash_names: self.several_kinds,
            now: Time::now(),
        };
        let mut kinds: Vec<Kind> = Vec::new();
        for object in objects {
            if !kinds.contains(&object.kind()) {
                kinds.push(object.kind());
            }
        }
        for (index, kind) in kinds.into_iter().enumerate() {
            if index > 0 && !self.args.no_headers {
                output::line("");
            }
            let of_kind = objects.iter().filter(|object| object.kind() == kind);
            self.table(kind, &columns::table(kind, of_kind, view));
            self.headed &= !self.several_kinds;
        }
    }

    fn table(&mut self, kind: Kind, table: &Table) {
        let headers = !self.args.no_headers && !self.headed;
        let look = Look { headers, colour: self.context.colour };
        output::text(&table.render(look, self.widths.entry(kind).or_default()));
        self.headed = true;
    }
}
