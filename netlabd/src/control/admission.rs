// SPDX-License-Identifier: GPL-3.0-or-later
//! What may enter the store: a wanted object becomes a stored one.

use std::collections::HashSet;
use std::sync::Arc;

use netlab_api::event::EventKind;
use netlab_api::namespace::{NamespacePhase, NamespaceStatus};
use netlab_api::patch::{apply_merge, merge_patch};
use netlab_api::resource::Object;
use netlab_api::validate::{validate, validate_update};
use netlab_api::wire::{Applied, ApplyResult};
use netlab_api::{ApiError, Event, Namespace, Node, ObjectMeta, Pod, Reason, Time};
use serde_json::Value;
use uuid::Uuid;

use super::Placement;
use super::cluster::{ObjectKey, WriteOptions};
use super::draft::{Draft, store_key};
use super::event::{event_about, name_event, put_event};
use super::pod::{self, Unschedulable};
use super::refusal::{
    check, check_stays, check_uid, check_version, check_writable, no_such_node, not_found,
    not_yours,
};
use super::wish::{
    fields_of, foreign_changes, read_object, spec_of, wish_of, with_wish, without_source,
};

/// What somebody wants of objects.
pub(super) enum Wish {
    /// Create what is missing, change what differs.
    Apply(Vec<Object>, WriteOptions),
    /// Put this object in place of the one that is there.
    Replace(Box<Object>),
    /// Change the object that is there.
    Patch(ObjectKey, Value),
    /// Find nodes for these pods, if they still have none.
    Place(Vec<ObjectKey>),
    /// Make these evicted pods anew, if that was not done yet.
    Move(Vec<Pod>),
    /// Find addresses for these load balancers, if they still have none.
    Balance(Vec<ObjectKey>),
    /// Load balancers follow another configuration.
    Rebalance(Vec<ObjectKey>),
}

/// Everything that a decision to admit objects looks at.
pub(super) struct Admission<'a, 'store> {
    pub(super) draft: &'a mut Draft<'store>,
    pub(super) placement: &'a mut Placement,
    pub(super) now: Time,
    /// Whether a pod was left that no node would have.
    pub(super) leaves_waiting: bool,
}

impl Admission<'_, '_> {
    /// Decides what a wish means, object by object.
    pub(super) async fn grant(&mut self, wish: &Wish) -> Result<Vec<Applied>, ApiError> {
        let changed = |object| vec![Applied { result: ApplyResult::Configured, object }];
        match wish {
            Wish::Apply(objects, options) => self.apply_all(objects, *options).await,
            Wish::Replace(object) => self.replace((**object).clone()).await.map(changed),
            Wish::Patch(key, patch) => self.patch(key, patch).await.map(changed),
            Wish::Place(keys) => {
                for key in keys {
                    // Gone, or placed by somebody else meanwhile: nothing to do.
                    let Some(Object::Pod(pod)) = self.draft.get(key).await? else { continue };
                    if pod.spec.node_name.is_none() {
                        self.place_waiting(pod).await?;
                    }
                }
                Ok(Vec::new())
            }
            Wish::Move(pods) => {
                for pod in pods {
                    self.make_anew(pod.clone()).await?;
                }
                Ok(Vec::new())
            }
            Wish::Rebalance(keys) => {
                for key in keys {
                    if let Some(Object::Service(service)) = self.draft.get(key).await? {
                        self.rebalance(service).await?;
                    }
                }
                Ok(Vec::new())
            }
            Wish::Balance(keys) => {
                for key in keys {
                    if let Some(Object::Service(service)) = self.draft.get(key).await? {
                        self.balance(service).await?;
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    /// Applies objects in the order in which they need each other; answers in the order given.
    async fn apply_all(
        &mut self,
        objects: &[Object],
        options: WriteOptions,
    ) -> Result<Vec<Applied>, ApiError> {
        let mut seen = HashSet::with_capacity(objects.len());
        let mut ordered: Vec<(usize, Object)> = objects.iter().cloned().enumerate().collect();
        for (_, object) in &mut ordered {
            fill_in_namespace(object);
            if !seen.insert(store_key(&ObjectKey::of(object))) {
                let message = format!("{} stands twice in one request", object.slash_name());
                return Err(ApiError::new(Reason::Invalid, message)
                    .with_object(object.slash_name())
                    .with_hint("keep one of the two"));
            }
        }
        ordered.sort_by_key(|(_, object)| object.kind());
        let mut applied = Vec::with_capacity(ordered.len());
        for (place, object) in ordered {
            applied.push((place, self.apply(object, options).await?));
        }
        applied.sort_by_key(|(place, _)| *place);
        Ok(applied.into_iter().map(|(_, applied)| applied).collect())
    }

    /// Creates `wanted`, or changes the one that is there into it.
    async fn apply(&mut self, wanted: Object, options: WriteOptions) -> Result<Applied, ApiError> {
        check_writable(&wanted)?;
        let key = ObjectKey::of(&wanted);
        let live = self.draft.get(&key).await?;
        if let Some(live) = &live {
            check_stays(&key, live, options)?;
        }
        if options.create {
            let object = self.create(wanted).await?;
            return Ok(Applied { result: ApplyResult::Created, object });
        }
        let record = format!("applied/{}", store_key(&key));
        let wish = wish_of(&wanted);
        let last_wish = self.draft.get_raw(&record).await?;
        if last_wish.as_ref() != Some(&wish) {
            self.draft.put_raw(record, Some(&wish));
        }
        let Some(live) = live else {
            let object = self.create(wanted).await?;
            return Ok(Applied { result: ApplyResult::Created, object });
        };
        let merged = apply_merge(&wish_of(&live), last_wish.as_ref(), &wish);
        let merged = with_wish(&live, read_object(&key, merged)?);
        let same = without_source(&merged) == without_source(&live);
        let object = self.update(live, merged).await?;
        let result = if same { ApplyResult::Unchanged } else { ApplyResult::Configured };
        Ok(Applied { result, object })
    }

    /// Replaces the object that is there by `wanted`.
    async fn replace(&mut self, mut wanted: Object) -> Result<Object, ApiError> {
        check_writable(&wanted)?;
        fill_in_namespace(&mut wanted);
        let key = ObjectKey::of(&wanted);
        let live = self.draft.get(&key).await?.ok_or_else(|| not_found(&key))?;
        check_version(&key, &live, &wanted.metadata().resource_version)?;
        check_uid(&live, &wanted)?;
        let wanted = with_wish(&live, wanted);
        self.update(live, wanted).await
    }

    /// Changes the object that is there by a merge patch.
    async fn patch(&mut self, key: &ObjectKey, patch: &Value) -> Result<Object, ApiError> {
        let live = self.draft.get(key).await?.ok_or_else(|| not_found(key))?;
        check_writable(&live)?;
        let expected = patch.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        check_version(key, &live, expected.unwrap_or_default())?;
        let mut patched = fields_of(&live);
        merge_patch(&mut patched, patch);
        let patched = read_object(key, patched)?;
        let wanted = with_wish(&live, patched.clone());
        check(&live, foreign_changes(&wanted, &patched))?;
        self.update(live, wanted).await
    }

    async fn create(&mut self, wanted: Object) -> Result<Object, ApiError> {
        check(&wanted, validate(&wanted))?;
        let mut object = wanted;
        self.begin_life(object.metadata_mut());
        match &mut object {
            Object::Pod(pod) => self.create_pod(pod).await?,
            Object::Namespace(namespace) => namespace.status = NamespaceStatus::default(),
            Object::Service(service) => self.create_service(service).await?,
            Object::EndpointSlice(slice) => {
                let namespace = slice.metadata.namespace.clone().unwrap_or_default();
                self.check_namespace(&namespace).await?;
            }
            Object::Node(_) => {
                return Err(not_yours(&object, "start netlabd on it: it registers itself"));
            }
            Object::Event(_) | Object::IpamBlock(_) => {
                return check_writable(&object).map(|()| object);
            }
        }
        self.draft.put(&object);
        Ok(object)
    }

    /// What no object has from those who wish it.
    pub(super) fn begin_life(&self, metadata: &mut ObjectMeta) {
        metadata.uid = Uuid::new_v4().to_string();
        metadata.resource_version.clear();
        metadata.generation = 1;
        metadata.creation_timestamp = Some(self.now);
        metadata.deletion_timestamp = None;
        metadata.deletion_grace_period_seconds = None;
    }

    /// Whether something may be made in a namespace.
    pub(super) async fn check_namespace(&mut self, namespace: &str) -> Result<(), ApiError> {
        match self.draft.get_as::<Namespace>(None, namespace).await? {
            Some(found) if found.status.phase == NamespacePhase::Terminating => Err(ApiError::new(
                Reason::Forbidden,
                format!("namespace \"{namespace}\" is being deleted: nothing can be made in it"),
            )
            .with_hint("wait until it is gone, then create it again")),
            Some(_) => Ok(()),
            None => Err(ApiError::not_found("namespaces", namespace)
                .with_hint(format!("create it first: netlabctl create namespace {namespace}"))),
        }
    }

    async fn create_pod(&mut self, pod: &mut Pod) -> Result<(), ApiError> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        self.check_namespace(&namespace).await?;
        pod.status = pod::initial_status(pod);
        let event = match self.choose_node(pod)? {
            Ok(node) => self.bind(pod, &node)?,
            Err(Unschedulable::NoAddress(error)) => return Err(pod::no_address(pod, &error)),
            Err(why) => self.leave_waiting(pod, &why),
        };
        self.draft.put(&event.into());
        Ok(())
    }

    /// Binds a pod that waits for a node, or says why none will have it yet.
    async fn place_waiting(&mut self, mut pod: Pod) -> Result<(), ApiError> {
        let before = pod.status.clone();
        let event = match self.choose_node(&pod)? {
            Ok(node) => self.bind(&mut pod, &node)?,
            Err(why) => self.leave_waiting(&mut pod, &why),
        };
        if pod.status != before {
            self.draft.put(&pod.into());
            put_event(self.draft, event).await?;
        }
        Ok(())
    }

    /// The node that is to run a pod, or why there is none.
    fn choose_node(&self, pod: &Pod) -> Result<Result<Arc<Node>, Unschedulable>, ApiError> {
        let Placement { nodes, blocks, config } = &*self.placement;
        let Some(name) = &pod.spec.node_name else {
            return Ok(pod::choose_node(pod, nodes, blocks, config).cloned());
        };
        if let Some(node) = nodes.iter().find(|node| node.metadata.name == *name) {
            if node.metadata.deletion_timestamp.is_some() {
                return Err(ApiError::new(
                    Reason::Conflict,
                    format!("node \"{name}\" is being deleted: it takes no new pods"),
                )
                .with_object(format!("node/{name}"))
                .with_field("spec.nodeName")
                .with_hint("choose another, or leave the choice to netlab"));
            }
            return Ok(Ok(node.clone()));
        }
        let known: Vec<_> = nodes.iter().map(|n| n.metadata.name.as_str()).collect();
        Err(no_such_node(&pod.metadata.name, name, &known))
    }

    pub(super) fn bind(&mut self, pod: &mut Pod, node: &Node) -> Result<Event, ApiError> {
        let Placement { blocks, config, .. } = &mut *self.placement;
        pod::bind(pod, node, blocks, config, self.now)?;
        Ok(self.event(pod, pod::scheduled_message(pod)))
    }

    pub(super) fn leave_waiting(&mut self, pod: &mut Pod, why: &Unschedulable) -> Event {
        self.leaves_waiting = true;
        pod::mark_unschedulable(pod, why, self.now);
        self.event(pod, (EventKind::Warning, "FailedScheduling", why.to_string()))
    }

    pub(super) fn event(
        &self,
        pod: &Pod,
        (kind, reason, message): (EventKind, &str, String),
    ) -> Event {
        let about = Object::Pod(pod.clone());
        let mut event = event_about(&about, kind, reason, message, "scheduler", "");
        name_event(&mut event, self.now);
        event
    }

    async fn update(&mut self, live: Object, mut wanted: Object) -> Result<Object, ApiError> {
        if wanted == live {
            return Ok(live);
        }
        check(&wanted, validate_update(&live, &wanted))?;
        if let (Object::Service(live), Object::Service(wanted)) = (&live, &mut wanted) {
            self.settle_service(Some(live), wanted).await?;
        }
        if spec_of(&wanted) != spec_of(&live) {
            wanted.metadata_mut().generation += 1;
        }
        self.draft.put(&wanted);
        if let Object::Node(node) = &wanted {
            self.see_node(node);
        }
        Ok(wanted)
    }

    /// Pods of the same request are placed by what it makes of the nodes, and a block that they
    /// claim is noted in the node as it is going to be.
    fn see_node(&mut self, changed: &Node) {
        let nodes = &mut self.placement.nodes;
        let known = nodes.iter_mut().find(|node| node.metadata.name == changed.metadata.name);
        if let Some(known) = known {
            let mut node = changed.clone();
            // What was read, so that nobody's change in between is lost.
            node.metadata.resource_version.clone_from(&known.metadata.resource_version);
            *known = Arc::new(node);
        }
    }
}

fn fill_in_namespace(object: &mut Object) {
    if object.kind().is_namespaced() {
        object.metadata_mut().namespace.get_or_insert_with(|| "default".to_owned());
    } else {
        object.metadata_mut().namespace = None;
    }
}
