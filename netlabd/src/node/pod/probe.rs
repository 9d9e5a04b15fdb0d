// SPDX-License-Identifier: GPL-3.0-or-later
//! Readiness and liveness probes, put from inside the pod's network namespace.
//!
//! Sockets are made by a thread that enters the namespace for that moment; connecting and reading
//! then happens on the daemon's own threads, because a socket stays where it was made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use netlab_api::pod::{ContainerPort, ExecAction, HttpGetAction, PortRef, Probe, TcpSocketAction};
use netlab_link::{Netns, PodLinkId};
use tokio::net::{TcpSocket, TcpStream};

use super::exec::{ExecRequest, helper_handle, wait_ready};
use crate::error::chain;
use crate::node::machine::Machine;

/// Kubernetes' defaults.
const PERIOD_SECONDS: u32 = 10;
const TIMEOUT_SECONDS: u32 = 1;
const SUCCESS_THRESHOLD: u32 = 1;
const FAILURE_THRESHOLD: u32 = 3;

/// An eager probe's first rest. A server that listens after 5 ms is then ready after about 10.
const FIRST_EAGER_REST: Duration = Duration::from_millis(5);

/// While a pod starts, a bad answer is no news: people hear of it when it lasts this long.
const STARTING: Duration = Duration::from_secs(1);

/// What is read of an answer, and kept of a command's complaint.
const MAX_ANSWER: usize = 10 * 1024;
const MAX_COMPLAINT: usize = 512;

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    /// This machine.
    pub machine: Arc<Machine>,
    /// The pod's uid.
    pub uid: String,
    /// Its link.
    pub link: PodLinkId,
    /// Its addresses, the first of which is asked.
    pub addresses: Vec<IpAddr>,
    /// Its ports, for those that are asked by name.
    pub ports: Vec<ContainerPort>,
}

/// An answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether this answer was good.
    pub success: bool,
    /// What was answered, where it was not good.
    pub message: String,
    /// Set when enough answers in a row changed what holds.
    pub turned: Option<bool>,
}

/// A probe, and whom it asks.
pub struct Prober {
    /// Whom to ask.
    pub target: Target,
    /// What to ask.
    pub probe: Probe,
    /// What holds before the first answer.
    pub holds: bool,
    /// Until the first success, ask again soon: kubelet waits for a whole period, and people wait
    /// for it.
    pub is_eager: bool,
}

impl Prober {
    /// Asks until it is aborted; tells every bad answer, and every good one that changed
    /// something.
    pub async fn run(self, tell: impl Fn(Verdict)) {
        let seconds = |given: Option<u32>, default| {
            Duration::from_secs(u64::from(given.unwrap_or(default).max(1)))
        };
        let period = seconds(self.probe.period_seconds, PERIOD_SECONDS);
        let timeout = seconds(self.probe.timeout_seconds, TIMEOUT_SECONDS);
        if let Some(delay) = self.probe.initial_delay_seconds {
            tokio::time::sleep(Duration::from_secs(u64::from(delay))).await;
        }
        let mut eager_rest = self.is_eager.then_some(FIRST_EAGER_REST);
        let mut tally = Tally::new(&self.probe, self.holds);
        let mut last_message = None;
        let began = tokio::time::Instant::now();
        loop {
            let answer = tokio::time::timeout(timeout, self.ask()).await;
            let (success, message) = match answer {
                Ok(Ok(())) => (true, String::new()),
                Ok(Err(message)) => (false, message),
                Err(_) => (false, format!("no answer within {} s", timeout.as_secs())),
            };
            let turned = tally.count(success);
            if success {
                eager_rest = None;
            }
            // While an eager probe hurries, a complaint is told once, and none at first.
            let is_news = match eager_rest {
                None => true,
                Some(_) => began.elapsed() > STARTING && last_message.as_ref() != Some(&message),
            };
            if turned.is_some() || (!success && is_news) {
                tell(Verdict { success, message: message.clone(), turned });
            }
            if is_news {
                last_message = Some(message);
            }
            match &mut eager_rest {
                Some(rest) => {
                    tokio::time::sleep(*rest).await;
                    *rest = (*rest * 2).min(period);
                }
                None => tokio::time::sleep(period).await,
            }
        }
    }

    async fn ask(&self) -> Result<(), String> {
        if let Some(action) = &self.probe.exec {
            self.run_command(action).await
        } else if let Some(action) = &self.probe.http_get {
            self.get(action).await
        } else if let Some(TcpSocketAction { port, host }) = &self.probe.tcp_socket {
            self.connect(port, host.as_deref()).await.map(drop)
        } else {
            Err("the probe asks nothing: give it exec, httpGet or tcpSocket".to_owned())
        }
    }

    async fn connect(&self, port: &PortRef, host: Option<&str>) -> Result<TcpStream, String> {
        let address = SocketAddr::new(self.host(host)?, self.port(port)?);
        let target = self.target.clone();
        let socket = tokio::task::spawn_blocking(move || target.socket(address))
            .await
            .map_err(|panic| panic.to_string())?;
        let socket = socket.map_err(|error| format!("no socket in the pod: {error}"))?;
        socket.connect(address).await.map_err(|error| format!("connect to {address}: {error}"))
    }

    fn host(&self, host: Option<&str>) -> Result<IpAddr, String> {
        match host {
            Some("localhost") => Ok(Ipv4Addr::LOCALHOST.into()),
            Some(host) => host.parse().map_err(|_| format!("host `{host}` is not an IP address")),
            None => self.target.addresses.first().copied().ok_or_else(|| "no address".to_owned()),
        }
    }

    fn port(&self, port: &PortRef) -> Result<u16, String> {
        match port {
            PortRef::Number(number) => Ok(*number),
            PortRef::Name(name) => self
                .target
                .ports
                .iter()
                .find(|port| port.name.as_ref() == Some(name))
                .map(|port| port.container_port)
                .ok_or_else(|| format!("the pod has no port named `{name}`")),
        }
    }

    async fn get(&self, action: &HttpGetAction) -> Result<(), String> {
        let stream = self.connect(&action.port, action.host.as_deref()).await?;
        let path = action.path.as_deref().unwrap_or("/");
        let peer = stream.peer_addr().map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("GET {path}: {error}"))?;
        let connection = tokio::spawn(connection);
        // Ends with the question, whatever the server does.
        let _guard = AbortOnDrop(connection.abort_handle());
        let mut request = Request::get(path).header("user-agent", "netlab-probe/1");
        if !action.http_headers.iter().any(|h| h.name.eq_ignore_ascii_case("host")) {
            request = request.header("host", peer.to_string());
        }
        for header in &action.http_headers {
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
        let answer =
            sender.send_request(request).await.map_err(|error| format!("GET {path}: {error}"))?;
        let status = answer.status();
        // A server that is cut off in the middle of its answer may log an error.
        let _ = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        if (200..400).contains(&status.as_u16()) {
            return Ok(());
        }
        Err(format!("GET {path}: status {status}"))
    }

    async fn run_command(&self, action: &ExecAction) -> Result<(), String> {
        let target = self.target.clone();
        let request = ExecRequest { command: action.command.clone(), tty: false, term: None };
        let runtime = move || target.machine.runtime.exec(&target.uid, &request);
        let session = tokio::task::spawn_blocking(runtime)
            .await
            .map_err(|panic| panic.to_string())?
            .map_err(|error| chain(&error))?;
        let mut command = tokio::process::Command::from(session.command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let (control, helper_end) = (session.control, session.helper_end);
        let pid = child.id().expect("nobody has waited for it yet");
        let helper = helper_handle(pid).map_err(|error| error.to_string())?;
        let ready = tokio::task::spawn_blocking(move || {
            let ready = wait_ready(&control, &helper);
            drop(helper_end);
            // An error is told by the exit code.
            drop(ready);
            control
        });
        let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
        drop(ready.await);
        if output.status.success() {
            return Ok(());
        }
        let mut complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if complaint.len() > MAX_COMPLAINT {
            let end = complaint.floor_char_boundary(MAX_COMPLAINT);
            complaint.truncate(end);
        }
        Err(match output.status.code() {
            Some(code) if complaint.is_empty() => format!("exit code {code}"),
            Some(code) => format!("exit code {code}: {complaint}"),
            None => output.status.to_string(),
        })
    }
}

impl Target {
    /// A socket in the pod's namespace. Blocking.
    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        let netns = Netns::open(&self.machine.pin_path(self.link))
            .map_err(|error| io::Error::other(chain(&error)))?;
        let make = || match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        netns.run(make).map_err(|error| io::Error::other(chain(&error)))?
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts answers in a row.
#[derive(Debug)]
struct Tally {
    holds: Option<bool>,
    row: (bool, u32),
    success_threshold: u32,
    failure_threshold: u32,
}

impl Tally {
    fn new(probe: &Probe, holds: bool) -> Tally {
        Tally {
            holds: holds.then_some(true),
            row: (holds, 0),
            success_threshold: probe.success_threshold.unwrap_or(SUCCESS_THRESHOLD).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(FAILURE_THRESHOLD).max(1),
        }
    }

    /// Takes an answer in; says what holds from now on, when that is news.
    fn count(&mut self, success: bool) -> Option<bool> {
        let before = if self.row.0 == success { self.row.1 } else { 0 };
        self.row = (success, before.saturating_add(1));
        let needed = if success { self.success_threshold } else { self.failure_threshold };
        if self.row.1 < needed || self.holds == Some(success) {
            return None;
        }
        self.holds = Some(success);
        self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(success: u32, failure: u32, holds: bool, answers: &str, turns: &str) {
        let probe = Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        };
        let mut tally = Tally::new(&probe, holds);
        let turned: String = answers
            .chars()
            .map(|answer| match tally.count(answer == '+') {
                None => '.',
                Some(true) => '+',
                Some(false) => '-',
            })
            .collect();
        assert_eq!(turned, turns, "{answers}");
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        check(1, 3, false, "+---+", "+..-+");
        check(2, 1, false, "+-++", ".-.+");
        check(1, 3, true, "--+---", ".....-");
        check(1, 1, true, "+-+", ".-+");
    }
}
