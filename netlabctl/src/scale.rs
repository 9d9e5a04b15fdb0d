// SPDX-License-Identifier: GPL-3.0-or-later
//! `pod scale` and `scale`: as many pods NAME-0, NAME-1, … as are wanted.
//!
//! `pod run --replicas` makes such pods, and nothing makes them anew by itself: what this verb
//! knows of them it reads from their names.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use netlab_api::client::{ApplyOptions, Collection, DeleteOptions, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Object, Pod};

use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::manifest::bare;
use crate::run::How;
use crate::wait::SettleArgs;
use crate::{by_hand, delete, output, progress, run, target};

/// Most pods that one name may have, as `pod run --replicas` has it.
const MOST: u16 = 1000;

#[derive(Debug, Args)]
pub(crate) struct PodScaleArgs {
    /// The name before the numbers: `web` of web-0, web-1, …
    #[arg(value_name = "NAME")]
    name: String,
    /// How many there are to be
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(MOST)), required_unless_present = "replicas")]
    count: Option<u16>,
    /// The same
    #[arg(long, value_name = "N", conflicts_with = "count", value_parser = clap::value_parser!(u16).range(..=i64::from(MOST)))]
    replicas: Option<u16>,
    #[command(flatten)]
    settle: SettleArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// pod/NAME or `pod NAME`: the name before the numbers
    #[arg(value_name = "POD", required = true, num_args = 1..)]
    words: Vec<String>,
    /// How many there are to be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(MOST)))]
    replicas: u16,
    #[command(flatten)]
    settle: SettleArgs,
}

pub(crate) async fn scale_pod(context: &Context, args: PodScaleArgs) -> Result<(), Failure> {
    let wanted = args.count.or(args.replicas).unwrap_or_default();
    scale(context, &target::pod_name(&args.name)?, wanted, &args.settle).await
}

pub(crate) async fn scale_any(context: &Context, args: ScaleArgs) -> Result<(), Failure> {
    let name = match &args.words[..] {
        [kind, name] if !kind.contains('/') => target::pod_name(&format!("{kind}/{name}"))?,
        [word] => target::pod_name(word)?,
        _ => {
            return Err(Failure::usage(
                "scale takes one name: `netlabctl scale pod/web --replicas=3`",
            ));
        }
    };
    scale(context, &name, args.replicas, &args.settle).await
}

async fn scale(
    context: &Context,
    name: &str,
    wanted: u16,
    settle: &SettleArgs,
) -> Result<(), Failure> {
    let collection = Collection::new(Kind::Pod, Some(&context.namespace));
    let pods = context
        .client
        .list_as::<Pod>(collection.namespace.as_deref(), &Selectors::default())
        .await?
        .items;
    let plan = plan(&pods, name, wanted)?;
    let doomed = plan.delete.iter().map(|pod| context.pod(pod)).collect::<Vec<_>>();
    let explained = by_hand::removal(context, &doomed).await?;
    let mut made = Vec::new();
    if !plan.delete.is_empty() {
        let options = DeleteOptions::default();
        let request = async {
            let selectors = Selectors::default();
            let answer =
                context.client.delete_many(&collection, &plan.delete, &selectors, &options);
            Ok(answer.await?)
        };
        let answer = progress::answer(settle.deadline(), request).await?;
        let say = |object: &Object| {
            output::line(&format!(
                "pod \"{}\" deleted from {} namespace",
                object.metadata().name,
                context.namespace
            ));
        };
        match settle.no_wait {
            true => answer.items.iter().for_each(say),
            false => {
                let grace =
                    answer.items.iter().filter_map(|o| o.metadata().deletion_grace_period_seconds);
                let grace = Duration::from_secs(grace.max().unwrap_or(0));
                delete::gone(
                    context,
                    &answer.items,
                    Some(settle.timeout.max(grace + delete::BEYOND_GRACE)),
                    say,
                )
                .await?;
            }
        }
    }
    if !plan.create.is_empty() {
        let objects: Vec<Object> = plan.create.into_iter().map(Object::Pod).collect();
        let options = ApplyOptions { create: true, dry_run: false };
        let deadline = settle.deadline();
        let request = async { Ok(context.client.apply(&objects, options).await?) };
        let answer = progress::answer(deadline, request).await?;
        made = answer.items.into_iter().map(|item| item.object).collect::<Vec<Object>>();
        match settle.no_wait {
            true => made.iter().for_each(|o| output::line(&format!("{} created", o.slash_name()))),
            false => {
                run::settle(context, deadline, &made, answer.revision, How::default()).await?;
            }
        }
    }
    output::line(&format!("pod/{name} scaled"));
    output::text(&explained);
    by_hand::print_made(context, &made).await
}

/// What differs from the pods that are wanted.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// Those that are missing, the lowest number first.
    create: Vec<Pod>,
    /// Those that are too many, the highest number first.
    delete: Vec<String>,
}

/// What is to be done so that NAME-0 to NAME-(wanted-1) are there and no others.
fn plan(pods: &[Pod], name: &str, wanted: u16) -> Result<Plan, Failure> {
    let members: BTreeMap<u16, &Pod> =
        pods.iter().filter_map(|pod| Some((number(&pod.metadata.name, name)?, pod))).collect();
    let Some(lowest) = members.values().next() else { return Err(nobody(pods, name)) };
    let is_leaving = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    if let Some((number, _)) =
        members.iter().find(|(number, pod)| **number < wanted && is_leaving(pod))
    {
        return Err(Failure::failed(format!("pod/{name}-{number} is still being deleted"))
            .with_hint(format!(
                "`netlabctl wait --for=delete pod/{name}-{number}` returns when it is gone; then scale"
            )));
    }
    let template = members.values().find(|pod| !is_leaving(pod)).unwrap_or(lowest);
    let create = (0..wanted)
        .filter(|number| !members.contains_key(number))
        .map(|number| copy(template, &format!("{name}-{number}")));
    let delete = members
        .iter()
        .rev()
        .filter(|(number, pod)| **number >= wanted && !is_leaving(pod))
        .map(|(_, pod)| pod.metadata.name.clone());
    Ok(Plan { create: create.collect(), delete: delete.collect() })
}

/// `3` of `web-3`.
fn number(pod: &str, name: &str) -> Option<u16> {
    let digits = pod.strip_prefix(name)?.strip_prefix('-')?;
    let number: u16 = digits.parse().ok()?;
    // `web-07` is a name that somebody chose.
    (number.to_string() == digits).then_some(number)
}

/// The same pod under another name: what the cluster decided for the one is left open.
fn copy(pod: &Pod, name: &str) -> Pod {
    let Object::Pod(mut pod) = bare(Object::Pod(pod.clone())) else {
        unreachable!("BUG: a pod became another kind")
    };
    pod.metadata.name = name.to_owned();
    pod.metadata.deletion_timestamp = None;
    pod.metadata.deletion_grace_period_seconds = None;
    pod.spec.node_name = None;
    pod
}

fn nobody(pods: &[Pod], name: &str) -> Failure {
    let failure = |message: String| Failure::new(NOT_FOUND, format!("error: {message}"));
    if pods.iter().any(|pod| pod.metadata.name == name) {
        let stem = name.rsplit_once('-').filter(|(stem, _)| number(name, stem).is_some());
        return match stem {
            Some((stem, _)) => failure(format!("pod/{name} is one of several, and there is no pod/{name}-0"))
                .with_hint(format!("did you mean `netlabctl pod scale {stem} N`?")),
            None => failure(format!("pod/{name} is a single pod, without a number to count on"))
                .with_hint(format!(
                    "`netlabctl delete pod {name}`, then `netlabctl pod run {name} --replicas 3 -- CMD` makes {name}-0, {name}-1 and {name}-2"
                )),
        };
    }
    failure(format!("there are no pods {name}-0, {name}-1, … to be more or fewer of"))
        .with_hint(format!("`netlabctl pod run {name} --replicas 3 -- CMD` makes them"))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(name: &str) -> Pod {
        from_value(json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-{name}"),
                "resourceVersion": "7", "labels": { "app": "web" },
            },
            "spec": { "command": ["serve"], "nodeName": "n1" },
            "status": { "phase": "Running", "podIP": "10.42.0.5" },
        }))
        .unwrap()
    }

    fn leaving(name: &str) -> Pod {
        let mut pod = pod(name);
        pod.metadata.deletion_timestamp = Some(netlab_api::Time::now());
        pod
    }

    #[test]
    fn more_pods_are_copies_without_what_the_cluster_decided() {
        let pods = [pod("web-0"), pod("web-1"), pod("db-0"), pod("web-x"), pod("web-07")];
        let plan = plan(&pods, "web", 4).unwrap();
        assert_eq!(plan.delete, [""; 0]);
        let made: Vec<_> = plan.create.iter().map(|p| serde_json::to_value(p).unwrap()).collect();
        assert_eq!(made[0]["metadata"]["name"], "web-2");
        assert_eq!(made[1]["metadata"]["name"], "web-3");
        assert_eq!(made.len(), 2);
        assert_eq!(plan.create[0].spec.command, ["serve"]);
        assert_eq!(plan.create[0].spec.node_name, None);
        assert_eq!(plan.create[0].metadata.uid, "");
        assert_eq!(plan.create[0].metadata.labels, pods[0].metadata.labels);
        assert_eq!(plan.create[0].status, Default::default());
    }

    #[test]
    fn fewer_pods_are_those_with_the_lowest_numbers() {
        let pods = ["web-0", "web-10", "web-2", "web-1"].map(pod);
        assert_eq!(plan(&pods, "web", 1).unwrap().delete, ["web-10", "web-2", "web-1"]);
        assert_eq!(plan(&pods, "web", 0).unwrap().delete.len(), 4);
        assert_eq!(plan(&pods[..1], "web", 1).unwrap(), Plan::default());
    }

    #[test]
    fn gaps_are_filled_and_pods_that_leave_are_waited_for() {
        let pods = [pod("web-0"), pod("web-2"), leaving("web-3")];
        let plan_of = |wanted| plan(&pods, "web", wanted);
        assert_eq!(plan_of(3).unwrap().create[0].metadata.name, "web-1");
        assert_eq!(plan_of(3).unwrap().delete, [""; 0], "it leaves already");
        let failure = plan_of(4).expect_err("a name that is taken");
        assert!(failure.hints[0].contains("--for=delete pod/web-3"), "{failure:?}");
    }

    #[test]
    fn names_without_numbers_are_answered_with_what_to_do() {
        let told = |pods: &[Pod], name: &str| {
            let failure = plan(pods, name, 3).expect_err(name);
            assert_eq!(failure.code, NOT_FOUND);
            format!("{} {}", failure.message, failure.hints.join(" "))
        };
        assert!(told(&[], "web").contains("pod run web --replicas 3"));
        assert!(told(&[pod("web")], "web").contains("pod/web is a single pod"));
        assert!(told(&[pod("web-0")], "web-0").contains("`netlabctl pod scale web N`"));
    }
}
