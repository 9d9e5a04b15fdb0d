// SPDX-License-Identifier: GPL-3.0-or-later
//! The server over a real store, real decisions and a real socket. Only the pods' processes are
//! played: what runs a command is another module's matter.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use netlab_api::exec::Frame;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::wire::DoctorCheck;
use netlab_api::{ApiError, Pod, ProxyMode, Reason};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Limits, Metrics, Readiness, ServerState, serve};
use crate::control::Control;
use crate::control::access::{
    ExecRequest, ExecSession, FlowsRequest, LogPieces, LogRequest, PodAccess, PodStream,
    RulesRequest,
};
use crate::control::config::ClusterConfig;
use crate::store::{HistoryLimits, Options, SledStore};

mod errors;
mod forwards;
mod hostile;
mod objects;
mod openapi;
mod peers;
mod proxy;
mod services;
mod sessions;
mod sockets;
mod watches;

/// How long anything in a test may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running server.
struct Lab {
    folder: TempDir,
    socket: PathBuf,
    control: Arc<Control>,
    pods: Arc<PlayedPods>,
    readiness: Readiness,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// What a test changes about its [`Lab`].
#[derive(Default)]
struct Setting {
    limits: Limits,
    group: Option<u32>,
    options: Options,
}

impl Lab {
    async fn new() -> Lab {
        Lab::with(Setting::default()).await
    }

    async fn with(setting: Setting) -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SledStore::open(&folder.path().join("store"), setting.options).expect("store");
        let config = ClusterConfig {
            pod_networks: vec!["10.42.0.0/16".parse().expect("a network")],
            cluster_dns: Vec::new(),
            domain: "cluster.local".to_owned(),
            services: Default::default(),
        };
        let control = Arc::new(Control::open(Arc::new(store), config).await.expect("control"));
        let pods = Arc::new(PlayedPods::default());
        let readiness = Readiness::new();
        let state = ServerState {
            control_plane: None,
            tunnels: super::Tunnels::none(),
            cluster: control.clone(),
            pods: pods.clone(),
            readiness: readiness.clone(),
            metrics: Arc::new(Metrics::new("1.2.3")),
            group: setting.group,
            limits: setting.limits,
            nodes: None,
            node: "n1".to_owned(),
            version: "1.2.3".to_owned(),
        };
        let socket = folder.path().join("netlabd.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, state, async {
            let _ = stopped.await;
        }));
        Lab { folder, socket, control, pods, readiness, stop: Some(stop), server }
    }

    /// Tells the server to stop, without waiting for it.
    fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("the server runs");
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("the server accepts")
    }

    /// One request on a connection of its own; the head of the answer, and its body to come.
    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Response<hyper::body::Incoming> {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.expect("a handshake");
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header("host", "netlab");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        within(sender.send_request(request)).await.expect("an answer")
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let response = self.open(method, path, headers, body).await;
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.expect("a body").to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Makes a pod in namespace `default`.
    async fn pod(&self, name: &str, labels: Value) -> Value {
        let pod = json!({ "metadata": { "name": name, "labels": labels } });
        let reply = self.post("/v1/namespaces/default/pods", &pod).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }

    /// Sends these very bytes and reads to the end.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        answer
    }

    /// The value of a metric that has no labels.
    async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name} in {text}")).parse().expect("a number")
    }

    async fn metric_becomes(&self, name: &str, wanted: u64) {
        within(async {
            while self.metric(name).await != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The error, whose code must be that of the answer.
    fn error(&self) -> ApiError {
        let error: ApiError = serde_json::from_value(self.json()).expect("an error");
        assert_eq!((error.code, self.status), (error.reason.code(), error.code), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        error
    }

    /// Asserts an error of this reason, and that its text says `words`.
    #[track_caller]
    fn refused(&self, reason: Reason, words: &[&str]) {
        let error = self.error();
        assert_eq!(error.reason, reason, "{error:?}");
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
    }
}

/// Fails the test when `work` takes too long.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("in time")
}

/// Plays commands: `cat` answers its input, `stuck` reads nothing, `flood` never stops writing.
#[derive(Default)]
struct PlayedPods {
    /// Commands whose client went away.
    killed: Arc<AtomicUsize>,
    /// Frames that `flood` got rid of.
    flooded: Arc<AtomicUsize>,
    /// Connections to port 7 that ended.
    forwarded: Arc<AtomicUsize>,
    /// What was asked for.
    requests: std::sync::Mutex<Vec<ExecRequest>>,
    logs: std::sync::Mutex<Vec<LogRequest>>,
    rules: std::sync::Mutex<Vec<RulesRequest>>,
    flows: std::sync::Mutex<Vec<FlowsRequest>>,
    /// What is wrong with the node.
    ailment: std::sync::Mutex<Option<String>>,
}

#[async_trait]
impl PodAccess for PlayedPods {
    async fn exec(&self, _: &Pod, request: ExecRequest) -> Result<ExecSession, ApiError> {
        self.requests.lock().expect("no panic").push(request.clone());
        let (input, mut from_client) = mpsc::channel(4);
        let (to_client, output) = mpsc::channel(4);
        let (killed, flooded) = (self.killed.clone(), self.flooded.clone());
        match request.command[0].as_str() {
            "cat" => tokio::spawn(async move {
                loop {
                    match from_client.recv().await {
                        Some(Frame::Stdin(data)) => {
                            let _ = to_client.send(Frame::Stdout(data)).await;
                        }
                        Some(Frame::Resize { columns, rows }) => {
                            let text = Bytes::from(format!("{columns}x{rows}"));
                            let _ = to_client.send(Frame::Stderr(text)).await;
                        }
                        Some(Frame::StdinClosed) => {
                            let _ = to_client.send(Frame::Exit(7)).await;
                            return;
                        }
                        _ => break,
                    }
                }
                killed.fetch_add(1, Ordering::SeqCst);
            }),
            "stuck" => tokio::spawn(async move {
                // Holds the receiver without reading: the channel fills up.
                to_client.closed().await;
                drop(from_client);
                killed.fetch_add(1, Ordering::SeqCst);
            }),
            "flood" => tokio::spawn(async move {
                while to_client.send(Frame::Stdout(vec![b'x'; 65_536].into())).await.is_ok() {
                    flooded.fetch_add(1, Ordering::SeqCst);
                }
                killed.fetch_add(1, Ordering::SeqCst);
            }),
            _ => {
                return Err(ApiError::new(Reason::Conflict, "the pod is not running")
                    .with_hint("wait until it is"));
            }
        };
        Ok(ExecSession { input, output })
    }

    async fn logs(&self, _: &Pod, request: LogRequest) -> Result<LogPieces, ApiError> {
        self.logs.lock().expect("no panic").push(request.clone());
        let (lines, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            for line in ["one\n", "two\n"] {
                let _ = lines.send(Ok(Bytes::from_static(line.as_bytes()))).await;
            }
            if request.follow {
                lines.closed().await;
            }
        });
        Ok(receiver)
    }

    /// Port 7 answers what it is sent, once the client has said all of it.
    async fn forward(&self, pod: &Pod, port: u16) -> Result<Box<dyn PodStream>, ApiError> {
        if port != 7 {
            let name = &pod.metadata.name;
            let message = format!("nothing takes connections to port {port} of pod \"{name}\"");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let (ours, theirs) = tokio::io::duplex(1024);
        let forwarded = self.forwarded.clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(theirs);
            let mut said = Vec::new();
            let read = reader.read_to_end(&mut said).await;
            if read.is_ok() && writer.write_all(&said).await.is_ok() {
                let _ = writer.shutdown().await;
            }
            forwarded.fetch_add(1, Ordering::SeqCst);
        });
        Ok(Box::new(ours))
    }

    async fn doctor(&self) -> Vec<DoctorCheck> {
        panic!("the doctor is ill")
    }

    async fn proxy_rules(&self, request: RulesRequest) -> Result<ProxyRules, ApiError> {
        self.rules.lock().expect("no panic").push(request.clone());
        Ok(ProxyRules {
            node: "n1".to_owned(),
            mode: request.mode.unwrap_or_default(),
            mode_in_use: ProxyMode::Nftables,
            service: request.service.map(|(namespace, name)| format!("{namespace}/{name}")),
            notes: Vec::new(),
            fronts: Vec::new(),
            base: Vec::new(),
            services: Vec::new(),
        })
    }

    async fn ruleset(&self, mode: Option<ProxyMode>) -> Result<ProxyRuleset, ApiError> {
        let (node, rules) = ("n1".to_owned(), "add table ip netlab".to_owned());
        Ok(ProxyRuleset { node, mode: mode.unwrap_or_default(), networks: Vec::new(), rules })
    }

    async fn flows(&self, request: FlowsRequest) -> Result<Flows, ApiError> {
        self.flows.lock().expect("no panic").push(request);
        Ok(Flows { node: "n1".to_owned(), flows: Vec::new(), left_out: 0 })
    }

    fn ailment(&self) -> Option<String> {
        self.ailment.lock().expect("no panic").clone()
    }
}

/// Reads one frame.
async fn frame(stream: &mut UnixStream) -> Option<Frame> {
    let mut head = [0; 5];
    within(stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut bytes = bytes::BytesMut::from(&head[..]);
    bytes.resize(5 + length, 0);
    within(stream.read_exact(&mut bytes[5..])).await.ok()?;
    Frame::decode(&mut bytes).expect("a frame")
}

/// Runs `program` and answers what it wrote.
async fn run(program: &str, args: &[&str]) -> String {
    let output = within(tokio::process::Command::new(program).args(args).output()).await;
    let output = output.unwrap_or_else(|error| panic!("failed to run `{program}`: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path of this test")
}
