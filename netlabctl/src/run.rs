// SPDX-License-Identifier: GPL-3.0-or-later
//! `pod run`: makes pods and returns when they are ready and the kernels know them.

pub(crate) mod spec;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use netlab_api::client::{ApplyOptions, Collection, DeleteOptions, ObjectRef, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Node, Object, Pod, Time};

use crate::context::Context;
use crate::failure::{FAILED, Failure};
use crate::output::format::{self, Format};
use crate::output::pod_status::{self, Verdict};
use crate::progress::{self, Bound, Deadline, Progress, human};
pub(crate) use crate::run::spec::RunArgs;
use crate::wait::follow::{Change, RECONNECT, follow, may_retry};
use crate::{by_hand, delete, exec, logs, output, status, wait};

/// Lines of a failed pod's log that are shown.
const LAST_LINES: u64 = 10;
/// How long a daemon is waited for that restarts while a session's pod is to be removed.
const AWAY: Duration = Duration::from_secs(15);
/// What `-it` runs when no command is given.
const SHELL: &str = "/bin/sh";

pub(crate) async fn run(context: &Context, mut args: RunArgs) -> Result<(), Failure> {
    let session = args.session()?;
    let pods = spec::pods(&args, &context.namespace)?;
    let dry_run = args.dry_run.as_deref().filter(|how| *how != "none");
    if context.explain && session.is_some() {
        return Err(Failure::usage("--explain prints to stdout, which is the command's with -i"));
    }
    if context.explain && dry_run.is_some() {
        let objects: Vec<Object> = pods.into_iter().map(Object::Pod).collect();
        return by_hand::print_made(context, &objects).await;
    }
    if dry_run == Some("client") {
        let objects: Vec<Object> = pods.into_iter().map(Object::Pod).collect();
        say(&args.output, &objects, output::dry_run(dry_run));
        return Ok(());
    }
    let objects: Vec<Object> = pods.into_iter().map(Object::Pod).collect();
    let options = ApplyOptions { create: true, dry_run: dry_run.is_some() };
    let deadline = Deadline::new(args.timeout);
    let request = async {
        let answer = context.client.apply(&objects, options).await;
        answer.map_err(|error| explain(error.into(), args.name(), args.replicas()))
    };
    let answer = progress::answer(deadline, request).await?;
    let made: Vec<Object> = answer.items.into_iter().map(|item| item.object).collect();
    if dry_run.is_some() {
        say(&args.output, &made, output::dry_run(dry_run));
        return Ok(());
    }
    if let Some(warning) = warning_of(context, args.node()).await {
        output::note(&warning);
    }
    if args.no_wait && session.is_none() {
        say(&args.output, &made, "");
        return by_hand::print_made(context, &made).await;
    }
    // With a session the command's output is the output.
    let quiet = session.is_some() || !matches!(args.output, Format::Table);
    let how = How { quiet, removes: args.rm };
    let settled = settle(context, deadline, &made, answer.revision, how).await;
    let Some(session) = session else {
        let settled = settled?;
        if quiet {
            say(&args.output, &settled, "");
        }
        return by_hand::print_made(context, &settled).await;
    };
    let pod = context.pod(args.name());
    let done = match settled {
        Ok(_) => {
            let command = std::mem::take(&mut args.command);
            let command = if command.is_empty() { vec![SHELL.to_owned()] } else { command };
            exec::session(context, &pod, command, session.stdin, session.tty).await
        }
        Err(failure) => Err(failure),
    };
    if args.rm
        && let Err(failure) = remove(context, &made, args.timeout).await
    {
        // What went wrong first is said first.
        if let Err(first) = done {
            first.report();
        }
        return Err(failure);
    }
    match done? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

/// What speaks against the node that a pod names, which no placement looked at.
async fn warning_of(context: &Context, node: Option<&str>) -> Option<String> {
    // Whether it can be read or not, the pod is made.
    let node: Node = context.client.get_as(None, node?).await.ok()?;
    warning_of_node(&node, Time::now())
}

fn warning_of_node(node: &Node, now: Time) -> Option<String> {
    let name = &node.metadata.name;
    if !node.is_ready() {
        let why = status::lost(node, now).map(|why| format!(" {why}")).unwrap_or_default();
        return Some(format!(
            "Warning: node/{name} is not ready{why}\nhint: the pod starts when it is back; without --node one that is ready is chosen"
        ));
    }
    node.spec.unschedulable.then(|| {
        format!("Warning: node/{name} is cordoned; a pod that names it runs there all the same")
    })
}

fn say(format: &Format, objects: &[Object], suffix: &str) {
    match format {
        Format::Table | Format::Wide | Format::CustomColumns(_) => {
            for object in objects {
                output::line(&format!("{} created{suffix}", object.slash_name()));
            }
        }
        format => output::text(&format::text(format, objects, objects.len() == 1)),
    }
}

fn explain(failure: Failure, name: &str, replicas: Option<u16>) -> Failure {
    if !failure.message.contains("(AlreadyExists)") || !failure.hints.is_empty() {
        return failure;
    }
    failure.with_hint(match replicas {
        None => format!(
            "`netlabctl delete pod {name}` removes the one there is; choose another name to have both"
        ),
        Some(replicas) => format!(
            "`netlabctl pod scale {name} {replicas}` makes those that are missing, `netlabctl pod scale {name} 0` removes those there are; choose another name to have both"
        ),
    })
}

/// How pods are waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Nothing goes to stdout.
    pub(crate) quiet: bool,
    /// They are removed afterwards, whatever comes of the wait.
    pub(crate) removes: bool,
}

/// Waits until every pod is ready or finished and programmed, and tells of each as it is.
pub(crate) async fn settle(
    context: &Context,
    deadline: Deadline,
    made: &[Object],
    revision: u64,
    how: How,
) -> Result<Vec<Object>, Failure> {
    let (names, stay) = match made {
        [one] => (
            one.slash_name(),
            "stays, and goes on without you; `netlabctl get pods` shows how far it is",
        ),
        several => (
            format!("{} pods", several.len()),
            "stay, and go on without you; `netlabctl get pods` shows how far they are",
        ),
    };
    let stay = if how.removes { "was not ready yet" } else { stay };
    let timeout = deadline.left();
    let progress = match made {
        [one] => Progress::of(one.slash_name()),
        _ => Progress::default(),
    };
    let bound = Bound {
        timeout,
        late: format!("timed out after {} waiting for {names}", human(deadline.timeout)),
        left: format!("{names} {stay}"),
    };
    let ready = watch(context, made, revision, &progress, how);
    // Both at once: the second answers while the first still waits for the command to start.
    let programmed = async {
        let nowhere = Progress::default();
        wait::programmed(context, revision, timeout, &nowhere).await
    };
    let are_ready = Cell::new(false);
    let ready = async {
        let ready = ready.await;
        are_ready.set(ready.is_ok());
        progress.set("the nodes' kernels follow");
        ready
    };
    let work = async {
        let (ready, programmed) = tokio::join!(ready, programmed);
        let ready = ready?;
        programmed?;
        // Services lead to the pods from when these are ready, which is later than they were made.
        let versions = ready.iter().map(|pod| pod.metadata().resource_version.parse());
        let newest = versions.filter_map(Result::ok).max().unwrap_or(revision);
        if newest > revision {
            wait::programmed(context, newest, timeout, &Progress::default()).await?;
        }
        Ok(ready)
    };
    match progress::wait(&bound, &progress, work).await {
        // The pods are there and a node lags: the server knows which.
        Err(failure) if failure.code == crate::failure::TIMED_OUT && are_ready.get() => context
            .client
            .programmed(revision, Duration::ZERO)
            .await
            .err()
            .map_or(Err(failure), |e| Err(e.into())),
        Err(failure) if failure.code == crate::failure::TIMED_OUT => {
            let name = made.first().map_or("NAME", |one| one.metadata().name.as_str());
            Err(if how.removes { failure } else { failure.with_hint(stays(name)) })
        }
        done => done,
    }
}

/// What becomes of a pod that was waited for in vain.
fn stays(name: &str) -> String {
    format!(
        "the pod stays; `netlabctl describe pod {name}` tells more, `netlabctl delete pod {name}` removes it"
    )
}

async fn watch(
    context: &Context,
    made: &[Object],
    revision: u64,
    progress: &Progress,
    how: How,
) -> Result<Vec<Object>, Failure> {
    let mut settling = Settling {
        left: made.iter().map(|o| (o.metadata().uid.clone(), o.metadata().name.clone())).collect(),
        alone: made.len() == 1,
        done: Vec::new(),
        progress,
        quiet: how.quiet,
    };
    // What is known from the start: a pod that no node takes may not change for long.
    for object in made {
        if let Object::Pod(pod) = object
            && let ControlFlow::Break(Err(lost)) = settling.look(pod.clone())
        {
            return Err(broken(context, lost, how).await);
        }
    }
    let collection = Collection::new(Kind::Pod, Some(&context.namespace));
    let selectors = match made {
        [one] => Selectors::name(&one.metadata().name),
        _ => Selectors::default(),
    };
    let mut step = |change: Change| settling.step(change);
    match follow(context, &collection, &selectors, Some(revision), &mut step).await? {
        Ok(()) => Ok(settling.done),
        Err(lost) => Err(broken(context, lost, how).await),
    }
}

/// Pods on their way to being ready.
struct Settling<'a> {
    /// Uid and name of those that are not there yet.
    left: BTreeMap<String, String>,
    /// Whether it is about one pod, which the progress names already.
    alone: bool,
    done: Vec<Object>,
    progress: &'a Progress,
    quiet: bool,
}

/// All are ready or finished; or one will not be.
type Settled = Result<(), Lost>;

/// A pod that will not be ready.
#[derive(Debug, PartialEq, Eq)]
struct Lost {
    name: String,
    why: String,
    /// Somebody deletes it, or did.
    leaves: bool,
}

impl Settling<'_> {
    fn step(&mut self, change: Change) -> ControlFlow<Settled> {
        match change {
            Change::Changed(Object::Pod(pod)) => self.look(pod),
            Change::Gone(object) => self.gone(&object.metadata().uid),
            Change::Present(objects) => {
                let present: BTreeSet<String> =
                    objects.iter().map(|object| object.metadata().uid.clone()).collect();
                for object in objects {
                    if let Object::Pod(pod) = object {
                        self.look(pod)?;
                    }
                }
                match self.left.keys().find(|uid| !present.contains(*uid)).cloned() {
                    Some(uid) => self.gone(&uid),
                    None => ControlFlow::Continue(()),
                }
            }
            Change::Changed(_) => ControlFlow::Continue(()),
        }
    }

    fn look(&mut self, pod: Pod) -> ControlFlow<Settled> {
        let Some(name) = self.left.get(&pod.metadata.uid) else {
            return ControlFlow::Continue(());
        };
        match pod_status::verdict(&pod) {
            Verdict::Ready | Verdict::Finished => {
                self.left.remove(&pod.metadata.uid);
                let object = Object::Pod(pod);
                if !self.quiet {
                    output::line(&format!("{} created", object.slash_name()));
                }
                self.done.push(object);
            }
            Verdict::Waiting(why) if self.alone => self.progress.set(why),
            Verdict::Waiting(why) => self.progress.set(format!("pod/{name}: {why}")),
            Verdict::Broken(why) => {
                let leaves = pod.metadata.deletion_timestamp.is_some();
                return ControlFlow::Break(Err(Lost { name: name.clone(), why, leaves }));
            }
        }
        match self.left.is_empty() {
            true => ControlFlow::Break(Ok(())),
            false => ControlFlow::Continue(()),
        }
    }

    /// Others of the namespace may come and go; one of ours ends the wait.
    fn gone(&self, uid: &str) -> ControlFlow<Settled> {
        match self.left.get(uid) {
            Some(name) => ControlFlow::Break(Err(Lost {
                name: name.clone(),
                why: "it was deleted meanwhile".to_owned(),
                leaves: true,
            })),
            None => ControlFlow::Continue(()),
        }
    }
}

/// What a pod that will not get ready has to say for itself.
async fn broken(context: &Context, lost: Lost, how: How) -> Failure {
    let Lost { name, why, leaves } = lost;
    let mut message = format!("error: pod/{name} does not run: {why}");
    let lines = logs::last_lines(context, &context.pod(&name), LAST_LINES).await;
    if !lines.is_empty() {
        message += "\nits last lines:";
        for line in lines {
            message += "\n  ";
            message += &line;
        }
    }
    let failure = Failure::new(FAILED, message);
    if leaves || how.removes { failure } else { failure.with_hint(stays(&name)) }
}

/// Removes the pod of a session that is over; the command has had its time.
async fn remove(context: &Context, made: &[Object], timeout: Duration) -> Result<(), Failure> {
    let mut doomed = Vec::new();
    for object in made {
        let progress = Progress::of(object.slash_name());
        progress.set("netlabd does not answer");
        let stays = format!("{} stays", object.slash_name());
        let bound = Bound { timeout: AWAY, late: stays.clone(), left: stays };
        let asked = progress::wait(&bound, &progress, ask(context, object)).await;
        doomed.extend(asked.map_err(|failure| {
            let name = &object.metadata().name;
            failure.with_hint(format!("`netlabctl delete pod {name} --force` removes it"))
        })?);
    }
    delete::gone(context, &doomed, Some(timeout), |object| {
        // On stderr: stdout is the command's.
        output::note(&format!("pod \"{}\" deleted", object.metadata().name));
    })
    .await
}

/// Asks for a pod's deletion until it is granted: a daemon that ended the session by its restart
/// comes back. `None` when the pod is gone already.
async fn ask(context: &Context, object: &Object) -> Result<Option<Object>, Failure> {
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    loop {
        match context.client.delete(&ObjectRef::of(object), &options).await {
            Ok(object) => return Ok(Some(object)),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if may_retry(&error, true) => tokio::time::sleep(RECONNECT).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: &str) -> Object {
        serde_json::from_value(json!({
            "kind": "Pod", "metadata": { "name": name, "uid": format!("uid-{name}") },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn settling(progress: &Progress) -> Settling<'_> {
        let left = ["a", "b"].map(|name| (format!("uid-{name}"), name.to_owned())).into();
        Settling { left, alone: false, done: Vec::new(), progress, quiet: true }
    }

    #[test]
    fn only_the_deletion_of_a_pod_of_ours_ends_the_wait() {
        let progress = Progress::default();
        let mut settling = settling(&progress);
        assert!(settling.step(Change::Gone(pod("other", "True"))).is_continue());
        let ControlFlow::Break(Err(lost)) = settling.step(Change::Gone(pod("b", "False"))) else {
            panic!("not ended");
        };
        assert!(lost.name == "b" && lost.leaves, "{lost:?}");
    }

    #[test]
    fn a_pod_that_went_while_nobody_listened_ends_the_wait() {
        let progress = Progress::default();
        let mut settling = settling(&progress);
        let change = Change::Present(vec![pod("a", "True"), pod("other", "True")]);
        assert!(matches!(settling.step(change), ControlFlow::Break(Err(lost)) if lost.name == "b"));
    }

    #[test]
    fn a_node_that_is_lost_or_cordoned_is_warned_of() {
        let node = |ready: &str, unschedulable: bool| -> Node {
            serde_json::from_value(json!({
                "metadata": { "name": "n2" }, "spec": { "unschedulable": unschedulable },
                "status": { "conditions": [{
                    "type": "Ready", "status": ready, "message": "netlabd on it was not heard",
                    "lastTransitionTime": "2026-11-22T10:04:00Z",
                }]},
            }))
            .unwrap()
        };
        let now = serde_json::from_value(json!("2026-11-22T10:05:00Z")).unwrap();
        assert_eq!(warning_of_node(&node("True", false), now), None);
        assert_eq!(
            warning_of_node(&node("True", true), now).unwrap(),
            "Warning: node/n2 is cordoned; a pod that names it runs there all the same"
        );
        assert_eq!(
            warning_of_node(&node("Unknown", true), now).unwrap(),
            "Warning: node/n2 is not ready for 60s: netlabd on it was not heard\n\
             hint: the pod starts when it is back; without --node one that is ready is chosen"
        );
    }

    #[test]
    fn the_wait_ends_when_all_are_ready() {
        let progress = Progress::default();
        let mut settling = settling(&progress);
        assert!(settling.step(Change::Changed(pod("a", "True"))).is_continue());
        assert!(settling.step(Change::Changed(pod("b", "False"))).is_continue());
        assert_eq!(progress.get(), "pod/b: Ready is False");
        assert_eq!(settling.step(Change::Changed(pod("b", "True"))), ControlFlow::Break(Ok(())));
    }
}
