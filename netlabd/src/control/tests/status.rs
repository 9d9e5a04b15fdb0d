// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::Time;
use netlab_api::event::EventKind;
use netlab_api::pod::{POD_SCHEDULED, PodIp, PodPhase, PodStatus, READY};

use super::*;
use crate::control::event::{EVENT_LIFETIME, MAX_EVENTS, event_about};

fn condition(kind: &str, status: ConditionStatus) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        last_transition_time: None,
        reason: None,
        message: None,
    }
}

fn running(conditions: Vec<Condition>) -> PodStatus {
    PodStatus { phase: PodPhase::Running, conditions, ..PodStatus::default() }
}

async fn report(lab: &Lab, pod: &Pod, status: PodStatus) {
    let update = PodStatusUpdate { pod: PodIdentity::of(pod), status };
    lab.control.update_pod_statuses("n1", vec![update]).await.unwrap();
}

#[test]
fn a_node_reports_everything_but_addresses_and_placement() {
    run(async {
        let lab = Lab::new().await;
        let made = lab.run("web").await;
        let mut status = running(vec![
            condition(READY, ConditionStatus::True),
            condition(POD_SCHEDULED, ConditionStatus::False),
        ]);
        status.pod_ip = Some("192.0.2.1".parse().unwrap());
        status.pod_ips = vec![PodIp { ip: "192.0.2.1".parse().unwrap() }];
        status.host_ip = status.pod_ip;
        report(&lab, &made, status).await;
        let stored = lab.pod("web").await;
        assert_eq!(stored.status.phase, PodPhase::Running);
        assert_eq!(stored.status.pod_ip, made.status.pod_ip);
        assert_eq!(stored.status.pod_ips, made.status.pod_ips);
        assert_eq!(stored.status.host_ip, made.status.host_ip);
        assert_eq!(stored.status.conditions[0], made.status.conditions[0]);
        assert!(stored.has_condition(READY));
        assert_eq!(stored.metadata.generation, 1);
        assert_eq!(stored.spec, made.spec);
    });
}

#[test]
fn a_condition_keeps_its_time_until_it_changes() {
    let (early, late) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T11:00:00Z"));
    let ready = |status| running(vec![condition(READY, status)]);
    let merge = crate::control::pod::merge_status;
    let first = merge(&PodStatus::default(), ready(ConditionStatus::False), early);
    let since = |status: &PodStatus| status.conditions[0].last_transition_time;
    assert_eq!(since(&first), Some(early));
    let same = merge(&first, ready(ConditionStatus::False), late);
    assert_eq!(same, first);
    let changed = merge(&same, ready(ConditionStatus::True), late);
    assert_eq!(since(&changed), Some(late));
}

#[test]
fn a_status_that_says_nothing_new_is_not_written() {
    run(async {
        let lab = Lab::new().await;
        let made = lab.run("web").await;
        report(&lab, &made, running(vec![condition(READY, ConditionStatus::True)])).await;
        let revision = lab.control.revision().await.unwrap();
        report(&lab, &made, running(vec![condition(READY, ConditionStatus::True)])).await;
        assert_eq!(lab.control.revision().await.unwrap(), revision);
    });
}

#[test]
fn a_status_of_a_pod_that_is_gone_is_not_that_of_its_namesake() {
    run(async {
        let lab = Lab::new().await;
        let first = lab.run("web").await;
        lab.delete(&pod_key("web")).await.unwrap();
        lab.finalize(&[&first]).await;
        report(&lab, &first, running(Vec::new())).await;
        let second = lab.run("web").await;
        report(&lab, &first, running(Vec::new())).await;
        assert_eq!(lab.pod("web").await, second);
    });
}

#[test]
fn rival_writers_lose_neither_status_nor_labels() {
    run(async {
        let lab = Lab::new().await;
        let made = lab.run("web").await;
        let control = lab.control.clone();
        let labelling = tokio::spawn(async move {
            for number in 0..50 {
                let patch = json!({ "metadata": { "labels": { format!("l{number}"): "x" } } });
                control.patch(&pod_key("web"), patch, false).await.unwrap();
            }
        });
        for number in 0..50 {
            let mut status = running(Vec::new());
            status.message = Some(number.to_string());
            report(&lab, &made, status).await;
        }
        labelling.await.unwrap();
        let stored = lab.pod("web").await;
        assert_eq!(stored.metadata.labels.len(), 50);
        assert_eq!(stored.status.message.as_deref(), Some("49"));
    });
}

#[test]
fn equal_events_are_counted_also_within_one_report() {
    run(async {
        let lab = Lab::new().await;
        let web = Object::Pod(lab.run("web").await);
        let event = |reason: &str| {
            event_about(&web, EventKind::Warning, reason, "it did".to_owned(), "node", "n1")
        };
        lab.control.record_events(vec![event("BackOff"), event("BackOff")]).await;
        lab.control.record_events(vec![event("BackOff"), event("Killing")]).await;
        let count = |events: &[Event], reason: &str| {
            events.iter().filter(|e| e.reason == reason).map(|e| e.count).collect::<Vec<_>>()
        };
        let events = lab.events().await;
        assert_eq!(count(&events, "BackOff"), [3]);
        assert_eq!(count(&events, "Killing"), [1]);
    });
}

#[test]
fn events_are_forgotten_when_they_are_old_or_too_many() {
    run(async {
        let lab = Lab::new().await;
        let web = Object::Pod(lab.run("web").await);
        lab.control.prune_events(Time::now(), true).await.unwrap();
        let before = lab.events().await.len();
        let numbered = |number: usize, last: Time| {
            let message = number.to_string();
            let mut event = event_about(&web, EventKind::Normal, "Tick", message, "node", "n1");
            event.last_timestamp = Some(last);
            event
        };
        let now = Time::now();
        let ago = |seconds: u64| {
            let timestamp: jiff::Timestamp = now.to_string().parse().unwrap();
            Time::from(timestamp - Duration::from_secs(seconds))
        };
        let lifetime = EVENT_LIFETIME.as_secs();
        lab.control.record_events(vec![numbered(0, ago(lifetime + 5)), numbered(1, ago(5))]).await;
        // A quick look goes by number alone.
        assert_eq!(lab.control.prune_events(now, false).await.unwrap(), 0);
        assert_eq!(lab.control.prune_events(now, true).await.unwrap(), 1);
        let over = 10;
        let room = MAX_EVENTS - before - 1;
        let burst = (2..2 + room + over).map(|number| numbered(number, ago(1))).collect();
        lab.control.record_events(burst).await;
        assert_eq!(lab.control.prune_events(now, false).await.unwrap(), over);
        let events = lab.events().await;
        assert_eq!(events.len(), MAX_EVENTS);
        assert!(!events.iter().any(|event| event.message == "1"), "the oldest went first");
    });
}

fn at(text: &str) -> Time {
    Time::from(text.parse::<jiff::Timestamp>().unwrap())
}
