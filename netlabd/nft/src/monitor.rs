// SPDX-License-Identifier: GPL-3.0-or-later
//! Tells when somebody else changes netlab's tables.
//!
//! An event is a reason to look ([`crate::observe()`]), not a description of what to repair: events
//! may be lost, and then the monitor says that they were.
//!
//! The kernel reports each change of a transaction, and at the end of the transaction the new
//! generation of the ruleset together with the process that made it.

#![allow(unsafe_code, reason = "tokio cannot know that a socket type keeps its descriptor")]

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use rustables::sys;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::message::{Message, SUBSYSTEM, messages};
use crate::rule::{Family, TableName};
use crate::socket::{self, Error};

/// The message that ends the report of a transaction.
const NEW_GENERATION: u16 = SUBSYSTEM | sys::NFT_MSG_NEWGEN as u16;
/// The name of the table in the attributes of every object: `NFTA_TABLE_NAME`,
/// `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE` and so on have one number.
const TABLE_OF_OBJECT: u16 = sys::NFTA_TABLE_NAME;
/// `enum nft_gen_attributes` of `linux/netfilter/nf_tables.h`.
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// What a monitor tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody else changed netlab's tables.
    Changed(Change),
    /// More happened than the socket could hold, and events were lost: look at everything.
    Overflow,
}

/// One foreign transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which of netlab's tables it touched.
    pub tables: BTreeSet<TableName>,
    /// The name of the process that did it, as in `/proc/PID/comm`.
    pub process: String,
    /// Its id in the initial pid namespace.
    pub pid: u32,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: Vec<_> = self.tables.iter().map(|table| format!("`{table}`")).collect();
        write!(f, "{} changed {} (process {})", self.process, tables.join(" and "), self.pid)
    }
}

/// Listens for changes of the ruleset in one network namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<netlink_sys::Socket>,
    /// Sockets whose changes are no news.
    own_ports: Vec<u32>,
    /// What was received and not looked at yet, from `position` on.
    buffer: Vec<u8>,
    position: usize,
    /// netlab's tables that the transaction being reported touches.
    touched: BTreeSet<TableName>,
}

impl Monitor {
    /// Begins to listen in the network namespace of the calling thread, which must be one of a
    /// tokio runtime's or have entered one (`Handle::enter`). Changes made through sockets with
    /// `own_ports` ([`crate::Socket::port`]) are not told. A port and not a process id decides,
    /// because the kernel tells ids of the initial pid namespace, which a process need not know.
    ///
    /// Listen first and observe afterwards, or a change in between goes unseen.
    ///
    /// # Errors
    /// [`Error::Open`] and [`Error::Configure`].
    pub fn open(own_ports: &[u32]) -> Result<Self, Error> {
        Self::open_with_buffer(own_ports, socket::BUFFER)
    }

    fn open_with_buffer(own_ports: &[u32], buffer: usize) -> Result<Self, Error> {
        let (socket, _) = socket::open(buffer)?;
        let configure = |option| move |source| Error::Configure { option, source };
        socket.set_non_blocking(true).map_err(configure("O_NONBLOCK"))?;
        socket
            .add_membership(sys::NFNLGRP_NFTABLES)
            .map_err(configure("NETLINK_ADD_MEMBERSHIP"))?;
        // SAFETY: the socket owns its file descriptor, which is open and never replaced, and the
        // AsyncFd owns the socket and hands out no mutable reference to it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| Error::Open { source: error.into() })?;
        Ok(Self {
            socket,
            own_ports: own_ports.to_vec(),
            buffer: Vec::new(),
            position: 0,
            touched: BTreeSet::new(),
        })
    }

    /// Waits for the next event. Safe to cancel: what was received is kept for the next call.
    ///
    /// # Errors
    /// [`Error::Receive`] when the socket fails; there is no use in asking again.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(change) = self.take_change() {
                return Ok(Event::Changed(change));
            }
            self.buffer.clear();
            self.position = 0;
            let mut ready =
                self.socket.readable().await.map_err(|source| Error::Receive { source })?;
            match socket::receive(self.socket.get_ref(), &mut self.buffer) {
                Ok(true) => {}
                Ok(false) => ready.clear_ready(),
                Err(error) if is_overflow(&error) => {
                    self.discard()?;
                    return Ok(Event::Overflow);
                }
                Err(source) => return Err(Error::Receive { source }),
            }
        }
    }

    /// Empties the socket. After an overflow the kernel goes on to drop, without another word,
    /// until the socket has been empty once: only what happens from then on will be told, and only
    /// then may the caller look.
    fn discard(&mut self) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            match socket::receive(self.socket.get_ref(), &mut self.buffer) {
                Ok(true) => {}
                Err(error) if is_overflow(&error) => {}
                Ok(false) => break,
                Err(source) => return Err(Error::Receive { source }),
            }
        }
        // The end of a report may be among what was lost.
        self.touched.clear();
        Ok(())
    }

    /// Reads on in the buffer up to the end of the next foreign transaction.
    fn take_change(&mut self) -> Option<Change> {
        for message in messages(&self.buffer[self.position..]) {
            self.position += message.len();
            if message.kind != NEW_GENERATION {
                self.touched.extend(own_table(&message));
                continue;
            }
            let tables = std::mem::take(&mut self.touched);
            if tables.is_empty() || self.own_ports.contains(&message.port) {
                continue;
            }
            let attributes = message.attributes();
            return Some(Change {
                tables,
                process: attributes.get_text(NFTA_GEN_PROC_NAME).unwrap_or("unknown").to_owned(),
                pid: attributes.get_u32(NFTA_GEN_PROC_PID).unwrap_or_default(),
            });
        }
        None
    }
}

fn own_table(message: &Message<'_>) -> Option<TableName> {
    let family = Family::from_number(message.family())?;
    (message.attributes().get_text(TABLE_OF_OBJECT)? == crate::TABLE)
        .then(|| TableName::own(family))
}

fn is_overflow(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};
    use tokio::runtime::Builder;

    use super::{Event, Monitor};
    use crate::{Socket, masquerade, teardown};

    #[test]
    fn an_overflow_is_told_and_the_monitor_goes_on() {
        let told = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("tests need root");
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let _inside = runtime.enter();
            // Room for the report of one transaction and not of two hundred.
            let mut monitor = Monitor::open_with_buffer(&[], 16 << 10).unwrap();
            let mut socket = Socket::open().unwrap();
            let plan = masquerade::plan(&["10.42.0.0/16".parse().unwrap()]);
            let deadline = Duration::from_secs(20);
            let mut next = || {
                runtime
                    .block_on(async { tokio::time::timeout(deadline, monitor.next()).await })
                    .expect("no event came")
                    .unwrap()
            };
            for _ in 0..100 {
                socket.commit(&plan).unwrap();
                socket.commit(&teardown()).unwrap();
            }
            while next() != Event::Overflow {}
            // What comes after the loss is told again.
            socket.commit(&plan).unwrap();
            assert!(matches!(next(), Event::Changed(_)));
        });
        told.join().unwrap();
    }
}
