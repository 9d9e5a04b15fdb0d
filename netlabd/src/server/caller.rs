// SPDX-License-Identifier: GPL-3.0-or-later
//! Who sent a request, as handlers may ask by `Extension<Caller>`.

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on this machine, through the unix socket: root, or a member of the group.
    Local,
    /// The node of this name, which showed its certificate; for itself, or for somebody on its
    /// machine.
    Node(String),
    /// The server of this node, in a tunnel that the node opened.
    Server,
}
