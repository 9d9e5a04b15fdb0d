// SPDX-License-Identifier: GPL-3.0-or-later
//! Paths and methods, what wraps every answer, and the document that describes them all.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aide::axum::ApiRouter;
use aide::axum::routing::{ApiMethodRouter, delete_with, get_with, post_with, put_with};
use aide::openapi::{Info, OpenApi, PathItem, ReferenceOr};
use aide::transform::TransformOperation;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use netlab_api::resource::{API_VERSION, Kind};
use netlab_api::{
    ApiError, EndpointSlice, Event, IpamBlock, Namespace, Node, Object, Pod, Reason, Resource,
    Service,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{Answer, Failure, panic_response};
use super::{
    ServerState, exec, explain, forward, health, log, names, nodes, objects, proxy, token,
};

/// What every handler has at hand.
#[derive(Clone)]
pub(super) struct App {
    pub(super) state: Arc<ServerState>,
    pub(super) watches: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
    /// `/openapi.json`, once all routes are known.
    document: Arc<OnceLock<Bytes>>,
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// All is served.
    Serving,
    /// Watches end, everything else may finish.
    Draining,
    /// Everything ends.
    Closed,
}

impl App {
    pub(super) fn new(state: ServerState, phase: watch::Receiver<Phase>) -> App {
        let watches = Arc::new(Semaphore::new(state.limits.watches));
        App { state: Arc::new(state), watches, phase, document: Arc::default() }
    }

    /// Waits until the server is told to stop.
    pub(super) fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Phase::Draining)
    }

    /// Waits until the time to finish is over.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reached(Phase::Closed)
    }

    fn reached(&self, wanted: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.clone();
        async move {
            // Without a server nobody is served.
            let _ = phase.wait_for(|phase| *phase >= wanted).await;
        }
    }
}

/// Everything that the server answers.
pub(super) fn router(app: App) -> Router {
    let mut api = OpenApi {
        info: Info {
            title: "netlab".to_owned(),
            summary: Some("Kubernetes networking on bare Linux".to_owned()),
            version: app.state.version.clone(),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let described = routes().finish_api(&mut api);
    let paths: Arc<[String]> =
        api.paths.iter().flat_map(|paths| paths.paths.keys().cloned()).collect();
    app.document.get_or_init(|| Bytes::from(document(api).to_string()));
    described
        .fallback(move |uri: Uri| async move { not_found(&uri, &paths) })
        .with_state(app.clone())
        // From the inside out: a panic becomes an answer, the answer gets its shape, and is counted.
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(middleware::from_fn_with_state(app, account))
}

fn routes() -> ApiRouter<App> {
    let router = ApiRouter::new()
        .api_route("/livez", get_with(health::livez, |op| plain(op, "Whether the process lives")))
        .api_route(
            "/healthz",
            get_with(health::healthz, |op| plain(op, "Whether the daemon works")),
        )
        .api_route(
            "/readyz",
            get_with(health::readyz, |op| {
                op.summary("Whether the daemon is ready, and what it waits for")
                    .response::<503, Answer<netlab_api::wire::Readiness>>()
            }),
        )
        .api_route("/metrics", get_with(health::metrics, |op| plain(op, "Metrics (OpenMetrics)")))
        .api_route("/openapi.json", get_with(openapi, summary("This description")))
        .api_route("/v1/version", get_with(health::version, summary("Versions")))
        .api_route("/v1/doctor", get_with(health::doctor, summary("Checks of this node")))
        .api_route(
            "/v1/programmed",
            get_with(health::programmed, summary("Wait until kernels reflect a revision")),
        )
        .api_route(
            "/v1/proxy",
            get_with(proxy::base, summary("The rules of this node for all services")),
        )
        .api_route(
            "/v1/proxy/services/{namespace}/{name}",
            get_with(proxy::service, summary("The rules of this node for a service")),
        )
        .api_route(
            "/v1/proxy/ruleset",
            get_with(proxy::ruleset, summary("All rules of this node, as `nft` reads them")),
        )
        .api_route(
            "/v1/explain/pods/{namespace}/{name}",
            get_with(explain::pod, summary("What a person would type for a pod")),
        )
        .api_route(
            "/v1/explain/services/{namespace}/{name}",
            get_with(explain::service, summary("What a person would type for a service")),
        )
        .api_route(
            "/v1/explain/proxy",
            get_with(explain::proxy, summary("What a person would type for all services")),
        )
        .api_route(
            "/v1/explain/network",
            get_with(explain::network, summary("What a person would type to reach other nodes")),
        )
        .api_route("/v1/flows", get_with(proxy::flows, summary("The flows that this node tracks")))
        .api_route(
            "/v1/dns/query",
            get_with(names::query, summary("How this node answers a question for a name")),
        )
        .api_route(
            "/v1/dns/records",
            get_with(names::records, summary("The records that this node answers with")),
        )
        .api_route(
            "/v1/dns/log",
            get_with(names::log, |op| names::document(op.summary("Questions to this node"))),
        )
        .api_route(
            "/v1/namespaces/{namespace}/pods/{name}/dns/query",
            get_with(names::query_of_pod, summary("How a pod's question for a name is answered")),
        )
        .api_route(
            "/v1/namespaces/{namespace}/pods/{name}/dns/log",
            get_with(names::log_of_pod, |op| names::document(op.summary("Questions of a pod"))),
        )
        .api_route("/v1/apply", post_with(objects::apply, summary("Apply objects, all or none")))
        .api_route(
            "/v1/network",
            get_with(nodes::network, summary("What holds for the pod network"))
                .merge(put_with(nodes::set_network, summary("Change the pod network"))),
        )
        .api_route(
            "/v1/namespaces/{namespace}/pods/{name}/exec",
            post_with(exec::exec, |op| exec::document(op.summary("Run a command in a pod"))),
        )
        .api_route(
            "/v1/namespaces/{namespace}/pods/{name}/portforward",
            post_with(forward::forward, |op| {
                forward::document(op.summary("Connect to a port of a pod"))
            }),
        )
        .api_route(
            "/v1/namespaces/{namespace}/pods/{name}/log",
            get_with(log::log, |op| log::document(op.summary("Read a pod's log"))),
        );
    let router = router
        .api_route(
            "/v1/tokens",
            get_with(token::list, summary("List the tokens that let machines join"))
                .merge(post_with(token::create, summary("Make a token"))),
        )
        .api_route("/v1/tokens/{id}", delete_with(token::revoke, summary("Revoke a token")))
        // Between daemons alone, and of no use to anybody else.
        .route("/v1/nodes/{name}/certificate", post(token::renew))
        .route("/v1/nodes/{name}/view", get(nodes::view))
        .route("/v1/nodes/{name}/report", post(nodes::report))
        .route("/v1/nodes/{name}/tunnels/{tunnel}", post(nodes::tunnel));
    let router = kind::<Namespace>(router, Verbs { create: true, change: true, clear: false });
    let router = kind::<Node>(router, Verbs { create: false, change: true, clear: false });
    let router = kind::<Pod>(router, Verbs { create: true, change: true, clear: true });
    let all = Verbs { create: true, change: true, clear: true };
    let router = kind::<Service>(router, all);
    let router = kind::<EndpointSlice>(router, all);
    let router = kind::<Event>(router, Verbs::default());
    kind::<IpamBlock>(router, Verbs::default())
}

/// What may be done to a kind besides reading it.
#[derive(Clone, Copy, Default)]
struct Verbs {
    /// POST to the collection.
    create: bool,
    /// PUT, PATCH and DELETE of one object.
    change: bool,
    /// DELETE of the collection.
    clear: bool,
}

fn kind<T: Resource + Into<Object>>(router: ApiRouter<App>, verbs: Verbs) -> ApiRouter<App> {
    let (plural, singular) = (T::KIND.plural(), T::KIND.singular());
    let list = || get_with(objects::list::<T>, summary(format!("List or watch {plural}")));
    let mut collection: ApiMethodRouter<App> = list();
    if verbs.create {
        let create = post_with(objects::create::<T>, summary(format!("Create a {singular}")));
        collection = collection.merge(create);
    }
    if verbs.clear {
        let clear = delete_with(
            objects::delete_many::<T>,
            summary(format!("Delete the named {plural}, or all that match")),
        );
        collection = collection.merge(clear);
    }
    let mut single: ApiMethodRouter<App> =
        get_with(objects::get::<T>, summary(format!("Read a {singular}")));
    if verbs.change {
        single = single
            .merge(put_with(objects::replace::<T>, summary(format!("Replace a {singular}"))))
            .patch_with(objects::patch::<T>, summary(format!("Change a {singular}")))
            .delete_with(objects::delete::<T>, summary(format!("Delete a {singular}")));
    }
    let (path, router) = if T::KIND.is_namespaced() {
        let everywhere = format!("/v1/{plural}");
        (format!("/v1/namespaces/{{namespace}}/{plural}"), router.api_route(&everywhere, list()))
    } else {
        (format!("/v1/{plural}"), router)
    };
    router.api_route(&path, collection).api_route(&format!("{path}/{{name}}"), single)
}

fn summary(
    text: impl Into<String>,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    let text = text.into();
    move |operation| operation.summary(&text)
}

fn plain<'t>(operation: TransformOperation<'t>, summary: &str) -> TransformOperation<'t> {
    operation.summary(summary).response::<200, String>()
}

/// `GET /openapi.json`.
async fn openapi(State(app): State<App>) -> Answer<Value> {
    let document = app.document.get().cloned().unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    Answer::of(([(header::CONTENT_TYPE, json)], document).into_response())
}

/// The description as it is answered: what the handlers say, and what only the paths know.
fn document(mut api: OpenApi) -> Value {
    for (path, item) in api.paths.iter_mut().flat_map(|paths| &mut paths.paths) {
        let ReferenceOr::Item(item) = item else { continue };
        for (method, operation) in operations(item) {
            // A collection over all namespaces shares its handler with that of one namespace.
            operation.parameters.retain(|parameter| match parameter.as_item() {
                Some(aide::openapi::Parameter::Path { parameter_data, .. }) => {
                    path.contains(&format!("{{{}}}", parameter_data.name))
                }
                _ => true,
            });
            operation.operation_id = Some(operation_id(method, path));
        }
    }
    let mut document = serde_json::to_value(api).expect("a description is plain data");
    for kind in Kind::ALL {
        let pointer = format!("/components/schemas/{}", kind.name());
        let Some(schema) = document.pointer_mut(&pointer) else { continue };
        // The types do not have the two fields, which objects carry on the wire alone.
        schema["properties"]["apiVersion"] = json!({ "const": API_VERSION });
        schema["properties"]["kind"] = json!({ "const": kind.name() });
    }
    document
}

fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (&'static str, &mut aide::openapi::Operation)> {
    [
        ("get", &mut item.get),
        ("post", &mut item.post),
        ("put", &mut item.put),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `get_namespaces_pods_name` of GET `/v1/namespaces/{namespace}/pods/{name}`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split('/').filter(|word| !matches!(*word, "" | "v1" | "{namespace}"));
    let words = words.map(|word| word.trim_matches(['{', '}']));
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// Counts an answer, and gives the API's shape to those that axum made.
async fn account(
    State(app): State<App>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = method_not_allowed(&method, &response);
    }
    let took = started.elapsed();
    let status = response.status().as_u16();
    let route = path.as_ref().map_or("unknown", MatchedPath::as_str);
    app.state.metrics.observe(&method, route, status, took);
    tracing::debug!(%method, path = uri.path(), status, ?took, "request");
    response
}

fn method_not_allowed(method: &Method, response: &Response) -> Response {
    let allow = response.headers().get(header::ALLOW).cloned();
    let allowed = allow.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allowed = allowed.replace(',', ", ");
    let mut error =
        ApiError::new(Reason::MethodNotAllowed, format!("this path does not know {method}"));
    // axum names the methods, except where a path has none of its own.
    if !allowed.is_empty() {
        error = error.with_hint(format!("it knows {allowed}"));
    }
    let mut response = Failure(error).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// 404 with the path that was most likely meant.
fn not_found(uri: &Uri, paths: &[String]) -> Failure {
    let path = uri.path();
    let error = ApiError::new(Reason::NotFound, format!("there is no path `{path}`"));
    Failure(match near_path(path, paths) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("/openapi.json lists all paths"),
    })
}

/// A path that exists and looks like `path`: with the words that were given where a route has
/// parameters, so that it can be copied.
fn near_path(path: &str, paths: &[String]) -> Option<String> {
    // kubectl's habit, and a slash too many.
    let given = path.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let given: Vec<&str> = given.split('/').filter(|word| !word.is_empty()).collect();
    // The namespace is missing, where another kind's path would look alike.
    if let ["v1", plural, name] = given.as_slice()
        && Kind::ALL.iter().any(|kind| kind.is_namespaced() && kind.plural() == *plural)
    {
        return Some(format!("/v1/namespaces/default/{plural}/{name}"));
    }
    let mut best: Option<(f64, String)> = None;
    for template in paths {
        let words: Vec<&str> = template.split('/').filter(|word| !word.is_empty()).collect();
        let Some(likeness) = likeness(&given, &words) else { continue };
        if best.as_ref().is_none_or(|(most, _)| likeness > *most) {
            let filled = words.iter().zip(&given).map(|(word, given)| match is_parameter(word) {
                true => *given,
                false => *word,
            });
            best = Some((likeness, filled.fold(String::new(), |path, word| path + "/" + word)));
        }
    }
    if let Some((_, near)) = best {
        return Some(near);
    }
    // `/pods`: the version is missing.
    match given.first() {
        Some(word) if *word != "v1" => near_path(&format!("/v1/{}", given.join("/")), paths),
        _ => None,
    }
}

/// How alike a path and a route are, 1 at most; `None` when they are not.
fn likeness(given: &[&str], words: &[&str]) -> Option<f64> {
    if given.len() != words.len() {
        return None;
    }
    let mut product = 1.0;
    for (given, word) in given.iter().zip(words) {
        if !is_parameter(word) {
            let one = strsim::normalized_damerau_levenshtein(given, word);
            if one < 0.6 {
                return None;
            }
            product *= one;
        }
    }
    Some(product)
}

fn is_parameter(word: &str) -> bool {
    word.starts_with('{')
}
