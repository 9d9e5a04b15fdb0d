// SPDX-License-Identifier: GPL-3.0-or-later
//! Watches as they stream: one JSON event a line.
//!
//! ```text
//!   no resourceVersion:  ADDED… ─ BOOKMARK ─┐
//!   resourceVersion=N:  ────────────────────┴─► changes ─ (30 s silence: BOOKMARK) ─ … ─ end
//! ```
//!
//! A slow reader costs no memory here: its events wait in the store's history, and when that has
//! moved on, the watch ends with `Expired`. There is no time limit on a stalled reader, because one
//! that looks at its output in a pager is not broken; the number of watches is bounded instead.

use std::convert::Infallible;
use std::vec;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use netlab_api::wire::{Bookmark, WatchEvent};
use netlab_api::{ApiError, Object, Reason};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::metrics::Level;
use super::router::App;
use crate::control::cluster::{Filter, ObjectWatch, Scope};
use crate::store::Revision;

/// The present objects go out in pieces of about so many bytes, so that a large list is never in
/// memory a second time as text.
const PIECE: usize = 64 * 1024;

/// Starts a watch after `from`; without it, with the objects that are there.
pub(super) async fn start(
    app: &App,
    scope: Scope,
    filter: Filter,
    from: Option<Revision>,
) -> Result<Response, ApiError> {
    let permit = app.watches.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            Reason::TooManyRequests,
            format!("{} watches are running already", app.state.limits.watches),
        )
        .with_hint("close some, or watch fewer collections with wider selectors")
    })?;
    let (present, from) = match from {
        Some(from) => (None, from),
        None => {
            let objects = app.state.cluster.list(&scope, &filter).await?;
            (Some(objects.items.into_iter()), objects.revision)
        }
    };
    let watch = app.state.cluster.watch(&scope, filter, from).await?;
    let watcher = Watcher {
        app: app.clone(),
        present,
        watch: Some(watch),
        seen: from,
        _permit: permit,
        _level: app.state.metrics.watchers.raise(),
    };
    let body = Body::from_stream(stream::unfold(watcher, |mut watcher| async {
        let piece = watcher.next_piece().await?;
        Some((Ok::<Bytes, Infallible>(piece), watcher))
    }));
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

/// A running watch. Dropping it, which hyper does when the client is gone, ends it.
struct Watcher {
    app: App,
    /// What is still to be sent of the objects that were there first.
    present: Option<vec::IntoIter<Object>>,
    /// `None` once the last line was sent.
    watch: Option<Box<dyn ObjectWatch>>,
    /// Everything up to this revision has been sent.
    seen: Revision,
    _permit: OwnedSemaphorePermit,
    _level: Level,
}

impl Watcher {
    async fn next_piece(&mut self) -> Option<Bytes> {
        if self.present.is_some() {
            return Some(self.next_present());
        }
        let watch = self.watch.as_mut()?;
        let silence = tokio::time::sleep(self.app.state.limits.bookmark);
        tokio::pin!(silence);
        let stopping = self.app.draining();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                result = watch.next() => match result {
                    Ok(events) => {
                        let mut out = BytesMut::new();
                        for event in &events {
                            self.seen = self.seen.max(revision_of(event));
                            // Many of them would only say that others are busy elsewhere.
                            if !matches!(event, WatchEvent::Bookmark(_)) {
                                put_line(&mut out, event);
                            }
                        }
                        if !out.is_empty() {
                            return Some(out.freeze());
                        }
                    }
                    Err(error) => {
                        self.watch = None;
                        return Some(line(&WatchEvent::<Object>::Error(error)));
                    }
                },
                () = &mut silence => return Some(bookmark(self.seen)),
                () = &mut stopping => {
                    self.watch = None;
                    return Some(bookmark(self.seen));
                }
            }
        }
    }

    fn next_present(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        for object in self.present.as_mut().into_iter().flatten() {
            put_line(&mut out, &WatchEvent::Added(object));
            if out.len() >= PIECE {
                return out.freeze();
            }
        }
        self.present = None;
        out.extend_from_slice(&bookmark(self.seen));
        out.freeze()
    }
}

/// The revision up to which a watcher has seen everything when it has seen `event`.
fn revision_of(event: &WatchEvent) -> Revision {
    let text = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
            &object.metadata().resource_version
        }
        WatchEvent::Bookmark(bookmark) => &bookmark.resource_version,
        WatchEvent::Error(_) => return Revision::ZERO,
    };
    text.parse().unwrap_or(Revision::ZERO)
}

fn bookmark(revision: Revision) -> Bytes {
    line(&WatchEvent::<Object>::Bookmark(Bookmark { resource_version: revision.to_string() }))
}

fn line(event: &impl Serialize) -> Bytes {
    let mut out = BytesMut::new();
    put_line(&mut out, event);
    out.freeze()
}

fn put_line(out: &mut BytesMut, event: &impl Serialize) {
    match serde_json::to_writer(out.writer(), event) {
        Ok(()) => out.put_u8(b'\n'),
        Err(error) => tracing::error!(%error, "BUG: failed to write a watch event as JSON"),
    }
}
