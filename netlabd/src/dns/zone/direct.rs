// SPDX-License-Identifier: GPL-3.0-or-later
//! The direct path: addresses of services are written as they are found, without allocating.

use std::net::IpAddr;

use super::objects::Service;
use super::{Direct, Zone};
use crate::dns::message::write::{OPT_LENGTH, write_edns, write_head};
use crate::dns::message::{HEADER, IN, Query, write_answer};
use crate::dns::name::Labels;
use crate::dns::record::{Found, Rcode, RecordType};

impl Zone {
    /// Answers a query with the response's bytes, at most `limit` of them, at the end of `out`.
    /// They say what [`Zone::answer`] says.
    pub fn answer_into(&self, query: &Query, limit: usize, out: &mut Vec<u8>) -> Direct {
        if self.write_cluster_ip(query, limit, out) {
            return Direct::Answered;
        }
        match self.answer(&query.question) {
            Found::Answer(answer) => {
                write_answer(query, &answer, true, limit, out);
                Direct::Answered
            }
            Found::Alias { chain, target } => Direct::Alias { chain, target },
            Found::Elsewhere => Direct::Elsewhere,
        }
    }

    /// Writes the addresses of `<service>.<namespace>.svc`. False: it is something else.
    fn write_cluster_ip(&self, query: &Query, limit: usize, out: &mut Vec<u8>) -> bool {
        let wants_v4 = match query.question.kind {
            RecordType::A => true,
            RecordType::AAAA => false,
            _ => return false,
        };
        let Some(before) = query.question.name.strip_suffix(&self.settings.domain) else {
            return false;
        };
        let mut labels = Labels::of(before);
        let (Some(name), Some(namespace), Some(svc), None) =
            (labels.next(), labels.next(), labels.next(), labels.next())
        else {
            return false;
        };
        if !svc.eq_ignore_ascii_case(b"svc") || self.settings.ignore_empty_service {
            return false;
        }
        let entry = self.entry(name, namespace);
        let Some(Service::Cluster { addresses, .. }) = entry.and_then(|e| e.service.as_ref())
        else {
            return false;
        };
        let mut count: u16 = 0;
        for (at, address) in addresses.iter().enumerate() {
            if addresses[..at].contains(address) {
                return false;
            }
            count += u16::from(address.is_ipv4() == wants_v4);
        }
        let record = if wants_v4 { 16 } else { 28 };
        let most = HEADER
            + query.question.name.wire().len()
            + 4
            + OPT_LENGTH
            + record * usize::from(count);
        if count == 0 || most > limit {
            return false;
        }
        let start = out.len();
        write_head(query, Rcode::NOERROR, true, out);
        for address in addresses.iter().filter(|address| address.is_ipv4() == wants_v4) {
            out.extend_from_slice(&[0xc0, HEADER as u8]);
            out.extend_from_slice(&query.question.kind.0.to_be_bytes());
            out.extend_from_slice(&IN.to_be_bytes());
            out.extend_from_slice(&self.settings.ttl.to_be_bytes());
            match address {
                IpAddr::V4(address) => {
                    out.extend_from_slice(&[0, 4]);
                    out.extend_from_slice(&address.octets());
                }
                IpAddr::V6(address) => {
                    out.extend_from_slice(&[0, 16]);
                    out.extend_from_slice(&address.octets());
                }
            }
        }
        let extra = write_edns(query, Rcode::NOERROR, out);
        out[start + 6..start + 8].copy_from_slice(&count.to_be_bytes());
        out[start + 10..start + 12].copy_from_slice(&extra.to_be_bytes());
        true
    }
}
