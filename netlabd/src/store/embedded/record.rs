// SPDX-License-Identifier: GPL-3.0-or-later
//! How entries look on disk. Knows no database: bytes in, bytes out.
//!
//! ```text
//!   entry   key   'k' + key
//!           value crc32 (4) | created (8) | modified (8) | value        crc over key and all after it
//!   head    key   'h'
//!           value crc32 (4) | revision (8) | count (8) | sum (8)        crc over all after it
//! ```
//!
//! Integers are little endian. The head says how many entries there are and the sum of their CRCs:
//! an entry that is lost without a trace is noticed as well as one that is damaged.

use crate::store::{Entry, Revision};

/// The database key of the head.
pub(super) const HEAD_KEY: &[u8] = b"h";

const ENTRY_TAG: u8 = b'k';
const ENTRY_HEADER: usize = 20;
const HEAD_LENGTH: usize = 28;

/// What is true of the store as a whole, written with each transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The newest revision, also when its entries are deleted again.
    pub(super) revision: Revision,
    /// How many entries there are.
    pub(super) count: u64,
    /// The wrapping sum of their CRCs.
    pub(super) sum: u64,
}

impl Head {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(checksum(entry).into());
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(checksum(entry).into());
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for field in [self.revision.0, self.count, self.sum] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() != HEAD_LENGTH {
            return Err("has the wrong length");
        }
        if crc32fast::hash(&bytes[4..]) != u32_at(bytes, 0) {
            return Err("has a wrong checksum");
        }
        Ok(Self {
            revision: Revision(u64_at(bytes, 4)),
            count: u64_at(bytes, 12),
            sum: u64_at(bytes, 20),
        })
    }
}

/// The database key of the entry `key`.
pub(super) fn entry_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(ENTRY_TAG);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The database value of `entry`.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_HEADER + entry.value.len());
    bytes.extend_from_slice(&checksum(entry).to_le_bytes());
    bytes.extend_from_slice(&entry.created.0.to_le_bytes());
    bytes.extend_from_slice(&entry.modified.0.to_le_bytes());
    bytes.extend_from_slice(&entry.value);
    bytes
}

/// The entry of a database key and value.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Entry, &'static str> {
    let Some((&ENTRY_TAG, name)) = key.split_first() else {
        return Err("has a key of an unknown kind");
    };
    let Ok(name) = std::str::from_utf8(name) else {
        return Err("has a key that is not UTF-8");
    };
    if bytes.len() < ENTRY_HEADER {
        return Err("is cut short");
    }
    let value = &bytes[ENTRY_HEADER..];
    let entry = Entry::new(name, value, Revision(u64_at(bytes, 4)), Revision(u64_at(bytes, 12)));
    if checksum(&entry) != u32_at(bytes, 0) {
        return Err("has a wrong checksum");
    }
    Ok(entry)
}

/// How to name a database key to a person.
pub(super) fn display_key(key: &[u8]) -> String {
    match key.split_first() {
        Some((&ENTRY_TAG, name)) => String::from_utf8_lossy(name).into_owned(),
        _ => format!("(internal) {}", String::from_utf8_lossy(key)),
    }
}

/// The key's length is part of it, so that no byte can move between key and value.
fn checksum(entry: &Entry) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(entry.key.len() as u64).to_le_bytes());
    hasher.update(entry.key.as_bytes());
    hasher.update(&entry.created.0.to_le_bytes());
    hasher.update(&entry.modified.0.to_le_bytes());
    hasher.update(&entry.value);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
