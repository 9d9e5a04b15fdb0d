// SPDX-License-Identifier: GPL-3.0-or-later
//! What may enter the store: a wanted object becomes a stored one, or an error that says why not.

use netlab_api::event::EventKind;
use netlab_api::namespace::{NamespacePhase, NamespaceStatus};
use netlab_api::patch::{apply_merge, merge_patch};
use netlab_api::resource::{Kind, Object};
use netlab_api::validate::{FieldError, validate, validate_update};
use netlab_api::wire::{Applied, ApplyResult};
use netlab_api::{ApiError, Namespace, Pod, Reason, Time};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Placement;
use super::cluster::{ObjectKey, WriteOptions};
use super::draft::{Draft, store_key};
use super::event::{event_about, name_event};
use super::pod;

/// Where a manifest's object came from; it moves when the file is edited, which is no change of
/// the object.
const SOURCE_ANNOTATION: &str = "netlab.io/source";

/// What somebody wants of objects.
pub(super) enum Wish {
    /// Create what is missing, change what differs.
    Apply(Vec<Object>, WriteOptions),
    /// Put this object in place of the one that is there.
    Replace(Box<Object>),
    /// Change the object that is there.
    Patch(ObjectKey, Value),
    /// Find nodes for pods that have none.
    Place(Vec<Pod>),
}

/// Everything that a decision to admit objects looks at.
pub(super) struct Admission<'a, 'store> {
    pub(super) draft: &'a mut Draft<'store>,
    pub(super) placement: &'a mut Placement,
    pub(super) now: Time,
}

impl Admission<'_, '_> {
    /// Decides what a wish means, object by object.
    pub(super) async fn grant(&mut self, wish: &Wish) -> Result<Vec<Applied>, ApiError> {
        let changed = |object| vec![Applied { result: ApplyResult::Configured, object }];
        match wish {
            Wish::Apply(objects, options) => {
                let mut applied = Vec::with_capacity(objects.len());
                for object in objects {
                    applied.push(self.apply(object.clone(), *options).await?);
                }
                Ok(applied)
            }
            Wish::Replace(object) => self.replace((**object).clone()).await.map(changed),
            Wish::Patch(key, patch) => self.patch(key, patch).await.map(changed),
            Wish::Place(pods) => {
                for pod in pods {
                    let key = ObjectKey::of(&pod.clone().into());
                    // Gone, or placed by somebody else meanwhile: nothing to do.
                    let Some(Object::Pod(mut pod)) = self.draft.get(&key).await? else { continue };
                    if pod.spec.node_name.is_none() && !self.placement.nodes.is_empty() {
                        self.place(&mut pod)?;
                        self.draft.put(&pod.into());
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    /// Creates `wanted`, or changes the one that is there into it.
    async fn apply(
        &mut self,
        mut wanted: Object,
        options: WriteOptions,
    ) -> Result<Applied, ApiError> {
        fill_in_namespace(&mut wanted);
        let key = ObjectKey::of(&wanted);
        let live = self.draft.get(&key).await?;
        if options.create {
            if live.is_some() {
                return Err(already_exists(&key));
            }
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
        let merged = from_wish(&key, &live, merged)?;
        let same = without_source(&merged) == without_source(&live);
        let object = self.update(live, merged)?;
        let result = if same { ApplyResult::Unchanged } else { ApplyResult::Configured };
        Ok(Applied { result, object })
    }

    /// Replaces the object that is there by `wanted`.
    async fn replace(&mut self, mut wanted: Object) -> Result<Object, ApiError> {
        fill_in_namespace(&mut wanted);
        let key = ObjectKey::of(&wanted);
        let live = self.draft.get(&key).await?.ok_or_else(|| not_found(&key))?;
        let expected = &wanted.metadata().resource_version;
        let observed = &live.metadata().resource_version;
        if !expected.is_empty() && expected != observed {
            return Err(ApiError::new(
                Reason::Conflict,
                format!(
                    "{} \"{}\" has changed: it is at revision {observed}, not {expected}",
                    key.kind.plural(),
                    key.name
                ),
            )
            .with_object(live.slash_name())
            .with_hint("read it again and apply your changes to what is there now"));
        }
        let wish = wish_of(&wanted);
        let wanted = from_wish(&key, &live, wish)?;
        self.update(live, wanted)
    }

    /// Changes the object that is there by a merge patch.
    async fn patch(&mut self, key: &ObjectKey, patch: &Value) -> Result<Object, ApiError> {
        let live = self.draft.get(key).await?.ok_or_else(|| not_found(key))?;
        let mut wish = wish_of(&live);
        merge_patch(&mut wish, patch);
        let wanted = from_wish(key, &live, wish)?;
        self.update(live, wanted)
    }

    async fn create(&mut self, wanted: Object) -> Result<Object, ApiError> {
        check(&wanted, validate(&wanted))?;
        let mut object = wanted;
        let metadata = object.metadata_mut();
        metadata.uid = Uuid::new_v4().to_string();
        metadata.resource_version.clear();
        metadata.generation = 1;
        metadata.creation_timestamp = Some(self.now);
        metadata.deletion_timestamp = None;
        metadata.deletion_grace_period_seconds = None;
        match &mut object {
            Object::Pod(pod) => self.create_pod(pod).await?,
            Object::Namespace(namespace) => namespace.status = NamespaceStatus::default(),
            Object::Node(_) => {
                return Err(not_yours(&object, "start netlabd on it: it registers itself"));
            }
            Object::Event(_) => return Err(not_yours(&object, "events are made by netlabd")),
            Object::IpamBlock(_) => {
                return Err(not_yours(&object, "address blocks are claimed by nodes"));
            }
        }
        self.draft.put(&object);
        Ok(object)
    }

    async fn create_pod(&mut self, pod: &mut Pod) -> Result<(), ApiError> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        match self.draft.get_as::<Namespace>(None, &namespace).await? {
            Some(found) if found.status.phase == NamespacePhase::Terminating => {
                return Err(ApiError::new(
                    Reason::Forbidden,
                    format!(
                        "namespace \"{namespace}\" is being deleted: nothing can be made in it"
                    ),
                )
                .with_hint("wait until it is gone, then create it again"));
            }
            Some(_) => {}
            None => {
                return Err(ApiError::not_found("namespaces", &namespace).with_hint(format!(
                    "create it first: netlabctl create namespace {namespace}"
                )));
            }
        }
        pod.status = pod::initial_status(pod);
        self.place(pod)
    }

    /// Binds a pod to its node, or says why none will have it.
    fn place(&mut self, pod: &mut Pod) -> Result<(), ApiError> {
        let Placement { nodes, blocks, config } = &mut *self.placement;
        let name = match &pod.spec.node_name {
            Some(name) => Ok(name.clone()),
            None => pod::choose_node(nodes, blocks, config),
        };
        let event = match name {
            Ok(name) => {
                let Some(node) = nodes.iter().find(|node| node.metadata.name == name) else {
                    let known: Vec<_> = nodes.iter().map(|n| n.metadata.name.as_str()).collect();
                    return Err(ApiError::new(
                        Reason::Invalid,
                        format!(
                            "pod \"{}\" wants node \"{name}\", which does not exist",
                            pod.metadata.name
                        ),
                    )
                    .with_object(format!("pod/{}", pod.metadata.name))
                    .with_field("spec.nodeName")
                    .with_hint(format!("nodes are: {}", known.join(", "))));
                };
                pod::bind(pod, node, blocks, config, self.now)?;
                pod::scheduled_message(pod)
            }
            Err(why) => {
                pod::mark_unschedulable(pod, &why, self.now);
                (EventKind::Warning, "FailedScheduling", why.0)
            }
        };
        let (kind, reason, message) = event;
        let about = Object::Pod(pod.clone());
        let mut event = event_about(&about, kind, reason, message, "scheduler", "");
        name_event(&mut event, self.now);
        self.draft.put(&Object::Event(event));
        Ok(())
    }

    fn update(&mut self, live: Object, mut wanted: Object) -> Result<Object, ApiError> {
        if wanted == live {
            return Ok(live);
        }
        let mut errors = validate(&wanted);
        errors.extend(validate_update(&live, &wanted));
        check(&wanted, errors)?;
        if matches!(wanted, Object::Event(_) | Object::IpamBlock(_)) {
            return Err(not_yours(&wanted, "it is written by netlabd alone"));
        }
        if spec_of(&wanted) != spec_of(&live) {
            wanted.metadata_mut().generation += 1;
        }
        self.draft.put(&wanted);
        Ok(wanted)
    }
}

/// What a person may wish of an object: labels, annotations, spec.
fn wish_of(object: &Object) -> Value {
    let metadata = object.metadata();
    json!({
        "metadata": { "labels": metadata.labels, "annotations": metadata.annotations },
        "spec": spec_of(object),
    })
}

fn spec_of(object: &Object) -> Value {
    let spec = match object {
        Object::Pod(object) => serde_json::to_value(&object.spec),
        Object::Node(object) => serde_json::to_value(&object.spec),
        Object::Namespace(object) => serde_json::to_value(&object.spec),
        Object::IpamBlock(object) => serde_json::to_value(&object.spec),
        Object::Event(_) => Ok(Value::Null),
    };
    spec.expect("specs have string keys and no failing serializers")
}

/// The live object with a wish put in; everything that is not a wish stays as it is.
fn from_wish(key: &ObjectKey, live: &Object, mut wish: Value) -> Result<Object, ApiError> {
    let invalid = |error: serde_json::Error| {
        ApiError::new(Reason::Invalid, format!("{} \"{}\": {error}", key.kind.plural(), key.name))
            .with_object(live.slash_name())
    };
    let mut object = live.clone();
    let metadata = object.metadata_mut();
    let take = |value: &mut Value, field: &str| match value.get_mut(field).map(Value::take) {
        None | Some(Value::Null) => json!({}),
        Some(value) => value,
    };
    let mut wished = take(&mut wish, "metadata");
    metadata.labels = serde_json::from_value(take(&mut wished, "labels")).map_err(invalid)?;
    metadata.annotations =
        serde_json::from_value(take(&mut wished, "annotations")).map_err(invalid)?;
    let spec = take(&mut wish, "spec");
    match &mut object {
        Object::Pod(object) => {
            let node_name = object.spec.node_name.clone();
            object.spec = serde_json::from_value(spec).map_err(invalid)?;
            // A manifest that leaves the choice to the server does not take the choice back.
            object.spec.node_name = object.spec.node_name.take().or(node_name);
        }
        Object::Node(object) => object.spec = serde_json::from_value(spec).map_err(invalid)?,
        Object::Namespace(object) => object.spec = serde_json::from_value(spec).map_err(invalid)?,
        Object::IpamBlock(object) => object.spec = serde_json::from_value(spec).map_err(invalid)?,
        Object::Event(_) => {}
    }
    Ok(object)
}

fn without_source(object: &Object) -> Object {
    let mut object = object.clone();
    object.metadata_mut().annotations.remove(SOURCE_ANNOTATION);
    object
}

fn fill_in_namespace(object: &mut Object) {
    if object.kind().is_namespaced() {
        object.metadata_mut().namespace.get_or_insert_with(|| "default".to_owned());
    } else {
        object.metadata_mut().namespace = None;
    }
}

/// Field errors as one answer, in Kubernetes' shape: `Pod "web" is invalid: field: message`.
fn check(object: &Object, errors: Vec<FieldError>) -> Result<(), ApiError> {
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let all: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
    let message = format!(
        "{} \"{}\" is invalid: {}",
        object.kind().name(),
        object.metadata().name,
        all.join("; ")
    );
    let mut error = ApiError::new(Reason::Invalid, message)
        .with_object(object.slash_name())
        .with_field(first.field.clone());
    error.hint = errors.iter().find_map(|e| e.hint.clone());
    Err(error)
}

fn already_exists(key: &ObjectKey) -> ApiError {
    ApiError::already_exists(key.kind.plural(), &key.name).with_object(format!(
        "{}/{}",
        key.kind.singular(),
        key.name
    ))
}

/// `pods "web" not found`.
pub(super) fn not_found(key: &ObjectKey) -> ApiError {
    ApiError::not_found(key.kind.plural(), &key.name).with_object(format!(
        "{}/{}",
        key.kind.singular(),
        key.name
    ))
}

fn not_yours(object: &Object, hint: &str) -> ApiError {
    ApiError::new(
        Reason::Forbidden,
        format!("{} cannot be written by hand", object.kind().plural()),
    )
    .with_object(object.slash_name())
    .with_hint(hint)
}

/// Kinds that users delete.
pub(super) fn check_deletable(key: &ObjectKey) -> Result<(), ApiError> {
    let why = match key.kind {
        Kind::Pod | Kind::Event => return Ok(()),
        Kind::Namespace if key.name == "default" => "namespace `default` always exists",
        Kind::Namespace => return Ok(()),
        Kind::Node => "a node is there as long as its netlabd runs",
        Kind::IpamBlock => "address blocks go with their node",
    };
    Err(ApiError::new(
        Reason::Forbidden,
        format!("{} \"{}\" cannot be deleted: {why}", key.kind.plural(), key.name),
    )
    .with_object(format!("{}/{}", key.kind.singular(), key.name)))
}
