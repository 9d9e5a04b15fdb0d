// SPDX-License-Identifier: GPL-3.0-or-later
//! Threads that answer datagrams. Each has a socket of its own at each address, and sleeps until
//! one has something, or until it is woken to look at changed sockets. None of them ever waits for
//! anything else: what others must be asked for becomes a task, and its answer leaves from the
//! socket at which the question came.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Shared;
use super::batch::{BATCH, Inbox, Local, Outgoing, send};
use super::socket::{ListenError, Udp};
use crate::dns::chain::{Chain, Protocol, Step};

/// Batches in a row from one socket before the others are looked at.
const TURNS: usize = 8;

/// So many questions at one waking tell of more clients than processors.
const MANY: usize = 4;

/// Token of what wakes a thread in its epoll; sockets have their places.
const WAKE: u64 = u64::MAX;

/// Events that are taken at once. More come with the next look.
const EVENTS: usize = 16;

/// Bytes that an answer's buffer keeps between questions.
const KEPT: usize = 4096;

/// A thread, and what it is told.
pub(super) struct Worker {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

struct Told {
    wake: EventFd,
    wish: Mutex<Wish>,
}

struct Wish {
    sockets: Vec<Arc<Udp>>,
    stop: bool,
}

impl Worker {
    /// Starts a thread without sockets, in the network namespace of the calling thread.
    pub(super) fn start(number: usize, shared: Arc<Shared>) -> Result<Worker, ListenError> {
        let failed = |source| ListenError::Thread { source };
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| failed(errno.into()))?;
        let told =
            Arc::new(Told { wake, wish: Mutex::new(Wish { sockets: Vec::new(), stop: false }) });
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .and_then(|epoll| {
                epoll.add(&told.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE)).map(|()| epoll)
            })
            .map_err(|errno| failed(errno.into()))?;
        let heard = Arc::clone(&told);
        let thread = Builder::new()
            .name(format!("dns-{number}"))
            .spawn(move || Answering::new(shared, heard, epoll).run())
            .map_err(failed)?;
        Ok(Worker { told, thread: Some(thread) })
    }

    /// Gives the thread other sockets. What the ones that go have received is still answered.
    pub(super) fn listen(&self, sockets: Vec<Arc<Udp>>) {
        self.told.change(|wish| wish.sockets = sockets);
    }

    /// Ends the thread.
    pub(super) fn stop(&mut self) {
        self.told.change(|wish| wish.stop = true);
        if let Some(thread) = self.thread.take() {
            // It catches what panics.
            let _ = thread.join();
        }
    }
}

impl Told {
    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish.lock().unwrap_or_else(PoisonError::into_inner));
        // Fails only when it is already awake very often.
        let _ = self.wake.write(1);
    }
}

struct Answering {
    shared: Arc<Shared>,
    told: Arc<Told>,
    epoll: Epoll,
    sockets: Vec<Arc<Udp>>,
    inbox: Inbox,
    answers: Vec<Vec<u8>>,
    /// Many questions were there when it was woken last.
    busy: bool,
}

impl Answering {
    fn new(shared: Arc<Shared>, told: Arc<Told>, epoll: Epoll) -> Answering {
        let answers = (0..BATCH).map(|_| Vec::new()).collect();
        let inbox = Inbox::new();
        Answering { shared, told, epoll, sockets: Vec::new(), inbox, answers, busy: false }
    }

    fn run(&mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    // Out of memory at most: the next look finds the same datagrams.
                    tracing::warn!(%error, "cannot wait for questions");
                    std::thread::yield_now();
                    continue;
                }
            };
            let chain = self.shared.chain();
            let mut told = false;
            let mut answered = 0;
            for event in &events[..count] {
                told |= event.data() == WAKE;
                let socket = usize::try_from(event.data()).ok().and_then(|at| self.sockets.get(at));
                if let Some(socket) = socket.map(Arc::clone) {
                    answered += self.serve(&chain, &socket);
                }
            }
            self.busy = answered >= MANY;
            if told && self.look() {
                return;
            }
        }
    }

    /// Takes what it is told; whether that is to end.
    fn look(&mut self) -> bool {
        // Before the wish is read: a change after this wakes again.
        let _ = self.told.wake.read();
        let (sockets, stop) = {
            let wish = self.told.wish.lock().unwrap_or_else(PoisonError::into_inner);
            (wish.sockets.clone(), wish.stop)
        };
        let before = std::mem::replace(&mut self.sockets, if stop { Vec::new() } else { sockets });
        for socket in &before {
            // Fails only for one that could not be added.
            let _ = self.epoll.delete(&socket.socket);
        }
        for (place, socket) in (0..).zip(&self.sockets) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, place);
            if let Err(error) = self.epoll.add(&socket.socket, event) {
                let address = socket.address;
                tracing::error!(%address, %error, "a thread cannot wait for questions");
            }
        }
        let chain = self.shared.chain();
        for gone in before {
            if !self.sockets.iter().any(|socket| Arc::ptr_eq(socket, &gone)) {
                self.serve(&chain, &gone);
            }
        }
        stop
    }

    /// Answers what one socket has received; how many questions that were.
    fn serve(&mut self, chain: &Arc<Chain>, socket: &Arc<Udp>) -> usize {
        let mut answered = 0;
        for _ in 0..TURNS {
            // Nothing more, or an error of an answer that was sent before; the next look tells.
            let Ok(received) = self.inbox.receive(&socket.socket) else { break };
            answered += received;
            let started = Instant::now();
            let mut outgoing: [Option<(SocketAddr, Option<Local>)>; BATCH] = [None; BATCH];
            for (at, to) in outgoing.iter_mut().enumerate().take(received) {
                let Some(datagram) = self.inbox.datagram(at) else { continue };
                // Port 0 cannot be answered.
                if datagram.peer.port() == 0 {
                    continue;
                }
                let answer = &mut self.answers[at];
                answer.clear();
                let step = catch_unwind(AssertUnwindSafe(|| {
                    chain.now(datagram.bytes, datagram.peer, Protocol::Udp, started, answer)
                }));
                let respond = match step {
                    Ok(Step::Answered) => true,
                    // Zones are not sent in datagrams, so there is no such step here.
                    Ok(Step::Silent | Step::Transfer(_)) => false,
                    Ok(Step::Later(pending)) => {
                        self.shared.later(chain, pending, socket, datagram.local, answer)
                    }
                    Err(_) => {
                        answer.clear();
                        chain.panicked(datagram.bytes, answer)
                    }
                };
                if respond {
                    *to = Some((datagram.peer, datagram.local));
                }
            }
            flush(&socket.socket, &outgoing[..received], &self.answers);
            for answer in &mut self.answers[..received] {
                if answer.capacity() > KEPT {
                    *answer = Vec::new();
                }
            }
            if received < BATCH {
                if answered < MANY && !self.busy {
                    break;
                }
                // Where processors are short, whoever asks gets the time to ask more: many
                // questions then cost one sleep and one waking. Elsewhere this returns at once.
                std::thread::yield_now();
            }
        }
        answered
    }
}

fn flush(
    socket: &std::net::UdpSocket,
    outgoing: &[Option<(SocketAddr, Option<Local>)>],
    answers: &[Vec<u8>],
) {
    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut datagrams: [Outgoing<'_>; BATCH] =
        std::array::from_fn(|_| Outgoing { bytes: &[], peer: nobody, local: None });
    let mut count = 0;
    for (to, answer) in outgoing.iter().zip(answers) {
        if let Some((peer, local)) = *to {
            datagrams[count] = Outgoing { bytes: answer, peer, local };
            count += 1;
        }
    }
    if count > 0 {
        send(socket, &datagrams[..count]);
    }
}
