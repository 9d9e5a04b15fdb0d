// SPDX-License-Identifier: GPL-3.0-or-later
//! Connection tracking: the flows that the kernel follows, and how some of them are forgotten.
//!
//! ```text
//!   Conntrack::list ──► each Flow ──► the caller picks ──► Conntrack::delete ──► kernel
//! ```
//!
//! A flow that was translated once is translated the same way for as long as the kernel knows it,
//! whatever the rules say by then. So when an endpoint goes, the flows to it must go as well:
//! those of UDP, which has no end that the kernel could see.
//!
//! Which flows are meant is the caller's matter. What is deleted is named by its answers' ends, its
//! zone and its number, so that a younger flow which leads to another endpoint is left alone.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::message::messages;
use crate::rule::Family;
use crate::socket;

mod encoding;
mod flow;

pub use flow::{Counter, Flow, Icmp, Tuple};

/// How many flows one system call deletes. An answer takes a KiB of the socket's buffer at most,
/// and only those that fail have one.
const CHUNK: usize = 2048;

/// Room for a chunk of IPv6 flows, 140 bytes each, and the kernel's overhead.
const SEND_BUFFER: usize = 2 << 20;

/// Why flows could not be listed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// There is no socket to the kernel.
    #[error("failed to open a socket for connection tracking")]
    Open {
        /// Why.
        #[source]
        source: crate::Error,
    },
    /// The kernel did not take the message.
    #[error("failed to send {bytes} bytes to connection tracking")]
    Send {
        /// How long the message was.
        bytes: usize,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("failed to receive from connection tracking")]
    Receive {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel refused to list flows.
    #[error("failed to list the flows that are tracked{}", hint(*errno))]
    List {
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The kernel refused to delete flows.
    #[error("failed to delete the flow `{flow}` and {others} others{}", hint(*errno))]
    Delete {
        /// The first one.
        flow: Box<Flow>,
        /// How many more were refused.
        others: usize,
        /// Why the first one was.
        #[source]
        errno: Errno,
    },
    /// The kernel ended an answer too early.
    #[error("BUG: connection tracking did not finish its answer")]
    Unfinished,
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => ": is CAP_NET_ADMIN missing?",
        // What nfnetlink says of a subsystem that nobody has registered.
        Errno::EINVAL => ": is the kernel module nf_conntrack_netlink missing?",
        _ => "",
    }
}

impl ConntrackError {
    /// The kernel's error number, if it came from the kernel.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source } => source.errno(),
            Self::Send { source, .. } | Self::Receive { source } => {
                source.raw_os_error().map(Errno::from_raw)
            }
            Self::List { errno } | Self::Delete { errno, .. } => Some(*errno),
            Self::Unfinished => None,
        }
    }
}

/// Which flows are listed. What is none or false does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of a family. The kernel looks at this.
    pub family: Option<Family>,
    /// Only those of an IP protocol, such as 17 for UDP.
    pub protocol: Option<u8>,
    /// Only those whose destination was translated, as is that of every connection to a service.
    /// Kernels since 5.14 look at this; those before tell all, and are not believed.
    pub translated: bool,
}

impl Filter {
    fn takes(self, flow: &Flow) -> bool {
        self.family.is_none_or(|family| family == flow.family())
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && (!self.translated || flow.is_destination_translated())
    }
}

/// A connection to the connection tracking of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: netlink_sys::Socket,
    /// The number of the last question.
    sequence: u32,
    /// Of one datagram at a time.
    received: Vec<u8>,
}

impl Conntrack {
    /// Opens a socket in the network namespace of the calling thread. It stays there wherever it
    /// is used.
    ///
    /// # Errors
    /// [`ConntrackError::Open`], without CAP_NET_ADMIN.
    pub fn open() -> Result<Self, ConntrackError> {
        let failed = |source| ConntrackError::Open { source };
        let (socket, _) = socket::open(socket::BUFFER).map_err(failed)?;
        let option = |option| move |source| failed(crate::Error::Configure { option, source });
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)
            .map_err(|errno| option("SO_SNDBUFFORCE")(errno.into()))?;
        // An error need not carry the refused message back.
        socket.set_cap_ack(true).map_err(option("NETLINK_CAP_ACK"))?;
        Ok(Self { socket, sequence: 0, received: Vec::new() })
    }

    /// Hands every flow that the filter takes to `each`, one after the other, as the kernel tells
    /// them: however many there are, only a few are in memory. Flows that come or go meanwhile may
    /// be among them or not.
    ///
    /// # Errors
    /// When the kernel cannot be talked to, or refuses.
    pub fn list(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(Flow),
    ) -> Result<(), ConntrackError> {
        self.sequence = self.sequence.wrapping_add(1);
        let question = encoding::list(filter, self.sequence);
        self.send(&question)?;
        let mut ended = None;
        while ended.is_none() && self.receive()? {
            for message in messages(&self.received) {
                if message.sequence != self.sequence {
                    // Left by a question that ended in an error.
                    continue;
                }
                if let Some(end) = encoding::end(&message) {
                    ended = Some(end);
                } else if filter.protocol.is_none_or(|it| encoding::protocol(&message) == Some(it))
                    && let Some(flow) = encoding::decode(&message)
                    && filter.takes(&flow)
                {
                    each(flow);
                }
            }
        }
        ended.ok_or(ConntrackError::Unfinished)?.map_err(|errno| ConntrackError::List { errno })
    }

    /// Makes the kernel forget flows, many at a time. One that is gone already is no error; a new
    /// one from the same client, which leads elsewhere, stays.
    ///
    /// # Errors
    /// When the kernel cannot be talked to. [`ConntrackError::Delete`] when it refuses; all others
    /// are deleted even then.
    pub fn delete(&mut self, flows: &[Flow]) -> Result<(), ConntrackError> {
        let mut refused: Vec<(&Flow, Errno)> = Vec::new();
        for chunk in flows.chunks(CHUNK) {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::with_capacity(chunk.len() * 128);
            for (position, flow) in chunk.iter().enumerate() {
                self.sequence = self.sequence.wrapping_add(1);
                let last = position + 1 == chunk.len();
                encoding::delete(flow, self.sequence, last, &mut bytes);
            }
            self.send(&bytes)?;
            let mut done = false;
            while self.receive()? {
                for message in messages(&self.received) {
                    let position = message.sequence.wrapping_sub(first) as usize;
                    let (Some(flow), Some(end)) = (chunk.get(position), encoding::end(&message))
                    else {
                        continue;
                    };
                    done |= position + 1 == chunk.len();
                    refused.extend(
                        end.err().filter(|it| *it != Errno::ENOENT).map(|errno| (flow, errno)),
                    );
                }
            }
            if !done {
                return Err(ConntrackError::Unfinished);
            }
        }
        match refused.first() {
            None => Ok(()),
            Some((flow, errno)) => Err(ConntrackError::Delete {
                flow: Box::new((*flow).clone()),
                others: refused.len() - 1,
                errno: *errno,
            }),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), ConntrackError> {
        let failed = |source| ConntrackError::Send { bytes: bytes.len(), source };
        self.socket.send(bytes, 0).map(drop).map_err(failed)
    }

    /// Takes the next datagram; false when there is none. The kernel works while a message is being
    /// sent, and makes the next part of a long answer while one is taken, so none is on its way.
    fn receive(&mut self) -> Result<bool, ConntrackError> {
        self.received.clear();
        socket::receive(&self.socket, &mut self.received)
            .map_err(|source| ConntrackError::Receive { source })
    }
}

/// Reads a message as if the kernel had sent it.
#[cfg(feature = "fuzzing")]
pub(crate) fn read(message: &crate::message::Message<'_>) {
    let _ = (encoding::end(message), encoding::protocol(message), encoding::decode(message));
}
