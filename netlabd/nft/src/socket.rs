// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket that carries transactions and questions to nf_tables.
//!
//! A socket belongs to the network namespace of the thread that opens it, for good: open it on a
//! thread that has entered the namespace, then use it from anywhere. The kernel works while the
//! message is being sent, so all answers wait in the socket when sending returns and nothing here
//! ever waits.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::message::{Attributes, Message, messages};
use crate::set::SetName;
use crate::transaction::{Transaction, encode};

/// Size of the send and receive buffers. A transaction is one datagram, and one with 10,000
/// services has 2 MB; the default buffer holds 208 KiB.
pub(crate) const BUFFER: usize = 64 << 20;
/// Longer than any datagram that the kernel sends: a dump has at most 32 KiB, an attribute 64 KiB.
pub(crate) const DATAGRAM: usize = 128 << 10;
/// How often a transaction is begun anew that a signal to this thread has stopped.
const ATTEMPTS: usize = 16;

const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
/// In an error's flags: the refused message follows the error without its payload
/// (`NLM_F_CAPPED`).
const CAPPED: u16 = 0x100;
/// Attributes of an error, `enum nlmsgerr_attrs` of `linux/netlink.h`.
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// Why nf_tables could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be made.
    #[error("failed to open a netfilter netlink socket: does this kernel have nf_tables?")]
    Open {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The socket could not be prepared.
    #[error("failed to set `{option}` of a netfilter netlink socket: is CAP_NET_ADMIN missing?")]
    Configure {
        /// Which option.
        option: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take the message.
    #[error("failed to send {bytes} bytes to nf_tables")]
    Send {
        /// How long the message was.
        bytes: usize,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("failed to receive from nf_tables")]
    Receive {
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a transaction. Nothing of it was applied.
    #[error("nf_tables refused `{step}`{}", explain(detail.as_deref(), *errno))]
    Refused {
        /// The step that it refused, as `nft` writes it; of several, the first. Of a list of
        /// elements, the refused one.
        step: String,
        /// The position of that step in the transaction; none when the transaction was refused
        /// as a whole.
        index: Option<usize>,
        /// Which attribute it refused, as an offset into the step's netlink message in bytes, if
        /// it told.
        offset: Option<u32>,
        /// What it said besides, if anything.
        detail: Option<String>,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The kernel refused a question.
    #[error("failed to list {what} of nf_tables{}", hint(*errno))]
    List {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// A set has elements that netlab cannot describe.
    #[error("failed to read the elements of set `{set}`: has another program added some?")]
    ForeignElements {
        /// Which set.
        set: SetName,
    },
    /// Others changed the ruleset each time it was listed.
    #[error("failed to list the rules in one piece: others change them all the time")]
    Unsteady,
    /// The kernel neither confirmed nor refused.
    #[error("BUG: nf_tables did not answer a transaction of {steps} steps")]
    Unanswered {
        /// How long the transaction was.
        steps: usize,
    },
}

fn explain(detail: Option<&str>, errno: Errno) -> String {
    detail.map_or_else(|| hint(errno).to_owned(), |detail| format!(" ({detail})"))
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => ": is CAP_NET_ADMIN missing?",
        Errno::EOPNOTSUPP => ": does it exist with another hook, or does this kernel lack NAT?",
        _ => "",
    }
}

impl Error {
    /// The kernel's error number, if it came from the kernel.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source }
            | Self::Configure { source, .. }
            | Self::Send { source, .. }
            | Self::Receive { source } => source.raw_os_error().map(Errno::from_raw),
            Self::Refused { errno, .. } | Self::List { errno, .. } => Some(*errno),
            Self::ForeignElements { .. } | Self::Unsteady | Self::Unanswered { .. } => None,
        }
    }

    /// Whether the object, or one that it needs, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }

    /// Whether the object exists already, and is different. (A chain that exists with another hook
    /// or priority is `EOPNOTSUPP` to the kernel, one with another type is `EEXIST`.)
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }
}

/// A connection to nf_tables in one network namespace.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    port: u32,
}

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`] and [`Error::Configure`].
    pub fn open() -> Result<Self, Error> {
        let (inner, port) = open(BUFFER)?;
        let configure = |option| move |source| Error::Configure { option, source };
        setsockopt(&inner, sockopt::SndBufForce, &BUFFER)
            .map_err(|errno| configure("SO_SNDBUFFORCE")(errno.into()))?;
        inner.set_ext_ack(true).map_err(configure("NETLINK_EXT_ACK"))?;
        // Errors need not carry the refused message back: a step may have 64 KiB.
        inner.set_cap_ack(true).map_err(configure("NETLINK_CAP_ACK"))?;
        Ok(Self { inner, port })
    }

    /// The socket's netlink port, by which a [`crate::Monitor`] knows its changes.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Carries out a transaction: all of it or, when this fails, nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] names the step that the kernel refused.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let encoded = encode(transaction);
        let mut attempt = 1;
        loop {
            let answers = self.exchange(&encoded.bytes)?;
            match first_refusal(&answers) {
                // The kernel gives a batch up when a signal arrives, without a trace of it.
                Some(refusal) if refusal.errno == Errno::EINTR && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Some(refusal) => {
                    let Refusal { sequence, offset, detail, errno } = refusal;
                    let owner = encoded.owner(sequence);
                    let item = offset.and_then(|offset| encoded.item(sequence, offset));
                    let step = owner.map_or_else(
                        || format!("the transaction of {} steps", transaction.steps.len()),
                        |index| transaction.steps[index].summary(item),
                    );
                    return Err(Error::Refused { step, index: owner, offset, detail, errno });
                }
                None if answers.is_empty() => {
                    return Err(Error::Unanswered { steps: transaction.steps.len() });
                }
                None => return Ok(()),
            }
        }
    }

    /// Asks a question and hands each answer to `each`; `what` names it in errors.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        request: &[u8],
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let answers = self.exchange(request)?;
        if let Some(Refusal { errno, .. }) = first_refusal(&answers) {
            return Err(Error::List { what, errno });
        }
        messages(&answers)
            .filter(|message| !matches!(message.kind, NLMSG_ERROR | NLMSG_DONE))
            .for_each(|message| each(&message));
        Ok(())
    }

    /// Sends one datagram and takes every answer to it.
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        self.inner
            .send(request, 0)
            .map_err(|source| Error::Send { bytes: request.len(), source })?;
        let mut answers = Vec::new();
        // The kernel makes the next part of a long answer while the one before it is taken, so
        // an empty socket means the end here as well.
        while receive(&self.inner, &mut answers).map_err(|source| Error::Receive { source })? {}
        Ok(answers)
    }
}

/// Opens a netfilter netlink socket in the calling thread's namespace; returns its port as well.
pub(crate) fn open(receive_buffer: usize) -> Result<(netlink_sys::Socket, u32), Error> {
    let mut socket =
        netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(|source| Error::Open { source })?;
    let address = socket.bind_auto().map_err(|source| Error::Open { source })?;
    setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer)
        .map_err(|errno| Error::Configure { option: "SO_RCVBUFFORCE", source: errno.into() })?;
    Ok((socket, address.port_number()))
}

/// Appends the next datagram to `out`; `false` when there is none yet.
pub(crate) fn receive(socket: &netlink_sys::Socket, out: &mut Vec<u8>) -> io::Result<bool> {
    out.reserve(DATAGRAM);
    let room = out.capacity() - out.len();
    loop {
        match socket.recv(out, libc::MSG_DONTWAIT | libc::MSG_TRUNC) {
            Ok(len) if len > room => {
                return Err(io::Error::other(format!("BUG: a datagram of {len} bytes was cut")));
            }
            Ok(_) => {
                out.resize(out.len().next_multiple_of(4), 0);
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) struct Refusal {
    /// Of the refused message.
    sequence: u32,
    errno: Errno,
    offset: Option<u32>,
    detail: Option<String>,
}

/// The first error among the answers. The confirmation of the last message proves nothing by
/// itself: it also comes when the commit failed afterwards.
pub(crate) fn first_refusal(answers: &[u8]) -> Option<Refusal> {
    messages(answers).find_map(|message| {
        let (errno, rest) = match message.kind {
            NLMSG_ERROR | NLMSG_DONE => message.payload().split_first_chunk::<4>()?,
            _ => return None,
        };
        let errno = i32::from_ne_bytes(*errno);
        if errno == 0 {
            return None;
        }
        let mut refusal = Refusal {
            sequence: message.sequence,
            errno: Errno::from_raw(errno.wrapping_neg()),
            offset: None,
            detail: None,
        };
        // The refused message follows, then the attributes.
        if message.kind == NLMSG_ERROR {
            let refused = if message.flags & CAPPED != 0 {
                16
            } else {
                rest.first_chunk::<4>().map_or(16, |len| u32::from_ne_bytes(*len) as usize)
            };
            let attributes =
                Attributes::new(rest.get(refused.next_multiple_of(4)..).unwrap_or_default());
            refusal.detail = attributes.get_text(NLMSGERR_ATTR_MSG).map(str::to_owned);
            refusal.offset = attributes
                .get(NLMSGERR_ATTR_OFFS)
                .and_then(|value| value.try_into().ok())
                .map(u32::from_ne_bytes);
        }
        Some(refusal)
    })
}
