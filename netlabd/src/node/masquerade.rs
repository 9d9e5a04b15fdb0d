// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the node's rules as they must be: for pods that leave the cluster, and against packets of
//! pods with sources that are not theirs.

use ipnet::IpNet;
use netlab_link::mark;
use netlab_nft::{Error, Socket, antispoof, diff, masquerade, observe, teardown};

/// The node's nf_tables rules, and the socket they are written with.
#[derive(Debug)]
pub struct Masquerade {
    socket: Socket,
    desired: netlab_nft::Transaction,
}

impl Masquerade {
    /// Plans the rules for pods of these networks. To be called on a thread in the node's
    /// network namespace.
    ///
    /// # Errors
    /// When the kernel has no nf_tables, or CAP_NET_ADMIN is missing.
    pub fn open(pod_networks: &[IpNet]) -> Result<Masquerade, Error> {
        let mut desired = masquerade::plan(pod_networks);
        desired.append(antispoof::plan(pod_networks, mark::LINK_GROUP));
        Ok(Masquerade { socket: Socket::open()?, desired })
    }

    /// Number under which the kernel announces our own changes.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Writes what differs, and says whether anything did, as `nft` would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure(&mut self) -> Result<Option<String>, Error> {
        let observed = observe(&mut self.socket)?;
        let difference = diff(&self.desired, &observed);
        if difference.is_empty() {
            return Ok(None);
        }
        self.socket.commit(&difference)?;
        Ok(Some(difference.to_string()))
    }

    /// Removes our tables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn teardown(&mut self) -> Result<(), Error> {
        self.socket.commit(&teardown())
    }
}
