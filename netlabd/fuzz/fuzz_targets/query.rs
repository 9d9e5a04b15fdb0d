// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes from whoever sends to the name server.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use netlabd_fuzz::dns::fuzzing::{Prepared, queries};

static PREPARED: LazyLock<Prepared> = LazyLock::new(Prepared::new);

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(queries);

/// One time in so many, what is changed is a message as it should be.
const ANEW: u32 = 64;

fuzz_target!(|bytes: &[u8]| PREPARED.query(bytes));

fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let anew = &SEEDS[seed as usize / ANEW as usize % SEEDS.len()];
    let size = match bytes.get_mut(..anew.len()) {
        Some(place) if size < 12 || seed % ANEW == 0 => {
            place.copy_from_slice(anew);
            anew.len()
        }
        _ => size,
    };
    fuzzer_mutate(bytes, size, max_size)
});
