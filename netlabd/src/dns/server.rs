// SPDX-License-Identifier: GPL-3.0-or-later
//! Listens for questions at addresses of the node, and hands each to the chain.
//!
//! ```text
//!  datagrams ─► udp: a thread per CPU ─► chain.now ─► answered at once
//!                                          │ later
//!  streams ───► tcp: a task per connection ┴─► chain.later, a task of the runtime ─► same socket
//! ```
//!
//! Everything that others can make grow has a bound: questions that wait, connections, what is
//! unread of a connection, and how long each of them takes.
//!
//! What this does not do: it knows of a message only how long it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use netlab_link::Netns;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use self::admission::Admission;
use self::batch::{Local, Outgoing, send};
pub use self::socket::ListenError;
use self::socket::Udp;
use self::udp::Worker;
use super::chain::{Chain, Pending};

mod admission;
mod batch;
mod holder;
mod socket;
mod tcp;
mod udp;

/// Threads that answer datagrams, at most. One alone answers far more than a node asks.
const THREADS: usize = 4;

/// Questions that wait for others at a time; more are answered with SERVFAIL.
const WAITING: usize = 4096;

/// How long questions that wait may still take when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// A server for names. Dropping it stops it at once.
pub struct DnsServer {
    shared: Arc<Shared>,
    netns: Option<Netns>,
    open: Mutex<Open>,
}

struct Open {
    workers: Vec<Worker>,
    places: BTreeMap<SocketAddr, Place>,
}

/// What is open at one address.
struct Place {
    /// One per thread.
    udp: Vec<Arc<Udp>>,
    /// None while somebody else keeps it from us, as a server that listens at all addresses does:
    /// the kernel gives our datagrams to the more specific socket, and refuses a listener.
    tcp: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(tcp) = &self.tcp {
            tcp.abort();
        }
    }
}

/// What threads and connections share.
struct Shared {
    chain: RwLock<Arc<Chain>>,
    runtime: Handle,
    waiting: Arc<Semaphore>,
    admission: Arc<Admission>,
    transfers: Semaphore,
}

impl DnsServer {
    /// Starts a server that listens nowhere yet. Its sockets will be in `netns`, or else in the
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// When a thread cannot be started.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(chain: Arc<Chain>, netns: Option<Netns>) -> Result<DnsServer, ListenError> {
        let shared = Arc::new(Shared {
            chain: RwLock::new(chain),
            runtime: Handle::current(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            admission: Arc::new(Admission::default()),
            transfers: Semaphore::new(tcp::TRANSFERS),
        });
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
        let start = || (0..threads).map(|at| Worker::start(at, Arc::clone(&shared))).collect();
        let workers: Result<Vec<Worker>, ListenError> = inside(netns.as_ref(), start)?;
        let workers = workers?;
        let open = Mutex::new(Open { workers, places: BTreeMap::new() });
        Ok(DnsServer { shared, netns, open })
    }

    /// Listens at these addresses and at no others. Sockets of addresses that stay are left alone;
    /// an address that the machine does not have yet counts from when it is there.
    ///
    /// What cannot be listened at is returned, and the others are; an address may be had for UDP
    /// alone. Asking again tries again.
    pub fn set_addresses(&self, wanted: &[SocketAddr]) -> Vec<ListenError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut errors = Vec::new();
        let before = open.places.len();
        open.places.retain(|address, _| wanted.contains(address));
        let mut changed = open.places.len() != before;
        for &address in wanted {
            if !open.places.contains_key(&address) {
                match self.open_udp(address, open.workers.len()) {
                    Ok(place) => drop(open.places.insert(address, place)),
                    Err(error) => {
                        errors.push(error);
                        continue;
                    }
                }
                changed = true;
            }
            let Some(place) = open.places.get_mut(&address).filter(|it| it.tcp.is_none()) else {
                continue;
            };
            match self.listen(place.address) {
                Ok(tcp) => {
                    place.tcp = Some(tcp);
                    tracing::info!(address = %place.address, "names are answered");
                }
                Err(error) => errors.push(error),
            }
        }
        if changed {
            for (at, worker) in open.workers.iter().enumerate() {
                worker
                    .listen(open.places.values().map(|place| Arc::clone(&place.udp[at])).collect());
            }
        }
        errors
    }

    fn open_udp(&self, address: SocketAddr, threads: usize) -> Result<Place, ListenError> {
        inside(self.netns.as_ref(), || {
            let mut udp = vec![Arc::new(Udp::open(address)?)];
            // Port 0 is chosen once.
            let address = udp[0].address;
            for _ in 1..threads {
                udp.push(Arc::new(Udp::open(address)?));
            }
            Ok(Place { udp, tcp: None, address })
        })?
    }

    fn listen(&self, address: SocketAddr) -> Result<JoinHandle<()>, ListenError> {
        inside(self.netns.as_ref(), || {
            let listener = socket::open_tcp(address)?;
            let _inside = self.shared.runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|source| ListenError::Thread { source })?;
            Ok(self.shared.runtime.spawn(tcp::accept(listener, Arc::clone(&self.shared))))
        })?
    }

    /// Where it listens, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.places.values().map(|place| place.address).collect()
    }

    /// Answers by another chain from now on. Questions that wait are answered by the one before.
    pub fn set_chain(&self, chain: Arc<Chain>) {
        *self.shared.chain.write().unwrap_or_else(PoisonError::into_inner) = chain;
    }

    /// The chain that answers now.
    pub fn chain(&self) -> Arc<Chain> {
        self.shared.chain()
    }

    /// Goes on for `lameduck`, so that clients learn to ask others, and then stops: what waits
    /// then still gets a moment. What is left ends when the server is dropped.
    pub async fn stop(&self, lameduck: Duration) {
        tokio::time::sleep(lameduck).await;
        // No questions any more, but the sockets of those that wait are still theirs.
        self.set_addresses(&[]);
        self.shared.admission.close_idle();
        let all = u32::try_from(WAITING).expect("a small constant");
        let _ = tokio::time::timeout(GRACE, self.shared.waiting.acquire_many(all)).await;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        open.places.clear();
        for worker in &mut open.workers {
            worker.stop();
        }
        self.shared.admission.close_all();
    }
}

impl Shared {
    fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a question of a datagram wait. When too many do, an answer that says so is written,
    /// and this is true.
    fn later(
        &self,
        chain: &Arc<Chain>,
        pending: Pending,
        socket: &Arc<Udp>,
        local: Option<Local>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
            chain.overloaded(&pending, out);
            return true;
        };
        let chain = Arc::clone(chain);
        let socket = Arc::clone(socket);
        let peer = pending.peer();
        self.runtime.spawn(async move {
            let answer = AssertUnwindSafe(chain.later(pending)).catch_unwind().await;
            match answer {
                Ok(bytes) => send(&socket.socket, &[Outgoing { bytes: &bytes, peer, local }]),
                Err(_) => chain.count_panic(),
            }
            drop(permit);
        });
        false
    }
}

/// Runs inside a namespace, if there is one to enter.
fn inside<T: Send>(
    netns: Option<&Netns>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, ListenError> {
    match netns {
        None => Ok(work()),
        Some(netns) => netns
            .run(work)
            .map_err(|error| ListenError::Thread { source: std::io::Error::other(error) }),
    }
}

/// The client of a connection or datagram: one address, or for IPv6 one network of 64 bits, of
/// which a client has as many addresses as it likes.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
    }
}
