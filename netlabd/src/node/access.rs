// SPDX-License-Identifier: GPL-3.0-or-later
//! Sessions and logs of this node's pods: descriptors on one side, frames on the other; and
//! connections to them.

mod forward;
mod names;
mod proxy;
mod script;

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use netlab_api::dns::{DnsLogEntry, DnsRecords, DnsTrace};
use netlab_api::exec::Frame;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::script::Script;
use netlab_api::wire::DoctorCheck;
use netlab_api::{ApiError, Pod, ProxyMode, Reason};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::doctor;
use super::machine::Machine;
use super::pod::exec::{ExecRequest as Spawn, helper_handle, resize, wait_ready};
use super::pod::log::{LogError, LogQuery, LogReader};
use super::pod::{ContainerState, RuntimeError};
use crate::control::access::{
    ExecRequest, ExecSession, FlowsRequest, LogCut, LogPieces, LogRequest, NameLogRequest,
    NameRequest, PodAccess, PodStream, RulesRequest, ScriptRequest,
};
use crate::control::cluster::PodIdentity;
use crate::error::chain;

/// Frames in flight in each direction; with pieces of 16 KiB that bounds a session to half a MiB.
const FRAMES: usize = 16;

/// Bytes that are read from a command at once.
const PIECE: usize = 16 * 1024;

/// How long a follower of a log sleeps before it looks whether its client is still there.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// [`PodAccess`] to the pods of this machine.
pub struct NodeAccess {
    machine: Arc<Machine>,
}

impl NodeAccess {
    /// Access to this machine's pods.
    pub fn new(machine: Arc<Machine>) -> NodeAccess {
        NodeAccess { machine }
    }
}

#[async_trait]
impl PodAccess for NodeAccess {
    async fn exec(&self, pod: &Pod, request: ExecRequest) -> Result<ExecSession, ApiError> {
        let name = &pod.metadata.name;
        let refused = |why: String| {
            ApiError::new(Reason::Conflict, format!("cannot exec in pod \"{name}\": {why}"))
                .with_object(format!("pod/{name}"))
                .with_hint(format!("look at it: netlabctl describe pod {name}"))
        };
        let failed = |error: &dyn std::error::Error| refused(chain(error));
        let machine = self.machine.clone();
        let uid = pod.metadata.uid.clone();
        let spawn =
            Spawn { command: request.command.clone(), tty: request.terminal.is_some(), term: None };
        let session = tokio::task::spawn_blocking(move || machine.runtime.exec(&uid, &spawn))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| match error {
                RuntimeError::NotRunning { .. } => refused("it is not running".to_owned()),
                error => failed(&error),
            })?;
        let super::pod::exec::ExecSession { command, control, helper_end } = session;
        let mut command = tokio::process::Command::from(command);
        let terminal = request.terminal;
        let piped = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        command
            .stdin(piped(request.stdin && terminal.is_none()))
            .stdout(piped(terminal.is_none()))
            // A helper that cannot even begin says why there.
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let pid = child.id().expect("nobody has waited for it yet");
        let helper = helper_handle(pid).map_err(|error| failed(&error))?;
        let ready = tokio::task::spawn_blocking(move || {
            // The helper fetches its end of the socket out of our descriptor table.
            let master = wait_ready(&control, &helper);
            drop(helper_end);
            (master, control)
        });
        let (input_tx, input_rx) = mpsc::channel(FRAMES);
        let (output_tx, output_rx) = mpsc::channel(FRAMES);
        tokio::spawn(async move {
            let Ok((master, control)) = ready.await else { return };
            let master = master.ok().flatten();
            let streams = match (terminal, master) {
                (Some((columns, rows)), Some(master)) => {
                    let _ = resize(&master, rows, columns);
                    terminal_streams(master)
                }
                _ => Ok(Streams {
                    stdin: child.stdin.take().map(|s| Box::new(s) as Box<_>),
                    stdout: child.stdout.take().map(|s| Box::new(s) as Box<_>),
                    stderr: child.stderr.take().map(|s| Box::new(s) as Box<_>),
                    master: None,
                }),
            };
            let streams = match streams {
                Ok(streams) => streams,
                Err(error) => {
                    let text = Bytes::from(format!("netlabd: no terminal: {error}\n"));
                    let _ = output_tx.send(Frame::Stderr(text)).await;
                    let _ = output_tx.send(Frame::Exit(1)).await;
                    return;
                }
            };
            session_of(child, streams, input_rx, output_tx).await;
            // Closing it earlier would end the command.
            drop(control);
        });
        Ok(ExecSession { input: input_tx, output: output_rx })
    }

    async fn logs(&self, pod: &Pod, request: LogRequest) -> Result<LogPieces, ApiError> {
        let dir = self.machine.log_dir(&PodIdentity::of(pod));
        let name = pod.metadata.name.clone();
        let query = LogQuery {
            previous: request.previous,
            tail: request.tail,
            since: request
                .since
                .map(|since| Timestamp::now().checked_sub(since).unwrap_or(Timestamp::MIN)),
            timestamps: request.timestamps,
            stream: None,
        };
        let exists = dir.is_dir();
        let (lines_tx, lines_rx) = mpsc::channel(FRAMES);
        if !exists {
            // Nothing has been started yet, so nothing was said.
            if request.previous {
                return Err(no_previous(&name));
            }
            if !request.follow {
                return Ok(lines_rx);
            }
            std::fs::create_dir_all(&dir).map_err(|error| {
                ApiError::new(Reason::InternalError, format!("cannot make the log folder: {error}"))
            })?;
        }
        let log = dir.clone();
        let opened = tokio::task::spawn_blocking(move || LogReader::open(&log, query)).await;
        let reader = match opened {
            Ok(Ok(reader)) => reader,
            Ok(Err(LogError::NoPrevious { .. })) => return Err(no_previous(&name)),
            Ok(Err(error)) => {
                return Err(ApiError::new(Reason::InternalError, chain(&error))
                    .with_object(format!("pod/{name}")));
            }
            Err(error) => return Err(ApiError::new(Reason::InternalError, error.to_string())),
        };
        let (machine, uid) = (self.machine.clone(), pod.metadata.uid.clone());
        // As kubectl does, following ends with the run that it began with.
        let goes_on = move |reader: &LogReader| {
            let status = machine.runtime.status(&uid).ok().flatten();
            let has_ended = status.is_some_and(|status| match &status.state {
                ContainerState::Running { .. } => status.restart_count > reader.run(),
                ContainerState::Waiting { .. } => status.last_state.is_some(),
                ContainerState::Terminated { .. } => true,
            });
            request.follow && dir.is_dir() && !has_ended
        };
        tokio::task::spawn_blocking(move || send_log(reader, &goes_on, &lines_tx));
        Ok(lines_rx)
    }

    async fn forward(&self, pod: &Pod, port: u16) -> Result<Box<dyn PodStream>, ApiError> {
        forward::open(self.machine.clone(), pod, port).await
    }

    async fn doctor(&self) -> Vec<DoctorCheck> {
        doctor::examine(&self.machine).await
    }

    async fn proxy_rules(&self, request: RulesRequest) -> Result<ProxyRules, ApiError> {
        proxy::rules(&self.machine, request).await
    }

    async fn ruleset(&self, mode: Option<ProxyMode>) -> Result<ProxyRuleset, ApiError> {
        proxy::ruleset(&self.machine, mode).await
    }

    async fn flows(&self, request: FlowsRequest) -> Result<Flows, ApiError> {
        proxy::flows(&self.machine, request).await
    }

    async fn look_up(&self, pod: Option<&Pod>, request: NameRequest) -> Result<DnsTrace, ApiError> {
        names::look_up(&self.machine, pod, request).await
    }

    async fn names(&self, namespace: Option<String>) -> Result<DnsRecords, ApiError> {
        let machine = self.machine.clone();
        // Of a large cluster that is work.
        tokio::task::spawn_blocking(move || names::records(&machine, namespace.as_deref()))
            .await
            .map_err(|error| ApiError::new(Reason::InternalError, error.to_string()))?
    }

    async fn name_log(
        &self,
        pod: Option<&Pod>,
        request: NameLogRequest,
    ) -> Result<mpsc::Receiver<DnsLogEntry>, ApiError> {
        names::log(&self.machine, pod, &request)
    }

    async fn script(&self, request: ScriptRequest) -> Result<Script, ApiError> {
        script::script(&self.machine, request).await
    }

    fn ailment(&self) -> Option<String> {
        self.machine.proxy.stuck(Instant::now())
    }
}

fn no_previous(name: &str) -> ApiError {
    ApiError::new(
        Reason::BadRequest,
        format!("previous terminated container of pod \"{name}\" not found"),
    )
    .with_object(format!("pod/{name}"))
    .with_hint("its command has not been restarted; leave out --previous")
}

struct Streams {
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// The terminal, to resize it.
    master: Option<std::os::fd::OwnedFd>,
}

fn terminal_streams(master: std::os::fd::OwnedFd) -> io::Result<Streams> {
    let file = |fd: &std::os::fd::OwnedFd| {
        Ok::<_, io::Error>(File::from_std(std::fs::File::from(fd.try_clone()?)))
    };
    Ok(Streams {
        stdin: Some(Box::new(file(&master)?)),
        stdout: Some(Box::new(file(&master)?)),
        stderr: None,
        master: Some(master),
    })
}

/// Carries frames until the command has ended and all that it wrote was sent, or the client went.
async fn session_of(
    mut child: tokio::process::Child,
    streams: Streams,
    mut input: mpsc::Receiver<Frame>,
    output: mpsc::Sender<Frame>,
) {
    let Streams { mut stdin, stdout, stderr, master } = streams;
    let out = tokio::spawn(pump(stdout, output.clone(), Frame::Stdout));
    let err = tokio::spawn(pump(stderr, output.clone(), Frame::Stderr));
    let exit = loop {
        tokio::select! {
            frame = input.recv() => match frame {
                Some(Frame::Stdin(data)) => {
                    // A command that no longer reads is no error, as in a shell's pipe.
                    if let Some(pipe) = &mut stdin
                        && (pipe.write_all(&data).await.is_err() || pipe.flush().await.is_err())
                    {
                        stdin = None;
                    }
                }
                Some(Frame::StdinClosed) => match &master {
                    None => stdin = None,
                    // On a terminal the end of input is a character.
                    Some(_) => if let Some(terminal) = &mut stdin {
                        let _ = terminal.write_all(&[4]).await;
                        let _ = terminal.flush().await;
                    },
                },
                Some(Frame::Resize { columns, rows }) => {
                    if let Some(master) = &master {
                        let _ = resize(master, rows, columns);
                    }
                }
                Some(_) => {}
                // The client is gone: the caller drops the control socket, which ends the command.
                None => {
                    out.abort();
                    err.abort();
                    return;
                }
            },
            status = child.wait() => break status,
        }
    };
    // The terminal's last words are read before its end is told. With a terminal a reader blocks
    // until the last process that has it open is gone: give up on those left in the background.
    let _ = tokio::time::timeout(LOG_PATIENCE, async {
        let _ = out.await;
        let _ = err.await;
    })
    .await;
    let code = exit.ok().and_then(|status| status.code()).unwrap_or(255);
    let _ = output.send(Frame::Exit(code)).await;
}

async fn pump(
    stream: Option<Box<dyn AsyncRead + Send + Unpin>>,
    output: mpsc::Sender<Frame>,
    frame: fn(Bytes) -> Frame,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        buffer.reserve(PIECE);
        match stream.read_buf(&mut buffer).await {
            // A terminal without processes reads as EIO.
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if output.send(frame(buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Sends what there is, and what comes as long as the log `goes_on` and the client is there.
/// Blocking.
fn send_log(
    mut reader: LogReader,
    goes_on: &dyn Fn(&LogReader) -> bool,
    lines: &mpsc::Sender<Result<Bytes, LogCut>>,
) {
    let mut buffer = Vec::new();
    // What was written before the end was noticed is still to be read.
    let mut ended = false;
    loop {
        buffer.clear();
        match reader.read(&mut buffer) {
            Ok(0) if ended || lines.is_closed() => return,
            Ok(0) => {
                ended = !goes_on(&reader);
                if !ended {
                    // Woken or not, it is looked again.
                    let _ = reader.wait(LOG_PATIENCE);
                }
            }
            Ok(_) => {
                if lines.blocking_send(Ok(Bytes::copy_from_slice(&buffer))).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "a log ended early");
                return;
            }
        }
    }
}
