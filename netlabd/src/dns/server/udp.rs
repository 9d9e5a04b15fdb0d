// SPDX-License-Identifier: GPL-3.0-or-later
//! Threads that answer datagrams. Each has a socket of its own at each address, and sleeps until
//! one has something, or until it is woken to look at changed sockets. None of them ever waits for
//! anything else: what others must be asked for becomes a task, and its answer leaves from the
//! socket at which the question came.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Shared;
use super::batch::{BATCH, Inbox, Local, Outgoing, send};
use super::socket::{ListenError, Udp};
use crate::dns::chain::{Chain, Protocol, Step};

/// Batches in a row from one socket before the others are looked at.
const TURNS: usize = 8;

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
        let mut answering = Answering::new(shared, Arc::clone(&told));
        let thread = Builder::new()
            .name(format!("dns-{number}"))
            .spawn(move || answering.run())
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
    sockets: Vec<Arc<Udp>>,
    inbox: Inbox,
    answers: Vec<Vec<u8>>,
}

impl Answering {
    fn new(shared: Arc<Shared>, told: Arc<Told>) -> Answering {
        let answers = (0..BATCH).map(|_| Vec::new()).collect();
        Answering { shared, told, sockets: Vec::new(), inbox: Inbox::new(), answers }
    }

    fn run(&mut self) {
        loop {
            let ready = match wait(&self.told.wake, &self.sockets) {
                Ok(ready) => ready,
                Err(error) => {
                    // Out of memory at most: the next look finds the same datagrams.
                    tracing::warn!(%error, "cannot wait for questions");
                    std::thread::yield_now();
                    continue;
                }
            };
            let chain = self.shared.chain();
            for at in 0..self.sockets.len() {
                if ready.sockets & (1 << at.min(63)) != 0 {
                    let socket = Arc::clone(&self.sockets[at]);
                    self.serve(&chain, &socket, TURNS);
                }
            }
            if ready.told && self.look() {
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
        let chain = self.shared.chain();
        for gone in before {
            if !self.sockets.iter().any(|socket| Arc::ptr_eq(socket, &gone)) {
                self.serve(&chain, &gone, TURNS);
            }
        }
        stop
    }

    /// Answers what one socket has received.
    fn serve(&mut self, chain: &Arc<Chain>, socket: &Arc<Udp>, turns: usize) {
        for _ in 0..turns {
            let received = match self.inbox.receive(&socket.socket, socket.is_wildcard()) {
                Ok(received) => received,
                // Nothing more, or an error of an answer that was sent before; poll tells the rest.
                Err(_) => return,
            };
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
                return;
            }
        }
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

/// What woke a thread.
struct Ready {
    told: bool,
    /// One bit per socket; those after the 63rd share the last.
    sockets: u64,
}

fn wait(wake: &EventFd, sockets: &[Arc<Udp>]) -> io::Result<Ready> {
    let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(sockets.len() + 1);
    fds.push(watched(wake.as_fd()));
    fds.extend(sockets.iter().map(|socket| watched(socket.socket.as_fd())));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok(Ready { told: false, sockets: 0 }),
        Err(errno) => return Err(errno.into()),
    }
    // An error counts as readable: reading takes it from the socket.
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    let mut sockets = 0;
    for (at, fd) in fds[1..].iter().enumerate() {
        if ready(fd) {
            sockets |= 1 << at.min(63);
        }
    }
    Ok(Ready { told: ready(&fds[0]), sockets })
}
