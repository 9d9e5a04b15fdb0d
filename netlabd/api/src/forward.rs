// SPDX-License-Identifier: GPL-3.0-or-later
//! Upgraded connections that end at a port of a pod.
//!
//! After `101 Switching Protocols` (`Upgrade: netlab-portforward/1`) the connection is the one to
//! the pod: bytes in both directions, and the end of each direction, pass unchanged. One connection
//! carries one.

/// Value of the `Upgrade` header.
pub const FORWARD_PROTOCOL: &str = "netlab-portforward/1";
