// SPDX-License-Identifier: GPL-3.0-or-later
//! Netlink messages of nf_tables as bytes: headers, attributes, batches.
//!
//! Knows the format (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`) and no object. Integers of
//! nf_tables are big-endian, those of netlink itself are the host's.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nlmsghdr` and `struct nfgenmsg`: attributes begin here.
const HEADERS: usize = 20;
/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are its type (`NLA_TYPE_MASK`).
const TYPE: u16 = !(0b11 << 14);
/// The subsystem in the upper byte of a message's type.
pub(crate) const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
const END: u16 = libc::NFNL_MSG_BATCH_END as u16;

const fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// Appends an attribute.
pub(crate) fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = u16::try_from(4 + value.len()).expect("BUG: a netlink attribute over 64 KiB");
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(align(out.len()), 0);
}

/// Appends an attribute with a big-endian number.
pub(crate) fn put_u32(out: &mut Vec<u8>, kind: u16, value: u32) {
    put_attribute(out, kind, &value.to_be_bytes());
}

/// Appends an attribute with a NUL-terminated text.
pub(crate) fn put_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    put_attribute(out, kind, &value);
}

/// Appends an attribute that holds those which `content` writes.
pub(crate) fn put_nested(out: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(kind | NESTED).to_ne_bytes());
    content(out);
    let len = u16::try_from(out.len() - start).expect("BUG: a netlink attribute over 64 KiB");
    out[start..start + 2].copy_from_slice(&len.to_ne_bytes());
}

/// A batch in the making: what the kernel takes as one transaction.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    /// The sequence number of the next message. That of BEGIN is 0.
    next: u32,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(4096), last: 0, next: 0 };
        batch.control(BEGIN);
        batch
    }

    /// The sequence number that the next message will get.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.next
    }

    /// Adds a message about an object, whose attributes `content` writes.
    pub(crate) fn message(
        &mut self,
        kind: u32,
        flags: u32,
        family: u8,
        content: impl FnOnce(&mut Vec<u8>),
    ) {
        self.header(SUBSYSTEM | kind as u16, flags as u16, family, 0);
        content(&mut self.bytes);
        self.finish();
    }

    /// Adds the messages of a batch of rustables: without its BEGIN and END, under our sequence
    /// numbers, and without its wish for an acknowledgement of each.
    pub(crate) fn splice(&mut self, batch: rustables::Batch) {
        for message in messages(&batch.finalize()) {
            if message.kind == BEGIN || message.kind == END {
                continue;
            }
            let flags = message.flags & !(libc::NLM_F_ACK as u16);
            self.last = self.bytes.len();
            self.bytes.extend_from_slice(message.bytes);
            self.bytes.resize(align(self.bytes.len()), 0);
            self.put(6, &flags.to_ne_bytes());
            self.put(8, &self.next.to_ne_bytes());
            self.next += 1;
        }
    }

    /// Ends the batch. The kernel will acknowledge its last message, hence all of it: one answer
    /// however long the batch is.
    pub(crate) fn finish_batch(mut self) -> Vec<u8> {
        let at = self.last + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.put(6, &(flags | libc::NLM_F_ACK as u16).to_ne_bytes());
        self.control(END);
        self.bytes
    }

    /// BEGIN and END name the subsystem in the resource id.
    fn control(&mut self, kind: u16) {
        self.header(kind, 0, libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16);
        self.finish();
    }

    fn header(&mut self, kind: u16, flags: u16, family: u8, resource: u16) {
        self.last = self.bytes.len();
        put_header(&mut self.bytes, kind, flags, self.next, family, resource);
        self.next += 1;
    }

    fn finish(&mut self) {
        let len = (self.bytes.len() - self.last) as u32;
        self.put(0, &len.to_ne_bytes());
    }

    /// Overwrites a header field of the last message.
    fn put(&mut self, offset: usize, value: &[u8]) {
        let at = self.last + offset;
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }
}

fn put_header(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
    out.extend_from_slice(&(HEADERS as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[family, libc::NFNETLINK_V0 as u8]);
    out.extend_from_slice(&resource.to_be_bytes());
}

/// Appends a message outside of any batch, for whatever subsystem is in its kind.
pub(crate) fn put_request(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    content: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    put_header(out, kind, flags, sequence, family, 0);
    content(out);
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_ne_bytes());
}

/// A question to nf_tables, outside of any batch.
pub(crate) fn request(
    kind: u32,
    flags: u32,
    sequence: u32,
    family: u8,
    content: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    put_request(&mut out, SUBSYSTEM | kind as u16, flags as u16, sequence, family, content);
    out
}

/// One message, as received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Netlink port of the socket that caused it.
    pub(crate) port: u32,
    /// All of it, headers included.
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// What follows `struct nlmsghdr`.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }

    /// Its length in a datagram, padding included.
    pub(crate) fn len(&self) -> usize {
        align(self.bytes.len())
    }

    /// The family of `struct nfgenmsg`.
    pub(crate) fn family(&self) -> u8 {
        self.bytes.get(HEADER).copied().unwrap_or_default()
    }

    /// The lower half of the ruleset's generation at the time of the answer
    /// (`nfgenmsg.res_id`).
    pub(crate) fn generation(&self) -> u16 {
        self.bytes.get(18..20).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]))
    }

    /// Where a stretch of this message begins in it.
    pub(crate) fn offset_of(&self, stretch: &[u8]) -> Option<usize> {
        let offset = stretch.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        (offset + stretch.len() <= self.bytes.len()).then_some(offset)
    }

    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes.get(HEADERS..).unwrap_or_default())
    }
}

/// Splits a datagram into its messages, and ends at the first malformed one.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER)?;
        let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = u32_at(0) as usize;
        let message = Message {
            kind: u16_at(4),
            flags: u16_at(6),
            sequence: u32_at(8),
            port: u32_at(12),
            bytes: bytes.get(..len).filter(|message| message.len() >= HEADER)?,
        };
        bytes = bytes.get(align(len)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a stretch of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first attribute of a type.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(k, value)| (k == kind).then_some(value))
    }

    pub(crate) fn get_nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self)
    }

    /// A big-endian number.
    pub(crate) fn get_u32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A text, without its final NUL.
    pub(crate) fn get_text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The type of a comment in the user data of tables (`NFTNL_UDATA_TABLE_COMMENT`), chains, rules
/// and elements alike. Sets have another.
pub(crate) const UDATA_COMMENT: u8 = 0;

/// The user data with a comment in it, as libnftnl stores it: type, length, text, NUL.
pub(crate) fn comment_userdata(comment: &str) -> Vec<u8> {
    let len = u8::try_from(comment.len() + 1).expect("a comment has at most 127 bytes");
    let mut data = vec![UDATA_COMMENT, len];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}

/// Finds the comment in user data, by its type there, among other things.
pub(crate) fn comment_of(mut userdata: &[u8], comment: u8) -> Option<&str> {
    while let [kind, len, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == comment {
            return std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok();
        }
        userdata = &rest[value.len()..];
    }
    None
}
