// SPDX-License-Identifier: GPL-3.0-or-later
//! The way in for a fuzzer: whatever bytes a netlink socket might deliver. Only with feature
//! `fuzzing`; nothing else is to be built on it.

use crate::message::messages;
use crate::observe::replay;

/// Gives bytes to every decoder. None of them may panic, or take time or memory out of proportion.
pub fn decode(bytes: &[u8]) {
    let observed = replay::read(bytes);
    // What was understood must be comparable, too.
    let _ = crate::diff(&crate::Transaction::default(), &observed);
    crate::socket::first_refusal(bytes);
    crate::instruction::decode(bytes);
    for message in messages(bytes) {
        crate::conntrack::read(&message);
    }
}
