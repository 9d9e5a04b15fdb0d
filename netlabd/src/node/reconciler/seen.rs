// SPDX-License-Identifier: GPL-3.0-or-later
//! A pod's object as a node keeps it.

use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::pod::{PodSpec, PodStatus};
use netlab_api::{Pod, Time};
use smallvec::SmallVec;

use crate::control::cluster::PodIdentity;
use crate::memory::Alike;
use crate::store::Revision;

/// What of a pod's object its node needs. Of the status that is little: the rest is what this node
/// said itself, and a thousand pods are to fit into little memory.
#[derive(Debug, Clone)]
pub(super) struct SeenPod {
    pub(super) uid: Arc<str>,
    pub(super) name: Box<str>,
    common: Arc<Common>,
    pub(super) addresses: SmallVec<[IpAddr; 2]>,
    /// When the object last changed; `None` if the server speaks of revisions in another way.
    pub(super) revision: Option<Revision>,
    pub(super) deletion_timestamp: Option<Time>,
    pub(super) grace_seconds: Option<u64>,
    /// What an earlier daemon said of it, as long as this one has not looked.
    pub(super) said: Option<Box<PodStatus>>,
}

/// What pods that were made together have in common.
#[derive(Debug, PartialEq)]
pub(super) struct Common {
    namespace: String,
    spec: PodSpec,
}

impl SeenPod {
    pub(super) fn of(pod: Pod, alike: &mut Alike<Common>) -> SeenPod {
        SeenPod {
            addresses: pod.ips().collect(),
            revision: pod.metadata.resource_version.parse().ok(),
            deletion_timestamp: pod.metadata.deletion_timestamp,
            grace_seconds: pod.metadata.deletion_grace_period_seconds,
            said: None,
            uid: pod.metadata.uid.into(),
            name: pod.metadata.name.into(),
            common: alike.share(Common {
                namespace: pod.metadata.namespace.unwrap_or_default(),
                spec: pod.spec,
            }),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.common.namespace
    }

    pub(super) fn spec(&self) -> &PodSpec {
        &self.common.spec
    }

    pub(super) fn identity(&self) -> PodIdentity {
        PodIdentity {
            namespace: self.namespace().to_owned(),
            name: self.name.to_string(),
            uid: self.uid.to_string(),
        }
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}
