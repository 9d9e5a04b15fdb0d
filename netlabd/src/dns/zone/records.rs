// SPDX-License-Identifier: GPL-3.0-or-later
//! Records on their way into an answer: of one name, counted, and of each address once.

use std::net::IpAddr;

use crate::dns::message::{Section, Sink};
use crate::dns::name::Name;
use crate::dns::record::{Owner, Record, RecordData, RecordType};

/// Answers that are compared one by one when looking for doubles; more are looked up.
const FEW: usize = 32;

/// Where the records of one name go.
pub(super) struct Records<'a, S> {
    pub(super) sink: &'a mut S,
    pub(super) owner: Owner,
    /// Records that answer.
    pub(super) count: usize,
}

impl<S: Sink> Records<'_, S> {
    pub(super) fn add(&mut self, ttl: u32, data: RecordData) {
        self.count += 1;
        self.sink.add(Section::Answer, Record { owner: self.owner.clone(), ttl, data });
    }

    /// An address, if it is of the family that was asked for.
    pub(super) fn address(&mut self, kind: RecordType, ttl: u32, address: IpAddr) {
        match (kind, address) {
            (RecordType::A, IpAddr::V4(address)) => self.add(ttl, RecordData::A(address)),
            (RecordType::AAAA, IpAddr::V6(address)) => self.add(ttl, RecordData::Aaaa(address)),
            _ => {}
        }
    }

    pub(super) fn srv(&mut self, ttl: u32, weight: u16, port: u16, target: Name) {
        self.add(ttl, RecordData::Srv { priority: 0, weight, port, target });
    }

    pub(super) fn additional(&mut self, ttl: u32, name: Name, address: IpAddr) {
        let data = match address {
            IpAddr::V4(address) => RecordData::A(address),
            IpAddr::V6(address) => RecordData::Aaaa(address),
        };
        self.sink.add(Section::Additional, Record { owner: Owner::Name(name), ttl, data });
    }
}

/// Addresses that were told already: two slices may have the same.
#[derive(Default)]
pub(super) struct Seen {
    few: Vec<IpAddr>,
    many: std::collections::HashSet<IpAddr>,
}

impl Seen {
    pub(super) fn is_new(&mut self, address: IpAddr) -> bool {
        if self.few.len() < FEW {
            let is_new = !self.few.contains(&address);
            if is_new {
                self.few.push(address);
            }
            return is_new;
        }
        !self.few.contains(&address) && self.many.insert(address)
    }
}
