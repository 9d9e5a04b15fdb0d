// SPDX-License-Identifier: GPL-3.0-or-later
//! Exec: a request that becomes a stream of frames between the client and a command in a pod.
//!
//! ```text
//!   socket ──► decode ──► ExecSession::input     a full channel stops the reading: back-pressure
//!   socket ◄── encode ◄── ExecSession::output    a full socket stops the taking
//! ```
//!
//! When the client is gone both channels are dropped, which tells the other side to kill the
//! command: whichever of the two it waits for, it hears of it.

use aide::transform::TransformOperation;
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use netlab_api::exec::{EXEC_PROTOCOL, ExecCommand, Frame, MAX_FRAME};
use netlab_api::{ApiError, Object, Pod};
use schemars::JsonSchema;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::answer::{Failure, bad_request, defect};
use super::body::MaybePlain;
use super::query::{FromQuery, Params, Query};
use super::router::App;
use super::target::Single;
use super::upgrade::{switch_to, upgrade_of, wants};
use crate::control::access::{ExecRequest, ExecSession};
use crate::control::cluster::ObjectKey;

/// The size of a terminal that does not say.
const COLUMNS: u16 = 80;
/// The size of a terminal that does not say.
const ROWS: u16 = 24;
/// Output is gathered up to so many bytes before it is written to the socket.
const GATHER: usize = 4 * MAX_FRAME;

/// Bytes of input from another node that wait for a command that does not read.
const READ_AHEAD: usize = 1 << 20;

/// `POST …/exec`.
pub(super) async fn exec(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
    Params(params): Params<ExecParams>,
    mut request: Request,
) -> Result<Response, Failure> {
    check_upgrade(request.headers())?;
    let upgrade = upgrade_of(&mut request, "exec")?;
    // Read before anything is looked up: whoever sends it does not expect an answer before.
    let MaybePlain(body) = MaybePlain::<ExecCommand>::from_request(request, &app).await?;
    let command = command_of(params.command, body)?;
    let pod = pod(&app, &key).await?;
    let size = (params.columns.unwrap_or(COLUMNS), params.rows.unwrap_or(ROWS));
    let wanted = ExecRequest { command, stdin: params.stdin, terminal: params.tty.then_some(size) };
    let session = app.state.pods.exec(&pod, wanted).await?;
    tokio::spawn(run(app, upgrade, session));
    Ok(switch_to(EXEC_PROTOCOL))
}

/// Documents the answer, which has no JSON body.
pub(super) fn document(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .input::<MaybePlain<ExecCommand>>()
        .response_with::<101, (), _>(|response| {
            response.description("the connection now carries frames of `netlab-exec/1`")
        })
        .default_response::<Failure>()
}

/// The pod that a path names.
pub(super) async fn pod(app: &App, key: &ObjectKey) -> Result<Pod, ApiError> {
    match app.state.cluster.get(key).await? {
        Object::Pod(pod) => Ok(pod),
        other => Err(defect(&format!("asked for a pod, got a {}", other.kind().singular()))),
    }
}

/// The command, which is in the query, or in the body when it is long.
fn command_of(query: Vec<String>, body: Option<ExecCommand>) -> Result<Vec<String>, ApiError> {
    let in_body = body.map(|body| body.command).unwrap_or_default();
    match (query.is_empty(), in_body.is_empty()) {
        (false, true) => Ok(query),
        (true, false) => Ok(in_body),
        (true, true) => Err(bad_request("query parameter `command` is missing")
            .with_hint("`?command=ls&command=-l` runs `ls -l`")),
        (false, false) => Err(bad_request("the command is in the query and in the body")
            .with_hint("a command that is too long for the query goes into the body alone")),
    }
}

fn check_upgrade(headers: &HeaderMap) -> Result<(), ApiError> {
    if wants(headers, EXEC_PROTOCOL) {
        return Ok(());
    }
    Err(bad_request("exec needs an upgraded connection").with_hint(format!(
        "send `Connection: Upgrade` and `Upgrade: {EXEC_PROTOCOL}`, or use `netlabctl exec`"
    )))
}

/// Carries one session to its end.
async fn run(app: App, upgrade: OnUpgrade, session: ExecSession) {
    // An error here means that the client went before the 101 reached it.
    let Ok(upgraded) = upgrade.await else { return };
    let _level = app.state.metrics.exec_sessions.raise();
    tokio::select! {
        () = pump(upgraded, session) => {}
        () = time_is_up(&app) => {}
    }
}

/// Waits until the server stops and what a session gets then is over.
pub(super) async fn time_is_up(app: &App) {
    app.draining().await;
    tokio::time::sleep(app.state.limits.session_drain).await;
}

async fn pump(upgraded: Upgraded, session: ExecSession) {
    match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => {
            let (reader, writer) = parts.io.into_inner().into_split();
            let buffer = BytesMut::from(&parts.read_buf[..]);
            let from_client = receive(reader, buffer, session.input);
            tokio::select! {
                // The command ended, or the client takes no more.
                () = send(writer, session.output) => {}
                // The client is gone: what the command still says reaches nobody.
                () = from_client => {}
            }
        }
        // From another node, in a connection that says of its end only when it is read.
        Err(upgraded) => {
            let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
            tokio::select! {
                () = send(writer, session.output) => {}
                () = receive_ahead(reader, session.input) => {}
            }
        }
    }
}

/// As [`receive`], and reads on while the command does not, up to a bound: only so it is noticed
/// that the client is gone.
async fn receive_ahead(mut reader: impl AsyncRead + Unpin, input: mpsc::Sender<Frame>) {
    let mut buffer = BytesMut::new();
    loop {
        let frame = match Frame::decode(&mut buffer) {
            Ok(Some(frame @ (Frame::Stdin(_) | Frame::StdinClosed | Frame::Resize { .. }))) => {
                frame
            }
            Ok(Some(_)) | Err(_) => {
                tracing::debug!("another node sent a frame that it must not");
                return;
            }
            Ok(None) => match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let sent = input.send(frame);
        tokio::pin!(sent);
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => {
                    if sent.is_err() {
                        // The command takes no more input; it may still have output.
                        let mut scratch = [0; 4096];
                        while matches!(reader.read(&mut scratch).await, Ok(1..)) {}
                        return;
                    }
                    break;
                }
                read = reader.read_buf(&mut buffer), if buffer.len() < READ_AHEAD => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Hands the client's frames on until the client is gone or says what it must not.
async fn receive(mut reader: OwnedReadHalf, mut buffer: BytesMut, input: mpsc::Sender<Frame>) {
    loop {
        match Frame::decode(&mut buffer) {
            Ok(Some(frame @ (Frame::Stdin(_) | Frame::StdinClosed | Frame::Resize { .. }))) => {
                tokio::select! {
                    biased;
                    sent = input.send(frame) => {
                        // The command takes no more input; it may still have output.
                        if sent.is_err() {
                            discard(reader).await;
                            return;
                        }
                    }
                    // A command that reads nothing must not keep a dead client from being noticed.
                    () = hangup(&reader) => return,
                }
            }
            Ok(Some(frame)) => {
                tracing::debug!(?frame, "an exec client sent a frame that only servers send");
                return;
            }
            Ok(None) => match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            Err(error) => {
                tracing::debug!(%error, "an exec client sent a bad frame");
                return;
            }
        }
    }
}

/// Waits until the client is gone, whatever it still sends.
async fn discard(mut reader: OwnedReadHalf) {
    let mut scratch = [0; 4096];
    while matches!(reader.read(&mut scratch).await, Ok(1..)) {}
}

/// Waits until the other end is closed, even while there is unread input in front of that end.
async fn hangup(reader: &OwnedReadHalf) {
    // Priority data does not exist on unix sockets: this readiness is the closed end alone.
    while let Ok(ready) = reader.ready(Interest::PRIORITY).await {
        if ready.is_read_closed() {
            return;
        }
    }
}

/// Hands the command's frames on until its exit code is sent.
async fn send(mut writer: impl AsyncWrite + Unpin, mut output: mpsc::Receiver<Frame>) {
    let mut out = BytesMut::new();
    let mut last = false;
    while !last {
        let Some(frame) = output.recv().await else { break };
        last = matches!(frame, Frame::Exit(_));
        frame.encode(&mut out);
        while !last && out.len() < GATHER {
            let Ok(frame) = output.try_recv() else { break };
            last = matches!(frame, Frame::Exit(_));
            frame.encode(&mut out);
        }
        if writer.write_all_buf(&mut out).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Parameters of an exec.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExecParams {
    /// The program, and once more for each argument; or it is in the body.
    #[serde(default)]
    command: Vec<String>,
    /// The client sends input.
    #[serde(default)]
    stdin: bool,
    /// Run it in a terminal.
    #[serde(default)]
    tty: bool,
    /// Columns of the terminal; 80 unless given.
    columns: Option<u16>,
    /// Lines of the terminal; 24 unless given.
    rows: Option<u16>,
}

impl FromQuery for ExecParams {
    fn from_query(query: &mut Query) -> Result<ExecParams, ApiError> {
        Ok(ExecParams {
            command: query.texts("command"),
            stdin: query.flag("stdin")?,
            tty: query.flag("tty")?,
            columns: query.value("columns", "a number of columns")?,
            rows: query.value("rows", "a number of lines")?,
        })
    }
}
