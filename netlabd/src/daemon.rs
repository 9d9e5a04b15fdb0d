// SPDX-License-Identifier: GPL-3.0-or-later
//! Wiring: opens the store, starts control, server and node, and stops them again. No logic.
//!
//! ```text
//!   seat: store ► control, or join ─► socket ► machine ► reconciler ► first snapshot programmed ► ready
//! ```
//!
//! The store comes first because its lock says whether another daemon is at work; the socket
//! comes before the kernel so that a second daemon of the same run directory changes nothing.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use netlab_api::Time;
use netlab_api::view::NodeReport;
use netlab_link::RouteSocket;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, gethostname};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::control::Control;
use crate::control::config::ClusterConfig;
use crate::control::plane::ControlPlane;
use crate::dns::chain::Notes;
use crate::error::chain;
use crate::node::access::NodeAccess;
use crate::node::overlap;
use crate::node::{Machine, MachineOptions, Reconciler};
use crate::remote::RoutedAccess;
use crate::server::{
    Limits, Metrics, Readiness, ServerState, SocketFile, TunnelServer, bind_socket, check_socket,
    serve, serve_remote,
};
use crate::store::{HistoryLimits, Options as StoreOptions};
use crate::tick;
use crate::trust::JoinOptions;
use config::Config;
use lock::NetworkLock;
use names::NamesKeeping;
use seat::Seat;

pub mod config;
mod lock;
mod names;
mod seat;
pub mod teardown;

/// How often the events are counted, which is cheap.
const HOUSEKEEPING: Duration = tick::SHORTEST;

/// Old events are looked for every so many rounds: it means to read them all.
const THOROUGH_ROUNDS: u32 = 120;

/// The node looks at its own addresses every so many rounds: it means to list all links.
const STATUS_ROUNDS: u32 = 60;

/// How long a joined node waits for its server to hear what it is before it says it is ready; and
/// how often it tries.
const STATUS_PATIENCE: Duration = Duration::from_secs(3);
const STATUS_RETRY: Duration = Duration::from_millis(500);

/// How often is looked whether the socket is still there though nothing was heard of it, as when its
/// folder is another.
const SOCKET_LOOK: Duration = Duration::from_secs(30);

/// How soon is tried again to make a socket.
const SOCKET_RETRY: Duration = Duration::from_secs(2);

/// Name of the socket in the run folder.
const SOCKET: &str = "netlabd.sock";

/// Name of the store's folder in the state folder.
const STORE_DIR: &str = "store";

/// Runs the daemon until it is told to stop. Blocking.
///
/// # Errors
/// When it cannot start; the message says what to do.
pub fn run(config: Config) -> anyhow::Result<()> {
    require_root()?;
    // Before anything is made, and before a server to join is waited for.
    config.check()?;
    names::check(&config)?;
    let name = node_name(&config)?;
    let joining = config.joining(&name)?;
    // Whoever started us may have blocked SIGTERM, and a mask is inherited.
    SigSet::empty().thread_set_mask().context("failed to unblock signals")?;
    raise_descriptor_limit();
    // Folders that are there already tell better who uses them.
    if !config.state_dir.exists() || !config.run_dir.exists() {
        check_first_start(&config)?;
    }
    make_dir(&config.state_dir, 0o700)?;
    // Others may look up names in it: `netns`, and the socket, whose own mode decides.
    make_dir(&config.run_dir, 0o755)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The kernel's one lock for links makes more threads slower, not faster.
        .worker_threads(2)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("failed to start the threads of netlabd")?;
    let done = runtime.block_on(serve_all(config, name, joining));
    // Threads that wait for a log or a process of a pod need not be waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Finds what is going to refuse this start as long as nothing is left of it.
fn check_first_start(config: &Config) -> anyhow::Result<()> {
    check_socket(&config.run_dir.join(SOCKET))?;
    drop(NetworkLock::take()?);
    // A node that joins hears of its server which networks there are.
    if config.join.is_none() {
        overlap::check(&mut RouteSocket::open()?, &config.cluster()?)?;
    }
    Ok(())
}

async fn serve_all(
    config: Config,
    name: String,
    joining: Option<JoinOptions>,
) -> anyhow::Result<()> {
    // Before anything can be interrupted half way.
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen to SIGINT")?;
    // Until names are served nobody reads the file again, and nobody dies of being asked to.
    let hangup = signal(SignalKind::hangup()).context("failed to listen to SIGHUP")?;
    let opening = async {
        match &joining {
            Some(options) => Seat::member(&config, options).await,
            None => Seat::server(&config, &name).await,
        }
    };
    // A server to join may be a long time coming.
    let seat = tokio::select! {
        seat = opening => seat?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let socket = bind_socket(&config.run_dir.join(SOCKET), &config.socket_group)?;
    // Nothing in the kernel is touched before.
    let _network = NetworkLock::take()?;
    let options = machine_options(&config, &name, seat.config.clone());
    let machine = Arc::new(Machine::open(options, seat.plane.clone())?);
    let readiness = Readiness::new();
    let gate = readiness.gate("node: first look at all pods");
    let synced_names = readiness.gate("dns: zone not synced");
    let listening = readiness.gate("dns: not listening");
    if let Some(refusal) = seat.refusal {
        tokio::spawn(readiness.clone().follow("store: the last write was refused", refusal));
    }
    let (stop, stopped) = watch::channel(false);
    let (synced, first_sync) = oneshot::channel();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let notes = Notes::new();
    notes.metrics.register(&mut metrics.adopted(), env!("CARGO_PKG_VERSION"));
    let names = NamesKeeping::new(&config, machine.clone(), seat.control.clone(), notes)?;
    let reconciler = Reconciler::new(machine.clone(), synced)?;
    let mut node = tokio::spawn(reconciler.run(stopped.clone()));
    let here = Arc::new(NodeAccess::new(machine.clone()));
    let (leave, leaving) = watch::channel(false);
    let mut names = tokio::spawn(names.keep(hangup, listening, leaving));
    machine.proxy.register(&mut metrics.adopted());
    let state = ServerState {
        cluster: seat.cluster,
        control_plane: seat.control.clone().map(|control| control as Arc<dyn ControlPlane>),
        tunnels: seat.tunnels,
        pods: Arc::new(RoutedAccess::new(&name, here, seat.way_to)),
        readiness,
        metrics: Arc::new(metrics),
        group: socket.group,
        limits: Limits::default(),
        nodes: seat.port.as_ref().map(|bound| bound.port.clone()),
        node: name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    if let Some(asked) = &seat.asked {
        // Nobody else fills it.
        let _ = asked.set(TunnelServer::new(state.clone()));
    }
    let remote = seat.port.map(|bound| {
        tracing::info!(address = %bound.port.listen, "nodes can join");
        let mut stop = stopped.clone();
        let serving = serve_remote(bound, state.clone(), async move {
            told_to_stop(&mut stop).await;
        });
        tokio::spawn(serving)
    });
    let server = tokio::spawn(serve_always(socket.listener, socket.file, state, stopped.clone()));
    let ready = async {
        if first_sync.await.is_ok() {
            match &seat.control {
                Some(control) => {
                    // First, so that the node that holds the store has its role from the start.
                    control.watch_nodes(&name);
                    tell_status(&machine).await?;
                }
                // The server may be away: the pods of this node do not wait for it.
                None => {
                    let told = insist_on_status(machine.clone());
                    if tokio::time::timeout(STATUS_PATIENCE, told).await.is_err() {
                        tokio::spawn(insist_on_status(machine.clone()));
                    }
                }
            }
            gate.open();
            synced_names.open();
            tracing::info!(node = name, "ready");
            notify(&[sd_notify::NotifyState::Ready]);
            tokio::spawn(keep_house(seat.control.clone(), machine.clone()));
        }
        // From here on only a signal, or the node's end, ends the daemon.
        std::future::pending::<anyhow::Result<()>>().await
    };
    let outcome = tokio::select! {
        failed = ready => failed,
        ended = &mut node => Err(match ended {
            Ok(Ok(())) => anyhow::anyhow!("BUG: the node ended by itself"),
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        }),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping; pods live on");
    // First, while names are still kept: others may need a while to hear that this node goes.
    leave.send_replace(true);
    tokio::select! {
        _ = &mut names => {}
        _ = terminate.recv() => names.abort(),
        _ = interrupt.recv() => names.abort(),
    }
    stop.send_replace(true);
    // The server drains for a bounded time of its own.
    let _ = server.await;
    if let Some(remote) = remote {
        let _ = remote.await;
    }
    if !node.is_finished() {
        let _ = node.await;
    }
    outcome
}

/// Tells the cluster what this node is as soon as it can be told.
async fn insist_on_status(machine: Arc<Machine>) {
    while let Err(error) = tell_status(&machine).await {
        tracing::debug!(%error, "the node's status is not told yet");
        tokio::time::sleep(STATUS_RETRY).await;
    }
}

/// Tells the cluster what this node is.
async fn tell_status(machine: &Machine) -> anyhow::Result<()> {
    let report = NodeReport { status: Some(machine.status()?), ..NodeReport::default() };
    machine.cluster.report(&machine.options.name, report).await?;
    Ok(())
}

/// Serves until `stop` says true, also after somebody removed the socket's file.
async fn serve_always(
    listener: UnixListener,
    mut file: Option<SocketFile>,
    state: ServerState,
    stop: watch::Receiver<bool>,
) {
    let serve_one = |listener| {
        let mut stop = stop.clone();
        serve(listener, state.clone(), async move { told_to_stop(&mut stop).await })
    };
    let mut servers = JoinSet::new();
    servers.spawn(serve_one(listener));
    let mut stopping = stop.clone();
    while let Some(file) = &mut file {
        // Before the look: what is removed after it is heard of.
        let removal = file.watch();
        let looks_again = async {
            match file.put_back() {
                Ok(None) => match removal {
                    Ok(removal) => tokio::select! {
                        () = removal.wait() => {}
                        () = tick::next(SOCKET_LOOK) => {}
                    },
                    // The kernel grants no more watches.
                    Err(_) => tick::next(tick::SHORTEST).await,
                },
                Ok(Some(listener)) => {
                    tracing::warn!("the socket was removed: made another");
                    servers.spawn(serve_one(listener));
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "nobody can connect");
                    tokio::time::sleep(SOCKET_RETRY).await;
                }
            }
        };
        tokio::select! {
            () = told_to_stop(&mut stopping) => break,
            () = looks_again => {}
        }
    }
    told_to_stop(&mut stopping).await;
    while servers.join_next().await.is_some() {}
}

/// Waits until the daemon stops; a sender that is gone says the same.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// A watcher that falls further behind lists again, which a node of 1,000 pods does in 50 ms; more
/// history would cost more memory than the objects themselves.
fn store_options() -> StoreOptions {
    StoreOptions {
        history: HistoryLimits { changes: 4096, bytes: 2 << 20 },
        ..StoreOptions::default()
    }
}

/// Forgets old events and tokens where they are kept, and tells the cluster when the node's
/// addresses change.
async fn keep_house(control: Option<Arc<Control>>, machine: Arc<Machine>) {
    let mut owes_status = false;
    for round in 0_u32.. {
        let thorough = round.is_multiple_of(THOROUGH_ROUNDS);
        if let Some(control) = &control {
            if let Err(error) = control.prune_events(Time::now(), thorough).await {
                tracing::warn!(%error, "old events stay");
            }
            if thorough && let Err(error) = control.prune_tokens(Time::now()).await {
                tracing::warn!(%error, "tokens that ended stay");
            }
        }
        if owes_status || round.is_multiple_of(STATUS_ROUNDS) {
            let told = tell_status(&machine).await;
            owes_status = told.is_err();
            if let Err(error) = told {
                tracing::warn!(%error, "the node's status is not told yet");
            }
        }
        tick::next(HOUSEKEEPING).await;
    }
}

fn machine_options(config: &Config, name: &str, cluster: ClusterConfig) -> MachineOptions {
    MachineOptions {
        name: name.to_owned(),
        run_dir: config.run_dir.clone(),
        state_dir: config.state_dir.clone(),
        program: PathBuf::from("/proc/self/exe"),
        cluster,
        pool_size: config.pool_size,
        mtu: config.mtu,
        log_max_bytes: config.log_max_bytes,
        log_max_files: config.log_max_files,
        back_off: config.back_off(),
    }
}

fn node_name(config: &Config) -> anyhow::Result<String> {
    let name = match &config.node_name {
        Some(name) => name.clone(),
        None => gethostname()
            .context("failed to read the machine's host name: give --node-name")?
            .to_string_lossy()
            .to_lowercase(),
    };
    netlab_api::names::dns_subdomain(&name).map_err(|error| {
        anyhow::anyhow!(
            "`{name}` cannot be a node's name: {}{}: give another by --node-name",
            error.rule,
            error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
        )
    })?;
    Ok(name)
}

fn require_root() -> anyhow::Result<()> {
    anyhow::ensure!(
        Uid::effective().is_root(),
        "netlabd makes network namespaces and needs root: start it by `systemctl start netlabd` or \
         `sudo netlabd`"
    );
    Ok(())
}

/// Each pod costs a descriptor or two, and systemd's default is 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    match DirBuilder::new().recursive(true).mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("failed to make the folder `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Tells systemd, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
