// SPDX-License-Identifier: GPL-3.0-or-later
//! A blocking rtnetlink socket that belongs to one network namespace.
//!
//! The kernel carries out every request of a batch before `sendmsg` returns, and answers only
//! those that fail, plus the last one, which asks for an acknowledgement. So a batch of any
//! length costs one system call to send and usually one to read.

use std::{collections::BTreeMap, io};

use netlink_packet_core::NLM_F_ACK;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{Batch, Netns, Request};

mod dump;
mod error;
mod frame;
mod pick;

pub use dump::RouteFilter;
pub use error::{BatchError, KernelError, SocketError};
use frame::Frame;
pub(crate) use frame::{Frames, decode};

/// What both buffers are forced to, past `net.core.[rw]mem_max`. It is a limit and not an
/// allocation. An answer takes up to 2 KiB of it, so a full chunk of refused requests fits.
const BUFFER_SIZE: usize = 8 << 20;

/// What is sent at once. Well below [`BUFFER_SIZE`], which the kernel compares with the size of
/// its own copy, overhead included.
const CHUNK_REQUESTS: usize = 2048;

/// The largest datagram of a dump is 32 KiB (`netlink_dump`), unless a single object is larger.
const RECEIVE_SIZE: usize = 1 << 17;

/// An rtnetlink socket. It keeps its namespace alive, and belongs to it wherever it is used.
pub struct RouteSocket {
    socket: Socket,
    sequence_number: u32,
    received: Vec<u8>,
    sending: Vec<u8>,
}

impl std::fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteSocket").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl RouteSocket {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`SocketError::Open`] when CAP_NET_ADMIN is missing or the kernel is older than 5.0.
    pub fn open() -> Result<Self, SocketError> {
        let failed = |source| SocketError::Open { source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        setsockopt(&socket, sockopt::SndBufForce, &BUFFER_SIZE).map_err(|e| failed(e.into()))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_SIZE).map_err(|e| failed(e.into()))?;
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        // Makes the kernel filter dumps and refuse headers it would otherwise ignore.
        socket.set_netlink_get_strict_chk(true).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        Ok(Self { socket, sequence_number: 0, received: Vec::new(), sending: Vec::new() })
    }

    /// Opens a socket in a namespace.
    ///
    /// # Errors
    /// As [`RouteSocket::open`], and when the namespace cannot be entered.
    pub fn open_in(netns: &Netns) -> Result<Self, SocketError> {
        netns.run(Self::open).map_err(|source| SocketError::Enter { source })?
    }

    /// Carries out a batch and says which of its requests failed.
    ///
    /// # Errors
    /// [`SocketError::Send`] or [`SocketError::Receive`] when the kernel could not be talked to;
    /// part of the batch may have been carried out then. That the kernel refused a request is
    /// not an error here but in the [`Outcome`].
    pub fn send(&mut self, batch: &Batch) -> Result<Outcome, SocketError> {
        let mut outcome = Outcome { total: batch.len(), refused: BTreeMap::new() };
        for (chunk, requests) in batch.requests().chunks(CHUNK_REQUESTS).enumerate() {
            self.send_chunk(requests, chunk * CHUNK_REQUESTS, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Carries out a batch, all of which must succeed.
    ///
    /// # Errors
    /// As [`RouteSocket::send`], and [`SocketError::Refused`] when any request failed. The
    /// others were carried out.
    pub fn send_all(&mut self, batch: &Batch) -> Result<(), SocketError> {
        Ok(self.send(batch)?.check()?)
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// As [`RouteSocket::send_all`].
    pub fn request(&mut self, request: Request) -> Result<(), SocketError> {
        self.send_all(&Batch::from_iter([request]))
    }

    fn send_chunk(
        &mut self,
        requests: &[Request],
        offset: usize,
        outcome: &mut Outcome,
    ) -> Result<(), SocketError> {
        let mut bytes = std::mem::take(&mut self.sending);
        bytes.clear();
        let first = self.sequence_number.wrapping_add(1);
        for (position, request) in requests.iter().enumerate() {
            let last = position + 1 == requests.len();
            let sequence_number = self.next_sequence_number();
            request.encode(sequence_number, if last { NLM_F_ACK } else { 0 }, &mut bytes);
        }
        let last = self.sequence_number;
        let sent = self.send_bytes(&bytes);
        self.sending = bytes;
        sent?;
        loop {
            let mut done = false;
            self.receive()?;
            for frame in Frames::new(&self.received) {
                let frame = frame?;
                // Not of this chunk: left by a chunk that ended in an error.
                let position = frame.sequence_number.wrapping_sub(first) as usize;
                let Some(request) = requests.get(position) else { continue };
                if let Frame { answer: Some(answer), .. } = &frame
                    && let Some(errno) = answer.errno
                {
                    let error = KernelError::new(request, errno, answer.message.clone());
                    outcome.refused.insert(offset + position, error);
                }
                done |= frame.sequence_number == last && frame.answer.is_some();
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Frees the memory that talking to the kernel took, 128 KiB, until it is talked to again: for
    /// sockets that are kept for later.
    pub(crate) fn release_buffers(&mut self) {
        (self.received, self.sending) = (Vec::new(), Vec::new());
    }

    fn next_sequence_number(&mut self) -> u32 {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.sequence_number
    }

    fn send_bytes(&self, bytes: &[u8]) -> Result<(), SocketError> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SocketError::Send { source }),
            }
        }
    }

    fn receive(&mut self) -> Result<(), SocketError> {
        self.received.clear();
        self.received.reserve(RECEIVE_SIZE);
        loop {
            match self.socket.recv(&mut self.received, libc::MSG_TRUNC) {
                Ok(size) if size > self.received.len() => {
                    return Err(SocketError::Truncated { size });
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SocketError::Receive { source }),
            }
        }
    }
}

/// What became of the requests of a batch.
#[derive(Debug)]
#[must_use = "a request may have been refused"]
pub struct Outcome {
    total: usize,
    refused: BTreeMap<usize, KernelError>,
}

impl Outcome {
    /// The requests that failed, by their place in the batch.
    pub fn refused(&self) -> &BTreeMap<usize, KernelError> {
        &self.refused
    }

    /// Why a request failed; none when it was carried out.
    pub fn error(&self, place: usize) -> Option<&KernelError> {
        self.refused.get(&place)
    }

    /// The same outcome without the failures that are no matter, such as
    /// [`KernelError::is_not_found`] of what was to be deleted.
    pub fn ignore(mut self, no_matter: impl Fn(&KernelError) -> bool) -> Self {
        self.refused.retain(|_, error| !no_matter(error));
        self
    }

    /// Success when every request was carried out.
    ///
    /// # Errors
    /// [`BatchError`] with all that were not.
    pub fn check(self) -> Result<(), BatchError> {
        if self.refused.is_empty() {
            Ok(())
        } else {
            Err(BatchError { total: self.total, refused: self.refused })
        }
    }
}

#[cfg(test)]
mod tests;
