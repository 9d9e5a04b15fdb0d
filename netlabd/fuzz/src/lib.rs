// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's name server, with the little that it uses of the rest.

#[path = "../../src"]
mod netlabd {
    pub mod dns;
    pub mod tick;
}

pub use netlabd::dns;
use netlabd::tick;
