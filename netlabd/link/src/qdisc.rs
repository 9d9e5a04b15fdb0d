// SPDX-License-Identifier: GPL-3.0-or-later
//! Queueing disciplines that make a link worse: a rate, delay, loss.
//!
//! Sources: `tc-tbf(8)`, `tc-netem(8)`, `linux/pkt_sched.h`, `net/sched/sch_tbf.c` and
//! `net/sched/sch_netem.c`.

use std::{fmt, time::Duration};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use crate::IfIndex;

/// `TCA_OPTIONS` of `linux/rtnetlink.h`.
const TCA_OPTIONS: u16 = 2;
/// Of `linux/pkt_sched.h`.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_NETEM_REORDER: u16 = 3;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
/// `TC_LINKLAYER_ETHERNET`: the kernel computes what a packet costs, and needs no table for it.
const LINKLAYER_ETHERNET: u8 = 1;

/// Bytes that a rate lets through at once at least: the largest packet, with offloads.
const LEAST_BURST: u64 = 64 * 1024;
/// How long a queue a rate keeps before it drops, as time that its rate needs.
const QUEUE: Duration = Duration::from_millis(400);
/// Packets that wait for their delay at most; more are dropped.
const NETEM_LIMIT: u32 = 10_000;

/// What is done to the packets that leave by a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qdisc {
    /// The link.
    pub dev: IfIndex,
    /// What.
    pub kind: QdiscKind,
}

/// Kinds of [`Qdisc`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QdiscKind {
    /// At most so many bits per second, by a token bucket (`sch_tbf`).
    Tbf {
        /// Bits per second.
        rate: u64,
    },
    /// Late, lost, doubled or reordered packets (`sch_netem`).
    Netem(Netem),
}

/// What `sch_netem` does. Shares are in millionths.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netem {
    /// How late each packet is.
    pub delay: Duration,
    /// How much that varies.
    pub jitter: Duration,
    /// Share of packets that are lost.
    pub loss: u32,
    /// Share of packets that come twice.
    pub duplicate: u32,
    /// Share of packets that are sent at once, and so overtake the late ones.
    pub reorder: u32,
    /// Bits per second at most; 0 for no limit.
    pub rate: u64,
}

impl Qdisc {
    pub(crate) fn to_message(&self) -> TcMessage {
        let mut message = root(self.dev);
        message.header.handle = TcHandle { major: 1, minor: 0 };
        let (kind, options) = match &self.kind {
            QdiscKind::Tbf { rate } => ("tbf", tbf(*rate)),
            QdiscKind::Netem(netem) => ("netem", netem.options()),
        };
        message.attributes = vec![
            TcAttribute::Kind(kind.to_owned()),
            TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)),
        ];
        message
    }
}

/// The message about whatever is at a link's root.
pub(crate) fn root(dev: IfIndex) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(dev.get()).expect("an index is positive as an i32");
    message.header.parent = TcHandle::ROOT;
    message
}

/// Bytes that may be sent at once: what a tick of 4 ms brings, and at least one packet.
fn burst(bytes_per_second: u64) -> u32 {
    u32::try_from((bytes_per_second / 250).max(LEAST_BURST)).unwrap_or(u32::MAX)
}

fn queue(bytes_per_second: u64) -> u32 {
    let bytes = u128::from(bytes_per_second) * QUEUE.as_millis() / 1000;
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(burst(bytes_per_second))
}

fn tbf(rate: u64) -> Vec<u8> {
    let rate = rate / 8;
    let mut parameters = Vec::new();
    // struct tc_ratespec rate: cell_log, linklayer, overhead, cell_align, mpu, rate
    parameters.extend([0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
    parameters.extend(u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    // struct tc_ratespec peakrate: none
    parameters.extend([0; 12]);
    // limit, buffer, mtu; the buffer is told in bytes by TCA_TBF_BURST.
    parameters.extend(queue(rate).to_ne_bytes());
    parameters.extend([0; 8]);
    let mut options = Vec::new();
    attribute(&mut options, TCA_TBF_PARMS, &parameters);
    attribute(&mut options, TCA_TBF_BURST, &burst(rate).to_ne_bytes());
    if rate > u64::from(u32::MAX) {
        attribute(&mut options, TCA_TBF_RATE64, &rate.to_ne_bytes());
    }
    options
}

impl Netem {
    fn options(&self) -> Vec<u8> {
        // struct tc_netem_qopt: latency and jitter (in ticks; overridden below), and the shares.
        let mut options = Vec::new();
        options.extend(0u32.to_ne_bytes());
        options.extend(NETEM_LIMIT.to_ne_bytes());
        options.extend(share(self.loss).to_ne_bytes());
        options.extend(u32::from(self.reorder > 0).to_ne_bytes());
        options.extend(share(self.duplicate).to_ne_bytes());
        options.extend(0u32.to_ne_bytes());
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        attribute(&mut options, TCA_NETEM_LATENCY64, &nanos(self.delay).to_ne_bytes());
        attribute(&mut options, TCA_NETEM_JITTER64, &nanos(self.jitter).to_ne_bytes());
        if self.reorder > 0 {
            let mut reorder = share(self.reorder).to_ne_bytes().to_vec();
            reorder.extend([0; 4]);
            attribute(&mut options, TCA_NETEM_REORDER, &reorder);
        }
        if self.rate > 0 {
            let rate = self.rate / 8;
            let mut spec = u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
            spec.extend([0; 12]);
            attribute(&mut options, TCA_NETEM_RATE, &spec);
            if rate > u64::from(u32::MAX) {
                attribute(&mut options, TCA_NETEM_RATE64, &rate.to_ne_bytes());
            }
        }
        options
    }
}

/// Millionths as the kernel has them, in parts of 2³² - 1.
fn share(millionths: u32) -> u32 {
    let parts = u64::from(millionths.min(1_000_000)) * u64::from(u32::MAX) / 1_000_000;
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// Appends a netlink attribute, whose value is padded to four bytes.
fn attribute(options: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("options are short");
    options.extend(length.to_ne_bytes());
    options.extend(kind.to_ne_bytes());
    options.extend(value);
    options.resize(options.len().next_multiple_of(4), 0);
}

impl fmt::Display for QdiscKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QdiscKind::Tbf { rate } => {
                let bytes = rate / 8;
                write!(f, "tbf rate {rate}bit burst {} limit {}", burst(bytes), queue(bytes))
            }
            QdiscKind::Netem(netem) => {
                let Netem { delay, jitter, loss, duplicate, reorder, rate } = netem;
                write!(f, "netem limit {NETEM_LIMIT}")?;
                if !delay.is_zero() {
                    write!(f, " delay {}us", delay.as_micros())?;
                }
                if !jitter.is_zero() {
                    write!(f, " {}us", jitter.as_micros())?;
                }
                for (word, share) in
                    [("loss", loss), ("duplicate", duplicate), ("reorder", reorder)]
                {
                    if *share > 0 {
                        write!(f, " {word} {}%", f64::from(*share) / 10_000.0)?;
                    }
                }
                if *rate > 0 { write!(f, " rate {rate}bit") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dev {} root handle 1: {}", self.dev, self.kind)
    }
}

#[cfg(test)]
mod tests;
