// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of a daemon's API: HTTP/1.1 and JSON over its unix socket, or whatever dials it.
//!
//! Connections are kept and reused, one request at a time each; a request that finds none idle
//! opens another. Watches, logs and exec sessions own their connection until they are dropped.
//! Nothing here retries what may have been carried out already: only a request that never left is
//! sent again.

pub mod error;
pub mod exec;
mod names;
pub mod query;
mod script;
pub mod stream;
mod token;
pub mod transport;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::error::ClientError;
pub use self::exec::{ExecInput, ExecOptions, ExecOutput};
pub use self::names::NameQuery;
pub use self::query::Query;
pub use self::stream::{DnsLogStream, LogStream, ViewStream, Watch};
pub use self::transport::{Dial, Dialing, Io, Transport};
use crate::exec::EXEC_PROTOCOL;
use crate::forward::FORWARD_PROTOCOL;
use crate::proxy::{Flows, ProxyRules, ProxyRuleset};
use crate::resource::{Kind, ListMeta, Resource};
use crate::view::{NetworkSettings, NodeReport, ReportAnswer, TUNNEL_PROTOCOL};
use crate::wire::{ApplyResponse, DeleteResponse, DoctorReport, Programmed, Readiness, Version};
use crate::{ApiError, List, Object, ProxyMode};

/// How much longer than a wait that the server bounds the client itself waits.
const GRACE_OVER_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Objects of one kind: all of them, or those of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all, and for kinds that have none.
    pub namespace: Option<String>,
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for kinds that have none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// Which objects of a collection; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectors {
    /// `app=web,tier!=db`; empty for all.
    pub labels: String,
    /// `status.phase=Running`; empty for all.
    pub fields: String,
}

/// How [`Client::apply`] treats what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Fail with `AlreadyExists` rather than change anything.
    pub create: bool,
    /// Answer what would be, and store nothing.
    pub dry_run: bool,
}

/// How a deletion goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds between SIGTERM and SIGKILL; the pod's own unless given.
    pub grace_period_seconds: Option<u64>,
    /// Answer what would be, and delete nothing.
    pub dry_run: bool,
    /// Fail with `Conflict` unless the object is at this revision.
    pub resource_version: Option<u64>,
    /// Pods only: make it anew on another node once it is gone from its own.
    pub evict: bool,
}

/// Which lines of a pod's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as lines come.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines younger than this.
    pub since_seconds: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// The lines of the run before the last restart.
    pub previous: bool,
}

/// What an observer of a client hears of each request once its answer has begun.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// `GET`.
    pub method: &'a Method,
    /// Path and query.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// From the request's first byte to the answer's.
    pub took: Duration,
}

/// Hears of every request.
pub type Observer = Box<dyn Fn(Exchange<'_>) + Send + Sync>;

/// A client of one daemon.
pub struct Client {
    transport: Transport,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    observer: Option<Observer>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when it is first asked something.
    pub fn new(transport: Transport) -> Client {
        Client { transport, idle: Mutex::new(Vec::new()), observer: None }
    }

    /// The same client, telling `observer` of every request.
    pub fn with_observer(mut self, observer: Observer) -> Client {
        self.observer = Some(observer);
        self
    }

    /// Where the daemon is.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// One object.
    pub async fn get(&self, object: &ObjectRef) -> Result<Object, ClientError> {
        let value = self.json(Method::GET, &object.path(), None::<&()>).await?;
        object_of(object.kind, value)
    }

    /// One object as its own type.
    pub async fn get_as<T: Resource>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<T, ClientError> {
        let path = ObjectRef::new(T::KIND, namespace, name).path();
        typed(self.json(Method::GET, &path, None::<&()>).await?)
    }

    /// The objects of a collection that match, as they were at one revision.
    pub async fn list(
        &self,
        collection: &Collection,
        selectors: &Selectors,
    ) -> Result<List<Object>, ClientError> {
        let (metadata, items) = self.list_values(collection, selectors).await?;
        let items = items.into_iter().map(|item| object_of(collection.kind, item));
        Ok(List { metadata, items: items.collect::<Result<_, _>>()? })
    }

    /// The objects of a collection as their own type.
    pub async fn list_as<T: Resource>(
        &self,
        namespace: Option<&str>,
        selectors: &Selectors,
    ) -> Result<List<T>, ClientError> {
        let collection = Collection::new(T::KIND, namespace);
        let (metadata, items) = self.list_values(&collection, selectors).await?;
        Ok(List { metadata, items: items.into_iter().map(typed).collect::<Result<_, _>>()? })
    }

    async fn list_values(
        &self,
        collection: &Collection,
        selectors: &Selectors,
    ) -> Result<(ListMeta, Vec<Value>), ClientError> {
        let path = selectors.add_to(Query::new(collection.path())).into_path();
        let list: List<Value> = self.json(Method::GET, &path, None::<&()>).await?;
        Ok((list.metadata, list.items))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name.
    pub async fn create(&self, object: &Object, dry_run: bool) -> Result<Object, ClientError> {
        let target = ObjectRef::of(object);
        let collection = Collection { kind: target.kind, namespace: target.namespace };
        let path = Query::new(collection.path()).flag("dryRun", dry_run).into_path();
        object_of(object.kind(), self.json(Method::POST, &path, Some(object)).await?)
    }

    /// Creates what is missing and changes what differs: all of it, or nothing.
    pub async fn apply(
        &self,
        objects: &[Object],
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            items: &'a [Object],
        }
        let path = Query::new("/v1/apply")
            .flag("create", options.create)
            .flag("dryRun", options.dry_run)
            .into_path();
        self.json(Method::POST, &path, Some(&Body { items: objects })).await
    }

    /// Replaces an object whole. With `metadata.resourceVersion` set it must be at that revision.
    ///
    /// # Errors
    /// `Conflict` when it is not.
    pub async fn replace(&self, object: &Object, dry_run: bool) -> Result<Object, ClientError> {
        let path = Query::new(ObjectRef::of(object).path()).flag("dryRun", dry_run).into_path();
        object_of(object.kind(), self.json(Method::PUT, &path, Some(object)).await?)
    }

    /// Changes an object by a JSON merge patch (RFC 7386).
    pub async fn patch(
        &self,
        object: &ObjectRef,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Object, ClientError> {
        let path = Query::new(object.path()).flag("dryRun", dry_run).into_path();
        let request = body(Method::PATCH, &path, patch, "application/merge-patch+json");
        object_of(object.kind, self.answer(request).await?)
    }

    /// Asks for an object's deletion; answers it as it is on its way out.
    pub async fn delete(
        &self,
        object: &ObjectRef,
        options: &DeleteOptions,
    ) -> Result<Object, ClientError> {
        let path = options.add_to(Query::new(object.path())).into_path();
        object_of(object.kind, self.json(Method::DELETE, &path, None::<&()>).await?)
    }

    /// Asks for the deletion of several objects, all or nothing: the named ones, or with no names
    /// all that match.
    pub async fn delete_many(
        &self,
        collection: &Collection,
        names: &[String],
        selectors: &Selectors,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ClientError> {
        let mut query = options.add_to(selectors.add_to(Query::new(collection.path())));
        if !names.is_empty() {
            query = query.set("names", names.join(","));
        }
        self.json(Method::DELETE, &query.into_path(), None::<&()>).await
    }

    /// Changes after revision `from`; without one, the present objects first.
    ///
    /// # Errors
    /// `Expired` when `from` is no longer kept: list again.
    pub async fn watch(
        &self,
        collection: &Collection,
        selectors: &Selectors,
        from: Option<u64>,
    ) -> Result<Watch, ClientError> {
        let mut query = selectors.add_to(Query::new(collection.path())).flag("watch", true);
        if let Some(revision) = from {
            query = query.set("resourceVersion", revision.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())).await?.0;
        Ok(Watch::new(response.into_body()))
    }

    /// Runs a command in a pod.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        options: &ExecOptions,
    ) -> Result<(ExecInput, ExecOutput), ClientError> {
        let mut query =
            Query::new(ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/exec")
                .flag("stdin", options.stdin)
                .flag("tty", options.terminal.is_some());
        for word in &options.command {
            query = query.set("command", word);
        }
        if let Some((columns, rows)) = options.terminal {
            query = query.set("columns", columns.to_string()).set("rows", rows.to_string());
        }
        let upgraded = self.upgrade(&query.into_path(), EXEC_PROTOCOL).await?;
        Ok(exec::session(upgraded))
    }

    /// Opens a connection to a TCP port of a pod, from inside it.
    ///
    /// # Errors
    /// `Conflict` when nothing in the pod takes it.
    pub async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<Box<dyn Io>, ClientError> {
        let path = ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/portforward";
        let query = Query::new(path).set("port", port.to_string());
        let upgraded = self.upgrade(&query.into_path(), FORWARD_PROTOCOL).await?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }

    /// Makes of the connection of a POST one that speaks another protocol.
    async fn upgrade(&self, path: &str, protocol: &'static str) -> Result<Upgraded, ClientError> {
        let mut request = empty(Method::POST, path);
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        let (response, _connection) = self.open(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NoUpgrade { status: response.status().as_u16() });
        }
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|source| ClientError::Upgrade { source })
    }

    /// For a node: what concerns it, or what is different since `from`.
    pub async fn view(&self, node: &str, from: Option<u64>) -> Result<ViewStream, ClientError> {
        let mut query = Query::new(node_path(node, "view"));
        if let Some(revision) = from {
            query = query.set("resourceVersion", revision.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())).await?.0;
        Ok(ViewStream::new(response.into_body()))
    }

    /// For a node: what it says of itself and its pods.
    pub async fn report(
        &self,
        node: &str,
        report: &NodeReport,
    ) -> Result<ReportAnswer, ClientError> {
        self.json(Method::POST, &node_path(node, "report"), Some(report)).await
    }

    /// For a node: a connection on which the server asks and the node answers.
    pub async fn tunnel(&self, node: &str, tunnel: u64) -> Result<Upgraded, ClientError> {
        let path = node_path(node, &format!("tunnels/{tunnel}"));
        self.upgrade(&path, TUNNEL_PROTOCOL).await
    }

    /// What holds for the pod network.
    pub async fn network(&self) -> Result<NetworkSettings, ClientError> {
        self.json(Method::GET, "/v1/network", None::<&()>).await
    }

    /// Changes what holds for the pod network.
    pub async fn set_network(
        &self,
        settings: &NetworkSettings,
    ) -> Result<NetworkSettings, ClientError> {
        self.json(Method::PUT, "/v1/network", Some(settings)).await
    }

    /// A pod's log.
    pub async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        options: &LogOptions,
    ) -> Result<LogStream, ClientError> {
        let mut query = Query::new(ObjectRef::new(Kind::Pod, Some(namespace), pod).path() + "/log")
            .flag("follow", options.follow)
            .flag("timestamps", options.timestamps)
            .flag("previous", options.previous);
        if let Some(lines) = options.tail_lines {
            query = query.set("tailLines", lines.to_string());
        }
        if let Some(seconds) = options.since_seconds {
            query = query.set("sinceSeconds", seconds.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())).await?.0;
        Ok(LogStream::new(response.into_body()))
    }

    /// Waits until every ready node's kernel reflects `revision`.
    ///
    /// # Errors
    /// `Timeout`, naming the nodes that lag.
    pub async fn programmed(
        &self,
        revision: u64,
        timeout: Duration,
    ) -> Result<Programmed, ClientError> {
        let path = Query::new("/v1/programmed")
            .set("revision", revision.to_string())
            .set("timeoutSeconds", timeout.as_secs().max(1).to_string())
            .into_path();
        let answer = self.json(Method::GET, &path, None::<&()>);
        // The server keeps its own time; this only bounds a server that answers nothing at all.
        match tokio::time::timeout(timeout + GRACE_OVER_SERVER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::NoAnswer { request: format!("GET {path}") }),
        }
    }

    /// Version of the daemon.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.json(Method::GET, "/v1/version", None::<&()>).await
    }

    /// What the daemon finds when it looks itself over.
    pub async fn doctor(&self) -> Result<DoctorReport, ClientError> {
        self.json(Method::GET, "/v1/doctor", None::<&()>).await
    }

    /// The rules of the daemon's node for a service, by namespace and name, or those for all; in
    /// the layout in use unless another is given.
    pub async fn proxy_rules(
        &self,
        service: Option<(&str, &str)>,
        mode: Option<ProxyMode>,
    ) -> Result<ProxyRules, ClientError> {
        let mut query = Query::new(match service {
            None => "/v1/proxy".to_owned(),
            Some((namespace, name)) => {
                let (namespace, name) = (query::escape(namespace), query::escape(name));
                format!("/v1/proxy/services/{namespace}/{name}")
            }
        });
        if let Some(mode) = mode {
            query = query.set("as", mode.as_str());
        }
        self.json(Method::GET, &query.into_path(), None::<&()>).await
    }

    /// All rules of the daemon's node, as `nft` reads them.
    pub async fn proxy_ruleset(&self) -> Result<ProxyRuleset, ClientError> {
        self.json(Method::GET, "/v1/proxy/ruleset", None::<&()>).await
    }

    /// The flows that the daemon's node tracks: those to services, or to one by namespace and
    /// name, or all.
    pub async fn flows(
        &self,
        service: Option<(&str, &str)>,
        protocol: Option<&str>,
        all: bool,
    ) -> Result<Flows, ClientError> {
        let mut query = Query::new("/v1/flows").flag("all", all);
        if let Some((namespace, name)) = service {
            query = query.set("service", format!("{namespace}/{name}"));
        }
        if let Some(protocol) = protocol {
            query = query.set("protocol", protocol);
        }
        self.json(Method::GET, &query.into_path(), None::<&()>).await
    }

    /// Whether the daemon is ready, and what is missing.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let (response, connection) = self.send(empty(Method::GET, "/readyz")).await?;
        // 503 with the same body is the answer "no".
        let bytes = self.read(response, connection).await?;
        decode("GET /readyz", &bytes)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.answer(match content {
            Some(content) => body(method, path, content, "application/json"),
            None => empty(method, path),
        })
        .await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        let what = describe(&request);
        let (response, connection) = self.open(request).await?;
        let bytes = self.read(response, connection).await?;
        decode(&what, &bytes)
    }

    /// Sends a request and turns an error answer into an error.
    async fn open(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ClientError> {
        let what = describe(&request);
        let (response, connection) = self.send(request).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, connection));
        }
        let bytes = self.read(response, connection).await?;
        Err(match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(error) => ClientError::Api(error),
            Err(_) => ClientError::UnknownAnswer {
                request: what,
                status: status.as_u16(),
                body: String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
            },
        })
    }

    async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ClientError> {
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().to_string();
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reused = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.transport.connect().await?,
            };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    if let Some(observer) = &self.observer {
                        let status = response.status().as_u16();
                        let took = started.elapsed();
                        observer(Exchange { method: &method, path: &path, status, took });
                    }
                    return Ok((response, connection));
                }
                Err(mut refused) => match refused.take_message() {
                    // A kept connection may have been closed meanwhile; this one never left.
                    Some(message) if reused => request = message,
                    _ => {
                        return Err(ClientError::Closed {
                            request: format!("{method} {path}"),
                            source: refused.into_error(),
                        });
                    }
                },
            }
        }
    }

    /// Reads the whole answer and keeps the connection for the next request.
    async fn read(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<Full<Bytes>>,
    ) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await;
        let bytes = body.map_err(|source| ClientError::ClosedMidway { source })?.to_bytes();
        if !connection.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(bytes)
    }
}

impl Collection {
    /// The objects of `kind` in `namespace`, or everywhere.
    pub fn new(kind: Kind, namespace: Option<&str>) -> Collection {
        let namespace = namespace.filter(|_| kind.is_namespaced()).map(str::to_owned);
        Collection { kind, namespace }
    }

    /// `/v1/namespaces/default/pods`.
    pub fn path(&self) -> String {
        match &self.namespace {
            Some(namespace) => {
                format!("/v1/namespaces/{}/{}", query::escape(namespace), self.kind.plural())
            }
            None => format!("/v1/{}", self.kind.plural()),
        }
    }
}

impl ObjectRef {
    /// Names an object; the namespace is dropped for kinds that have none.
    pub fn new(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectRef {
        let namespace = namespace.filter(|_| kind.is_namespaced()).map(str::to_owned);
        ObjectRef { kind, namespace, name: name.to_owned() }
    }

    /// Names `object`.
    pub fn of(object: &Object) -> ObjectRef {
        let metadata = object.metadata();
        ObjectRef::new(object.kind(), metadata.namespace.as_deref(), &metadata.name)
    }

    /// `pod/web`.
    pub fn slash_name(&self) -> String {
        format!("{}/{}", self.kind.singular(), self.name)
    }

    /// `/v1/namespaces/default/pods/web`.
    pub fn path(&self) -> String {
        let collection = Collection { kind: self.kind, namespace: self.namespace.clone() };
        format!("{}/{}", collection.path(), query::escape(&self.name))
    }
}

impl Selectors {
    /// Those with these labels.
    pub fn labels(labels: impl Into<String>) -> Selectors {
        Selectors { labels: labels.into(), ..Selectors::default() }
    }

    /// The one of this name.
    pub fn name(name: &str) -> Selectors {
        Selectors { fields: format!("metadata.name={name}"), ..Selectors::default() }
    }

    fn add_to(&self, mut query: Query) -> Query {
        if !self.labels.is_empty() {
            query = query.set("labelSelector", &self.labels);
        }
        if !self.fields.is_empty() {
            query = query.set("fieldSelector", &self.fields);
        }
        query
    }
}

impl DeleteOptions {
    fn add_to(&self, mut query: Query) -> Query {
        if let Some(seconds) = self.grace_period_seconds {
            query = query.set("gracePeriodSeconds", seconds.to_string());
        }
        if let Some(revision) = self.resource_version {
            query = query.set("resourceVersion", revision.to_string());
        }
        query.flag("dryRun", self.dry_run).flag("evict", self.evict)
    }
}

fn node_path(node: &str, what: &str) -> String {
    format!("/v1/nodes/{}/{what}", query::escape(node))
}

fn empty(method: Method, path: &str) -> Request<Full<Bytes>> {
    request(method, path, Bytes::new())
}

fn body(
    method: Method,
    path: &str,
    content: &impl Serialize,
    content_type: &'static str,
) -> Request<Full<Bytes>> {
    let content = serde_json::to_vec(content).expect("objects have string keys");
    let mut request = request(method, path, content.into());
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
}

fn request(method: Method, path: &str, content: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "netlab")
        .body(Full::new(content))
        .expect("paths are escaped")
}

fn describe(request: &Request<Full<Bytes>>) -> String {
    format!("{} {}", request.method(), request.uri())
}

fn decode<T: DeserializeOwned>(request: &str, bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ClientError::Decode { request: request.to_owned(), source })
}

/// Reads an object whose kind is known; items of a list may leave theirs out.
fn object_of(kind: Kind, mut value: Value) -> Result<Object, ClientError> {
    untag(&mut value);
    Object::from_value(kind, value).map_err(|source| ClientError::DecodeObject { kind, source })
}

fn typed<T: Resource>(mut value: Value) -> Result<T, ClientError> {
    untag(&mut value);
    serde_json::from_value(value)
        .map_err(|source| ClientError::DecodeObject { kind: T::KIND, source })
}

fn untag(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
}

#[cfg(test)]
mod tests;
