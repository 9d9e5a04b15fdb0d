// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes from a netlink socket, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| netlab_nft::fuzzing::decode(bytes));
