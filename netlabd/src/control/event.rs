// SPDX-License-Identifier: GPL-3.0-or-later
//! Events: counted when they repeat, forgotten when they are old.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use netlab_api::event::{EventKind, EventSource, ObjectReference};
use netlab_api::names::{dns_label, dns_subdomain};
use netlab_api::resource::{Kind, Object};
use netlab_api::{ApiError, Event, ObjectMeta, Time};

use super::cluster::ObjectKey;
use super::draft::Draft;

/// How long an event is kept after it last happened; Kubernetes' default.
pub(super) const EVENT_LIFETIME: Duration = Duration::from_secs(3600);

/// Most events that are kept; beyond it the oldest go, lest a flapping cluster eat the store and
/// the daemon's memory. It is enough for the start of 1,000 pods.
pub(super) const MAX_EVENTS: usize = 2000;

/// Bytes of a message that are kept of what a node tells; Kubernetes keeps 1024.
const MAX_MESSAGE: usize = 4096;

/// Longest word, in bytes, of what a node tells.
const MAX_WORD: usize = 128;

/// An event about an object that happens now, not yet named or counted.
pub fn event_about(
    object: &Object,
    kind: EventKind,
    reason: &str,
    message: String,
    component: &str,
    host: &str,
) -> Event {
    let metadata = object.metadata();
    let now = Some(Time::now());
    Event {
        metadata: ObjectMeta::default(),
        involved_object: ObjectReference {
            kind: object.kind().name().to_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        },
        reason: reason.to_owned(),
        message,
        kind,
        count: 1,
        first_timestamp: now,
        last_timestamp: now,
        source: EventSource { component: component.to_owned(), host: host.to_owned() },
    }
}

/// Names an event so that an equal one gets the same name and can be counted on it.
pub(super) fn name_event(event: &mut Event, now: Time) {
    let mut hasher = DefaultHasher::new();
    let about = &event.involved_object;
    (&about.kind, &about.uid, &about.name).hash(&mut hasher);
    (&event.reason, &event.message).hash(&mut hasher);
    (&event.source.component, &event.source.host).hash(&mut hasher);
    let namespace = match about.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    event.metadata.namespace = Some(namespace.to_owned());
    event.metadata.name = format!("{}.{:016x}", about.name, hasher.finish());
    event.metadata.creation_timestamp.get_or_insert(now);
}

/// Joins an event with the equal one that happened before.
fn count_event(before: &Event, mut event: Event) -> Event {
    event.count = event.count.saturating_add(before.count);
    event.first_timestamp = before.first_timestamp;
    event.metadata.creation_timestamp = before.metadata.creation_timestamp;
    event
}

/// An event as a node may tell it: it happened on that node, once and not in the future, and it is
/// about a pod or the node itself. `None` when it is not one that a node has to tell.
pub(super) fn vouch(mut event: Event, node: &str, now: Time) -> Option<Event> {
    let about = &event.involved_object;
    let is_possible = match about.kind.as_str() {
        "Node" => about.name == node && about.namespace.is_empty(),
        "Pod" => dns_subdomain(&about.name).is_ok() && dns_label(&about.namespace).is_ok(),
        _ => false,
    };
    let words = [&about.uid, &event.reason, &event.source.component];
    if !is_possible || words.iter().any(|word| word.len() > MAX_WORD) {
        return None;
    }
    let end = event.message.floor_char_boundary(MAX_MESSAGE);
    event.message.truncate(end);
    event.metadata = ObjectMeta::default();
    event.count = 1;
    // Later than it happened, if the node could not tell it at once.
    event.first_timestamp = event.first_timestamp.map(|time| time.min(now));
    event.last_timestamp = event.last_timestamp.map(|time| time.min(now));
    node.clone_into(&mut event.source.host);
    Some(event)
}

/// Writes a named event, joined with the equal one that happened before.
pub(super) async fn put_event(draft: &mut Draft<'_>, event: Event) -> Result<(), ApiError> {
    let namespace = event.metadata.namespace.clone();
    let before: Option<Event> = draft.get_as(namespace.as_deref(), &event.metadata.name).await?;
    let event = match before {
        Some(before) => count_event(&before, event),
        None => event,
    };
    draft.put(&event.into());
    Ok(())
}

/// Which of these events may go: the old ones, and the oldest of too many.
pub(super) fn outlived(mut events: Vec<Event>, now: Time) -> Vec<ObjectKey> {
    let age = |event: &Event| event.last_timestamp.map_or(f64::MAX, |last| now.seconds_since(last));
    events.sort_by(|a, b| age(a).total_cmp(&age(b)));
    let lifetime = EVENT_LIFETIME.as_secs_f64();
    let kept = events.iter().take(MAX_EVENTS).take_while(|event| age(event) <= lifetime).count();
    events
        .drain(kept..)
        .map(|event| ObjectKey {
            kind: Kind::Event,
            namespace: event.metadata.namespace,
            name: event.metadata.name,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::from(text.parse::<jiff::Timestamp>().expect("a valid time"))
    }

    fn event(reason: &str, last: &str) -> Event {
        let pod = Object::Pod(netlab_api::Pod::default());
        let mut event = event_about(&pod, EventKind::Normal, reason, String::new(), "node", "n1");
        event.first_timestamp = Some(at(last));
        event.last_timestamp = Some(at(last));
        name_event(&mut event, at(last));
        event
    }

    #[test]
    fn equal_events_share_a_name_and_count() {
        let before = event("Started", "2026-11-22T10:00:00Z");
        let again = event("Started", "2026-11-22T10:05:00Z");
        assert_eq!(before.metadata.name, again.metadata.name);
        assert_ne!(before.metadata.name, event("Killing", "2026-11-22T10:00:00Z").metadata.name);
        let counted = count_event(&before, again);
        assert_eq!(counted.count, 2);
        assert_eq!(counted.first_timestamp, before.first_timestamp);
        assert_eq!(counted.last_timestamp, Some(at("2026-11-22T10:05:00Z")));
    }

    #[test]
    fn a_node_tells_what_happened_on_it_and_no_more() {
        let now = at("2026-11-22T10:00:00Z");
        let mut told = event("Started", "2026-11-22T09:00:00Z");
        told.involved_object.name = "web".to_owned();
        told.involved_object.namespace = "default".to_owned();
        told.source.host = "n1".to_owned();
        let vouched = vouch(told.clone(), "n1", now).expect("is its own");
        assert_eq!(vouched.last_timestamp, told.last_timestamp);
        // The name that it gives itself is not what it is stored under.
        assert_eq!(vouched.metadata, ObjectMeta::default());

        let mut lie = told.clone();
        lie.source.host = "n2".to_owned();
        lie.count = u64::MAX;
        lie.last_timestamp = Some(at("2036-11-22T10:00:00Z"));
        lie.message = "ä".repeat(1 << 20);
        let vouched = vouch(lie, "n1", now).expect("the rest of it may be true");
        assert_eq!((vouched.source.host.as_str(), vouched.count), ("n1", 1));
        assert_eq!(vouched.last_timestamp, Some(now));
        assert_eq!(vouched.message.len(), MAX_MESSAGE);

        let refused = |change: &dyn Fn(&mut Event)| {
            let mut event = told.clone();
            change(&mut event);
            assert_eq!(vouch(event, "n1", now), None);
        };
        refused(&|event| event.involved_object.name = "web/../x".to_owned());
        refused(&|event| event.involved_object.namespace = String::new());
        refused(&|event| event.involved_object.kind = "Namespace".to_owned());
        refused(&|event| event.reason = "R".repeat(4096));
        refused(&|event| {
            event.involved_object.kind = "Node".to_owned();
            event.involved_object.name = "n2".to_owned();
            event.involved_object.namespace = String::new();
        });
    }

    #[test]
    fn old_events_go_and_young_ones_stay() {
        let events =
            vec![event("Old", "2026-11-22T08:00:00Z"), event("Young", "2026-11-22T09:30:00Z")];
        let old = events[0].metadata.name.clone();
        let gone = outlived(events, at("2026-11-22T10:00:00Z"));
        assert_eq!(gone.into_iter().map(|key| key.name).collect::<Vec<_>>(), [old]);
    }
}
