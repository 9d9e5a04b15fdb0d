// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects of every kind: get, list, watch, create, replace, patch, delete, apply.
//!
//! One set of handlers serves all kinds. Writes run in a task of their own: a client that hangs up
//! midway does not stop one between two of its steps, and a server that stops waits for it.

use std::borrow::Cow;
use std::marker::PhantomData;

use axum::extract::State;
use netlab_api::fields::FieldSelector;
use netlab_api::labels::Selector;
use netlab_api::resource::{API_VERSION, ListMeta};
use netlab_api::wire::{ApplyResponse, DeleteResponse};
use netlab_api::{ApiError, Object, Resource};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, Failure, bad_request, defect};
use super::body::{ObjectBody, ObjectsBody, PatchBody};
use super::query::{FromQuery, NoParams, Params, Query};
use super::router::App;
use super::target::{Collection, Single, agree, disagreement};
use super::watch;
use crate::control::cluster::{DeleteOptions, Filter, Objects, WriteOptions};
use crate::store::Revision;

/// `GET` of one object.
pub(super) async fn get<T: Resource>(
    State(app): State<App>,
    Single(key, _): Single<T>,
    _: Params<NoParams>,
) -> Result<Answer<T>, Failure> {
    Ok(answer(&app.state.cluster.get(&key).await?))
}

/// `GET` of a collection: a list, or a stream of changes.
pub(super) async fn list<T: Resource>(
    State(app): State<App>,
    Collection(scope, _): Collection<T>,
    Params(params): Params<ListParams>,
) -> Result<Answer<ListOf<'static, T>>, Failure> {
    let filter = filter::<T>(params.label_selector.as_deref(), params.field_selector.as_deref())?;
    let from = params.resource_version.map(Revision);
    if params.watch {
        return Ok(Answer::of(watch::start(&app, scope, filter, from).await?));
    }
    if from.is_some() {
        return Err(bad_request("`resourceVersion` says where a watch begins, this is a list")
            .with_hint("add `watch=true`, or leave `resourceVersion` out")
            .into());
    }
    let objects = app.state.cluster.list(&scope, &filter).await?;
    Ok(Answer::new(&ListOf::<T>::new(&objects)).at(objects.revision))
}

/// `POST` to a collection.
pub(super) async fn create<T: Resource + Into<Object>>(
    State(app): State<App>,
    Collection(scope, _): Collection<T>,
    Params(params): Params<WriteParams>,
    ObjectBody(mut object): ObjectBody<T>,
) -> Result<Answer<T, 201>, Failure> {
    agree(object.metadata_mut(), scope.namespace.as_deref(), None)?;
    let options = WriteOptions { create: true, dry_run: params.dry_run };
    let cluster = app.state.cluster.clone();
    let applied =
        unhurried(&app, async move { cluster.apply(vec![object.into()], options).await }).await?;
    let created = applied.items.first().ok_or_else(|| defect("an apply of one answered none"))?;
    Ok(answer(&created.object))
}

/// `PUT` of one object.
pub(super) async fn replace<T: Resource + Into<Object>>(
    State(app): State<App>,
    Single(key, _): Single<T>,
    Params(params): Params<WriteParams>,
    ObjectBody(mut object): ObjectBody<T>,
) -> Result<Answer<T>, Failure> {
    agree(object.metadata_mut(), key.namespace.as_deref(), Some(&key.name))?;
    let cluster = app.state.cluster.clone();
    let replace = async move { cluster.replace(object.into(), params.dry_run).await };
    Ok(answer(&unhurried(&app, replace).await?))
}

/// `PATCH` of one object.
pub(super) async fn patch<T: Resource>(
    State(app): State<App>,
    Single(key, _): Single<T>,
    Params(params): Params<WriteParams>,
    PatchBody(patch, _): PatchBody<T>,
) -> Result<Answer<T>, Failure> {
    let metadata = patch.get("metadata");
    for (field, wanted) in [("name", Some(&key.name)), ("namespace", key.namespace.as_ref())] {
        let (Some(found), Some(wanted)) = (metadata.and_then(|m| m.get(field)), wanted) else {
            continue;
        };
        if found.as_str() != Some(wanted) {
            let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            return Err(disagreement(field, &found, wanted).into());
        }
    }
    let cluster = app.state.cluster.clone();
    let patching = async move { cluster.patch(&key, Value::Object(patch), params.dry_run).await };
    Ok(answer(&unhurried(&app, patching).await?))
}

/// `DELETE` of one object.
pub(super) async fn delete<T: Resource>(
    State(app): State<App>,
    Single(key, _): Single<T>,
    Params(params): Params<DeleteParams>,
) -> Result<Answer<T>, Failure> {
    let options = params.options();
    let cluster = app.state.cluster.clone();
    Ok(answer(&unhurried(&app, async move { cluster.delete(&key, &options).await }).await?))
}

/// `DELETE` of a collection: the named objects, or all that match.
pub(super) async fn delete_many<T: Resource>(
    State(app): State<App>,
    Collection(scope, _): Collection<T>,
    Params(params): Params<DeleteManyParams>,
) -> Result<Answer<DeleteResponse>, Failure> {
    let filter = filter::<T>(params.label_selector.as_deref(), params.field_selector.as_deref())?;
    let names: Vec<String> = match &params.names {
        None => Vec::new(),
        Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    // An empty name must not turn "delete these" into "delete all".
    if names.iter().any(String::is_empty) {
        return Err(bad_request("query parameter `names` has an empty name in it")
            .with_hint("write `names=a,b,c`, or leave it out to delete all that match")
            .into());
    }
    if !names.is_empty() && (params.label_selector.is_some() || params.field_selector.is_some()) {
        return Err(bad_request("`names` and selectors do not go together")
            .with_hint("name the objects, or select them")
            .into());
    }
    let options = DeleteOptions {
        grace_period_seconds: params.grace_period_seconds,
        resource_version: None,
        dry_run: params.dry_run,
        evict: params.evict,
    };
    let cluster = app.state.cluster.clone();
    let deletion = async move { cluster.delete_many(&scope, &names, &filter, &options).await };
    let deleted = unhurried(&app, deletion).await?;
    Ok(Answer::new(&deleted).at(Revision(deleted.revision)))
}

/// `POST /v1/apply`.
pub(super) async fn apply(
    State(app): State<App>,
    Params(params): Params<ApplyParams>,
    ObjectsBody(objects): ObjectsBody,
) -> Result<Answer<ApplyResponse>, Failure> {
    let options = WriteOptions { create: params.create, dry_run: params.dry_run };
    let cluster = app.state.cluster.clone();
    let applied = unhurried(&app, async move { cluster.apply(objects, options).await }).await?;
    Ok(Answer::new(&applied).at(Revision(applied.revision)))
}

/// Runs `work` to its end, also when nobody waits for it any more.
async fn unhurried<T: Send + 'static>(
    app: &App,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let app = app.clone();
    let task = tokio::spawn(async move {
        let result = work.await;
        drop(app);
        result
    });
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(super::answer::stopping()),
        },
    }
}

/// One object, with its revision in the header.
fn answer<T, const STATUS: u16>(object: &Object) -> Answer<T, STATUS> {
    let answer = Answer::new(object);
    match object.metadata().resource_version.parse() {
        Ok(revision) => answer.at(revision),
        // A dry run of a create has no revision.
        Err(_) => answer,
    }
}

fn filter<T: Resource>(labels: Option<&str>, fields: Option<&str>) -> Result<Filter, ApiError> {
    let labels = labels.map(Selector::parse).transpose();
    let fields = fields.map(|text| FieldSelector::parse_for(T::KIND, text)).transpose();
    Ok(Filter {
        labels: labels.map_err(|error| bad_request(error.to_string()))?.unwrap_or_default(),
        fields: fields.map_err(|error| bad_request(error.to_string()))?.unwrap_or_default(),
    })
}

/// Objects of one kind on the wire: `PodList`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOf<'a, T> {
    kind: String,
    api_version: &'static str,
    metadata: ListMeta,
    items: &'a [Object],
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Resource> ListOf<'a, T> {
    fn new(objects: &'a Objects) -> ListOf<'a, T> {
        ListOf {
            kind: Self::schema_name().into_owned(),
            api_version: API_VERSION,
            metadata: ListMeta { resource_version: objects.revision.to_string() },
            items: &objects.items,
            of: PhantomData,
        }
    }
}

impl<T: Resource> JsonSchema for ListOf<'_, T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}List", T::KIND.name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "objects of one kind, as they were at one revision",
            "properties": {
                "kind": { "const": Self::schema_name() },
                "apiVersion": { "const": API_VERSION },
                "metadata": generator.subschema_for::<ListMeta>(),
                "items": { "type": "array", "items": generator.subschema_for::<T>() },
            },
            "required": ["kind", "apiVersion", "metadata", "items"],
        })
    }
}

/// Parameters of a list or a watch.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListParams {
    /// Only objects with these labels: `app=web,tier!=db,env in (a,b),!old`.
    label_selector: Option<String>,
    /// Only objects with these fields: `metadata.name=web,status.phase!=Running`.
    field_selector: Option<String>,
    /// Stream changes, one JSON event a line, instead of a list.
    #[serde(default)]
    watch: bool,
    /// With `watch`: everything after this revision. Without it the watch starts with what is there.
    resource_version: Option<u64>,
}

impl FromQuery for ListParams {
    fn from_query(query: &mut Query) -> Result<ListParams, ApiError> {
        Ok(ListParams {
            label_selector: query.text("labelSelector")?,
            field_selector: query.text("fieldSelector")?,
            watch: query.flag("watch")?,
            resource_version: query.value("resourceVersion", "a revision")?,
        })
    }
}

/// Parameters of a write.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteParams {
    /// Answer what would be, and store nothing.
    #[serde(default)]
    dry_run: bool,
}

impl FromQuery for WriteParams {
    fn from_query(query: &mut Query) -> Result<WriteParams, ApiError> {
        Ok(WriteParams { dry_run: query.flag("dryRun")? })
    }
}

/// Parameters of an apply.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplyParams {
    /// Fail with `AlreadyExists` rather than change anything.
    #[serde(default)]
    create: bool,
    /// Answer what would be, and store nothing.
    #[serde(default)]
    dry_run: bool,
}

impl FromQuery for ApplyParams {
    fn from_query(query: &mut Query) -> Result<ApplyParams, ApiError> {
        Ok(ApplyParams { create: query.flag("create")?, dry_run: query.flag("dryRun")? })
    }
}

/// Parameters of a delete.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteParams {
    /// Seconds between SIGTERM and SIGKILL; the pod's own unless given.
    grace_period_seconds: Option<u64>,
    /// Fail with `Conflict` unless the object is at this revision.
    resource_version: Option<u64>,
    /// Answer what would be, and delete nothing.
    #[serde(default)]
    dry_run: bool,
    /// Pods only: make each anew on another node once it is gone from its own.
    #[serde(default)]
    evict: bool,
}

impl DeleteParams {
    fn options(&self) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: self.grace_period_seconds,
            resource_version: self.resource_version.map(Revision),
            dry_run: self.dry_run,
            evict: self.evict,
        }
    }
}

impl FromQuery for DeleteParams {
    fn from_query(query: &mut Query) -> Result<DeleteParams, ApiError> {
        Ok(DeleteParams {
            grace_period_seconds: query.value("gracePeriodSeconds", "a number of seconds")?,
            resource_version: query.value("resourceVersion", "a revision")?,
            dry_run: query.flag("dryRun")?,
            evict: query.flag("evict")?,
        })
    }
}

/// Parameters of a delete of several objects.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeleteManyParams {
    /// These objects, separated by commas; nothing is deleted when one of them is missing.
    names: Option<String>,
    /// Only objects with these labels.
    label_selector: Option<String>,
    /// Only objects with these fields.
    field_selector: Option<String>,
    /// Seconds between SIGTERM and SIGKILL; each pod's own unless given.
    grace_period_seconds: Option<u64>,
    /// Answer what would be, and delete nothing.
    #[serde(default)]
    dry_run: bool,
    /// Pods only: make each anew on another node once it is gone from its own.
    #[serde(default)]
    evict: bool,
}

impl FromQuery for DeleteManyParams {
    fn from_query(query: &mut Query) -> Result<DeleteManyParams, ApiError> {
        Ok(DeleteManyParams {
            names: query.text("names")?,
            label_selector: query.text("labelSelector")?,
            field_selector: query.text("fieldSelector")?,
            grace_period_seconds: query.value("gracePeriodSeconds", "a number of seconds")?,
            dry_run: query.flag("dryRun")?,
            evict: query.flag("evict")?,
        })
    }
}
