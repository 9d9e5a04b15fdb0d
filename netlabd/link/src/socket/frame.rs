// SPDX-License-Identifier: GPL-3.0-or-later
//! The messages of a datagram, and the answers among them. Layout: `linux/netlink.h`.

use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::RouteNetlinkMessage;

use super::SocketError;

const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message.
pub(crate) struct Frame<'a> {
    pub(crate) message_type: u16,
    pub(crate) sequence_number: u32,
    pub(crate) payload: &'a [u8],
    /// The objects of the dump changed while it was made.
    pub(crate) interrupted: bool,
    /// Set when this ends the answer to a request: an acknowledgement, an error, the end of a
    /// dump.
    pub(crate) answer: Option<Answer>,
}

/// How a request ended.
pub(crate) struct Answer {
    /// None is success.
    pub(crate) errno: Option<i32>,
    pub(crate) message: Option<String>,
}

/// The messages of a datagram, in order.
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, SocketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some(frame) = parse(rest) else {
            return Some(Err(SocketError::Short { size: rest.len() }));
        };
        let length = (HEADER_LEN + frame.payload.len()).next_multiple_of(4);
        self.rest = rest.get(length..).unwrap_or_default();
        Some(Ok(frame))
    }
}

fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = u32_at(bytes, 0)? as usize;
    let flags = u16_at(bytes, 6)?;
    let payload = bytes.get(HEADER_LEN..length)?;
    let message_type = u16_at(bytes, 4)?;
    Some(Frame {
        message_type,
        sequence_number: u32_at(bytes, 8)?,
        payload,
        interrupted: flags & NLM_F_DUMP_INTR != 0,
        answer: match message_type {
            NLMSG_ERROR => Some(answer(payload, flags, error_attributes(payload, flags)?)?),
            NLMSG_DONE => Some(answer(payload, flags, 4)?),
            _ => None,
        },
    })
}

/// Where the attributes of an error start: after the errno and what is repeated of the request.
fn error_attributes(payload: &[u8], flags: u16) -> Option<usize> {
    let request = if flags & NLM_F_CAPPED != 0 { HEADER_LEN } else { u32_at(payload, 4)? as usize };
    Some(4 + request.next_multiple_of(4))
}

/// Decodes what is not an answer.
pub(crate) fn decode(
    message_type: u16,
    payload: &[u8],
) -> Result<RouteNetlinkMessage, SocketError> {
    RouteNetlinkMessage::parse_with_param(payload, message_type)
        .map_err(|source| SocketError::Decode { source })
}

fn answer(payload: &[u8], flags: u16, attributes: usize) -> Option<Answer> {
    // The end of a dump may come without an errno.
    let errno = u32_at(payload, 0).unwrap_or_default().cast_signed();
    let mut message = None;
    if flags & NLM_F_ACK_TLVS != 0 {
        let attributes = NlasIterator::new(payload.get(attributes..).unwrap_or_default());
        for attribute in attributes.flatten().filter(|nla| nla.kind() == NLMSGERR_ATTR_MSG) {
            let text = attribute.value().split(|byte| *byte == 0).next().unwrap_or_default();
            message = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    Some(Answer { errno: (errno != 0).then_some(-errno), message })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
