// SPDX-License-Identifier: GPL-3.0-or-later
//! Follows objects by list and watch until somebody has seen enough. A daemon that restarts
//! meanwhile is waited for: what bounds the wait is the caller's timeout.

use std::ops::ControlFlow;
use std::time::Duration;

use netlab_api::Object;
use netlab_api::client::{ClientError, Collection, Selectors};
use netlab_api::wire::WatchEvent;

use crate::context::Context;
use crate::failure::Failure;

/// Time between attempts to reach a daemon that was there a moment ago.
pub(crate) const RECONNECT: Duration = Duration::from_millis(50);

/// What a follower is told.
#[derive(Debug)]
pub(crate) enum Change {
    /// These are all there are.
    Present(Vec<Object>),
    /// It was made, or changed.
    Changed(Object),
    /// It is gone.
    Gone(Object),
}

/// Tells `step` of the objects of a collection, changes after `from` or else all of them first,
/// until it breaks.
pub(crate) async fn follow<T>(
    context: &Context,
    collection: &Collection,
    selectors: &Selectors,
    mut from: Option<u64>,
    step: &mut impl FnMut(Change) -> ControlFlow<T>,
) -> Result<T, Failure> {
    let mut reached = from.is_some();
    loop {
        match session(context, collection, selectors, from, step, &mut reached).await {
            Ok(Some(done)) => return Ok(done),
            Err(error) if !may_retry(&error, reached) => return Err(error.into()),
            Ok(None) | Err(_) => {}
        }
        // What happened in between is in the next list.
        from = None;
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Whether the daemon may be on its way back. `reached`: whether it was there a moment ago.
pub(crate) fn may_retry(error: &ClientError, reached: bool) -> bool {
    match error {
        ClientError::NotRunning { .. } => reached,
        ClientError::Closed { .. } | ClientError::ClosedMidway { .. } => true,
        error => error.is_expired(),
    }
}

async fn session<T>(
    context: &Context,
    collection: &Collection,
    selectors: &Selectors,
    from: Option<u64>,
    step: &mut impl FnMut(Change) -> ControlFlow<T>,
    reached: &mut bool,
) -> Result<Option<T>, ClientError> {
    let from = match from {
        Some(from) => from,
        None => {
            let list = context.client.list(collection, selectors).await?;
            *reached = true;
            let revision = list.metadata.resource_version.parse().unwrap_or_default();
            if let ControlFlow::Break(done) = step(Change::Present(list.items)) {
                return Ok(Some(done));
            }
            revision
        }
    };
    let mut watch = context.client.watch(collection, selectors, Some(from)).await?;
    while let Some(event) = watch.next().await? {
        let flow = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                step(Change::Changed(object))
            }
            WatchEvent::Deleted(object) => step(Change::Gone(object)),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => ControlFlow::Continue(()),
        };
        if let ControlFlow::Break(done) = flow {
            return Ok(Some(done));
        }
    }
    Ok(None)
}
