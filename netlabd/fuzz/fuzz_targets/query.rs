// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes from whoever sends to the name server, and from those whom it asks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netlabd::dns::fuzzing::Prepared;

thread_local! {
    static PREPARED: Prepared = Prepared::new();
}

fuzz_target!(|bytes: &[u8]| PREPARED.with(|prepared| prepared.query(bytes)));
