// SPDX-License-Identifier: GPL-3.0-or-later
//! `pod run`: makes pods and returns when they are ready and the kernels know them.

pub(crate) mod spec;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use netlab_api::client::{ApplyOptions, Collection, DeleteOptions, ObjectRef, Selectors};
use netlab_api::resource::Kind;
use netlab_api::{Object, Pod};

use crate::context::Context;
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::output::format::{self, Format};
use crate::output::pod_status::{self, Verdict};
use crate::progress::{self, Bound, Progress};
pub(crate) use crate::run::spec::RunArgs;
use crate::wait::follow::{Change, follow};
use crate::{delete, exec, logs, output, wait};

/// Lines of a failed pod's log that are shown.
const LAST_LINES: u64 = 10;
/// What `-it` runs when no command is given.
const SHELL: &str = "/bin/sh";

pub(crate) async fn run(context: &Context, mut args: RunArgs) -> Result<(), Failure> {
    let session = args.session()?;
    let pods = spec::pods(&args, &context.namespace)?;
    let dry_run = args.dry_run.as_deref().filter(|how| *how != "none");
    if dry_run == Some("client") {
        let objects: Vec<Object> = pods.into_iter().map(Object::Pod).collect();
        say(&args.output, &objects, " (dry run)");
        return Ok(());
    }
    let objects: Vec<Object> = pods.into_iter().map(Object::Pod).collect();
    let options = ApplyOptions { create: true, dry_run: dry_run.is_some() };
    let answer = match context.client.apply(&objects, options).await {
        Ok(answer) => answer,
        Err(error) => return Err(explain(error.into(), args.name())),
    };
    let made: Vec<Object> = answer.items.into_iter().map(|item| item.object).collect();
    if dry_run.is_some() {
        say(&args.output, &made, " (server dry run)");
        return Ok(());
    }
    if args.no_wait && session.is_none() {
        say(&args.output, &made, "");
        return Ok(());
    }
    // With a session the command's output is the output.
    let quiet = session.is_some() || !matches!(args.output, Format::Table);
    let settled = settle(context, &args, &made, answer.revision, quiet).await;
    let Some(session) = session else {
        let settled = settled?;
        if quiet {
            say(&args.output, &settled, "");
        }
        return Ok(());
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
    if args.rm {
        remove(context, &made, args.timeout).await?;
    }
    match done? {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
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

fn explain(failure: Failure, name: &str) -> Failure {
    if failure.message.contains("(AlreadyExists)") && failure.hints.is_empty() {
        return failure.with_hint(format!(
            "`netlabctl delete pod {name}` removes the one there is; choose another name to have both"
        ));
    }
    failure
}

/// Waits until every pod is ready or finished and programmed, and tells of each as it is.
async fn settle(
    context: &Context,
    args: &RunArgs,
    made: &[Object],
    revision: u64,
    quiet: bool,
) -> Result<Vec<Object>, Failure> {
    let progress = Progress::default();
    let names = match made {
        [one] => one.slash_name(),
        several => format!("{} pods", several.len()),
    };
    let bound = Bound {
        timeout: args.timeout,
        late: format!("timed out after {} waiting for {names}", human(args.timeout)),
        left: format!(
            "{names} stay, and go on without you; `netlabctl get pods` shows how far they are"
        ),
    };
    let ready = watch(context, made, revision, &progress, quiet);
    // Both at once: the second answers while the first still waits for the command to start.
    let programmed = async {
        let nowhere = Progress::default();
        wait::programmed(context, revision, args.timeout, &nowhere).await
    };
    let work = async {
        let (ready, programmed) = tokio::join!(ready, programmed);
        let ready = ready?;
        programmed?;
        Ok(ready)
    };
    match progress::wait(&bound, &progress, work).await {
        Err(failure) if failure.code == crate::failure::TIMED_OUT => Err(failure.with_hint(format!(
            "the pod stays; `netlabctl describe pod {}` tells more, `netlabctl delete pod {}` removes it",
            args.name(), args.name()
        ))),
        done => done,
    }
}

fn human(time: Duration) -> String {
    output::age::human(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

async fn watch(
    context: &Context,
    made: &[Object],
    revision: u64,
    progress: &Progress,
    quiet: bool,
) -> Result<Vec<Object>, Failure> {
    let mut left: BTreeMap<String, &Object> =
        made.iter().map(|object| (object.metadata().name.clone(), object)).collect();
    let mut done = Vec::new();
    let collection = Collection::new(Kind::Pod, Some(&context.namespace));
    let selectors = match made {
        [one] => Selectors::name(&one.metadata().name),
        _ => Selectors::default(),
    };
    let mut look = |pod: Pod| {
        let name = &pod.metadata.name;
        if left.get(name).is_none_or(|made| made.metadata().uid != pod.metadata.uid) {
            return ControlFlow::Continue(());
        }
        match pod_status::verdict(&pod) {
            Verdict::Ready | Verdict::Finished => {
                left.remove(name);
                let object = Object::Pod(pod);
                if !quiet {
                    output::line(&format!("{} created", object.slash_name()));
                }
                done.push(object);
            }
            Verdict::Waiting(why) => progress.set(format!("pod/{name}: {why}")),
            Verdict::Broken(why) => return ControlFlow::Break(Err((name.clone(), why))),
        }
        if left.is_empty() { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
    };
    let mut step = |change: Change| match change {
        Change::Changed(Object::Pod(pod)) => look(pod),
        Change::Gone(Object::Pod(pod)) => {
            ControlFlow::Break(Err((pod.metadata.name, "it was deleted meanwhile".to_owned())))
        }
        Change::Present(objects) => {
            for object in objects {
                if let Object::Pod(pod) = object
                    && let ControlFlow::Break(done) = look(pod)
                {
                    return ControlFlow::Break(done);
                }
            }
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    };
    match follow(context, &collection, &selectors, Some(revision), &mut step).await? {
        Ok(()) => Ok(done),
        Err((name, why)) => Err(broken(context, &name, &why).await),
    }
}

/// What a pod that will not get ready has to say for itself.
async fn broken(context: &Context, name: &str, why: &str) -> Failure {
    let mut message = format!("error: pod/{name} does not run: {why}");
    let lines = logs::last_lines(context, &context.pod(name), LAST_LINES).await;
    if !lines.is_empty() {
        message += "\nits last lines:";
        for line in lines {
            message += "\n  ";
            message += &line;
        }
    }
    Failure::new(FAILED, message).with_hint(format!(
        "the pod stays; `netlabctl describe pod {name}` tells more, `netlabctl delete pod {name}` removes it"
    ))
}

/// Removes the pod of a session that is over; the command has had its time.
async fn remove(context: &Context, made: &[Object], timeout: Duration) -> Result<(), Failure> {
    let options = DeleteOptions { grace_period_seconds: Some(0), dry_run: false };
    let mut doomed = Vec::new();
    for object in made {
        match context.client.delete(&ObjectRef::of(object), &options).await {
            Ok(object) => doomed.push(object),
            Err(error) => {
                let failure = Failure::from(error);
                if failure.code != NOT_FOUND {
                    return Err(failure);
                }
            }
        }
    }
    delete::gone(context, &doomed, Some(timeout), |object| {
        // On stderr: stdout is the command's.
        output::note(&format!("pod \"{}\" deleted", object.metadata().name));
    })
    .await
}
