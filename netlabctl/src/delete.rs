// SPDX-License-Identifier: GPL-3.0-or-later
//! `delete`: asks for the deletion and returns when the objects are gone, from the kernels too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use netlab_api::client::{Collection, DeleteOptions, ObjectRef, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Object, Pod};

use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::manifest::{self, FileArgs};
use crate::progress::{self, Bound, Deadline, Progress};
use crate::target::Target;
use crate::wait::follow::{Change, follow};
use crate::{by_hand, duration, output, wait};

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// TYPE NAME… or TYPE/NAME…; TYPE with -l or --all
    #[arg(value_name = "TYPE NAME")]
    words: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// `pod rm`: what is named are pods.
#[derive(Debug, Args)]
pub(crate) struct PodRmArgs {
    /// Pods
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    how: HowArgs,
}

/// `svc rm`: what is named are services.
#[derive(Debug, Args)]
pub(crate) struct SvcRmArgs {
    /// Services
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    how: HowArgs,
}

impl From<PodRmArgs> for DeleteArgs {
    fn from(args: PodRmArgs) -> DeleteArgs {
        DeleteArgs {
            words: typed(Kind::Pod, args.names),
            files: FileArgs::default(),
            how: args.how,
        }
    }
}

impl From<SvcRmArgs> for DeleteArgs {
    fn from(args: SvcRmArgs) -> DeleteArgs {
        let words = typed(Kind::Service, args.names);
        DeleteArgs { words, files: FileArgs::default(), how: args.how }
    }
}

/// Names with their type in front, unless they say it themselves.
fn typed(kind: Kind, mut names: Vec<String>) -> Vec<String> {
    if !names.iter().any(|name| name.contains('/')) {
        names.insert(0, kind.plural().to_owned());
    }
    names
}

#[derive(Debug, Args)]
struct HowArgs {
    /// Those with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Those with these fields
    #[arg(long)]
    field_selector: Option<String>,
    /// All objects of the type, in the namespace
    #[arg(long)]
    all: bool,
    /// Seconds between SIGTERM and SIGKILL [default: the pod's own]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace_period: Option<i64>,
    /// Same as --grace-period=1
    #[arg(long, conflicts_with = "grace_period")]
    now: bool,
    /// Kill at once
    #[arg(long)]
    force: bool,
    /// Return when the objects are gone, not before
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// Return at once (same as --wait=false)
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most [default: the grace period and a minute]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// No error for what is not there
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true, hide_default_value = true)]
    ignore_not_found: bool,
    /// `server` or `client`: say what would be deleted, and delete nothing
    #[arg(long, value_parser = ["server", "client", "none"])]
    dry_run: Option<String>,
    /// `name` prints the names alone
    #[arg(short, long, value_parser = ["name"])]
    output: Option<String>,
}

/// Time beyond the grace period in which a node lets go of a pod on any machine worth the name.
pub(crate) const BEYOND_GRACE: Duration = Duration::from_secs(60);

pub(crate) async fn delete(context: &Context, args: DeleteArgs) -> Result<(), Failure> {
    let how = args.how;
    let options = how.options()?;
    // Without a bound of one's own, what is asked for has its time, and what then goes has more.
    let deadline = Deadline::new(how.timeout.unwrap_or(BEYOND_GRACE));
    let mut missing = Vec::new();
    let explained;
    let mut kinds = Vec::new();
    let doomed = if !args.files.filename.is_empty() {
        if !args.words.is_empty() {
            return Err(Failure::usage("name objects or files, not both"));
        }
        let objects = manifest::read(context, &args.files)?;
        // What was made last goes first: pods before their namespace.
        let objects = objects.iter().rev().map(ObjectRef::of).collect::<Vec<_>>();
        explained = by_hand::removal(context, &objects).await?;
        progress::answer(deadline, by_name(context, &objects, &options, &mut missing)).await?
    } else {
        match Target::parse(&args.words)? {
            Target::Named(named) => {
                if how.selector.is_some() || how.all {
                    return Err(Failure::usage(
                        "name cannot be provided when a selector is specified",
                    ));
                }
                let objects: Vec<_> = named.iter().map(|(k, n)| context.object(*k, n)).collect();
                explained = by_hand::removal(context, &objects).await?;
                progress::answer(deadline, by_name(context, &objects, &options, &mut missing))
                    .await?
            }
            Target::Kinds(selected) => {
                kinds = selected;
                explained = removal_of_selected(context, &kinds, &how).await?;
                progress::answer(deadline, by_selector(context, &kinds, &how, &options)).await?
            }
        }
    };
    if doomed.is_empty() && missing.is_empty() {
        context.tell_none_found(&kinds, false).await;
    }
    if context.explain && options.dry_run {
        output::text(&explained);
        return Ok(());
    }
    let dry_run = output::dry_run(how.dry_run.as_deref());
    let names = how.output.is_some();
    let say = |object: &Object| output::line(&told(object, how.force, names, dry_run));
    if how.wait && !how.no_wait && !options.dry_run {
        gone(context, &doomed, how.timeout.map(|_| deadline.left()), say).await?;
    } else {
        doomed.iter().for_each(say);
    }
    output::text(&explained);
    if how.ignore_not_found {
        return Ok(());
    }
    crate::target::Found::finish(&missing)
}

impl HowArgs {
    fn selectors(&self) -> Selectors {
        Selectors {
            labels: self.selector.clone().unwrap_or_default(),
            fields: self.field_selector.clone().unwrap_or_default(),
        }
    }

    /// Whether it is said which objects of a type are meant.
    fn selects(&self) -> bool {
        self.all || self.selectors() != Selectors::default()
    }

    fn options(&self) -> Result<DeleteOptions, Failure> {
        let grace_period_seconds = match self.grace_period {
            _ if self.now => Some(1),
            Some(seconds) if seconds >= 0 => Some(seconds.unsigned_abs()),
            // As in kubectl: a negative one is the pod's own.
            Some(_) => None,
            None if self.force => Some(0),
            None => None,
        };
        if self.force && grace_period_seconds.is_some_and(|seconds| seconds > 0) {
            return Err(Failure::usage(
                "--force and --grace-period greater than 0 cannot be specified together",
            ));
        }
        let dry_run = self.dry_run.as_deref().is_some_and(|how| how != "none");
        Ok(DeleteOptions { grace_period_seconds, dry_run, ..DeleteOptions::default() })
    }
}

/// `pod "web" deleted from default namespace`.
fn told(object: &Object, force: bool, name_only: bool, dry_run: &str) -> String {
    if name_only {
        return object.slash_name();
    }
    let metadata = object.metadata();
    let force = if force { "force " } else { "" };
    let from = match &metadata.namespace {
        Some(namespace) => format!(" from {namespace} namespace"),
        None => String::new(),
    };
    format!("{} \"{}\" {force}deleted{from}{dry_run}", object.kind().singular(), metadata.name)
}

async fn by_name(
    context: &Context,
    objects: &[ObjectRef],
    options: &DeleteOptions,
    missing: &mut Vec<Failure>,
) -> Result<Vec<Object>, Failure> {
    let mut doomed = Vec::new();
    for object in objects {
        match context.client.delete(object, options).await {
            Ok(object) => doomed.push(object),
            Err(error) if error.is_not_found() => {
                missing.push(context.explain(error, object).await);
            }
            Err(error) => return Err(error.into()),
        }
    }
    debug_assert!(missing.iter().all(|failure| failure.code == NOT_FOUND));
    Ok(doomed)
}

/// The lines for all that a selector finds, read before it goes.
async fn removal_of_selected(
    context: &Context,
    kinds: &[Kind],
    how: &HowArgs,
) -> Result<String, Failure> {
    if !context.explain || !how.selects() {
        return Ok(String::new());
    }
    let mut doomed = Vec::new();
    for kind in kinds {
        let collection = Collection::new(*kind, Some(&context.namespace));
        let objects = context.client.list(&collection, &how.selectors()).await?.items;
        doomed.extend(objects.iter().map(ObjectRef::of));
    }
    by_hand::removal(context, &doomed).await
}

async fn by_selector(
    context: &Context,
    kinds: &[Kind],
    how: &HowArgs,
    options: &DeleteOptions,
) -> Result<Vec<Object>, Failure> {
    let selectors = how.selectors();
    if !how.selects() {
        return Err(Failure::usage("resource(s) were provided, but no name was specified")
            .with_hint("name some, select with -l, or delete all with --all"));
    }
    let mut doomed = Vec::new();
    for kind in kinds {
        let collection = Collection::new(*kind, Some(&context.namespace));
        if *kind == Kind::Pod {
            let answer = context.client.delete_many(&collection, &[], &selectors, options).await?;
            doomed.extend(answer.items);
            continue;
        }
        for object in context.client.list(&collection, &selectors).await?.items {
            doomed.push(context.client.delete(&ObjectRef::of(&object), options).await?);
        }
    }
    Ok(doomed)
}

/// Waits until objects are gone, tells of each as it goes, and until the kernels know.
pub(crate) async fn gone(
    context: &Context,
    doomed: &[Object],
    timeout: Option<Duration>,
    say: impl Fn(&Object),
) -> Result<(), Failure> {
    let timeout = match timeout {
        Some(timeout) => timeout,
        None => Duration::from_secs(longest_grace(context, doomed).await?) + BEYOND_GRACE,
    };
    let mut groups: BTreeMap<(Kind, Option<String>), Vec<Object>> = BTreeMap::new();
    for object in doomed {
        let place = (object.kind(), object.metadata().namespace.clone());
        groups.entry(place).or_default().push(object.clone());
    }
    let progress = Progress::default();
    let bound = Bound {
        timeout,
        late: "timed out waiting for the deletion".to_owned(),
        left: "the deletion goes on without you; `netlabctl get pods` shows how far it is"
            .to_owned(),
    };
    let started = tokio::time::Instant::now();
    let work = async {
        for ((kind, namespace), group) in groups {
            // From the earliest of the deletions on; the others' changes come after it.
            let from =
                group.iter().filter_map(|o| o.metadata().resource_version.parse().ok()).min();
            let collection = Collection::new(kind, namespace.as_deref());
            let selectors = match &group[..] {
                [one] => Selectors::name(&one.metadata().name),
                _ => Selectors::default(),
            };
            // Kinds without a life of their own are gone with the request.
            if !wait::lives_on_nodes(kind) {
                group.iter().for_each(&say);
                continue;
            }
            // Thousands may go at once: each change must find its object without a search.
            let mut left: BTreeMap<String, Object> =
                group.into_iter().map(|object| (object.metadata().uid.clone(), object)).collect();
            let mut step = |change: Change| {
                match change {
                    Change::Present(objects) => {
                        let present: BTreeSet<&str> =
                            objects.iter().map(|o| o.metadata().uid.as_str()).collect();
                        left.retain(|uid, object| {
                            let stays = present.contains(uid.as_str());
                            if !stays {
                                say(object);
                            }
                            stays
                        });
                    }
                    Change::Gone(gone) => {
                        if let Some(object) = left.remove(&gone.metadata().uid) {
                            say(&object);
                        }
                    }
                    Change::Changed(_) => {}
                }
                match left.values().next() {
                    None => ControlFlow::Break(()),
                    Some(next) => {
                        progress.set(stays(next, left.len()));
                        ControlFlow::Continue(())
                    }
                }
            };
            // Deletion of an object that nobody holds may have happened at `from` itself.
            let from = from.map(|revision: u64| revision.saturating_sub(1));
            follow(context, &collection, &selectors, from, &mut step).await?;
        }
        if doomed.iter().any(|object| wait::lives_on_nodes(object.kind())) {
            let revision = context.client.version().await?.revision;
            let left = timeout.saturating_sub(started.elapsed());
            wait::programmed(context, revision, left, &progress).await?;
        }
        Ok(())
    };
    progress::wait(&bound, &progress, work).await
}

/// Why something is still there.
fn stays(next: &Object, left: usize) -> String {
    let name = next.slash_name();
    match next.kind() {
        Kind::Node => format!("{name} still there: it lets go of its pods first"),
        _ => format!(
            "{name} still there, {left} of them terminating: their processes have not ended"
        ),
    }
}

/// Seconds that the slowest of the commands has that end with these objects.
async fn longest_grace(context: &Context, doomed: &[Object]) -> Result<u64, Failure> {
    let mut longest = 0;
    for object in doomed {
        let name = &object.metadata().name;
        let (namespace, fields) = match object.kind() {
            Kind::Node => (None, format!("spec.nodeName={name}")),
            Kind::Namespace => (Some(name.as_str()), String::new()),
            _ => {
                let own = object.metadata().deletion_grace_period_seconds;
                longest = longest.max(own.unwrap_or(0));
                continue;
            }
        };
        let selectors = Selectors { fields, ..Selectors::default() };
        let pods = context.client.list_as::<Pod>(namespace, &selectors).await?.items;
        let graces = pods.iter().filter_map(|pod| pod.metadata.deletion_grace_period_seconds);
        longest = longest.max(graces.max().unwrap_or(0));
    }
    Ok(longest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deletions_are_told_as_kubectl_tells_them() {
        let pod: Object = serde_json::from_value(
            json!({ "kind": "Pod", "metadata": { "name": "web", "namespace": "default" } }),
        )
        .unwrap();
        let home: Object =
            serde_json::from_value(json!({ "kind": "Namespace", "metadata": { "name": "shop" } }))
                .unwrap();
        assert_eq!(told(&pod, false, false, ""), "pod \"web\" deleted from default namespace");
        assert_eq!(
            told(&pod, true, false, " (dry run)"),
            "pod \"web\" force deleted from default namespace (dry run)"
        );
        assert_eq!(told(&home, false, false, ""), "namespace \"shop\" deleted");
        let node = Object::Node(netlab_api::Node::named("n2"));
        assert_eq!(told(&node, false, false, ""), "node \"n2\" deleted");
        assert_eq!(stays(&node, 1), "node/n2 still there: it lets go of its pods first");
        assert_eq!(told(&home, false, true, ""), "namespace/shop");
    }
}
