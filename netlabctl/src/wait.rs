// SPDX-License-Identifier: GPL-3.0-or-later
//! `wait`: until something is true; and how every other verb follows objects.

pub(crate) mod follow;

use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use netlab_api::client::{Collection, ObjectRef, Selectors};
use netlab_api::pod::Condition;
use netlab_api::resource::Kind;
use netlab_api::{Object, Pod};
use tokio::time::Instant;

use crate::context::Context;
use crate::duration;
use crate::failure::Failure;
use crate::output::format;
use crate::output::jsonpath::{Template, plain};
use crate::output::{self, pod_status};
use crate::progress::{self, Bound, Deadline, Progress};
use crate::target::{Found, Target};
use crate::wait::follow::{Change, follow};

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// TYPE/NAME… or TYPE NAME…; TYPE with -l or --all
    #[arg(value_name = "TYPE/NAME")]
    words: Vec<String>,
    /// condition=Ready, condition=Ready=false, delete, create, jsonpath='{.status.phase}'=Running
    #[arg(long = "for", value_name = "WHAT")]
    goal: Goal,
    /// How long at most, for each object
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
    /// Those with these labels
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// All objects of the type
    #[arg(long)]
    all: bool,
}

/// What is waited for.
#[derive(Debug, Clone)]
enum Goal {
    Create,
    Delete,
    Condition { kind: String, status: String },
    JsonPath { template: Template, value: Option<String> },
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        if text.eq_ignore_ascii_case("delete") {
            return Ok(Goal::Delete);
        }
        if text.eq_ignore_ascii_case("create") {
            return Ok(Goal::Create);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
            return Ok(Goal::Condition { kind: kind.to_owned(), status: status.to_owned() });
        }
        if let Some(path) = text.strip_prefix("jsonpath=") {
            // The value follows the first `=` after the closing brace: filters contain `==`.
            let end = path.rfind('}').map_or(0, |end| end + 1);
            let (template, value) = match path[end..].split_once('=') {
                Some((rest, value)) => (format!("{}{rest}", &path[..end]), Some(value.to_owned())),
                None => (path.to_owned(), None),
            };
            return Ok(Goal::JsonPath { template: Template::parse(&template)?, value });
        }
        Err("allowed: condition=NAME, delete, create, jsonpath='{PATH}'=VALUE".to_owned())
    }
}

impl Goal {
    /// Whether an object that is there meets the goal.
    fn is_met_by(&self, object: &Object) -> bool {
        match self {
            Goal::Create => true,
            Goal::Delete => false,
            Goal::Condition { kind, status } => conditions(object).iter().any(|condition| {
                condition.kind.eq_ignore_ascii_case(kind)
                    && format!("{:?}", condition.status).eq_ignore_ascii_case(status)
            }),
            Goal::JsonPath { template, value } => {
                let json = format::to_value(object);
                let found = template.values(&json);
                match value {
                    Some(value) => found.iter().any(|found| plain(found) == *value),
                    None => !found.is_empty(),
                }
            }
        }
    }

    /// What an object that does not meet the goal lacks.
    fn missing(&self, object: &Object) -> String {
        match (self, object) {
            (Goal::Delete, _) => "it is still there".to_owned(),
            (Goal::Condition { kind, status }, Object::Pod(pod))
                if kind.eq_ignore_ascii_case("Ready") && status.eq_ignore_ascii_case("True") =>
            {
                pod_status::missing(pod)
            }
            (Goal::Condition { kind, .. }, object) => condition_now(kind, conditions(object)),
            (Goal::JsonPath { template, .. }, object) => {
                format!("it is `{}`", template.fill(&format::to_value(object)))
            }
            (Goal::Create, _) => "it is not there".to_owned(),
        }
    }
}

/// How a condition stands, or which others there are.
fn condition_now(kind: &str, conditions: &[Condition]) -> String {
    match conditions.iter().find(|condition| condition.kind.eq_ignore_ascii_case(kind)) {
        Some(condition) => format!("{} is {:?}", condition.kind, condition.status),
        None if conditions.is_empty() => format!("it has no condition `{kind}`"),
        None => {
            let there: Vec<_> = conditions.iter().map(|c| format!("`{}`", c.kind)).collect();
            format!("it has no condition `{kind}`, only {}", there.join(", "))
        }
    }
}

fn conditions(object: &Object) -> &[Condition] {
    match object {
        Object::Pod(Pod { status, .. }) => &status.conditions,
        Object::Node(node) => &node.status.conditions,
        _ => &[],
    }
}

pub(crate) async fn wait(context: &Context, args: WaitArgs) -> Result<(), Failure> {
    let target = Target::parse(&args.words)?;
    let objects: Vec<ObjectRef> = match &target {
        Target::Named(named) => named.iter().map(|(k, name)| context.object(*k, name)).collect(),
        Target::Kinds(_) if args.selector.is_none() && !args.all => {
            return Err(Failure::usage("you must name an object, or select with -l or --all"));
        }
        Target::Kinds(_) => {
            let selectors = Selectors::labels(args.selector.clone().unwrap_or_default());
            let found = context.find(&target, &selectors, false).await?;
            if found.objects.is_empty() && !matches!(args.goal, Goal::Delete) {
                return Err(Failure::failed("no matching resources found"));
            }
            found.objects.iter().map(ObjectRef::of).collect()
        }
    };
    let started = Instant::now();
    let mut missing = Vec::new();
    for object in objects {
        // Kubectl's timeout is of the whole wait, not of each object.
        let left = args.timeout.saturating_sub(started.elapsed());
        match wait_for(context, &object, &args.goal, left).await {
            Ok(()) => output::line(&format!("{} condition met", object.slash_name())),
            Err(failure) if failure.code == crate::failure::NOT_FOUND => missing.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Found::finish(&missing)
}

async fn wait_for(
    context: &Context,
    object: &ObjectRef,
    goal: &Goal,
    timeout: Duration,
) -> Result<(), Failure> {
    let plural = format!("{}/{}", object.kind.plural(), object.name);
    let progress = Progress::of(plural.clone());
    let bound = Bound {
        timeout,
        late: format!("timed out waiting for the condition on {plural}"),
        left: format!("{plural} is left as it is"),
    };
    let collection = Collection::new(object.kind, object.namespace.as_deref());
    let selectors = Selectors::name(&object.name);
    let work = async {
        let mut step = |change: Change| {
            let now = match change {
                Change::Present(mut objects) => objects.pop(),
                Change::Changed(object) => Some(object),
                Change::Gone(_) => None,
            };
            match (now, goal) {
                (Some(now), goal) if goal.is_met_by(&now) => ControlFlow::Break(true),
                (Some(now), goal) => {
                    progress.set(goal.missing(&now));
                    ControlFlow::Continue(())
                }
                (None, Goal::Delete) => ControlFlow::Break(true),
                (None, Goal::Create) => ControlFlow::Continue(()),
                (None, _) => ControlFlow::Break(false),
            }
        };
        match follow(context, &collection, &selectors, None, &mut step).await? {
            true => Ok(()),
            false => match context.client.get(object).await {
                Err(error) => Err(context.explain(error, object).await),
                Ok(_) => {
                    Err(Failure::failed(format!("{plural} was deleted and made anew meanwhile")))
                }
            },
        }
    };
    progress::wait(&bound, &progress, work).await
}

/// Longest time that a daemon lets itself be asked to wait for kernels.
const LONGEST_PROGRAMMED: Duration = Duration::from_secs(3600);

/// Waits until every ready node's kernel reflects `revision`; warns of what could not be made.
pub(crate) async fn programmed(
    context: &Context,
    revision: u64,
    timeout: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    progress.set("the nodes' kernels follow");
    let answer = context.client.programmed(revision, timeout.min(LONGEST_PROGRAMMED)).await?;
    let mut failed = false;
    for node in &answer.nodes {
        for failure in &node.failures {
            output::note(&format!("error: node {} could not program {failure}", node.name));
            failed = true;
        }
    }
    if failed { Err(Failure::silent(crate::failure::FAILED)) } else { Ok(()) }
}

/// Flags of verbs that change something and wait until it is so.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettleArgs {
    /// Return at once, without waiting until it is so
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
}

impl SettleArgs {
    /// The time that the command has, of which its first request is a part.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::new(self.timeout)
    }

    /// Waits until every node's kernel reflects `revision`, unless told not to.
    pub(crate) async fn programmed(&self, context: &Context, revision: u64) -> Result<(), Failure> {
        self.programmed_by(context, revision, self.deadline()).await
    }

    /// The same with a time of which some has passed.
    pub(crate) async fn programmed_by(
        &self,
        context: &Context,
        revision: u64,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        if self.no_wait {
            return Ok(());
        }
        let left = deadline.left();
        let bound = Bound {
            // The server keeps the time and names the nodes that lag; this is for its silence.
            timeout: left + Duration::from_secs(5),
            late: "timed out waiting for the nodes' kernels".to_owned(),
            left: "the change is stored, and the nodes carry it out without you".to_owned(),
        };
        let progress = Progress::default();
        let work = programmed(context, revision, left, &progress);
        progress::wait(&bound, &progress, work).await
    }
}

/// Whether a kind has anything to program or to let go of.
pub(crate) fn lives_on_nodes(kind: Kind) -> bool {
    matches!(kind, Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service | Kind::EndpointSlice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn web() -> Object {
        serde_json::from_value(json!({
            "kind": "Pod", "metadata": { "name": "web" },
            "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": "False", "reason": "ReadinessProbe" },
                { "type": "PodScheduled", "status": "True" },
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn goals_are_written_as_in_kubectl() {
        let met = |goal: &str| goal.parse::<Goal>().unwrap().is_met_by(&web());
        assert!(!met("condition=Ready"));
        assert!(met("condition=Ready=false"));
        assert!(met("condition=podscheduled"));
        assert!(met("jsonpath={.status.phase}=Running"));
        assert!(!met("jsonpath={.status.phase}=Failed"));
        assert!(!met("jsonpath={.status.podIP}"));
        assert!(met("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=False"));
        assert!(met("create"));
        assert!(!met("delete"));
        assert!("ready".parse::<Goal>().is_err());
    }

    #[test]
    fn a_goal_that_is_not_met_says_why() {
        let goal: Goal = "condition=Ready".parse().unwrap();
        assert_eq!(goal.missing(&web()), "Ready is False: ReadinessProbe");
        let goal: Goal = "condition=PodScheduled=False".parse().unwrap();
        assert_eq!(goal.missing(&web()), "PodScheduled is True");
        let goal: Goal = "condition=Redy".parse().unwrap();
        assert_eq!(
            goal.missing(&web()),
            "it has no condition `Redy`, only `Ready`, `PodScheduled`"
        );
    }
}
