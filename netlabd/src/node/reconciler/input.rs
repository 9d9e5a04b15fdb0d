// SPDX-License-Identifier: GPL-3.0-or-later
//! What the loop hears of, and which part of it takes that in.
//!
//! Nearly all inputs only change what is known. What is to be done about it is not decided here but
//! by [`Reconciler::settle`], by what is known then.

use netlab_api::view::{ViewChange, ViewEvent};

use super::probes::ProbeResult;
use super::start::NotStarted;
use super::{MachineError, Reconciler};
use crate::control::cluster::PodIdentity;
use crate::node::pod::PodProcess;
use crate::node::pod::watcher::Heard;
use crate::node::removal::Removed;
use crate::store::Revision;

/// What happened.
#[derive(Debug)]
pub(in crate::node) enum Input {
    /// The cluster is followed, perhaps again: it has to hear how this node is.
    Attached,
    /// What concerns this node in the cluster.
    View(ViewEvent),
    /// A PID 1 was started, or could not be.
    Started { uid: String, result: Result<PodProcess, NotStarted> },
    /// Something was heard of a PID 1.
    Heard(Heard),
    /// A pod's processes and links are gone, or not quite.
    Removed(Removed),
    /// A probe has an answer.
    Probed(ProbeResult),
    /// Something went or changed in the kernel.
    Drift(netlab_link::Event),
    /// Our rules were changed by somebody else.
    Rules(netlab_nft::Event),
    /// Time to listen to who changes our rules.
    ListenToRules,
    /// Time to look at a pod again.
    Look { uid: String },
    /// All nodes know of the pods that were deleted then, or need not be waited for any longer.
    Drained { deleted_at: Revision },
    /// Time to try again what failed between nodes.
    RetryFabric,
    /// Time to try again what failed of services.
    RetryServices,
    /// Time to look once more at flows that a change left.
    LookAtFlows,
    /// Time to tell neighbours once more.
    Announce,
}

impl Reconciler {
    /// Takes in what happened.
    pub(super) async fn take(&mut self, input: Input) -> Result<(), MachineError> {
        match input {
            Input::Attached => self.retell = true,
            Input::View(ViewEvent::Snapshot(snapshot)) => self.take_snapshot(*snapshot).await?,
            Input::View(ViewEvent::Changes(changes)) => {
                self.seen = Revision(changes.revision);
                changes.changes.into_iter().for_each(|change| self.take_change(change));
            }
            Input::View(ViewEvent::Ping | ViewEvent::Dial { .. }) => {}
            Input::Started { uid, result } => self.take_started(&uid, result),
            Input::Heard(Heard::Status { uid }) => self.take_status(&uid),
            Input::Heard(Heard::Ended { uid }) => self.take_end(&uid),
            Input::Heard(Heard::Missed) => {
                let uids: Vec<_> = self.entries.keys().cloned().collect();
                uids.iter().for_each(|uid| self.take_status(uid));
            }
            Input::Removed(removed) => self.take_removed(removed),
            Input::Probed(result) => self.take_probe(result),
            Input::Drift(event) => self.take_drift(event).await,
            Input::Rules(event) => self.take_rules(event).await,
            Input::ListenToRules => self.listen_to_rules().await?,
            Input::Drained { deleted_at } => self.take_drained(deleted_at),
            Input::Look { uid } => drop(self.touched.insert(uid)),
            Input::RetryServices => self.retry_services = true,
            Input::LookAtFlows => self.look_at_flows(),
            Input::Announce => self.announce_again(),
            Input::RetryFabric => {
                self.retries_fabric = false;
                self.fabric_is_stale = true;
            }
        }
        Ok(())
    }

    fn take_change(&mut self, change: ViewChange) {
        match change {
            ViewChange::Pod(pod) => self.take_pod(*pod),
            ViewChange::PodGone { namespace, name, uid } => {
                self.lose_pod(&PodIdentity { namespace, name, uid });
            }
            ViewChange::Names(names) => self.take_names(names),
            ViewChange::Name { namespace, pod } => self.note_hosts(&namespace, pod),
            ViewChange::NameGone { namespace, name } => self.forget_name(&namespace, &name),
            ViewChange::Node(node) => {
                self.nodes.insert(node.name.clone(), node);
                self.see_nodes();
                self.fabric_is_stale = true;
                self.announced_is_stale = true;
            }
            ViewChange::NodeGone { name } => {
                self.nodes.remove(&name);
                self.see_nodes();
                self.fabric_is_stale = true;
                self.announced_is_stale = true;
            }
            ViewChange::Routing(routing) => {
                self.routing = routing;
                self.fabric_is_stale = true;
            }
            ViewChange::ProxyMode(mode) => self.proxy_mode = mode,
            ViewChange::Settings(settings) => {
                self.machine.follow(&settings);
                // Also the routes to pools, of which rules know nothing.
                self.retry_services = true;
            }
            ViewChange::Dns(settings) => self.take_dns(&settings),
            ViewChange::Namespace { name } => self.name_namespace(name),
            ViewChange::NamespaceGone { name } => self.unname_namespace(&name),
            ViewChange::Service(service) => {
                self.name_service(&service);
                self.services.put(&service);
            }
            ViewChange::ServiceGone { namespace, name } => {
                self.unname_service(&namespace, &name);
                self.services.remove((namespace, name));
            }
            ViewChange::Slice(slice) => {
                self.name_slice(&slice);
                self.drains.see(&slice);
                self.services.put_slice(&slice);
            }
            ViewChange::SliceGone { namespace, name } => {
                self.unname_slice(&namespace, &name);
                self.drains.lose(&namespace, &name);
                self.services.remove_slice((namespace, name));
            }
        }
    }
}
