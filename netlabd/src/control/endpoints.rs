// SPDX-License-Identifier: GPL-3.0-or-later
//! Endpoints: which pods stand behind which service, as slices in the store.
//!
//! ```text
//!   store watch ──► Index ──► stale services ──► plan: groups, difference ──► one transaction
//!                     ▲                                                          │
//!                     └────────────── the slices, as they are now ◄──────────────┘
//! ```
//!
//! One task does it, by what there is and never by what happened: what came while it wrote is
//! taken in together, so that many changes at once cost few transactions. Slices that users write
//! are left alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use netlab_api::endpoint_slice::AddressType;
use netlab_api::event::EventKind;
use netlab_api::pod::PortRef;
use netlab_api::resource::{Kind, Object};
use netlab_api::service::ServiceType;
use netlab_api::{ApiError, EndpointSlice, Event, ObjectMeta, Service, Time};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::cluster::ObjectKey;
use super::draft::{Draft, encode, read_failed, store_key};
use super::event::{event_about, name_event, put_event};
use super::watch::watch_failed;
use crate::error::chain;
use crate::store::{Entry, Revision, Store, Watch, WatchError};
use index::{Index, ServiceName};
use plan::{Backing, diff_slices, groups_of, target_of};

mod index;
mod plan;

/// How long the task rests after the store could not be read or written.
const RETRY: Duration = Duration::from_secs(1);

/// How long the task waits for somebody who asks before it reads what there is. The slices follow
/// from the rest already, unless the daemon before ended half way, and at the start of a daemon all
/// processors have work that is waited for.
const UNASKED: Duration = Duration::from_secs(1);

/// Services whose slices are written in one transaction: enough to share its cost, and few enough
/// that nobody waits long for a place in the store's queue.
const TOGETHER: usize = 256;

/// Reasons of events about services.
const NO_PODS: &str = "NoPods";
const NO_SUCH_PORT: &str = "NoSuchPort";
const REASONS: [&str; 2] = [NO_PODS, NO_SUCH_PORT];

/// The task, and how far it is.
pub(super) struct Endpoints {
    settled: watch::Sender<Settled>,
    /// Somebody asked, or is going to.
    asked: Arc<Notify>,
    /// The task, which must not keep the store open when nobody asks.
    follower: OnceLock<AbortHandle>,
}

/// How far the slices follow from the rest.
#[derive(Debug, Clone, Copy, Default)]
struct Settled {
    /// All changes up to here have the slices that they ask for.
    taken_in: Revision,
    /// The newest write of slices.
    written: Revision,
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

impl Endpoints {
    /// Follows the store for as long as it is open.
    pub(super) async fn start(store: Arc<dyn Store>) -> Result<Arc<Endpoints>, ApiError> {
        let asked = Arc::new(Notify::new());
        let endpoints = Arc::new(Endpoints {
            settled: watch::Sender::default(),
            asked: asked.clone(),
            follower: OnceLock::new(),
        });
        let began = store.revision().await.map_err(read_failed)?;
        let weak = Arc::downgrade(&endpoints);
        // Nobody waits for it to read all there is, unless for endpoints.
        let follower = tokio::spawn(async move {
            // In either case it begins.
            let _ = tokio::time::timeout(UNASKED, asked.notified()).await;
            drop(asked);
            loop {
                match Task::read_all(store.clone()).await {
                    Ok((task, watch)) => {
                        drop(store);
                        return Task { began, ..task }.follow(weak, watch).await;
                    }
                    Err(error) => tracing::error!(%error, "no endpoints yet: trying again"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        endpoints.follower.set(follower.abort_handle()).expect("set once, here");
        Ok(endpoints)
    }

    /// Begins now, if it has not. To be called once a node is done with its own start.
    pub(super) fn begin(&self) {
        self.asked.notify_one();
    }

    /// Waits until the slices follow from all changes up to `revision`; answers the revision that
    /// has them.
    pub(super) async fn settled(&self, revision: Revision) -> Revision {
        self.begin();
        let mut settled = self.settled.subscribe();
        match settled.wait_for(|settled| settled.taken_in >= revision).await {
            Ok(settled) => revision.max(settled.written),
            // The sender lives as long as `self`.
            Err(_) => revision,
        }
    }
}

/// What the task works with.
struct Task {
    store: Arc<dyn Store>,
    index: Index,
    /// All changes up to here are in the index.
    revision: Revision,
    written: Revision,
    /// Services that were made after this are new.
    began: Revision,
    /// What was said of services, so that it is said once: the service's uid, and reasons.
    warned: HashMap<ServiceName, (String, Vec<&'static str>)>,
}

impl Task {
    async fn read_all(store: Arc<dyn Store>) -> Result<(Task, Watch), ApiError> {
        let listing = store.list_each(&index::PREFIXES).await.map_err(read_failed)?;
        let revision = listing.revision;
        let watch = store.watch("", revision).await.map_err(watch_failed)?;
        let task = Task {
            store,
            index: Index::of(&listing),
            revision,
            written: Revision::ZERO,
            began: revision,
            warned: HashMap::new(),
        };
        Ok((task, watch))
    }

    async fn follow(mut self, endpoints: Weak<Endpoints>, mut watch: Watch) {
        loop {
            if let Err(error) = self.settle(&mut watch).await {
                tracing::error!(%error, "endpoints are not as they are to be: trying again");
                tokio::time::sleep(RETRY).await;
            }
            if self.index.stale.is_empty() {
                let Some(endpoints) = endpoints.upgrade() else { return };
                let now = Settled { taken_in: self.revision, written: self.written };
                endpoints.settled.send_replace(now);
                // Kept while it waits, it would keep itself.
                drop(endpoints);
                match watch.next_batch().await {
                    Ok(batch) => self.take(batch),
                    Err(error) => match self.begin_anew(error).await {
                        Some(again) => watch = again,
                        None => return,
                    },
                }
            } else if let Err(error) = self.catch_up(&mut watch) {
                match self.begin_anew(error).await {
                    Some(again) => watch = again,
                    None => return,
                }
            }
        }
    }

    fn take(&mut self, batch: crate::store::Batch) {
        for change in &batch.changes {
            self.index.take(change);
        }
        self.revision = self.revision.max(batch.revision);
    }

    /// Takes in what is there already.
    fn catch_up(&mut self, watch: &mut Watch) -> Result<(), WatchError> {
        loop {
            let batch = watch.try_batch()?;
            let is_last = batch.changes.is_empty();
            self.take(batch);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Reads all there is again; `None` when the store is closed.
    async fn begin_anew(&mut self, error: WatchError) -> Option<Watch> {
        if matches!(error, WatchError::Closed) {
            return None;
        }
        tracing::warn!(error = %chain(&error), "endpoints are looked at anew");
        loop {
            match Task::read_all(self.store.clone()).await {
                Ok((again, watch)) => {
                    self.index = again.index;
                    self.revision = again.revision;
                    return Some(watch);
                }
                Err(error) => tracing::error!(%error, "endpoints stay as they are: trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Writes what stale services lack, a part at a time.
    async fn settle(&mut self, watch: &mut Watch) -> Result<(), ApiError> {
        while !self.index.stale.is_empty() {
            let some: Vec<ServiceName> = self.index.stale.iter().take(TOGETHER).cloned().collect();
            match self.write(&some).await {
                Ok(()) => {
                    for service in &some {
                        self.index.stale.remove(service);
                    }
                }
                // Somebody was faster: with what they did in view it is decided anew.
                Err(CommitFailed::Overtaken) => {
                    if self.catch_up(watch).is_err() {
                        return Ok(());
                    }
                }
                Err(CommitFailed::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write(&mut self, services: &[ServiceName]) -> Result<(), CommitFailed> {
        let store = self.store.clone();
        let mut draft = Draft::new(&*store);
        let mut writes: Vec<(&ServiceName, String, Option<EndpointSlice>)> = Vec::new();
        let mut warnings = Vec::new();
        let now = Time::now();
        for name in services {
            let found = self.index.service(name);
            let slices = self.index.slices(name);
            let observed: BTreeMap<String, EndpointSlice> =
                slices.iter().map(|(name, (slice, _))| (name.clone(), slice.clone())).collect();
            let mut puts = Vec::new();
            let deletes: Vec<String> = match &found {
                Some((service, created)) if has_endpoints(service) => {
                    let pods = self.index.pods(name);
                    let warning = self.warning(name, service, *created, &pods);
                    warnings.extend(warning.map(|event| (name.clone(), event)));
                    let groups = groups_of(service, pods.iter().copied(), &self.index.zones);
                    let make = |family| new_slice(service, family, now);
                    let difference = diff_slices(service, groups, &observed, make);
                    puts = difference.puts;
                    difference.deletes
                }
                _ => {
                    self.warned.remove(name);
                    observed.into_keys().collect()
                }
            };
            if !puts.is_empty() {
                // Slices of a service that went meanwhile would outlive it.
                draft.require(&service_key(name));
            }
            for slice in puts {
                let at = slices.get(&slice.metadata.name).map(|(_, revision)| *revision);
                let object = Object::EndpointSlice(slice.clone());
                draft.depend_on(&ObjectKey::of(&object), at);
                draft.put(&object);
                writes.push((name, slice.metadata.name.clone(), Some(slice)));
            }
            for gone in deletes {
                let key = slice_key(name, &gone);
                draft.depend_on(&key, slices.get(&gone).map(|(_, revision)| *revision));
                draft.delete(&key);
                writes.push((name, gone, None));
            }
        }
        for (_, event) in &warnings {
            put_event(&mut draft, event.clone()).await.map_err(CommitFailed::Other)?;
        }
        if draft.is_empty() {
            return Ok(());
        }
        let written = draft.commit_unless_overtaken().await.map_err(CommitFailed::Other)?;
        let revision = written.ok_or(CommitFailed::Overtaken)?;
        self.written = revision;
        for (name, event) in warnings {
            let uid = event.involved_object.uid;
            let known = self.warned.remove(&name).filter(|(known, _)| *known == uid);
            let mut said = known.map(|(_, said)| said).unwrap_or_default();
            said.extend(REASONS.into_iter().find(|reason| *reason == event.reason));
            self.warned.insert(name, (uid, said));
        }
        for (service, name, slice) in writes {
            let entry = slice.map(|slice| {
                let key = store_key(&slice_key(service, &name));
                let value = encode(&Object::EndpointSlice(slice));
                Entry::new(key, value, revision, revision)
            });
            self.index.wrote(service, &name, entry);
        }
        Ok(())
    }

    /// What its owner should hear of a service, once: that no pod backs it, though it was made
    /// just now, or that a port has a name which no pod knows.
    fn warning(
        &self,
        name: &ServiceName,
        service: &Service,
        created: Revision,
        pods: &[&Backing],
    ) -> Option<Event> {
        let (reason, message) = if pods.is_empty() {
            if created <= self.began {
                return None;
            }
            let selector: Vec<_> =
                service.spec.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let message = format!("no pod has the labels {}", selector.join(","));
            (NO_PODS, message)
        } else {
            let is_unknown = |port: &&netlab_api::service::ServicePort| {
                pods.iter().all(|pod| target_of(port, pod).is_none())
            };
            let port = service.spec.ports.iter().find(is_unknown)?;
            let Some(PortRef::Name(name)) = &port.target_port else { return None };
            let message = format!("none of its pods has a port named {name} among its `ports`");
            (NO_SUCH_PORT, message)
        };
        let said = self.warned.get(name).filter(|(uid, _)| *uid == service.metadata.uid);
        if said.is_some_and(|(_, said)| said.contains(&reason)) {
            return None;
        }
        let about = Object::Service(service.clone());
        let component = "endpoints-controller";
        let mut event = event_about(&about, EventKind::Warning, reason, message, component, "");
        name_event(&mut event, Time::now());
        Some(event)
    }
}

/// Why nothing was written.
enum CommitFailed {
    Overtaken,
    Other(ApiError),
}

/// Whether the slices of a service are ours to write.
fn has_endpoints(service: &Service) -> bool {
    service.spec.kind != ServiceType::ExternalName && !service.spec.selector.is_empty()
}

fn new_slice(service: &Service, address_type: AddressType, now: Time) -> EndpointSlice {
    let uid = Uuid::new_v4().to_string();
    let family = address_type.as_str().to_lowercase();
    let metadata = ObjectMeta {
        // Random, because users name slices as they like.
        name: format!("{}-{family}-{}", service.metadata.name, &uid[..5]),
        namespace: service.metadata.namespace.clone(),
        uid,
        generation: 1,
        creation_timestamp: Some(now),
        ..ObjectMeta::default()
    };
    EndpointSlice { metadata, address_type, ..EndpointSlice::default() }
}

fn service_key((namespace, name): &ServiceName) -> ObjectKey {
    let namespace = Some(namespace.clone());
    ObjectKey { kind: Kind::Service, namespace, name: name.clone() }
}

fn slice_key((namespace, _): &ServiceName, name: &str) -> ObjectKey {
    let namespace = Some(namespace.clone());
    ObjectKey { kind: Kind::EndpointSlice, namespace, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Options, SledStore};

    #[tokio::test]
    async fn a_task_that_nobody_asks_lets_go_of_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SledStore::open(&folder.path().join("store"), Options::default());
        let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
        let endpoints = Endpoints::start(store.clone()).await.expect("it starts");
        // It waits for changes.
        endpoints.settled(Revision::ZERO).await;
        tokio::task::yield_now().await;
        drop(endpoints);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&store) > 1 {
            assert!(tokio::time::Instant::now() < deadline, "the store is still held");
            tokio::task::yield_now().await;
        }
    }
}
