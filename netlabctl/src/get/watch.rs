// SPDX-License-Identifier: GPL-3.0-or-later
//! `get --watch`: changes as they happen, from a daemon that may restart meanwhile.

use netlab_api::client::{ClientError, Collection, Selectors};
use netlab_api::resource::Kind;
use netlab_api::wire::WatchEvent;

use crate::context::Context;
use crate::failure::Failure;
use crate::get::{ListArgs, Printer};
use crate::output;
use crate::target::Target;
use crate::wait::follow::{RECONNECT, may_retry};

/// Said once while the daemon is away.
const AWAY: &str = "netlabd closed the watch: it goes on as soon as netlabd is back";

/// What is watched: all objects of a type, or the one that is named.
pub(super) fn subject(target: &Target) -> Result<(Kind, Option<&str>), Failure> {
    match target {
        Target::Kinds(kinds) if kinds.len() == 1 => Ok((kinds[0], None)),
        Target::Named(named) if named.len() == 1 => Ok((named[0].0, Some(&named[0].1))),
        _ if target.kinds().len() > 1 => {
            Err(Failure::usage("you may only specify a single resource type with --watch"))
        }
        _ => Err(Failure::usage("--watch takes one name, or all objects of a type")
            .with_hint("-l selects several: `netlabctl get pods -l app=web --watch`")),
    }
}

/// Prints changes after `revision` until somebody has seen enough.
pub(super) async fn watch(
    context: &Context,
    args: &ListArgs,
    target: &Target,
    mut selectors: Selectors,
    revision: Option<u64>,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let (kind, name) = subject(target)?;
    if let Some(name) = name {
        selectors = Selectors::name(name);
    }
    let namespace = Some(context.namespace.as_str()).filter(|_| !args.all_namespaces);
    let collection = Collection::new(kind, namespace);
    // Whether it was said that the daemon is away.
    let mut told = false;
    let mut position = revision;
    while position.is_none() {
        match list(context, &collection, &selectors, None).await {
            Ok(revision) => position = Some(revision),
            Err(error) if may_retry(&error, true) => {
                if !std::mem::replace(&mut told, true) {
                    output::note(AWAY);
                }
                tokio::time::sleep(RECONNECT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    loop {
        match follow(context, &collection, &selectors, &mut position, &mut told, printer).await {
            // Revisions are the store's and outlive the daemon: nothing is missed or told twice.
            Ok(()) => {}
            Err(error) if error.is_expired() => {
                position = None;
                continue;
            }
            Err(error) if may_retry(&error, true) => {}
            Err(error) => return Err(error.into()),
        }
        if !std::mem::replace(&mut told, true) {
            output::note(AWAY);
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Prints changes after `position`, and moves it along, until the watch ends. Without a position
/// it prints what is there first: the watch had fallen too far behind.
async fn follow(
    context: &Context,
    collection: &Collection,
    selectors: &Selectors,
    position: &mut Option<u64>,
    told: &mut bool,
    printer: &mut Printer<'_>,
) -> Result<(), ClientError> {
    let from = match *position {
        Some(from) => from,
        None => list(context, collection, selectors, Some(&mut *printer)).await?,
    };
    *position = Some(from);
    let mut watch = context.client.watch(collection, selectors, Some(from)).await?;
    *told = false;
    while let Some(event) = watch.next().await? {
        match event {
            WatchEvent::Bookmark(bookmark) => {
                *position = bookmark.resource_version.parse().ok().or(*position);
            }
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object) => {
                *position = object.metadata().resource_version.parse().ok().or(*position);
                printer.print(std::slice::from_ref(&object), true);
            }
            WatchEvent::Error(error) => return Err(ClientError::Api(error)),
        }
    }
    Ok(())
}

/// Lists, prints where somebody prints, and gives the revision of the list.
async fn list(
    context: &Context,
    collection: &Collection,
    selectors: &Selectors,
    printer: Option<&mut Printer<'_>>,
) -> Result<u64, ClientError> {
    let list = context.client.list(collection, selectors).await?;
    if let Some(printer) = printer {
        printer.print(&list.items, false);
    }
    Ok(list.metadata.resource_version.parse().unwrap_or_default())
}
