// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's name server, by itself.

#[path = "../../src"]
mod netlabd {
    pub mod dns;
}

pub use netlabd::dns;
