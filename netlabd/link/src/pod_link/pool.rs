// SPDX-License-Identifier: GPL-3.0-or-later
//! A pool of pod links that are made before they are needed.
//!
//! One thread makes them all. Making them on several, or inline in whoever claims, is slower:
//! they wait for one lock of the kernel (RTNL), and two or four threads take twice the time of
//! one. So a claim that finds the pool empty waits for the next link of that thread.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

mod maker;

use maker::Maker;

use super::{Families, PodAddresses, PodLink, PodLinkError, PodLinkId, remove_pod_links};
use crate::{Batch, Netns, RouteSocket};

/// How long the pool waits after a link could not be made before it tries again unasked.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the pool waits after a claim before it makes another link, as long as it is not short
/// of them: making one holds the lock that the claim's own requests are about to need, and makes
/// them take four times as long. Pods come in bursts, so the next claim is likely near.
const QUIET_AFTER_CLAIM: Duration = Duration::from_millis(5);

/// Below one part in this many of its size the pool is short of links and rests no more.
const LOW_WATER: usize = 4;

/// What a pool is to make.
#[derive(Debug)]
pub struct PodLinkPoolOptions {
    /// The node's namespace.
    pub node: Netns,
    /// Where namespaces are pinned; [`crate::netns::prepare_pin_dir`] was called for it.
    pub pin_dir: PathBuf,
    /// How many links to keep ready.
    pub size: usize,
    /// The MTU of the links.
    pub mtu: u32,
    /// The families of the pods.
    pub families: Families,
}

/// Pod links ready to be claimed.
#[derive(Debug)]
pub struct PodLinkPool {
    shared: Arc<Shared>,
    size: usize,
    pin_dir: PathBuf,
    thread: Option<JoinHandle<Maker>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A link or a failure was added, or the pool closed: for claims.
    made: Condvar,
    /// A link is missing, or the pool closes: for the thread that makes them.
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<PreparedLink>,
    /// What links that become ready have to have.
    mtu: u32,
    /// Claims that wait for a link.
    waiting: usize,
    /// Why links could not be made, for the claims that wait.
    failures: VecDeque<PodLinkError>,
    /// Until when no link is made that no claim waits for.
    rest_until: Option<Instant>,
    /// The thread waits for word and not for a time.
    idle: bool,
    closing: bool,
}

impl State {
    /// Whether a claim waits for a link that is not there.
    fn is_short(&self) -> bool {
        self.ready.len() + self.failures.len() < self.waiting
    }

    fn is_full(&self, size: usize) -> bool {
        self.ready.len() + self.failures.len() >= size + self.waiting
    }

    fn rest(&mut self, time: Duration) {
        self.rest_until = Some(Instant::now() + time);
    }
}

impl Shared {
    /// No code that can panic runs under the lock, and the state is whole between statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodLinkPool {
    /// Starts the thread that fills the pool.
    ///
    /// # Errors
    /// [`PodLinkError::StartPool`] when it cannot be started, or not enter the node's namespace.
    pub fn start(options: PodLinkPoolOptions) -> Result<Self, PodLinkError> {
        let failed = |source| PodLinkError::StartPool { source };
        let (size, mtu) = (options.size, options.mtu);
        let pin_dir = options.pin_dir.clone();
        let mut maker = Maker::new(options).map_err(|error| failed(Box::new(error)))?;
        let shared = Arc::new(Shared::default());
        shared.lock().mtu = mtu;
        let thread = thread::Builder::new()
            .name("pod-link-pool".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    fill(&shared, &mut maker, size);
                    maker
                }
            })
            .map_err(|error| failed(Box::new(error)))?;
        Ok(Self { shared, size, pin_dir, thread: Some(thread) })
    }

    /// Takes a link out of the pool, which makes another. Blocks while there is none.
    ///
    /// # Errors
    /// Why no link could be made, or [`PodLinkError::PoolClosed`].
    pub fn claim(&self) -> Result<PreparedLink, PodLinkError> {
        let mut state = self.shared.lock();
        let mut waiting = false;
        loop {
            let claimed = if state.closing {
                Some(Err(PodLinkError::PoolClosed))
            } else if let Some(link) = state.ready.pop_front() {
                Some(Ok(link))
            } else if waiting {
                state.failures.pop_front().map(Err)
            } else {
                None
            };
            if let Some(claimed) = claimed {
                state.waiting -= usize::from(waiting);
                // A failure was for a claim that waited; none may meet a later one.
                let waiting = state.waiting;
                state.failures.truncate(waiting);
                if state.ready.len() * LOW_WATER > self.size {
                    state.rest(QUIET_AFTER_CLAIM);
                }
                if state.idle {
                    self.shared.wanted.notify_one();
                }
                return claimed;
            }
            if !waiting {
                waiting = true;
                state.waiting += 1;
                self.shared.wanted.notify_one();
            }
            state = self.shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many links are ready.
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }

    /// Gives links that are claimed from now on another MTU; `node` is a socket of the node's
    /// namespace. Those that are ready are changed, about 20 us each, and one that cannot be is
    /// removed.
    ///
    /// # Errors
    /// Of links that could not be removed either.
    pub fn set_mtu(&self, node: &mut RouteSocket, mtu: u32) -> Result<(), Vec<PodLinkError>> {
        let mut state = self.shared.lock();
        if state.mtu == mtu {
            return Ok(());
        }
        state.mtu = mtu;
        let mut broken = Vec::new();
        for mut link in std::mem::take(&mut state.ready) {
            match link.set_mtu(node, mtu) {
                Ok(()) => state.ready.push_back(link),
                Err(error) => {
                    tracing::warn!(%error, "a pod link that nobody claimed is given up");
                    broken.push(link.id());
                }
            }
        }
        self.shared.wanted.notify_one();
        drop(state);
        remove_pod_links(node, &self.pin_dir, &broken)
    }

    /// Stops the thread and removes the links that nobody claimed.
    ///
    /// # Errors
    /// All that could not be removed.
    pub fn close(mut self) -> Result<(), Vec<PodLinkError>> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Vec<PodLinkError>> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.lock().closing = true;
        self.shared.wanted.notify_one();
        self.shared.made.notify_all();
        // It does not panic; if it did, it has said so and its links are left to the next start.
        let Ok(mut maker) = thread.join() else { return Ok(()) };
        let unclaimed = std::mem::take(&mut self.shared.lock().ready);
        let ids: Vec<_> = unclaimed.iter().map(|link| link.link.id).collect();
        // Lets go of the namespaces, so that they go with their pins.
        drop(unclaimed);
        remove_pod_links(&mut maker.socket, &maker.pin_dir, &ids)
    }
}

impl Drop for PodLinkPool {
    fn drop(&mut self) {
        for error in self.stop().err().into_iter().flatten() {
            tracing::warn!(%error, "a pod link nobody claimed was left behind");
        }
    }
}

/// A pod link that lacks only its addresses.
#[derive(Debug)]
pub struct PreparedLink {
    link: PodLink,
    netns: Arc<Netns>,
    socket: RouteSocket,
}

impl PreparedLink {
    /// Which link it is.
    pub fn id(&self) -> PodLinkId {
        self.link.id
    }

    /// What belongs to it, for planning.
    pub fn link(&self) -> PodLink {
        self.link
    }

    /// The pod's namespace.
    pub fn netns(&self) -> &Arc<Netns> {
        &self.netns
    }

    /// A socket inside the pod's namespace. It keeps the namespace alive: drop it with the pod.
    pub fn socket(&mut self) -> &mut RouteSocket {
        &mut self.socket
    }

    /// Gives the pod its addresses, on the pod's side. Repeating it is success.
    ///
    /// The node's side is [`PodLink::plan_node_claim`], which can be sent for many pods at once.
    ///
    /// # Errors
    /// [`PodLinkError::Assign`] when the kernel refuses an address.
    pub fn assign(&mut self, addresses: PodAddresses) -> Result<(), PodLinkError> {
        let batch = self.link.plan_pod_claim(addresses);
        let id = self.link.id;
        self.socket.send_all(&batch).map_err(|source| PodLinkError::Assign { id, source })
    }

    /// Gives both ends another MTU, unless they have it.
    fn set_mtu(&mut self, node: &mut RouteSocket, mtu: u32) -> Result<(), PodLinkError> {
        if self.link.mtu == mtu {
            return Ok(());
        }
        let failed = |source| PodLinkError::SetMtu { id: self.link.id, mtu, source };
        let link = PodLink { mtu, ..self.link };
        self.socket.request(link.plan_pod_mtu()).map_err(failed)?;
        node.request(link.plan_node_mtu()).map_err(failed)?;
        self.link = link;
        Ok(())
    }

    /// Appends to `batch` what the node needs for the pod; see [`PodLink::plan_node_claim`].
    pub fn plan_node_claim(&self, addresses: PodAddresses, alias: Option<&str>, batch: &mut Batch) {
        self.link.plan_node_claim(addresses, alias, batch);
    }

    /// The parts, for whoever keeps them apart.
    pub fn into_parts(self) -> (PodLink, Arc<Netns>, RouteSocket) {
        (self.link, self.netns, self.socket)
    }
}

struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().closing = true;
        self.0.made.notify_all();
    }
}

/// Keeps the pool full until it is closed.
fn fill(shared: &Shared, maker: &mut Maker, size: usize) {
    // Also when the thread panics: a claim must not wait for a thread that is gone.
    let _closed = CloseOnDrop(shared);
    if let Err(error) = maker.node.enter_for_good() {
        tracing::error!(%error, "the pool of pod links cannot enter the node's namespace");
        return;
    }
    loop {
        if !wait_until_wanted(shared, size) {
            return;
        }
        maker.mtu = shared.lock().mtu;
        let made = maker.make();
        let mut state = shared.lock();
        // The wish may have changed meanwhile. Under the lock, so that it cannot once more.
        let made = made.and_then(|mut link| match link.set_mtu(&mut maker.socket, state.mtu) {
            Ok(()) => Ok(link),
            Err(error) => {
                let id = link.id();
                drop(link);
                // The first error is the one to tell. What stays, the next start removes.
                let _ = remove_pod_links(&mut maker.socket, &maker.pin_dir, &[id]);
                Err(error)
            }
        });
        match made {
            Ok(link) => {
                state.ready.push_back(link);
                if state.waiting == 0 {
                    continue;
                }
            }
            Err(error) => {
                state.rest(RETRY_AFTER);
                if state.is_short() {
                    state.failures.push_back(error);
                } else {
                    // So that what caused it is told too.
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "a pod link could not be made ahead");
                }
            }
        }
        shared.made.notify_all();
    }
}

/// False when the pool closes.
fn wait_until_wanted(shared: &Shared, size: usize) -> bool {
    let mut state = shared.lock();
    loop {
        if state.closing {
            return false;
        }
        if state.is_short() {
            return true;
        }
        let now = Instant::now();
        let rest = state.rest_until.and_then(|end| end.checked_duration_since(now));
        state = match rest {
            _ if state.is_full(size) => {
                state.idle = true;
                let mut state = shared.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle = false;
                state
            }
            None => return true,
            Some(rest) => {
                let woken = shared.wanted.wait_timeout(state, rest);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}
