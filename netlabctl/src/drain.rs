// SPDX-License-Identifier: GPL-3.0-or-later
//! `drain`: a node without pods. They are made anew on other nodes, by the server, so that none is
//! lost when this command is.

mod departure;
mod plan;

use std::time::Duration;

use clap::Args;
use netlab_api::client::{Collection, DeleteOptions, ObjectRef, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Node, Object, Pod, Reason};

use crate::context::Context;
use crate::cordon::{self, NodesArgs};
use crate::failure::{Failure, TIMED_OUT};
use crate::progress::{self, Bound, Progress};
use crate::wait::follow::{Change, follow};
use crate::{delete, duration, output, wait};
use departure::{Departures, Leave};
use plan::Plan;

#[derive(Debug, Args)]
#[command(
    after_help = "Each pod is made anew on another node, under its name and with a new address, once it is\n\
                  gone from its own. The server does so: no pod is lost when this command ends early.\n\
                  When no other node takes the pods, nothing is changed, unless --force is given: as in\n\
                  kubectl, it goes on with pods that nothing makes anew, and deletes them."
)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    nodes: NodesArgs,
    /// Only pods with these labels
    #[arg(long, value_name = "SELECTOR")]
    pod_selector: Option<String>,
    /// Delete pods that no other node takes; nothing makes them anew
    #[arg(long)]
    force: bool,
    /// Seconds between SIGTERM and SIGKILL [default: the pods' own]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace_period: Option<i64>,
    /// How long to wait for each node at most, 0 for ever [default: the grace period and a minute]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// `server` or `client`: say what would be, and change nothing
    #[arg(long, value_parser = ["server", "client", "none"], num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: Option<String>,
    /// Accepted for kubectl's sake
    #[arg(long = "ignore-daemonsets", hide = true)]
    _ignore_daemonsets: bool,
    /// Accepted for kubectl's sake
    #[arg(long = "delete-emptydir-data", alias = "delete-local-data", hide = true)]
    _delete_emptydir_data: bool,
}

/// For ever, as far as a drain goes.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What becomes of a drain whose command ends early.
const GOES_ON: &str = "evicted pods leave, and are made anew elsewhere, without you; `netlabctl get pods -A -o wide` shows how far they are";

pub(crate) async fn drain(context: &Context, args: DrainArgs) -> Result<(), Failure> {
    let targets = args.nodes.read(context).await?;
    let all = context.client.list_as::<Node>(None, &Selectors::default()).await?.items;
    let mut pods = Vec::new();
    for node in &targets {
        pods.extend(args.pods_of(context, node).await?);
    }
    let plan = Plan::new(targets, all, pods);
    if let Some(refusal) = plan.refusal() {
        if !args.force {
            return Err(refusal);
        }
        output::note(&plan.warning());
    }
    if args.dry_run.as_deref().is_some_and(|how| how != "none") {
        output::text(&plan.told(output::dry_run(args.dry_run.as_deref())));
        return Ok(());
    }
    // All first: what leaves one must not go to the next.
    for node in &plan.targets {
        cordon::mark(context, node, true).await?;
    }
    for node in &plan.targets {
        drain_one(context, &args, node).await?;
    }
    Ok(())
}

async fn drain_one(context: &Context, args: &DrainArgs, node: &Node) -> Result<(), Failure> {
    let name = &node.metadata.name;
    let mut refused = None;
    let mut leaving = Vec::new();
    // Once more: some may have come before the node was cordoned.
    for pod in args.pods_of(context, node).await? {
        match args.send_away(context, &pod).await {
            Ok(Some(leave)) => leaving.push(leave),
            Ok(None) => {}
            // What was sent away already is seen through.
            Err(failure) => {
                refused = Some(failure);
                break;
            }
        }
    }
    if !node.is_ready() && !leaving.is_empty() {
        return Err(Failure::failed(format!(
            "node/{name} is not ready, and lets go of its pods only when it is back"
        ))
        .with_hint(format!(
            "`netlabctl delete node {name}` gives it up: the pods that were evicted are made anew elsewhere then"
        )));
    }
    see_through(context, args, name, leaving).await?;
    if let Some(refused) = refused {
        return Err(refused.with_hint(format!(
            "the rest stays on node/{name}, which is cordoned; --force deletes what no other node takes"
        )));
    }
    output::line(&format!("node/{name} drained"));
    Ok(())
}

/// Waits until pods are gone, and made anew where they move, and programmed.
async fn see_through(
    context: &Context,
    args: &DrainArgs,
    node: &str,
    leaving: Vec<Leave>,
) -> Result<(), Failure> {
    let grace = leaving.iter().filter_map(|leave| leave.grace_seconds).max().unwrap_or_default();
    let timeout = match args.timeout {
        None => Duration::from_secs(grace) + delete::BEYOND_GRACE,
        Some(Duration::ZERO) => FOR_EVER,
        Some(timeout) => timeout,
    };
    let progress = Progress::default();
    let bound = Bound {
        timeout,
        late: format!("timed out draining node/{node}"),
        left: GOES_ON.to_owned(),
    };
    let started = tokio::time::Instant::now();
    let work = async {
        let mut departures = Departures::new(leaving);
        let everywhere = Collection::new(Kind::Pod, None);
        if !departures.is_over() {
            let mut step = |change: Change| {
                let flow = departures.step(change);
                departures.take_told().iter().for_each(|told| told.say());
                progress.set(departures.missing());
                flow
            };
            follow(context, &everywhere, &Selectors::default(), None, &mut step).await?;
        }
        let revision = context.client.version().await?.revision;
        let left = timeout.saturating_sub(started.elapsed());
        wait::programmed(context, revision, left, &progress).await
    };
    match progress::wait(&bound, &progress, work).await {
        Err(failure) if failure.code == TIMED_OUT => Err(failure.with_hint(GOES_ON)),
        done => done,
    }
}

impl DrainArgs {
    async fn pods_of(&self, context: &Context, node: &Node) -> Result<Vec<Pod>, Failure> {
        let selectors = Selectors {
            labels: self.pod_selector.clone().unwrap_or_default(),
            fields: format!("spec.nodeName={}", node.metadata.name),
        };
        Ok(context.client.list_as::<Pod>(None, &selectors).await?.items)
    }

    /// Evicts a pod, or deletes it when no other node takes it and that is what was asked for.
    /// Nothing when it is gone already.
    async fn send_away(&self, context: &Context, pod: &Pod) -> Result<Option<Leave>, Failure> {
        let object = ObjectRef::of(&pod.clone().into());
        let grace_period_seconds = self.grace_period.and_then(|seconds| seconds.try_into().ok());
        let mut options =
            DeleteOptions { grace_period_seconds, evict: true, ..DeleteOptions::default() };
        let mut answer = context.client.delete(&object, &options).await;
        if self.force && answer.as_ref().is_err_and(|error| error.is(Reason::Conflict)) {
            options.evict = false;
            answer = context.client.delete(&object, &options).await;
        } else if answer.is_ok() {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            output::line(&format!("evicting pod {namespace}/{}", object.name));
        }
        match answer {
            Ok(Object::Pod(going)) => Ok(Some(Leave::of(pod, &going, options.evict))),
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
