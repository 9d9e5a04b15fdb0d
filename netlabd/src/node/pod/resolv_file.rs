// SPDX-License-Identifier: GPL-3.0-or-later
//! The node's own `/etc/resolv.conf`, as far as its pods can use it.

use std::fs;

use super::resolv::ResolvConf;
use crate::dns::upstream::{BEHIND_STUB, STUBS};

/// Whom this node asks. Where that is systemd-resolved on the node itself, whom it asks; a file
/// that cannot be read names nobody.
pub fn of_node() -> ResolvConf {
    let read = |path| ResolvConf::parse(&fs::read_to_string(path).unwrap_or_default());
    read("/etc/resolv.conf").behind(&STUBS, &read(BEHIND_STUB))
}
