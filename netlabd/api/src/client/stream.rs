// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers that go on: watches and logs.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::client::ClientError;
use crate::dns::DnsLogEntry;
use crate::view::ViewEvent;
use crate::wire::WatchEvent;

/// Longest line of a watch, in bytes. The server takes no body over 4 MiB, and an object grows by
/// its status only.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Changes of a collection, in order.
#[derive(Debug)]
pub struct Watch {
    lines: Lines,
}

impl Watch {
    pub(super) fn new(body: Incoming) -> Watch {
        Watch { lines: Lines::new(body) }
    }

    /// The next change; `None` when the server ended the watch. Cancel-safe. An `Error` event
    /// comes as [`ClientError::Api`].
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        match self.lines.next("watch", Duration::MAX).await? {
            Some(WatchEvent::Error(error)) => Err(ClientError::Api(error)),
            event => Ok(event),
        }
    }
}

/// Questions for names and their answers, as they come.
#[derive(Debug)]
pub struct DnsLogStream {
    lines: Lines,
}

impl DnsLogStream {
    pub(super) fn new(body: Incoming) -> DnsLogStream {
        DnsLogStream { lines: Lines::new(body) }
    }

    /// The next one; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<DnsLogEntry>, ClientError> {
        self.lines.next("dns log", Duration::MAX).await
    }
}

/// What concerns a node, as it comes.
#[derive(Debug)]
pub struct ViewStream {
    lines: Lines,
}

impl ViewStream {
    pub(super) fn new(body: Incoming) -> ViewStream {
        ViewStream { lines: Lines::new(body) }
    }

    /// What comes next; `None` when the server ended the view. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] when not a byte comes for as long as `silence`. However slow the
    /// way is, a long answer on it is none.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<ViewEvent>, ClientError> {
        self.lines.next("view", silence).await
    }
}

/// A body of JSON values, one a line.
#[derive(Debug)]
struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no end of line, so that a long line is not searched twice.
    searched: usize,
}

impl Lines {
    fn new(body: Incoming) -> Lines {
        Lines { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line; an error after so long a silence.
    async fn next<T: DeserializeOwned>(
        &mut self,
        what: &str,
        silence: Duration,
    ) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|source| ClientError::Decode { request: what.to_owned(), source });
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::WatchLine { limit: MAX_LINE });
            }
            let piece = tokio::time::timeout(silence, next_piece(&mut self.body)).await;
            let silent = |_| ClientError::NoAnswer { request: what.to_owned() };
            match piece.map_err(silent)?? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        loop {
            let unsearched = &self.buffer[self.searched..];
            let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.searched + end);
            self.buffer.advance(1);
            self.searched = 0;
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}

/// A pod's log, as it comes.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
}

impl LogStream {
    pub(super) fn new(body: Incoming) -> LogStream {
        LogStream { body }
    }

    /// More of the log; `None` at its end. Cancel-safe. Pieces need not end with a line.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        next_piece(&mut self.body).await
    }
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::ClosedMidway { source })?;
        // Trailers carry nothing that anybody reads.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
