// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab up`: makes a lab as its file says, or changes the one that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::{TryStreamExt, stream};
use netlab_api::client::{ApplyOptions, Collection, DeleteOptions, ObjectRef, Selectors};
use netlab_api::lab::Lab;
use netlab_api::resource::Kind;
use netlab_api::{Node, Object, Pod};
use serde_json::json;

use super::difference::{Observed, difference};
use super::folder::Folder;
use super::plan::{self, Plan};
use super::state::State;
use super::step::{Step, What};
use super::{daemon, fault, kernel, limit, table, uplink};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::pod_status::{self, Verdict};
use crate::progress::{self, Bound, Progress};
use crate::wait::follow::{Change, follow};
use crate::{delete, duration, manifest, output, wait};

/// Nodes that join at the same time.
const JOINING: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The lab file, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Say what would be done, as `ip` and `sysctl` would have it, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Return when the nodes are ready and know the objects
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// Warn of fields that netlab does not have, rather than refuse them
    #[arg(long)]
    ignore_unsupported: bool,
}

/// A lab file, read.
struct Wish {
    name: String,
    file: Option<PathBuf>,
    lab: Lab,
    objects: Vec<Object>,
}

pub(crate) async fn up(context: &Context, args: UpArgs) -> Result<(), Failure> {
    let wish = read(context, &args.file, args.ignore_unsupported)?;
    let folder = Folder::of(&wish.name);
    if args.dry_run {
        return dry_run(&folder, &wish);
    }
    let lock = folder.create()?;
    let before = folder.state()?;
    let plan = planned(&wish, before.as_ref())?;
    fault::check(plan.machines.iter().flat_map(|m| &m.ports).map(|port| &port.faults))?;
    let bound = Bound {
        timeout: args.timeout,
        late: format!("timed out waiting for lab `{}`", wish.name),
        left: format!(
            "`netlabctl lab up` goes on from here, `netlabctl lab down {}` removes it",
            wish.name
        ),
    };
    let progress = Progress::of(format!("lab/{}", wish.name));
    let work = build(&folder, wish, plan, before, &args, &progress);
    let (state, context) = progress::wait(&bound, &progress, work).await?;
    drop(lock);
    output::text(&table::lab(&context, &state).await?);
    Ok(())
}

/// Reads the file; its name is the lab's unless it names another.
fn read(context: &Context, path: &Path, ignore_unsupported: bool) -> Result<Wish, Failure> {
    let manifest = manifest::whole(context, path, ignore_unsupported)?;
    let lab = manifest.lab.unwrap_or_default();
    let name = match (&lab.settings.name, path.file_stem().and_then(|stem| stem.to_str())) {
        (Some(name), _) => name.clone(),
        (None, Some(stem)) if stem != "-" && netlab_api::names::dns_label(stem).is_ok() => {
            stem.to_owned()
        }
        _ => {
            return Err(Failure::failed(format!("lab `{}` has no name", path.display()))
                .with_hint("write `[lab]` and below it `name = \"shop\"`"));
        }
    };
    let file = std::fs::canonicalize(path).ok();
    Ok(Wish { name, file, lab, objects: manifest.objects.into_iter().map(|o| o.value).collect() })
}

fn planned(wish: &Wish, before: Option<&State>) -> Result<Plan, Failure> {
    plan::plan(&wish.name, &wish.lab, before.map(|state| &state.plan)).map_err(Failure::failed)
}

fn steps(folder: &Folder, plan: &Plan, before: Option<&State>, observed: &Observed) -> Vec<Step> {
    let words = |node: &str| daemon::words(folder, node);
    difference(plan, before.map(|state| &state.plan), observed, &words)
}

fn dry_run(folder: &Folder, wish: &Wish) -> Result<(), Failure> {
    let is_there = folder.exists();
    let before = if is_there { folder.state()? } else { None };
    let observed = if is_there { kernel::observe(folder)? } else { Observed::default() };
    let plan = planned(wish, before.as_ref())?;
    let mut text = String::new();
    for step in steps(folder, &plan, before.as_ref(), &observed) {
        text += &format!("{step}\n");
    }
    let state =
        State { plan, lab: wish.lab.clone(), objects: wish.objects.clone(), ..State::default() };
    let old = before.as_ref().map(|state| state.objects.as_slice()).unwrap_or_default();
    for gone in state.gone(old) {
        text += &format!("# netlabctl --lab {} delete {}\n", folder.name, gone.slash_name());
    }
    for object in &state.objects {
        let same = old.iter().any(|old| old == object);
        if !same {
            text += &format!("# netlabctl --lab {} apply {}\n", folder.name, object.slash_name());
        }
    }
    if text.is_empty() {
        output::note(&format!("lab `{}` is as the file says", folder.name));
    }
    output::text(&text);
    Ok(())
}

async fn build(
    folder: &Folder,
    wish: Wish,
    plan: Plan,
    before: Option<State>,
    args: &UpArgs,
    progress: &Progress,
) -> Result<(State, Context), Failure> {
    progress.set("namespaces and links");
    same_server(&plan, before.as_ref())?;
    daemon::end_outdated(folder, &plan)?;
    let observed = kernel::observe(folder)?;
    let steps = steps(folder, &plan, before.as_ref(), &observed);
    let mut state = before.clone().unwrap_or_default();
    if !observed.machines.is_empty() {
        let removed: BTreeSet<&str> = steps
            .iter()
            .filter(|step| step.what == What::Remove)
            .map(|step| step.machine.as_str())
            .collect();
        if !removed.is_empty() {
            let opened = kernel::apply(folder, &[])?;
            fault::heal(&mut state, &removed, &opened);
        }
    }
    let old_nodes: BTreeSet<String> = state.plan.nodes().map(|node| node.name.clone()).collect();
    let old_objects = std::mem::take(&mut state.objects);
    state = State {
        plan,
        file: wish.file,
        lab: wish.lab,
        // Until all is done both count as ours, so that what left the file is not forgotten.
        objects: both(&old_objects, &wish.objects),
        is_built: false,
        ..state
    };
    fault::expire(&mut state, super::now());
    folder.save(&state)?;
    let opened = kernel::apply(folder, &steps)?;
    uplink::apply(folder, &mut state, &opened)?;
    fault::apply(folder, &mut state, &opened)?;
    limit::raise(folder, &mut state)?;
    let context =
        start_daemons(folder, &state.plan, &steps, &opened, args.timeout, progress).await?;
    let nodes: BTreeSet<String> = state.plan.nodes().map(|node| node.name.clone()).collect();
    for gone in old_nodes.difference(&nodes) {
        let node = ObjectRef::new(Kind::Node, None, gone);
        match context.client.delete(&node, &DeleteOptions::default()).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    label_nodes(&context, &state.plan).await?;
    state.objects = wish.objects;
    let kept = state.gone(&old_objects);
    change_objects(&context, &state, &kept, args, progress).await?;
    state.is_built = true;
    folder.save(&state)?;
    Ok((state, context))
}

/// The first node has the store: with another one in its place there would be another cluster.
fn same_server(plan: &Plan, before: Option<&State>) -> Result<(), Failure> {
    let then = before.and_then(|state| state.plan.nodes().next());
    match (then, plan.nodes().next()) {
        (Some(then), Some(now)) if then.name != now.name => Err(Failure::failed(format!(
            "node `{}` is the server of the lab, as the first one of its file, and must stay it",
            then.name
        ))
        .with_hint(format!("`netlabctl lab down {}` first makes place for another", plan.lab))),
        _ => Ok(()),
    }
}

/// The objects that were, and those of the new file that were not.
fn both(old: &[Object], new: &[Object]) -> Vec<Object> {
    let paths: BTreeSet<String> = old.iter().map(|object| ObjectRef::of(object).path()).collect();
    let is_new = |object: &&Object| !paths.contains(&ObjectRef::of(object).path());
    old.iter().chain(new.iter().filter(is_new)).cloned().collect()
}

/// Starts the daemons that do not run, the server first, and waits until all are ready.
async fn start_daemons(
    folder: &Folder,
    plan: &Plan,
    steps: &[Step],
    opened: &kernel::Opened,
    timeout: Duration,
    progress: &Progress,
) -> Result<Context, Failure> {
    let is_start = |step: &&Step| matches!(step.what, What::StartDaemon { .. });
    let mut waiting: BTreeSet<&str> =
        steps.iter().filter(is_start).map(|step| step.machine.as_str()).collect();
    let server = plan.nodes().next().ok_or_else(|| Failure::failed("BUG: a lab without nodes"))?;
    let start = &|node: &str| match opened.get(node) {
        Some(netns) => daemon::start(folder, plan, node, netns),
        None => Err(Failure::failed(format!("BUG: node `{node}` has no namespace"))),
    };
    let child = match waiting.remove(server.name.as_str()) {
        true => Some(start(&server.name)?),
        false => None,
    };
    daemon::ready(folder, &server.name, child, progress).await?;
    let context = Context::of_socket(folder.socket(&server.name));
    if !waiting.is_empty() {
        let new = |node: &&&str| !daemon::has_joined(folder, node);
        let new: BTreeSet<&str> = waiting.iter().filter(new).copied().collect();
        forget_nodes(&context, &new, timeout, progress).await?;
        daemon::token(folder, &context).await?;
    }
    // A few at a time: a server that two hundred ask at once answers none of them in time.
    let nodes = plan.nodes().map(|node| Ok::<_, Failure>(node.name.as_str()));
    stream::iter(nodes)
        .try_for_each_concurrent(JOINING, |node| {
            let is_missing = waiting.contains(node);
            async move {
                let child = is_missing.then(|| start(node)).transpose()?;
                daemon::ready(folder, node, child, progress).await
            }
        })
        .await?;
    Ok(context)
}

/// Deletes nodes that the cluster had under these names: their machines were made anew, and could
/// not join under a name that is taken.
async fn forget_nodes(
    context: &Context,
    names: &BTreeSet<&str>,
    timeout: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    let known = context.client.list_as::<Node>(None, &Selectors::default()).await?.items;
    let mut doomed = Vec::new();
    for node in known.iter().filter(|node| names.contains(node.metadata.name.as_str())) {
        let node = ObjectRef::new(Kind::Node, None, &node.metadata.name);
        match context.client.delete(&node, &DeleteOptions::default()).await {
            Ok(object) => doomed.push(object),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !doomed.is_empty() {
        progress.set(format!("{} nodes go, and come anew", doomed.len()));
        delete::gone(context, &doomed, Some(timeout), |_| {}).await?;
    }
    Ok(())
}

async fn label_nodes(context: &Context, plan: &Plan) -> Result<(), Failure> {
    for machine in plan.nodes().filter(|machine| !machine.labels.is_empty()) {
        let node: Node = context.client.get_as(None, &machine.name).await?;
        let has = |(key, value): (&String, &String)| node.metadata.labels.get(key) == Some(value);
        if !machine.labels.iter().all(has) {
            let patch = json!({ "metadata": { "labels": machine.labels } });
            let node = ObjectRef::new(Kind::Node, None, &machine.name);
            context.client.patch(&node, &patch, false).await?;
        }
    }
    Ok(())
}

/// Deletes what left the file, applies the rest, and waits until all of it works.
async fn change_objects(
    context: &Context,
    state: &State,
    gone: &[ObjectRef],
    args: &UpArgs,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut doomed = Vec::new();
    let now = DeleteOptions { grace_period_seconds: Some(1), ..DeleteOptions::default() };
    for object in gone {
        match context.client.delete(object, &now).await {
            Ok(object) => doomed.push(object),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !doomed.is_empty() {
        progress.set(format!("{} objects go", doomed.len()));
        delete::gone(context, &doomed, Some(args.timeout), |_| {}).await?;
    }
    if state.objects.is_empty() {
        return Ok(());
    }
    progress.set("objects");
    let answer = context.client.apply(&state.objects, ApplyOptions::default()).await?;
    if args.no_wait {
        return Ok(());
    }
    wait::programmed(context, answer.revision, args.timeout, progress).await?;
    pods_ready(context, &answer.items.into_iter().map(|i| i.object).collect::<Vec<_>>(), progress)
        .await
}

/// Waits until each pod is ready, or has done what it was there for.
async fn pods_ready(
    context: &Context,
    objects: &[Object],
    progress: &Progress,
) -> Result<(), Failure> {
    let mut by_namespace: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.kind() == Kind::Pod) {
        let metadata = object.metadata();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        by_namespace.entry(namespace).or_default().insert(&metadata.name);
    }
    for (namespace, mut left) in by_namespace {
        let mut look = |pod: &Pod| {
            let name = pod.metadata.name.as_str();
            match pod_status::verdict(pod) {
                _ if !left.contains(name) => {}
                Verdict::Ready | Verdict::Finished => {
                    left.remove(name);
                }
                Verdict::Waiting(why) => progress.set(format!("pod/{name}: {why}")),
                Verdict::Broken(why) => return ControlFlow::Break(Err((name.to_owned(), why))),
            }
            match left.is_empty() {
                true => ControlFlow::Break(Ok(())),
                false => ControlFlow::Continue(()),
            }
        };
        let mut step = |change: Change| match change {
            Change::Present(objects) => objects.iter().try_for_each(|object| match object {
                Object::Pod(pod) => look(pod),
                _ => ControlFlow::Continue(()),
            }),
            Change::Changed(Object::Pod(pod)) => look(&pod),
            _ => ControlFlow::Continue(()),
        };
        let pods = Collection::new(Kind::Pod, Some(namespace));
        let all = Selectors::default();
        let settled: Result<(), (String, String)> =
            follow(context, &pods, &all, None, &mut step).await?;
        settled.map_err(|(name, why)| {
            Failure::failed(format!("pod/{name} does not run: {why}")).with_hint(format!(
                "the lab stays; `netlabctl logs {name}` and `netlabctl describe pod {name}` tell more"
            ))
        })?;
    }
    Ok(())
}

/// The name of the lab that a word means: a lab that is up, or the file of one.
pub(crate) fn name_of(context: &Context, word: &str) -> Result<String, Failure> {
    if Folder::of(word).exists() || !Path::new(word).is_file() {
        return Ok(word.to_owned());
    }
    Ok(of_file(context, word)?.name)
}

/// What a file says of a lab.
pub(crate) fn lab_of_file(context: &Context, file: &str) -> Result<Lab, Failure> {
    Ok(of_file(context, file)?.lab)
}

/// The lab that a file would make.
pub(crate) fn plan_of_file(context: &Context, file: &str) -> Result<Plan, Failure> {
    planned(&of_file(context, file)?, None)
}

fn of_file(context: &Context, file: &str) -> Result<Wish, Failure> {
    read(context, Path::new(file), true)
}
