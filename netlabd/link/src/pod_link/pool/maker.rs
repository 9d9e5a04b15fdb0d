// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes one pod link after the other: a namespace, the pair, both ends, the pin.

use std::{path::PathBuf, sync::Arc};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};

use super::{PodLinkPoolOptions, PreparedLink};
use crate::{
    Families, IfIndex, Netns, NetnsError, PodLink, PodLinkError, PodLinkId, RouteSocket,
    SocketError, remove_pod_links,
};

/// How often another number or name is tried when one is taken.
const ATTEMPTS: u32 = 16;

/// The numbers of node-side links start here: far above what the kernel counts up to by itself,
/// and close together, since the kernel keeps them in a radix tree.
const FIRST_HOST_INDEX: u32 = 0x0100_0000;

/// Makes links, on a thread that is in the node's namespace.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) node: Arc<Netns>,
    pub(super) socket: RouteSocket,
    pub(super) pin_dir: PathBuf,
    /// The MTU of the next link.
    pub(super) mtu: u32,
    families: Families,
    next_host_index: u32,
}

impl Maker {
    pub(super) fn new(options: PodLinkPoolOptions) -> Result<Self, SocketError> {
        let PodLinkPoolOptions { node, pin_dir, size: _, mtu, families } = options;
        let socket = RouteSocket::open_in(&node)?;
        // Not always the same, or a restarted daemon would first try the numbers of all the
        // pods that outlived it.
        let offset = uuid::Uuid::new_v4().as_u128() as u32 & 0x00ff_ffff;
        let next_host_index = FIRST_HOST_INDEX + offset;
        Ok(Self { node: Arc::new(node), socket, pin_dir, mtu, families, next_host_index })
    }

    pub(super) fn make(&mut self) -> Result<PreparedLink, PodLinkError> {
        let prepared = self.make_pod_side()?;
        let link = prepared.link;
        let id = link.id;
        let node_side = self
            .socket
            .send_all(&link.plan_node_setup())
            .map_err(|source| PodLinkError::SetUpNode { id, source })
            .and_then(|()| link.set_node_sysctls_here())
            .and_then(|()| {
                let pin = id.pin(&self.pin_dir);
                prepared.netns.pin(&pin).map_err(|source| PodLinkError::Netns { id, source })
            });
        if let Err(error) = node_side {
            // The first error is the one to tell. What this cannot remove, the next start does.
            let _ = remove_pod_links(&mut self.socket, &self.pin_dir, &[id]);
            return Err(error);
        }
        Ok(prepared)
    }

    /// Makes a namespace and fills it. The thread is back in the node's namespace afterwards,
    /// whatever happens in between.
    fn make_pod_side(&mut self) -> Result<PreparedLink, PodLinkError> {
        let id = PodLinkId::random();
        let failed = |source| PodLinkError::Netns { id, source };
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed(NetnsError::Create { source: e }))?;
        let made = self.fill_new_netns(id);
        // Failing here would make every later link inside a pod: better no pool than that.
        if let Err(error) = self.node.enter_for_good() {
            panic!("BUG: the pool of pod links cannot leave a namespace it made: {error}");
        }
        made
    }

    fn fill_new_netns(&mut self, id: PodLinkId) -> Result<PreparedLink, PodLinkError> {
        let netns = Netns::current().map_err(|source| PodLinkError::Netns { id, source })?;
        let mut socket =
            RouteSocket::open().map_err(|source| PodLinkError::SetUpPod { id, source })?;
        let mut link = PodLink {
            id,
            host_index: self.next_host_index(),
            mtu: self.mtu,
            families: self.families,
        };
        let mut attempt = 1;
        while let Err(source) = socket.send_all(&link.plan_pod_setup(Arc::clone(&self.node))) {
            let taken = source
                .kernel_error()
                .is_some_and(|error| error.is_exists() || error.errno() == Errno::EBUSY);
            if !taken || attempt == ATTEMPTS {
                return Err(PodLinkError::SetUpPod { id: link.id, source });
            }
            attempt += 1;
            link.id = PodLinkId::random();
            link.host_index = self.next_host_index();
        }
        link.set_pod_sysctls_here()?;
        // It may wait for hours.
        socket.release_buffers();
        Ok(PreparedLink { link, netns: Arc::new(netns), socket })
    }

    fn next_host_index(&mut self) -> IfIndex {
        self.next_host_index += 1;
        IfIndex::new(self.next_host_index)
    }
}
