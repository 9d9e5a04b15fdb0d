// SPDX-License-Identifier: GPL-3.0-or-later
//! What the server asks of the node that runs a pod, besides objects: sessions, logs and
//! connections.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use netlab_api::dns::{DnsLogEntry, DnsRecords, DnsTrace};
use netlab_api::exec::Frame;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::script::Script;
use netlab_api::wire::DoctorCheck;
use netlab_api::{ApiError, Pod, ProxyMode, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A command to run in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Whether the client sends input.
    pub stdin: bool,
    /// The window of the client's terminal, as columns and rows; `None` without a terminal.
    pub terminal: Option<(u16, u16)>,
}

/// A running command. Dropping `input` tells it that the client is gone: it is killed.
#[derive(Debug)]
pub struct ExecSession {
    /// From the client: stdin, its end, resizes.
    pub input: mpsc::Sender<Frame>,
    /// To the client: stdout, stderr, and at last the exit code.
    pub output: mpsc::Receiver<Frame>,
}

/// Which lines of a pod's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Go on as lines come, until the pod is gone or the client is.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Only lines younger than this.
    pub since: Option<Duration>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// The lines of the run before the last restart.
    pub previous: bool,
}

/// A connection to a pod. Dropping it closes it.
pub trait PodStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PodStream for T {}

/// Which rules for services to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesRequest {
    /// In which layout; in that which is in use unless given.
    pub mode: Option<ProxyMode>,
    /// Of which service, by namespace and name; without one, those that are there for all.
    pub service: Option<(String, String)>,
}

/// Which flows to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowsRequest {
    /// Those to a service, by namespace and name.
    pub service: Option<(String, String)>,
    /// Those of an IP protocol.
    pub protocol: Option<u8>,
    /// Also those to no service.
    pub all: bool,
}

/// What to tell as lines for a shell.
#[derive(Debug, Clone, PartialEq)]
pub enum ScriptRequest {
    /// A pod's link.
    Pod(Box<Pod>),
    /// What a service adds to the rules, by namespace and name.
    Service(String, String),
    /// All that is done with packets to services.
    Proxy,
    /// The ways to the pods of other nodes.
    Network,
}

/// A name to look up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameRequest {
    /// The name as a program would be given it.
    pub name: String,
    /// Types by name; addresses of both families when empty.
    pub kinds: Vec<String>,
    /// Without a pod that asks: as one of this namespace would.
    pub namespace: Option<String>,
}

/// Which questions for names to tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameLogRequest {
    /// Go on as questions come, until the client is gone.
    pub follow: bool,
    /// Only the last ones of those that were.
    pub tail: Option<usize>,
}

/// A log that was followed is cut short: more may come, but not this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log is cut short")]
pub struct LogCut;

/// A log in pieces of whole lines. One that is cut short says so last.
pub type LogPieces = mpsc::Receiver<Result<Bytes, LogCut>>;

/// That there is no name server here.
pub fn no_names() -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, "this node answers no names")
        .with_hint("`[dns] enabled = true` in its netlabd.toml makes it")
}

/// The node side of exec and logs. One implementation serves this machine's pods; another will
/// forward to the node that runs the pod.
#[async_trait]
pub trait PodAccess: Send + Sync {
    /// Starts a command in a pod.
    ///
    /// # Errors
    /// `Conflict` when the pod's processes are not running.
    async fn exec(&self, pod: &Pod, request: ExecRequest) -> Result<ExecSession, ApiError>;

    /// Streams a pod's log. The stream ends when the receiver is dropped.
    ///
    /// # Errors
    /// `NotFound` when there is no such log, `BadRequest` when there was no earlier run.
    async fn logs(&self, pod: &Pod, request: LogRequest) -> Result<LogPieces, ApiError>;

    /// Opens a TCP connection to `port` from inside a pod: to what listens on loopback, or else on
    /// the pod's own addresses.
    ///
    /// # Errors
    /// `Conflict` when the pod is not running or nothing in it takes the connection.
    async fn forward(&self, pod: &Pod, port: u16) -> Result<Box<dyn PodStream>, ApiError>;

    /// What this node finds when it compares its kernel with the objects.
    async fn doctor(&self) -> Vec<DoctorCheck>;

    /// The rules for services that this node has, or would have in another layout.
    ///
    /// # Errors
    /// `NotFound` when there is no such service.
    async fn proxy_rules(&self, request: RulesRequest) -> Result<ProxyRules, ApiError>;

    /// All rules that this node has, or would have in another layout, as `nft` reads them.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    async fn ruleset(&self, mode: Option<ProxyMode>) -> Result<ProxyRuleset, ApiError>;

    /// The flows that this node tracks.
    ///
    /// # Errors
    /// `NotFound` when there is no such service, `InternalError` when the kernel does not tell.
    async fn flows(&self, request: FlowsRequest) -> Result<Flows, ApiError>;

    /// What a person would type on the node, a pod's own, or else on this one.
    ///
    /// # Errors
    /// `NotFound` when there is no such service, `Conflict` when the pod has no link.
    async fn script(&self, _request: ScriptRequest) -> Result<Script, ApiError> {
        Err(ApiError::new(Reason::ServiceUnavailable, "this node tells no scripts"))
    }

    /// How this node's name server answers a pod of it, or nobody in particular.
    ///
    /// # Errors
    /// `BadRequest` when the name or a type is none, `ServiceUnavailable` when there is no name
    /// server.
    async fn look_up(
        &self,
        _pod: Option<&Pod>,
        _request: NameRequest,
    ) -> Result<DnsTrace, ApiError> {
        Err(no_names())
    }

    /// The records of this node's zone; of one namespace, or all.
    ///
    /// # Errors
    /// `ServiceUnavailable` when there is no name server.
    async fn names(&self, _namespace: Option<String>) -> Result<DnsRecords, ApiError> {
        Err(no_names())
    }

    /// Questions to this node's name server, of one pod, or all. The stream ends when the receiver
    /// is dropped.
    ///
    /// # Errors
    /// `ServiceUnavailable` when there is no name server.
    async fn name_log(
        &self,
        _pod: Option<&Pod>,
        _request: NameLogRequest,
    ) -> Result<mpsc::Receiver<DnsLogEntry>, ApiError> {
        Err(no_names())
    }

    /// What of this node has not worked for so long that somebody should know.
    fn ailment(&self) -> Option<String>;
}
