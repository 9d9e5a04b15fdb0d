// SPDX-License-Identifier: GPL-3.0-or-later
//! What is known of one pod.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlab_api::Time;
use netlab_api::pod::{PodNetworkStatus, PodStatus};
use netlab_link::PodLink;
use tokio::task::AbortHandle;

use super::probes::ProbeKind;
use super::seen::SeenPod;
use crate::node::network::addresses_of;
use crate::node::network::apply::Wanted;
use crate::node::pod::report::Facts;

/// Rest after the first failure; it doubles with each.
const FIRST_REST: Duration = Duration::from_millis(200);
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// What is known of a pod's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// There are none, and there should be.
    None,
    /// A thread is starting PID 1.
    Starting,
    /// PID 1 lives and is watched.
    Alive,
    /// There are none, and there need not be: the command has ended for good.
    Ended,
}

/// One pod of this node.
#[derive(Debug)]
pub(super) struct Entry {
    /// The object as last seen.
    pub(super) pod: SeenPod,
    /// Its link, once it has one.
    pub(super) link: Option<PodLink>,
    /// Its processes.
    pub(super) process: Process,
    /// What is told of it.
    pub(super) facts: Facts,
    /// Fingerprint of what was told last.
    reported: Option<u64>,
    /// It is with the removal worker.
    pub(super) removing: bool,
    /// The removal worker is done with it: only its object's end is missing.
    pub(super) is_removed: bool,
    /// Its object is gone.
    pub(super) is_object_gone: bool,
    /// It is waited for that the other nodes know of its deletion.
    pub(super) is_draining: bool,
    /// They do, or it was waited for long enough.
    pub(super) is_drained: bool,
    /// SIGTERM was sent.
    pub(super) terminating: bool,
    /// Failures in a row, and when to try again.
    failures: u32,
    rest_until: Option<Instant>,
    probes: Vec<(ProbeKind, AbortHandle)>,
    /// It is to be looked at again when they end.
    alarms: Vec<AbortHandle>,
    /// Start of the command that the probes belong to.
    pub(super) probed_start: Option<jiff::Timestamp>,
}

impl Entry {
    /// A pod that the cluster says was taken up at `start_time`, or is taken up now.
    pub(super) fn new(pod: SeenPod, start_time: Option<Time>) -> Entry {
        let start_time = start_time.or_else(|| Some(Time::now()));
        let facts = Facts { start_time, ..Facts::default() };
        Entry {
            pod,
            link: None,
            process: Process::None,
            facts,
            reported: None,
            removing: false,
            is_removed: false,
            is_object_gone: false,
            is_draining: false,
            is_drained: false,
            terminating: false,
            failures: 0,
            rest_until: None,
            probes: Vec::new(),
            alarms: Vec::new(),
            probed_start: None,
        }
    }

    /// Whether `status` differs from what was told last; it counts as told from now on.
    pub(super) fn is_news(&mut self, status: &PodStatus) -> bool {
        let text = serde_json::to_vec(status).expect("statuses have string keys");
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let fingerprint = Some(hasher.finish());
        std::mem::replace(&mut self.reported, fingerprint) != fingerprint
    }

    /// Whether this is one of its addresses.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.pod.addresses.contains(&address)
    }

    /// The link that it must have.
    pub(super) fn wanted(&self) -> Wanted {
        let addresses = addresses_of(self.pod.addresses.iter().copied());
        Wanted { pod: self.pod.full_name(), addresses }
    }

    pub(super) fn set_link(&mut self, link: PodLink, netns: String) {
        self.link = Some(link);
        self.facts.network = Some(PodNetworkStatus {
            netns,
            host_link: link.id.host_name().to_string(),
            mtu: link.mtu,
        });
        self.succeed();
    }

    /// Its link has another MTU.
    pub(super) fn set_mtu(&mut self, mtu: u32) {
        if let Some(link) = &mut self.link {
            link.mtu = mtu;
        }
        if let Some(network) = &mut self.facts.network {
            network.mtu = mtu;
        }
    }

    /// Whether there is nothing to do for it before something is heard of it: its link is there, its
    /// process lives or has ended for good, and nobody wants it gone.
    pub(super) fn is_settled(&self) -> bool {
        self.link.is_some()
            && matches!(self.process, Process::Alive | Process::Ended)
            && !self.pod.is_deleted()
    }

    /// Whether it does not rest after a failure.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        self.rest_until.is_none_or(|until| until <= now)
    }

    /// Notes a failure and answers how long to rest.
    pub(super) fn fail(&mut self, reason: &str, message: String, now: Instant) -> Duration {
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(16)).min(LONGEST_REST);
        self.failures += 1;
        self.rest_until = Some(now + rest);
        self.facts.failure = Some((reason.to_owned(), message));
        rest
    }

    /// Rests before PID 1 is started again, without a failure to tell of.
    pub(super) fn rest(&mut self, rest: Duration, now: Instant) {
        self.rest_until = Some(now + rest);
    }

    /// Forgets failures.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
        self.rest_until = None;
        self.facts.failure = None;
    }

    /// Keeps what will have it looked at again. A pod that ends has no use for it: a thousand of
    /// them, each with half a minute of its grace period left, are worth a word.
    pub(super) fn add_alarm(&mut self, alarm: AbortHandle) {
        self.alarms.retain(|alarm| !alarm.is_finished());
        self.alarms.push(alarm);
    }

    pub(super) fn add_probe(&mut self, kind: ProbeKind, probe: AbortHandle) {
        self.probes.push((kind, probe));
    }

    pub(super) fn stop_probes(&mut self) {
        for (_, probe) in self.probes.drain(..) {
            probe.abort();
        }
    }

    /// Lets the command fail its liveness probe: it is to end anyway.
    pub(super) fn stop_liveness(&mut self) {
        let of = |(kind, _): &mut (ProbeKind, AbortHandle)| *kind == ProbeKind::Liveness;
        for (_, probe) in self.probes.extract_if(.., of) {
            probe.abort();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.stop_probes();
        self.alarms.iter().for_each(AbortHandle::abort);
    }
}
