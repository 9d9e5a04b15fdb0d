// SPDX-License-Identifier: GPL-3.0-or-later
//! What a joined node last saw of its cluster, kept on disk: so that it starts its pods and mends
//! its network also when its server is not there.
//!
//! ```text
//!   view ──► snapshot, changes ──► Memory ──(a moment later)──► view.json
//!   start, no server ◄── snapshot as it was ◄──────────────────────┘
//! ```
//!
//! What the file says may be old. It is used until the server answers, and then replaced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netlab_api::ObjectMeta;
use netlab_api::view::{ViewChange, ViewChanges, ViewEvent, ViewSnapshot};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Name of the file, in the state folder.
const VIEW_FILE: &str = "view.json";

/// What is seen is written so much later, with what comes meanwhile.
const DELAY: Duration = Duration::from_millis(500);

/// The file is written whole, and may take one part in this of the time: with thousands of
/// services that change all the time it is written less often.
const SHARE: u32 = 50;

/// It is never older than this.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What a node last saw.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    view: Option<View>,
    /// It is going to be written.
    is_due: bool,
    /// How long it took to write it last.
    took: Duration,
}

/// A view in which a change of one service is not a look at all of them.
#[derive(Debug, Default)]
struct View {
    /// All but services and slices.
    rest: ViewSnapshot,
    /// As they are written: that is all they are kept for, and takes a third of the objects' room.
    services: HashMap<Name, Arc<RawValue>>,
    slices: HashMap<Name, Arc<RawValue>>,
}

/// A view on its way to the file: a [`ViewSnapshot`], once it is read.
#[derive(Debug, Serialize)]
struct Written {
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
    services: Vec<Arc<RawValue>>,
    slices: Vec<Arc<RawValue>>,
}

/// Namespace and name.
type Name = (String, String);

fn name_of(metadata: &ObjectMeta) -> Name {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone())
}

fn written(object: &impl Serialize) -> Arc<RawValue> {
    to_raw_value(object).expect("an object is plain data").into()
}

impl View {
    fn of(mut snapshot: ViewSnapshot) -> View {
        let services = std::mem::take(&mut snapshot.services).into_iter();
        let slices = std::mem::take(&mut snapshot.slices).into_iter();
        View {
            rest: snapshot,
            services: services.map(|it| (name_of(&it.metadata), written(&it))).collect(),
            slices: slices.map(|it| (name_of(&it.metadata), written(&it))).collect(),
        }
    }

    fn apply(&mut self, changes: &ViewChanges) {
        let mut rest = ViewChanges { revision: changes.revision, changes: Vec::new() };
        for change in &changes.changes {
            match change {
                ViewChange::Service(service) => {
                    self.services.insert(name_of(&service.metadata), written(service));
                }
                ViewChange::ServiceGone { namespace, name } => {
                    self.services.remove(&(namespace.clone(), name.clone()));
                }
                ViewChange::Slice(slice) => {
                    self.slices.insert(name_of(&slice.metadata), written(slice));
                }
                ViewChange::SliceGone { namespace, name } => {
                    self.slices.remove(&(namespace.clone(), name.clone()));
                }
                other => rest.changes.push(other.clone()),
            }
        }
        self.rest.apply(rest);
    }
}

impl Written {
    fn of(
        rest: &ViewSnapshot,
        services: Vec<Arc<RawValue>>,
        slices: Vec<Arc<RawValue>>,
    ) -> serde_json::Result<Written> {
        let mut rest: serde_json::Map<_, _> = serde_json::from_value(serde_json::to_value(rest)?)?;
        // Empty there, and told beside it.
        rest.remove("services");
        rest.remove("slices");
        Ok(Written { rest, services, slices })
    }
}

impl Memory {
    pub(super) fn of(state_dir: &Path) -> Arc<Memory> {
        Arc::new(Memory { path: state_dir.join(VIEW_FILE), seen: Mutex::default() })
    }

    /// What an earlier daemon saw last; `None` when there is nothing of use.
    pub(super) fn recall(&self) -> Option<ViewSnapshot> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be read");
                return None;
            }
        };
        match serde_json::from_slice(&text) {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be understood");
                None
            }
        }
    }

    /// This node is none of the cluster's any more.
    pub(super) fn forget(&self) {
        self.lock().view = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot be removed");
            }
            _ => {}
        }
    }

    /// Takes in what is seen. To be called within the runtime.
    pub(super) fn see(self: &Arc<Self>, event: &ViewEvent) {
        let mut seen = self.lock();
        match event {
            ViewEvent::Snapshot(snapshot) => seen.view = Some(View::of((**snapshot).clone())),
            ViewEvent::Changes(changes) => {
                // A view that goes on from a revision after a restart builds on what was recalled.
                let before = seen.view.take();
                let recalled = || self.recall().map(View::of);
                let Some(mut view) = before.or_else(recalled) else { return };
                view.apply(changes);
                seen.view = Some(view);
            }
            ViewEvent::Ping | ViewEvent::Dial { .. } => return,
        }
        if std::mem::replace(&mut seen.is_due, true) {
            return;
        }
        let memory = self.clone();
        let delay = seen.delay();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let written = tokio::task::spawn_blocking(move || memory.write()).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "what this node saw is not kept");
            }
        });
    }

    fn write(&self) -> io::Result<()> {
        let began = Instant::now();
        let (rest, services, slices) = {
            let mut seen = self.lock();
            seen.is_due = false;
            let Some(view) = &seen.view else { return Ok(()) };
            let services = view.services.values().cloned().collect();
            (view.rest.clone(), services, view.slices.values().cloned().collect())
        };
        // Without the lock: whoever follows the cluster must not wait for it.
        let text = serde_json::to_vec(&Written::of(&rest, services, slices)?)?;
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        self.lock().took = began.elapsed();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// How long the next write is put off.
    fn delay(&self) -> Duration {
        self.took.saturating_mul(SHARE).clamp(DELAY, LONGEST_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use netlab_api::view::ViewNode;
    use netlab_api::{EndpointSlice, Service};

    use super::*;

    fn changes(revision: u64, node: &str) -> ViewEvent {
        let node = ViewNode { name: node.to_owned(), ..ViewNode::default() };
        ViewEvent::Changes(ViewChanges { revision, changes: vec![ViewChange::Node(node)] })
    }

    #[tokio::test]
    async fn what_was_seen_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(dir.path());
        assert!(memory.recall().is_none());
        memory.see(&ViewEvent::Snapshot(Box::new(ViewSnapshot {
            revision: 3,
            ..Default::default()
        })));
        memory.see(&changes(4, "n1"));
        memory.write().unwrap();
        let later = Memory::of(dir.path());
        assert_eq!(later.recall().unwrap().revision, 4);
        later.see(&changes(5, "n2"));
        later.write().unwrap();
        let names = Memory::of(dir.path()).recall().unwrap();
        let names: Vec<_> = names.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["n1", "n2"]);
    }

    #[tokio::test]
    async fn services_and_their_endpoints_are_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(dir.path());
        let service = |name: &str, policy| {
            let mut service = Service::default();
            service.metadata.name = name.to_owned();
            service.metadata.namespace = Some("shop".to_owned());
            service.spec.internal_traffic_policy = policy;
            Arc::new(service)
        };
        let slice = |name: &str| {
            let mut slice = EndpointSlice::default();
            slice.metadata.name = name.to_owned();
            slice.metadata.namespace = Some("shop".to_owned());
            Arc::new(slice)
        };
        memory.see(&ViewEvent::Snapshot(Box::new(ViewSnapshot {
            revision: 3,
            services: vec![service("web", None), service("db", None)],
            slices: vec![slice("web-ipv4-1")],
            ..Default::default()
        })));
        let gone = |name: &str| ("shop".to_owned(), name.to_owned());
        let ((namespace, name), (slice_namespace, slice_name)) = (gone("db"), gone("web-ipv4-1"));
        let local = service("web", Some(netlab_api::service::TrafficPolicy::Local));
        memory.see(&ViewEvent::Changes(ViewChanges {
            revision: 4,
            changes: vec![
                ViewChange::Service(local.clone()),
                ViewChange::ServiceGone { namespace, name },
                ViewChange::Slice(slice("web-ipv6-2")),
                ViewChange::SliceGone { namespace: slice_namespace, name: slice_name },
            ],
        }));
        memory.write().unwrap();
        let recalled = Memory::of(dir.path()).recall().unwrap();
        assert_eq!((recalled.revision, recalled.services), (4, vec![local]));
        assert_eq!(recalled.slices, [slice("web-ipv6-2")]);
    }

    #[test]
    fn a_write_that_takes_long_is_put_off_for_longer() {
        let delay = |took| Seen { took, ..Seen::default() }.delay();
        assert_eq!(delay(Duration::ZERO), DELAY);
        assert_eq!(delay(Duration::from_millis(100)), Duration::from_secs(5));
        assert_eq!(delay(Duration::from_secs(9)), LONGEST_DELAY);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::of(dir.path());
        memory.see(&ViewEvent::Snapshot(Box::default()));
        memory.write().unwrap();
        memory.forget();
        memory.write().unwrap();
        assert!(Memory::of(dir.path()).recall().is_none());
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(VIEW_FILE), "{\"revision\":").unwrap();
        assert!(Memory::of(dir.path()).recall().is_none());
    }
}
