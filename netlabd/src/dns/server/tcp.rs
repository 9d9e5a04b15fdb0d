// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions over TCP (RFC 7766): any number on one connection, answered as soon as each can be.
//!
//! A client that sends or reads slowly, or nothing, holds a connection for seconds and nothing else.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::admission::Guest;
use super::{Shared, client};
use crate::dns::chain::{Protocol, Step, Transfer};
use crate::dns::message::HEADER;

/// How long a connection may be idle; CoreDNS closes after as long.
const IDLE: Duration = Duration::from_secs(10);

/// How long a message that began may take to arrive.
const MESSAGE: Duration = Duration::from_secs(5);

/// How long a client may take to read what is written at once.
const WRITE: Duration = Duration::from_secs(5);

/// How often a connection looks at its times. Timers per question would cost more than answers.
const LOOK: Duration = Duration::from_secs(1);

/// Questions of one connection that wait at a time; no more are read meanwhile.
const PIPELINE: usize = 64;

/// Bytes of answers after which they are written before more are made.
const FLUSH: usize = 32 * 1024;

/// Bytes that are read at once.
const READ: usize = 2048;

/// Zones that are sent at a time: each is a copy for as long as it takes.
pub(super) const TRANSFERS: usize = 2;

/// Pause after an error of accept, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for as long as it runs.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(guest) = shared.admission.admit(client(peer.ip())) else {
                    tracing::debug!(%peer, "a connection for names is refused: there are too many");
                    continue;
                };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let mut connection = Connection::new(stream, peer, guest, shared);
                    if let Err(error) = connection.converse().await {
                        tracing::trace!(%peer, %error, "a connection for names ends");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for names");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    guest: Guest,
    shared: Arc<Shared>,
    input: BytesMut,
    /// Answers with their lengths, not yet written.
    output: Vec<u8>,
    /// When the message in `input` began, or else when the connection became idle.
    since: Instant,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, guest: Guest, shared: Arc<Shared>) -> Connection {
        let (input, output) = (BytesMut::new(), Vec::new());
        Connection { stream, peer, guest, shared, input, output, since: Instant::now() }
    }

    async fn converse(&mut self) -> io::Result<()> {
        let mut waiting = FuturesUnordered::new();
        let mut ended = false;
        let mut look = std::pin::pin!(sleep_until(self.since + LOOK));
        loop {
            while waiting.len() < PIPELINE && self.output.len() < FLUSH {
                let Some(message) = self.take_message()? else { break };
                let chain = self.shared.chain();
                let (place, started) = (self.output.len(), std::time::Instant::now());
                let mut answer = Vec::new();
                let step = catch_unwind(AssertUnwindSafe(|| {
                    chain.now(&message, self.peer, Protocol::Tcp, started, &mut answer)
                }));
                match step {
                    Ok(Step::Answered) => push(&mut self.output, &answer),
                    Ok(Step::Silent) => {}
                    Ok(Step::Later(pending)) => {
                        let free = Arc::clone(&self.shared.waiting).try_acquire_owned();
                        if let Ok(permit) = free {
                            waiting.push(async move {
                                let answer = AssertUnwindSafe(chain.later(pending)).catch_unwind();
                                let answer = answer.await.map_err(|_| chain.count_panic());
                                drop(permit);
                                answer
                            });
                        } else {
                            chain.overloaded(&pending, &mut answer);
                            push(&mut self.output, &answer);
                        }
                    }
                    Ok(Step::Transfer(transfer)) => self.transfer(transfer).await?,
                    Err(_) => {
                        answer.clear();
                        self.output.truncate(place);
                        if chain.panicked(&message, &mut answer) {
                            push(&mut self.output, &answer);
                        }
                    }
                }
            }
            if !self.output.is_empty() {
                self.write().await?;
                continue;
            }
            if waiting.is_empty() {
                if ended || self.guest.is_closed() {
                    return Ok(());
                }
                if self.input.is_empty() {
                    self.guest.idle();
                    if self.input.capacity() > READ {
                        self.input = BytesMut::new();
                    }
                }
            }
            tokio::select! {
                Some(answer) = waiting.next(), if !waiting.is_empty() => {
                    // One that panicked is counted, and has no answer.
                    if let Ok(answer) = answer {
                        push(&mut self.output, &answer);
                    }
                    self.since = Instant::now();
                }
                read = read(&mut self.stream, &mut self.input),
                    if !ended && waiting.len() < PIPELINE =>
                {
                    let (began, count) = read?;
                    ended = count == 0;
                    self.guest.busy();
                    if began {
                        self.since = Instant::now();
                    }
                }
                () = &mut look => {
                    let now = Instant::now();
                    if waiting.is_empty() && now >= self.deadline() {
                        return Ok(());
                    }
                    look.as_mut().reset(now + LOOK);
                }
                () = self.guest.closed() => {
                    if waiting.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.since + if self.input.is_empty() { IDLE } else { MESSAGE }
    }

    /// The next message, when all of it is there.
    fn take_message(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(&[high, low]) = self.input.first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER {
            // No answer is possible, and who sends this speaks no DNS.
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.input.len() < 2 + length {
            return Ok(None);
        }
        let _ = self.input.split_to(2);
        self.since = Instant::now();
        Ok(Some(self.input.split_to(length)))
    }

    /// Writes what there is to write.
    async fn write(&mut self) -> io::Result<()> {
        // Most often all is taken at once, and no timer is needed.
        let written = match self.stream.try_write(&self.output) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written < self.output.len() {
            timeout(WRITE, self.stream.write_all(&self.output[written..])).await??;
        }
        self.output.clear();
        if self.output.capacity() > FLUSH {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Sends a zone, in as many messages as it takes.
    async fn transfer(&mut self, transfer: Transfer) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let _turn = shared.transfers.acquire().await.map_err(io::Error::other)?;
        // It takes a while, and others answer meanwhile.
        let mut messages =
            tokio::task::spawn_blocking(|| transfer.messages()).await.map_err(io::Error::other)?;
        let mut message = Vec::new();
        while messages.next(&mut message) {
            push(&mut self.output, &message);
            self.write().await?;
        }
        Ok(())
    }
}

/// Reads some; also whether a message begins with it.
async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<(bool, usize)> {
    let began = input.is_empty();
    input.reserve(READ);
    Ok((began, stream.read_buf(input).await?))
}

/// Adds an answer, with its length before it.
fn push(output: &mut Vec<u8>, answer: &[u8]) {
    // No answer is longer: each was made for the limit of TCP.
    let Ok(length) = u16::try_from(answer.len()) else { return };
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(answer);
}
