// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks for queries that come back: an upstream that asks us again would keep both of us busy
//! with one query for ever.
//!
//! Each upstream is sent a question that nobody else can know, for HINFO of
//! `<random>.<random>.<zone>`. When the server is asked that more than twice, this upstream is not
//! asked any more. CoreDNS ends there; here the others go on, it is said where the upstream is
//! written, and from time to time it is tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::exchange::random;
use super::group::Group;
use super::member::Member;
use crate::dns::name::Name;
use crate::dns::record::{Question, RecordType};
use crate::tick;

/// The type that is asked for: nothing else does.
const HINFO: RecordType = RecordType(13);

/// How often one may come back by accident, as in CoreDNS.
const TOLERATED: u32 = 2;

/// How long an upstream that does not answer is probed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause after the first probe that was not answered, as the server may just be starting; twice
/// as long after each more.
const PAUSE: Duration = Duration::from_secs(1);

/// When upstreams that looped, or did not answer at all, are probed again.
const AGAIN: Duration = Duration::from_secs(60);

/// How often new upstreams are looked for, such as after a file was changed.
const LOOK: Duration = tick::SHORTEST;

/// Probes that are on their way, and how often each came back.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<Name, u32>>);

impl Probes {
    /// Whether this is one of ours that comes back; it is counted.
    pub(super) fn saw(&self, question: &Question) -> bool {
        if question.kind != HINFO {
            return false;
        }
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match probes.get_mut(&question.name) {
            Some(seen) => {
                *seen += 1;
                true
            }
            None => false,
        }
    }

    fn begin(&self, zone: &Name) -> Name {
        let label = || u64::from_be_bytes(random()).to_string();
        let name = zone
            .prefixed(label().as_bytes())
            .and_then(|name| name.prefixed(label().as_bytes()))
            // A zone that is so long that nothing fits in front of it is not worth a probe of its
            // own: upstreams that loop do so for all names.
            .unwrap_or_else(|_| {
                let labels = [label(), label()];
                Name::from_labels(labels.iter().map(String::as_bytes)).expect("two short labels")
            });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), 0);
        name
    }

    /// Forgets one, and says how often it came back.
    fn end(&self, name: &Name) -> u32 {
        let mut probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        probes.remove(name).unwrap_or(0)
    }
}

/// What a probe shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// It came back.
    Loop,
    /// It was answered elsewhere.
    End,
    /// Nobody answered.
    Nothing,
}

/// Looks after all upstreams of `groups` as long as there are any, and probes them unless that is
/// not wanted.
pub(super) async fn watch(groups: Vec<Weak<Group>>, probes: Option<Arc<Probes>>) {
    // When each upstream is to be probed; those that are settled have no time.
    let mut known: Vec<(Weak<Member>, Option<Instant>)> = Vec::new();
    loop {
        known.retain(|(member, _)| member.strong_count() > 0);
        let mut alive = false;
        let mut running = Vec::new();
        for group in groups.iter().filter_map(Weak::upgrade) {
            alive = true;
            for member in group.members().iter() {
                let at = known.iter().position(|(known, _)| known.as_ptr() == Arc::as_ptr(member));
                let at = at.unwrap_or_else(|| {
                    known.push((Arc::downgrade(member), Some(Instant::now())));
                    known.len() - 1
                });
                member.close_expired();
                if let Some(probes) = &probes
                    && known[at].1.is_some_and(|due| due <= Instant::now())
                {
                    running.push(settle(group.zone.clone(), Arc::clone(member), probes));
                }
            }
        }
        if !alive {
            return;
        }
        for (member, shown) in futures_util::future::join_all(running).await {
            for (known, due) in &mut known {
                if known.as_ptr() == Arc::as_ptr(&member) {
                    *due = (shown != Shown::End).then(|| Instant::now() + AGAIN);
                }
            }
        }
        tick::next(LOOK).await;
    }
}

/// Probes one upstream, and takes it out or in.
async fn settle(zone: Name, member: Arc<Member>, probes: &Probes) -> (Arc<Member>, Shown) {
    let (shown, name) = probe(&zone, &member, probes).await;
    match shown {
        Shown::Loop if !member.set_looping(true) => tracing::error!(
            "Loop (this node -> {address}) detected for zone \"{zone}\": query \"HINFO {name}\" \
             came back; {origin} names this upstream, which is not asked any more: write another \
             server there, or let {address} ask others than this node",
            address = member.address,
            origin = member.origin,
        ),
        Shown::End if member.set_looping(false) => tracing::info!(
            "upstream {} from {} sends no queries back any more: it is asked again",
            member.address,
            member.origin
        ),
        _ => {}
    }
    (member, shown)
}

/// Also says the last name that was asked for.
async fn probe(zone: &Name, member: &Member, probes: &Probes) -> (Shown, Name) {
    let begun = Instant::now();
    let mut pause = PAUSE;
    let mut seen = 0;
    loop {
        // A new name each time: upstreams remember for a while that they got no answer.
        let name = probes.begin(zone);
        let asked = Asked::own(name.clone(), HINFO);
        let answer = member.ask(&asked, member.uses_tcp()).await;
        let now_seen = probes.end(&name);
        seen += now_seen;
        if seen > TOLERATED {
            return (Shown::Loop, name);
        }
        // SERVFAIL may come from a server that asks us before we listen.
        if seen == 0 && answer.is_ok_and(|reply| matches!(reply.rcode(), 0 | 3)) {
            return (Shown::End, name);
        }
        if begun.elapsed() >= PATIENCE {
            return (Shown::Nothing, name);
        }
        if now_seen == 0 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probes_on_their_way_are_seen() {
        let probes = Probes::default();
        let name = probes.begin(&"example.com".parse().unwrap());
        assert!(name.is_within(&"example.com".parse().unwrap()));
        assert_eq!(name.labels().count(), 4);
        let question = |kind| Question { name: name.clone(), kind };
        assert!(probes.saw(&question(HINFO)));
        assert!(!probes.saw(&question(RecordType::A)));
        let other = Question { name: "1.2.example.com".parse().unwrap(), kind: HINFO };
        assert!(!probes.saw(&other));
        assert_eq!(probes.end(&name), 1);
        assert!(!probes.saw(&question(HINFO)));
    }
}
