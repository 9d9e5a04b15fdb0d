// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames of an upgraded exec connection.
//!
//! After `101 Switching Protocols` (`Upgrade: netlab-exec/1`) both sides send frames: one byte of
//! channel, four bytes of length (big endian), then that many bytes. A side that reads an unknown
//! channel or a length over [`MAX_FRAME`] ends the connection.
//!
//! ```text
//! client ──► server   stdin, stdin closed, resize
//! client ◄── server   stdout, stderr, exit
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of the `Upgrade` header.
pub const EXEC_PROTOCOL: &str = "netlab-exec/1";

/// Largest payload of a frame, in bytes; larger writes are cut into several.
pub const MAX_FRAME: usize = 64 * 1024;

/// Body of an exec whose command is too long for the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecCommand {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes for the command's standard input.
    Stdin(Bytes),
    /// The client has no more input.
    StdinClosed,
    /// The client's window has this size.
    Resize {
        /// Columns.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Bytes of the command's standard output; with a terminal, of the terminal.
    Stdout(Bytes),
    /// Bytes of the command's standard error.
    Stderr(Bytes),
    /// The command ended with this exit code; nothing follows.
    Exit(i32),
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The channel byte means nothing.
    #[error("unknown exec channel {channel}")]
    UnknownChannel {
        /// The byte.
        channel: u8,
    },
    /// The length is over [`MAX_FRAME`], or not the one its channel has.
    #[error("exec frame of {length} bytes on channel {channel} is not allowed")]
    BadLength {
        /// The channel.
        channel: u8,
        /// The length.
        length: usize,
    },
}

const HEADER: usize = 5;

impl Frame {
    /// Appends the frame's bytes. Payloads over [`MAX_FRAME`] become several frames.
    pub fn encode(&self, out: &mut BytesMut) {
        let (channel, payload): (u8, &[u8]) = match self {
            Frame::Stdin(data) => (0, data),
            Frame::Stdout(data) => (1, data),
            Frame::Stderr(data) => (2, data),
            Frame::Exit(code) => return Frame::put(out, 3, &code.to_be_bytes()),
            Frame::Resize { columns, rows } => {
                let [a, b] = columns.to_be_bytes();
                let [c, d] = rows.to_be_bytes();
                return Frame::put(out, 4, &[a, b, c, d]);
            }
            Frame::StdinClosed => return Frame::put(out, 5, &[]),
        };
        for piece in payload.chunks(MAX_FRAME) {
            Frame::put(out, channel, piece);
        }
    }

    fn put(out: &mut BytesMut, channel: u8, payload: &[u8]) {
        out.put_u8(channel);
        out.put_u32(payload.len() as u32);
        out.put_slice(payload);
    }

    /// Takes the first whole frame off `buffer`; `None` when there is none yet.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(&[channel, a, b, c, d]) = buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let allowed = match channel {
            0..=2 => length <= MAX_FRAME,
            3 | 4 => length == 4,
            5 => length == 0,
            _ => return Err(FrameError::UnknownChannel { channel }),
        };
        if !allowed {
            return Err(FrameError::BadLength { channel, length });
        }
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        buffer.advance(HEADER);
        let mut payload = buffer.split_to(length).freeze();
        Ok(Some(match channel {
            0 => Frame::Stdin(payload),
            1 => Frame::Stdout(payload),
            2 => Frame::Stderr(payload),
            3 => Frame::Exit(payload.get_i32()),
            4 => Frame::Resize { columns: payload.get_u16(), rows: payload.get_u16() },
            _ => Frame::StdinClosed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire_even_byte_by_byte() {
        let frames = [
            Frame::Stdin(Bytes::from_static(b"ls\n")),
            Frame::StdinClosed,
            Frame::Resize { columns: 80, rows: 24 },
            Frame::Stdout(Bytes::from_static(b"a")),
            Frame::Stderr(Bytes::from_static(b"")),
            Frame::Exit(-1),
        ];
        let mut wire = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut wire);
        }
        let mut seen = Vec::new();
        let mut buffer = BytesMut::new();
        for byte in wire {
            buffer.put_u8(byte);
            seen.extend(Frame::decode(&mut buffer).expect("what was encoded decodes"));
        }
        // An empty payload makes no frame: there is nothing to say.
        let expected: Vec<_> =
            frames.into_iter().filter(|f| *f != Frame::Stderr(Bytes::new())).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_large_payload_is_cut() {
        let mut wire = BytesMut::new();
        Frame::Stdout(Bytes::from(vec![7; MAX_FRAME + 1])).encode(&mut wire);
        let first = Frame::decode(&mut wire).expect("valid").expect("whole");
        let second = Frame::decode(&mut wire).expect("valid").expect("whole");
        assert_eq!(first, Frame::Stdout(Bytes::from(vec![7; MAX_FRAME])));
        assert_eq!(second, Frame::Stdout(Bytes::from(vec![7])));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let refuse = |bytes: &[u8]| Frame::decode(&mut BytesMut::from(bytes)).expect_err("refused");
        assert_eq!(refuse(b"GET /"), FrameError::UnknownChannel { channel: b'G' });
        assert_eq!(
            refuse(&[1, 255, 0, 0, 0]),
            FrameError::BadLength { channel: 1, length: 0xff00_0000 }
        );
    }
}
