// SPDX-License-Identifier: GPL-3.0-or-later
//! `apply`, `create` and `replace`: objects from files, and `create namespace`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use netlab_api::client::{ApplyOptions, ObjectRef};
use netlab_api::{Namespace, Object, Reason};

use crate::context::Context;
use crate::failure::Failure;
use crate::manifest::{self, FileArgs};
use crate::output::format::{self, Format};
use crate::output::pod_status;
use crate::svc;
use crate::svc::create::CreateServiceCommand;
use crate::wait::{self, SettleArgs};
use crate::{by_hand, output, progress};

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
}

/// Flags of verbs that write objects.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// `server`: say what would be; `client`: read and check the files (`apply` also compares)
    #[arg(long, value_parser = ["server", "client", "none"], num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub(crate) dry_run: Option<String>,
    /// Print the objects: json, yaml, name, jsonpath=…
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) settle: SettleArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CreateArgs {
    #[command(subcommand)]
    what: Option<CreateCommand>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Subcommand)]
enum CreateCommand {
    /// Make a namespace
    #[command(visible_alias = "ns")]
    Namespace {
        /// Its name
        name: String,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Make a service, of a type that is said (`netlabctl expose` is shorter and can more)
    #[command(subcommand, visible_alias = "svc")]
    Service(CreateServiceCommand),
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl WriteArgs {
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run.as_deref().is_some_and(|how| how != "none")
    }

    pub(crate) fn is_client_only(&self) -> bool {
        self.dry_run.as_deref() == Some("client")
    }

    /// Whether what became of objects is told, not the objects themselves.
    fn tells_results(&self) -> bool {
        matches!(self.output, Format::Table | Format::Wide | Format::CustomColumns(_))
    }

    /// Tells what became of objects: a line each, or the objects themselves.
    pub(crate) fn say(&self, told: &[(Object, &str)]) {
        if self.tells_results() {
            let suffix = output::dry_run(self.dry_run.as_deref());
            for (object, what) in told {
                output::line(&format!("{} {what}{suffix}", object.slash_name()));
            }
            return;
        }
        let objects: Vec<Object> = told.iter().map(|(object, _)| object.clone()).collect();
        output::text(&format::text(&self.output, &objects, objects.len() == 1));
    }
}

pub(crate) async fn apply(context: &Context, args: ApplyArgs) -> Result<(), Failure> {
    let objects = manifest::read(context, &args.files)?;
    write(context, objects, &args.write, false).await
}

pub(crate) async fn create(context: &Context, args: CreateArgs) -> Result<(), Failure> {
    match args.what {
        Some(CreateCommand::Namespace { name, write: how }) => {
            let mut namespace = Namespace::default();
            namespace.metadata.name = name;
            write(context, vec![Object::Namespace(namespace)], &how, true).await
        }
        Some(CreateCommand::Service(command)) => svc::create::create(context, command).await,
        None => {
            let objects = manifest::read(context, &args.files)?;
            write(context, objects, &args.write, true).await
        }
    }
}

async fn write(
    context: &Context,
    objects: Vec<Object>,
    args: &WriteArgs,
    create: bool,
) -> Result<(), Failure> {
    if context.explain && args.is_dry() {
        return by_hand::print_made(context, &objects).await;
    }
    // What `apply` would do to an object, the server alone knows.
    if args.is_client_only() && (create || !args.tells_results()) {
        let told: Vec<_> = objects.into_iter().map(|object| (object, "created")).collect();
        args.say(&told);
        return Ok(());
    }
    let options = ApplyOptions { create, dry_run: args.is_dry() };
    let deadline = args.settle.deadline();
    let request = async {
        context.client.apply(&objects, options).await.map_err(|error| {
            let exists = error.is(Reason::AlreadyExists);
            let failure = Failure::from(error);
            match exists {
                true => {
                    failure.with_hint("nothing was made; `apply` changes what is there already")
                }
                false => failure,
            }
        })
    };
    let answer = progress::answer(deadline, request).await?;
    if !args.is_dry() {
        for warning in unplaced(answer.items.iter().map(|item| &item.object)) {
            output::note(&warning);
        }
        args.settle.programmed_by(context, answer.revision, deadline).await?;
    }
    let told: Vec<_> =
        answer.items.into_iter().map(|item| (item.object, item.result.as_str())).collect();
    args.say(&told);
    let objects: Vec<Object> = told.into_iter().map(|(object, _)| object).collect();
    by_hand::print_made(context, &objects).await
}

/// Warns of pods that no node takes, which is no failure: one may take them later.
fn unplaced<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<String> {
    let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in objects {
        if let Object::Pod(pod) = object
            && let Some(why) = pod_status::unplaced(pod)
        {
            waiting.entry(why).or_default().push(object.slash_name());
        }
    }
    let warn = |(why, names): (String, Vec<String>)| match &names[..] {
        [one] => format!("Warning: {one} waits: {why}"),
        [one, other] => format!("Warning: {one} and {other} wait: {why}"),
        names => format!("Warning: {} and {} others wait: {why}", names[0], names.len() - 1),
    };
    waiting.into_iter().map(warn).collect()
}

pub(crate) async fn replace(context: &Context, args: ReplaceArgs) -> Result<(), Failure> {
    let objects = manifest::read(context, &args.files)?;
    let mut told = Vec::new();
    let mut revision = 0;
    let deadline = args.write.settle.deadline();
    for object in objects {
        if args.write.is_client_only() {
            told.push((object, "replaced"));
            continue;
        }
        let request = async {
            match context.client.replace(&object, args.write.is_dry()).await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(context.explain(error, &ObjectRef::of(&object)).await),
            }
        };
        let answer = progress::answer(deadline, request).await?;
        revision = answer.metadata().resource_version.parse().unwrap_or(revision).max(revision);
        told.push((answer, "replaced"));
    }
    let programs = told.iter().any(|(object, _)| wait::lives_on_nodes(object.kind()));
    if programs && !args.write.is_dry() {
        args.write.settle.programmed_by(context, revision, deadline).await?;
    }
    args.write.say(&told);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_no_node_takes_are_warned_of_together() {
        let pod = |name: &str, placed: &str| -> Object {
            serde_json::from_value(json!({
                "kind": "Pod", "metadata": { "name": name },
                "status": { "conditions": [{
                    "type": "PodScheduled", "status": placed, "reason": "Unschedulable",
                    "message": "1 node is cordoned",
                }]},
            }))
            .unwrap()
        };
        let objects = [pod("a", "False"), pod("b", "True"), pod("c", "False"), pod("d", "False")];
        let why = "PodScheduled is False: Unschedulable: 1 node is cordoned";
        assert_eq!(unplaced(objects[..2].iter()), [format!("Warning: pod/a waits: {why}")]);
        assert_eq!(unplaced(objects.iter()), [format!("Warning: pod/a and 2 others wait: {why}")]);
    }
}
