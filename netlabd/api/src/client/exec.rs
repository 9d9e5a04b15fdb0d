// SPDX-License-Identifier: GPL-3.0-or-later
//! Sessions with a command in a pod.

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::client::ClientError;
use crate::exec::{Frame, MAX_FRAME};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// Whether input will be sent.
    pub stdin: bool,
    /// Columns and rows of the terminal; `None` without one.
    pub terminal: Option<(u16, u16)>,
}

/// The way to the command.
#[derive(Debug)]
pub struct ExecInput {
    writer: WriteHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
}

/// The way from the command.
#[derive(Debug)]
pub struct ExecOutput {
    reader: ReadHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
}

pub(super) fn session(upgraded: Upgraded) -> (ExecInput, ExecOutput) {
    let (reader, writer) = split(TokioIo::new(upgraded));
    let input = ExecInput { writer, buffer: BytesMut::new() };
    (input, ExecOutput { reader, buffer: BytesMut::with_capacity(MAX_FRAME) })
}

impl ExecInput {
    /// Sends a frame, and waits while the command does not read.
    pub async fn send(&mut self, frame: Frame) -> Result<(), ClientError> {
        self.buffer.clear();
        frame.encode(&mut self.buffer);
        let sent = async {
            self.writer.write_all(&self.buffer).await?;
            self.writer.flush().await
        };
        sent.await.map_err(|source| ClientError::ExecClosed { source: Some(source) })
    }
}

impl ExecOutput {
    /// The next frame; `None` when the session ended, which without a [`Frame::Exit`] before it is
    /// a session that broke off. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            let frame = Frame::decode(&mut self.buffer);
            if let Some(frame) = frame.map_err(|source| ClientError::Frame { source })? {
                return Ok(Some(frame));
            }
            let read = self.reader.read_buf(&mut self.buffer).await;
            if read.map_err(|source| ClientError::ExecClosed { source: Some(source) })? == 0 {
                return Ok(None);
            }
        }
    }
}
