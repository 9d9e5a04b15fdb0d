// SPDX-License-Identifier: GPL-3.0-or-later
//! What a fuzzer begins with gets to where it should, and a little of what it does with that.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

static PREPARED: LazyLock<Prepared> = LazyLock::new(Prepared::new);

#[test]
fn queries_as_they_should_be_hold() {
    for query in queries() {
        PREPARED.query(&query);
    }
}

#[test]
fn replies_as_they_should_be_are_heard_and_remembered() {
    let mut forgotten = Vec::new();
    for reply in replies() {
        let (query, packet) = said(&reply).unwrap();
        Message::from_vec(&packet).unwrap_or_else(|error| panic!("{error}: {packet:02x?}"));
        PREPARED.reply(&reply);
        if !PREPARED.upstreams.hear(&packet, &query).unwrap().is_remembered {
            forgotten.push(packet[3] & 0xf);
        }
    }
    // One that has the rest of its code in OPT, and REFUSED.
    assert_eq!(forgotten, [0, 5]);
}

/// What is made of a message: some bytes are others, and perhaps it ends early.
fn changed(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 1..6);
    (select(seeds), changes, prop::option::of(any::<Index>())).prop_map(
        |(mut all, changes, end)| {
            for (at, byte) in changes {
                let at = at.index(all.len());
                all[at] = byte;
            }
            if let Some(end) = end {
                all.truncate(end.index(all.len()));
            }
            all
        },
    )
}

proptest! {
    #[test]
    fn queries_with_something_changed_hold(query in changed(queries())) {
        PREPARED.query(&query);
    }

    #[test]
    fn replies_with_something_changed_hold(reply in changed(replies())) {
        PREPARED.reply(&reply);
    }
}
