// SPDX-License-Identifier: GPL-3.0-or-later
//! Pods that leave a node, and arrive on another. Pure.
//!
//! ```text
//!   leaving ──► gone, said ──┬──► done: it was deleted, or had ended
//!                            └──► coming ──► ready on its new node, said ──► done
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use netlab_api::{Object, Pod};

use crate::output;
use crate::output::pod_status::{self, Verdict};
use crate::wait::follow::Change;

/// A pod that was told to leave.
#[derive(Debug, Clone)]
pub(super) struct Leave {
    namespace: String,
    name: String,
    uid: String,
    /// Whether it is made anew elsewhere.
    moves: bool,
    /// Whether it was ready: one that was not will not be so elsewhere.
    was_ready: bool,
    /// `evicted` or `deleted`.
    verb: &'static str,
    /// Seconds that its command has to end.
    pub(super) grace_seconds: Option<u64>,
}

impl Leave {
    /// `before` is the pod as it ran, `going` as it is on its way out.
    pub(super) fn of(before: &Pod, going: &Pod, evicted: bool) -> Leave {
        Leave {
            namespace: going.metadata.namespace.clone().unwrap_or_default(),
            name: going.metadata.name.clone(),
            uid: going.metadata.uid.clone(),
            moves: going.is_moving(),
            was_ready: pod_status::verdict(before) == Verdict::Ready,
            verb: if evicted { "evicted" } else { "deleted" },
            grace_seconds: going.metadata.deletion_grace_period_seconds,
        }
    }
}

/// A line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// What came to be.
    Done(String),
    /// What they should know, on stderr.
    Warning(String),
}

impl Told {
    pub(super) fn say(&self) {
        match self {
            Told::Done(line) => output::line(line),
            Told::Warning(line) => output::note(line),
        }
    }
}

/// Namespace and name.
type Key = (String, String);

/// Pods that leave.
#[derive(Debug)]
pub(super) struct Departures {
    /// With whether each is gone from its node, and only comes.
    left: BTreeMap<Key, (Leave, bool)>,
    told: Vec<Told>,
    waits_for: String,
}

impl Departures {
    pub(super) fn new(leaving: Vec<Leave>) -> Departures {
        let key = |leave: &Leave| (leave.namespace.clone(), leave.name.clone());
        let left = leaving.into_iter().map(|leave| (key(&leave), (leave, false))).collect();
        Departures { left, told: Vec::new(), waits_for: String::new() }
    }

    /// Whether all are where they should be.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// What there is to say since the last call.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// What is waited for now.
    pub(super) fn missing(&self) -> String {
        match self.left.len() {
            0..=1 => self.waits_for.clone(),
            count => format!("{} ({count} pods left)", self.waits_for),
        }
    }

    pub(super) fn step(&mut self, change: Change) -> ControlFlow<()> {
        match change {
            Change::Present(objects) => {
                let mut present = BTreeMap::new();
                for object in objects {
                    if let Object::Pod(pod) = object {
                        present.insert(key(&pod), pod);
                    }
                }
                for key in self.left.keys().cloned().collect::<Vec<_>>() {
                    self.look(&key, present.get(&key));
                }
            }
            Change::Changed(Object::Pod(pod)) => self.look(&key(&pod), Some(&pod)),
            Change::Gone(Object::Pod(pod)) => self.gone(&pod),
            Change::Changed(_) | Change::Gone(_) => {}
        }
        match self.is_over() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn look(&mut self, key: &Key, now: Option<&Pod>) {
        let Some((leave, is_coming)) = self.left.get_mut(key) else { return };
        let shown = format!("pod {}/{}", key.0, key.1);
        match now {
            Some(pod) if pod.metadata.uid == leave.uid => {
                // Somebody may have deleted it for good meanwhile.
                leave.moves = pod.is_moving();
                self.waits_for = format!("{shown}: its processes have not ended");
            }
            _ if !*is_coming => {
                self.told.push(Told::Done(format!("pod/{} {}", key.1, leave.verb)));
                *is_coming = true;
                if !leave.moves {
                    self.left.remove(key);
                    return;
                }
                self.waits_for = format!("{shown}: it is to be made anew");
                if now.is_some() {
                    self.look(key, now);
                }
            }
            None => {}
            Some(pod) => self.arrive(key, pod),
        }
    }

    fn arrive(&mut self, key: &Key, pod: &Pod) {
        let Some((leave, _)) = self.left.get(key) else { return };
        let verdict = pod_status::verdict(pod);
        let node = pod.spec.node_name.as_deref();
        match (verdict, node) {
            (Verdict::Ready | Verdict::Finished, Some(node)) => {
                self.told.push(Told::Done(format!("pod/{} moved to {node}", key.1)));
            }
            (Verdict::Broken(why), Some(node)) => {
                self.told.push(Told::Done(format!("pod/{} moved to {node}", key.1)));
                self.told.push(Told::Warning(format!(
                    "Warning: pod/{} does not run there: {why}",
                    key.1
                )));
            }
            (_, Some(node)) if !leave.was_ready => {
                self.told.push(Told::Done(format!("pod/{} moved to {node}", key.1)));
            }
            (Verdict::Waiting(why) | Verdict::Broken(why), _) => {
                self.waits_for = format!("pod {}/{}: {why}", key.0, key.1);
                return;
            }
            (Verdict::Ready | Verdict::Finished, None) => return,
        }
        self.left.remove(key);
    }

    /// The pod itself, which is as if it were not there; or the one that was made of it, which
    /// somebody deleted.
    fn gone(&mut self, pod: &Pod) {
        let key = key(pod);
        let Some((leave, is_coming)) = self.left.get(&key) else { return };
        if pod.metadata.uid == leave.uid || !*is_coming {
            return self.look(&key, None);
        }
        self.told.push(Told::Warning(format!("pod/{} was deleted meanwhile", key.1)));
        self.left.remove(&key);
    }
}

fn key(pod: &Pod) -> Key {
    (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The pod `web` of this uid, on this node.
    fn web(uid: &str, node: &str, ready: &str) -> Pod {
        with(uid, node, json!({ "conditions": [{ "type": "Ready", "status": ready }] }))
    }

    fn with(uid: &str, node: &str, status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": uid },
            "spec": { "nodeName": node }, "status": status,
        }))
        .unwrap()
    }

    fn moving(uid: &str) -> Pod {
        with(uid, "n2", json!({ "conditions": [{ "type": "DisruptionTarget", "status": "True" }] }))
    }

    fn departures(before: &Pod, evicted: bool) -> Departures {
        let going = if evicted { moving("old") } else { web("old", "n2", "True") };
        Departures::new(vec![Leave::of(before, &going, evicted)])
    }

    fn done(text: &str) -> Told {
        Told::Done(text.to_owned())
    }

    #[test]
    fn a_pod_is_evicted_when_it_is_gone_and_moved_when_it_is_ready_again() {
        let mut departures = departures(&web("old", "n2", "True"), true);
        assert!(departures.step(Change::Present(vec![moving("old").into()])).is_continue());
        assert_eq!(departures.missing(), "pod shop/web: its processes have not ended");
        assert!(departures.step(Change::Gone(moving("old").into())).is_continue());
        assert_eq!(departures.take_told(), [done("pod/web evicted")]);
        let coming = web("new", "n1", "False");
        assert!(departures.step(Change::Changed(coming.into())).is_continue());
        assert_eq!(departures.missing(), "pod shop/web: Ready is False");
        let there = web("new", "n1", "True");
        assert!(departures.step(Change::Changed(there.into())).is_break());
        assert_eq!(departures.take_told(), [done("pod/web moved to n1")]);
    }

    #[test]
    fn what_happened_while_nobody_listened_is_told_in_order() {
        let mut departures = departures(&web("old", "n2", "True"), true);
        let there = web("new", "n1", "True");
        assert!(departures.step(Change::Present(vec![there.into()])).is_break());
        assert_eq!(departures.take_told(), [done("pod/web evicted"), done("pod/web moved to n1")]);
    }

    #[test]
    fn a_deleted_pod_is_not_waited_for_elsewhere() {
        let mut departures = departures(&web("old", "n2", "True"), false);
        assert!(departures.step(Change::Present(Vec::new())).is_break());
        assert_eq!(departures.take_told(), [done("pod/web deleted")]);
    }

    #[test]
    fn a_pod_that_somebody_deletes_for_good_is_not_waited_for_elsewhere() {
        let mut departures = departures(&web("old", "n2", "True"), true);
        let cancelled = web("old", "n2", "True");
        assert!(departures.step(Change::Changed(cancelled.clone().into())).is_continue());
        assert!(departures.step(Change::Gone(cancelled.into())).is_break());
    }

    #[test]
    fn a_pod_that_was_not_ready_need_not_be_so_elsewhere() {
        let mut departures = departures(&web("old", "n2", "False"), true);
        let there = web("new", "n1", "False");
        assert!(departures.step(Change::Present(vec![there.into()])).is_break());
    }

    #[test]
    fn a_pod_that_fails_on_its_new_node_has_moved_all_the_same() {
        let mut departures = departures(&web("old", "n2", "True"), true);
        let waiting = json!({ "containerStatuses": [{ "state": { "waiting": {
            "reason": "CommandNotFound", "message": "no `nginx` in /",
        }}}]});
        let there = with("new", "n1", waiting);
        assert!(departures.step(Change::Present(vec![there.into()])).is_break());
        let warning = "Warning: pod/web does not run there: CommandNotFound: no `nginx` in /";
        assert_eq!(departures.take_told()[2], Told::Warning(warning.to_owned()));
    }
}
