// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages that `message::read_query` does not take: what is wrong with them, and what of them can
//! be answered all the same. Pure.
//!
//! `hickory_server` reads them and writes what they are refused with. CoreDNS's server is the
//! measure. It reads generously: sections may end early, and bytes after the last record do not
//! matter. And it tells little: errors in the header are answered with a header alone, so that no
//! answer is longer than its question. What hickory does not read for these reasons is brought into
//! a form that it does, or answered by `write_error`, which needs to understand next to nothing.

use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use hickory_proto::op::{Edns as HickoryEdns, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::OPT;
use hickory_proto::rr::{DNSClass, RData, Record as HickoryRecord};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::xfer::Protocol as HickoryProtocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};

use super::message::{Edns, HEADER, Query, Section, are_options, u16_at, wire};
use super::name::{Name, name_length};
use super::record::{Question, Rcode, RecordType};

#[cfg(test)]
mod tests;

/// Bits of the two bytes of flags.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RD: u8 = 0x01;
const CD: u8 = 0x10;

const OPCODE_NOTIFY: u8 = 4;

/// What an unusual message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusual {
    /// Not to be answered: no message, or a response.
    Silent,
    /// It cannot be answered; the response that says so is written.
    Refused(Rcode),
    /// A query after all.
    Plain(Query),
    /// Somebody says that a zone changed.
    Notify(Query),
    /// Somebody wants a zone (AXFR, IXFR).
    Transfer {
        /// Which.
        query: Query,
        /// What the client has already.
        serial: Option<u32>,
    },
}

/// Reads an unusual message; errors are written to `out`.
pub(super) fn read(packet: &[u8], out: &mut Vec<u8>) -> Unusual {
    let Some(header) = packet.first_chunk::<HEADER>() else { return Unusual::Silent };
    if header[2] & QR != 0 {
        return Unusual::Silent;
    }
    if let Some(code) = header_fault(packet, header) {
        return refuse_header(header, code, out);
    }
    let Some(end) = question(packet) else {
        return refuse_header(header, ResponseCode::FormErr, out);
    };
    let Some(request) = whole(packet, end).and_then(request) else {
        return malformed(packet, out);
    };
    if fault(&request).is_some() {
        let refused = refuse(&Handler { header_fault: None }, &request, out);
        if let Some(opt) = opt(packet).filter(|_| refused.is_some()) {
            // Of hickory's responses too the client's own size comes back, not the 512 that it means.
            wire::set_payload(out, opt.class);
        }
        return refused.unwrap_or_else(|| malformed(packet, out));
    }
    let Some(query) = plain(packet, &request) else { return malformed(packet, out) };
    if request.metadata.op_code == OpCode::Notify {
        return Unusual::Notify(query);
    }
    if [RecordType::AXFR, RecordType::IXFR].contains(&query.question.kind) {
        return Unusual::Transfer { query, serial: serial(&request) };
    }
    Unusual::Plain(query)
}

/// Writes a response without records and with this code: the question, and EDNS if it has that.
/// Never longer than `packet`; nothing unless that has a header. Works for whatever nobody could or
/// should read, so it does not read more than it writes.
pub(super) fn write_error(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    out.clear();
    let Some(header) = packet.first_chunk::<HEADER>() else { return };
    let question = if header[4..6] == [0, 0] { None } else { question(packet) };
    let opt = question.and_then(|_| opt(packet));
    let is_query = header[2] & OPCODE == 0;
    let kept = |flags: u8, bit: u8| if is_query { flags & bit } else { 0 };
    // Cut on purpose: what is above four bits has its place in EDNS (RFC 6891 section 6.1.3).
    let (high, low) = ((rcode.0 >> 4) as u8, (rcode.0 & 0xf) as u8);
    let first = QR | header[2] & OPCODE | kept(header[2], RD);
    out.extend_from_slice(&[header[0], header[1], first, kept(header[3], CD) | low]);
    out.extend_from_slice(&[0, question.is_some().into(), 0, 0, 0, 0, 0, opt.is_some().into()]);
    if let Some(end) = question {
        out.extend_from_slice(&packet[HEADER..end]);
    }
    if let Some(opt) = opt {
        let [payload, more] = opt.class.to_be_bytes();
        let flags = if opt.ttl & 0x8000 != 0 { 0x80 } else { 0 };
        out.extend_from_slice(&[0, 0, 41, payload, more, high, 0, flags, 0, 0, 0]);
    }
}

/// What a packet asks for, in wire form, if that can be read.
pub(super) fn asked(packet: &[u8]) -> Option<(&[u8], RecordType, u16)> {
    let name = question(packet)? - 4;
    Some((&packet[HEADER..name], RecordType(u16_at(packet, name)?), u16_at(packet, name + 2)?))
}

/// Makes a response to a query one to a NOTIFY.
pub(super) fn as_notify(response: &mut [u8]) {
    if let Some(flags) = response.get_mut(2) {
        *flags = (*flags & !OPCODE & !RD) | OPCODE_NOTIFY << 3;
    }
}

/// Refuses what is not served. What is served, it leaves to the chain.
struct Handler {
    /// What is wrong with the header, which is then all there is of the request.
    header_fault: Option<ResponseCode>,
}

#[async_trait]
impl RequestHandler for Handler {
    /// Does not wait, so that it may be polled once.
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code =
            self.header_fault.or_else(|| fault(request)).unwrap_or(ResponseCode::NoError);
        if self.header_fault.is_some() {
            // The flags of the question, as CoreDNS sends them back.
            metadata.truncation = request.metadata.truncation;
            metadata.recursion_available = request.metadata.recursion_available;
            metadata.authentic_data = request.metadata.authentic_data;
            if metadata.response_code == ResponseCode::FormErr {
                metadata.op_code = OpCode::Query;
            }
        } else if metadata.op_code != OpCode::Query {
            (metadata.recursion_desired, metadata.checking_disabled) = (false, false);
        }
        let edns = request.edns.as_ref().map(answering);
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let sent = response.send_response(builder.build_no_records(metadata)).await;
        sent.unwrap_or_else(|_| {
            let counts = Default::default();
            hickory_proto::op::Header { metadata, counts }.into()
        })
    }
}

/// Where the handler's response goes.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl ResponseHandler for Buffer {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a HickoryRecord> + Send + 'a,
            impl Iterator<Item = &'a HickoryRecord> + Send + 'a,
            impl Iterator<Item = &'a HickoryRecord> + Send + 'a,
            impl Iterator<Item = &'a HickoryRecord> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.clear();
        Ok(response.destructive_emit(&mut BinEncoder::new(&mut bytes))?)
    }
}

/// Lets the handler refuse a request, in `out`.
fn refuse(handler: &Handler, request: &Request, out: &mut Vec<u8>) -> Option<Unusual> {
    let buffer = Buffer(Arc::new(Mutex::new(mem::take(out))));
    let handled = handler.handle_request::<_, TokioTime>(request, buffer.clone()).now_or_never();
    *out = mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner));
    // Without a header, it could not be written.
    let info = handled.filter(|_| out.len() >= HEADER)?;
    Some(Unusual::Refused(Rcode(info.response_code.into())))
}

/// Answers with a header alone. What follows such a header may be anything, and is not looked at.
fn refuse_header(header: &[u8; HEADER], code: ResponseCode, out: &mut Vec<u8>) -> Unusual {
    let mut alone = *header;
    alone[4..].fill(0);
    request(alone.to_vec())
        .and_then(|request| refuse(&Handler { header_fault: Some(code) }, &request, out))
        .unwrap_or_else(|| malformed(&alone, out))
}

/// Answers what hickory does not read.
fn malformed(packet: &[u8], out: &mut Vec<u8>) -> Unusual {
    write_error(packet, Rcode::FORMERR, out);
    Unusual::Refused(Rcode::FORMERR)
}

/// What a header is refused for, whatever comes after it.
fn header_fault(packet: &[u8], header: &[u8; HEADER]) -> Option<ResponseCode> {
    let opcode = OpCode::from_u8((header[2] & OPCODE) >> 3);
    if ![OpCode::Query, OpCode::Notify].contains(&opcode) {
        return Some(ResponseCode::NotImp);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // A NOTIFY may bring an SOA as its answer (RFC 1996 section 3.7), an IXFR has one in its
    // authority (RFC 1995 section 3), and two records are additional: OPT and a signature.
    if count(4) != 1 || count(6) > 1 || count(8) > 1 || count(10) > 2 {
        return Some(ResponseCode::FormErr);
    }
    (packet.len() == HEADER).then_some(ResponseCode::ServFail)
}

/// What a request is refused for.
fn fault(request: &Request) -> Option<ResponseCode> {
    if request.queries.queries().iter().any(|query| query.query_class() != DNSClass::IN) {
        return Some(ResponseCode::Refused);
    }
    (request.version() != 0).then_some(ResponseCode::BADVERS)
}

/// The EDNS that answers one: of options, none is known here.
fn answering(asked: &HickoryEdns) -> HickoryEdns {
    let mut edns = asked.clone();
    edns.set_version(0);
    edns.flags_mut().z = 0;
    *edns.options_mut() = OPT::default();
    edns
}

/// The message as hickory reads it: where sections end early, the header says so. `None` when it
/// cannot be read. `end` is where the question ends.
fn whole(packet: &[u8], mut end: usize) -> Option<Vec<u8>> {
    let mut counts = [0u16; 3];
    for record in wire::records(packet)? {
        // Of broken options hickory only warns in the daemon's log, which is not a client's.
        if record.kind == RecordType::OPT && !are_options(&packet[record.data..record.end]) {
            return None;
        }
        counts[record.section as usize] += 1;
        end = record.end;
    }
    let mut message = packet.to_vec();
    if end == packet.len() {
        for (place, count) in message[6..HEADER].chunks_exact_mut(2).zip(counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }
    Some(message)
}

/// Lets hickory read a message.
fn request(message: Vec<u8>) -> Option<Request> {
    // Who asks was looked at before, and does not matter to what is done here.
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Request::from_bytes(message, nobody, HickoryProtocol::Udp).ok()
}

/// The query that a request is without what is unusual of it. The name and the payload are the
/// packet's: hickory's name has no case, and its payload is 512 at least.
fn plain(packet: &[u8], request: &Request) -> Option<Query> {
    let (name, kind, _) = asked(packet)?;
    let metadata = &request.metadata;
    let payload = opt(packet).map(|opt| opt.class);
    Some(Query {
        id: metadata.id,
        question: Question { name: Name::from_wire(name).ok()?, kind },
        recursion_desired: metadata.recursion_desired,
        authentic_data: metadata.authentic_data,
        checking_disabled: metadata.checking_disabled,
        edns: request.edns.as_ref().map(|edns| Edns {
            payload: payload.unwrap_or_else(|| edns.max_payload()),
            version: edns.version(),
            dnssec_ok: edns.flags().dnssec_ok,
        }),
    })
}

/// The serial of the zone that a client has already.
fn serial(request: &Request) -> Option<u32> {
    request.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// Where the question ends.
fn question(packet: &[u8]) -> Option<usize> {
    let end = HEADER + name_length(packet.get(HEADER..)?)? + 4;
    (end <= packet.len()).then_some(end)
}

/// The OPT record, if it can be found.
fn opt(packet: &[u8]) -> Option<wire::WireRecord> {
    wire::records(packet)?
        .find(|record| record.kind == RecordType::OPT && record.section == Section::Additional)
}
