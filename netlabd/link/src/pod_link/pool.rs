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

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};

use super::{Families, PodAddresses, PodLink, PodLinkError, PodLinkId, remove_pod_links};
use crate::{Batch, IfIndex, Netns, NetnsError, RouteSocket, SocketError, sysctl};

/// How long the pool waits after a link could not be made before it tries again unasked.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often another number or name is tried when one is taken.
const ATTEMPTS: u32 = 16;

/// The numbers of node-side links start here: far above what the kernel counts up to by itself,
/// and close together, since the kernel keeps them in a radix tree.
const FIRST_HOST_INDEX: u32 = 0x0100_0000;

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
    thread: Option<JoinHandle<Maker>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<PreparedLink>,
    /// Claims that wait for a link.
    waiting: usize,
    /// Why links could not be made, for the claims that wait.
    failures: VecDeque<PodLinkError>,
    closing: bool,
}

impl State {
    /// Whether another link is to be made. While the pool rests after a failure, only for
    /// claims that wait.
    fn wants(&self, size: usize, resting: bool) -> bool {
        let answers = self.ready.len() + self.failures.len();
        answers < self.waiting || !resting && answers < size + self.waiting
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
        let size = options.size;
        let mut maker = Maker::new(options).map_err(|error| failed(Box::new(error)))?;
        let shared = Arc::new(Shared::default());
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
        Ok(Self { shared, thread: Some(thread) })
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
                self.shared.changed.notify_all();
                return claimed;
            }
            if !waiting {
                waiting = true;
                state.waiting += 1;
                self.shared.changed.notify_all();
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many links are ready.
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
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
        self.shared.changed.notify_all();
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

    /// Appends to `batch` what the node needs for the pod; see [`PodLink::plan_node_claim`].
    pub fn plan_node_claim(&self, addresses: PodAddresses, alias: &str, batch: &mut Batch) {
        self.link.plan_node_claim(addresses, alias, batch);
    }

    /// The parts, for whoever keeps them apart.
    pub fn into_parts(self) -> (PodLink, Arc<Netns>, RouteSocket) {
        (self.link, self.netns, self.socket)
    }
}

/// Keeps the pool full until it is closed.
fn fill(shared: &Shared, maker: &mut Maker, size: usize) {
    if let Err(error) = maker.node.enter_for_good() {
        tracing::error!(%error, "the pool of pod links cannot enter the node's namespace");
    }
    let mut rest_until = None;
    loop {
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let rest = rest_until.and_then(|end: Instant| end.checked_duration_since(now));
            if state.closing {
                return;
            }
            if state.wants(size, rest.is_some()) {
                break;
            }
            state = match rest {
                Some(rest) => {
                    let woken = shared.changed.wait_timeout(state, rest);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        drop(state);
        let made = maker.make();
        let mut state = shared.lock();
        rest_until = made.is_err().then(|| Instant::now() + RETRY_AFTER);
        match made {
            Ok(link) => state.ready.push_back(link),
            Err(error) if state.waiting > state.failures.len() => state.failures.push_back(error),
            Err(error) => tracing::warn!(%error, "a pod link could not be made ahead"),
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// Makes links, on a thread that is in the node's namespace.
#[derive(Debug)]
struct Maker {
    node: Arc<Netns>,
    socket: RouteSocket,
    pin_dir: PathBuf,
    mtu: u32,
    families: Families,
    next_host_index: u32,
}

impl Maker {
    fn new(options: PodLinkPoolOptions) -> Result<Self, SocketError> {
        let PodLinkPoolOptions { node, pin_dir, size: _, mtu, families } = options;
        let socket = RouteSocket::open_in(&node)?;
        // Not always the same, or a restarted daemon would first try the numbers of all the
        // pods that outlived it.
        let offset = uuid::Uuid::new_v4().as_u128() as u32 & 0x00ff_ffff;
        let next_host_index = FIRST_HOST_INDEX + offset;
        Ok(Self { node: Arc::new(node), socket, pin_dir, mtu, families, next_host_index })
    }

    fn make(&mut self) -> Result<PreparedLink, PodLinkError> {
        let prepared = self.make_pod_side()?;
        let link = prepared.link;
        let id = link.id;
        let node_side = self
            .socket
            .send_all(&link.plan_node_setup())
            .map_err(|source| PodLinkError::SetUpNode { id, source })
            .and_then(|()| self.force_ipv6_forwarding(id))
            .and_then(|()| {
                let pin = id.pin(&self.pin_dir);
                prepared.netns.pin(&pin).map_err(|source| PodLinkError::Netns { id, source })
            });
        if let Err(error) = node_side {
            // The first error is the one to tell. What this cannot remove, the next start does.
            let _ = remove_pod_links(&mut self.socket, &self.pin_dir, &[id]);
            return Err(error);
        }
        Ok(prepared)
    }

    /// Makes a namespace and fills it. The thread is back in the node's namespace afterwards,
    /// whatever happens in between.
    fn make_pod_side(&mut self) -> Result<PreparedLink, PodLinkError> {
        let id = PodLinkId::random();
        let failed = |source| PodLinkError::Netns { id, source };
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed(NetnsError::Create { source: e }))?;
        let made = self.fill_new_netns(id);
        // Failing here would make every later link inside a pod: better no pool than that.
        if let Err(error) = self.node.enter_for_good() {
            panic!("BUG: the pool of pod links cannot leave a namespace it made: {error}");
        }
        made
    }

    fn fill_new_netns(&mut self, id: PodLinkId) -> Result<PreparedLink, PodLinkError> {
        let netns = Netns::current().map_err(|source| PodLinkError::Netns { id, source })?;
        let mut socket =
            RouteSocket::open().map_err(|source| PodLinkError::SetUpPod { id, source })?;
        let mut link = PodLink {
            id,
            host_index: self.next_host_index(),
            mtu: self.mtu,
            families: self.families,
        };
        let mut attempt = 1;
        while let Err(source) = socket.send_all(&link.plan_pod_setup(Arc::clone(&self.node))) {
            let taken = source
                .kernel_error()
                .is_some_and(|error| error.is_exists() || error.errno() == Errno::EBUSY);
            if !taken || attempt == ATTEMPTS {
                return Err(PodLinkError::SetUpPod { id: link.id, source });
            }
            attempt += 1;
            link.id = PodLinkId::random();
            link.host_index = self.next_host_index();
        }
        if self.families.v6 {
            let eth0 = crate::mark::POD_IF_NAME;
            // No router is on this link, so what claims to be one is a forgery.
            for name in ["accept_ra", "accept_dad"] {
                sysctl::ensure_here(&format!("net/ipv6/conf/{eth0}/{name}"), "0")
                    .map_err(|source| PodLinkError::Sysctl { id: link.id, source })?;
            }
        }
        Ok(PreparedLink { link, netns: Arc::new(netns), socket })
    }

    /// Where the kernel can forward for one link alone (6.17 and later), it is told so for this
    /// one; see [`sysctl::ensure_ipv6_forwarding`].
    fn force_ipv6_forwarding(&self, id: PodLinkId) -> Result<(), PodLinkError> {
        if !self.families.v6 {
            return Ok(());
        }
        let name = format!("net/ipv6/conf/{}/force_forwarding", id.host_name());
        match sysctl::ensure_here(&name, "1") {
            Err(error) if !error.is_not_found() => Err(PodLinkError::Sysctl { id, source: error }),
            _ => Ok(()),
        }
    }

    fn next_host_index(&mut self) -> IfIndex {
        self.next_host_index += 1;
        IfIndex::new(self.next_host_index)
    }
}
