// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of a daemon's API: HTTP/1.1 and JSON over its unix socket, or whatever dials it.
//!
//! Connections are kept and reused, one request at a time each; a request that finds none idle
//! opens another. Watches, logs and exec sessions own their connection until they are dropped.
//!
//! This file is the client and nothing that it can do: how a request becomes an answer is in
//! `exchange`, and what may be asked is in one file for each noun. No answer is remembered here.

mod daemon;
pub mod error;
mod exchange;
pub mod exec;
mod names;
mod nodes;
mod objects;
mod pods;
mod proxy;
pub mod query;
mod script;
mod selection;
pub mod stream;
mod token;
pub mod transport;

use std::fmt;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;

pub use self::error::ClientError;
pub use self::exchange::{Exchange, Observer, Patience};
pub use self::exec::{ExecInput, ExecOptions, ExecOutput};
pub use self::names::NameQuery;
pub use self::objects::{ApplyOptions, DeleteOptions};
pub use self::pods::LogOptions;
pub use self::query::Query;
pub use self::selection::{Collection, ObjectRef, Selectors};
pub use self::stream::{DnsLogStream, LogStream, ViewStream, Watch};
pub use self::transport::{Dial, Dialing, Io, Transport};

/// A client of one daemon.
pub struct Client {
    transport: Transport,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    observer: Option<Observer>,
    patience: Option<Patience>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects when it is first asked something.
    pub fn new(transport: Transport) -> Client {
        Client { transport, idle: Mutex::new(Vec::new()), observer: None, patience: None }
    }

    /// The same client, telling `observer` of every request.
    pub fn with_observer(mut self, observer: Observer) -> Client {
        self.observer = Some(observer);
        self
    }

    /// The same client, telling of each request that is not answered for long.
    pub fn with_patience(mut self, patience: Patience) -> Client {
        self.patience = Some(patience);
        self
    }

    /// Where the daemon is.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

#[cfg(test)]
mod tests;
