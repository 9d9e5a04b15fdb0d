// SPDX-License-Identifier: GPL-3.0-or-later

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::super::UpstreamState;
use super::played::{self, Act, Played};
use super::{forward, query, read, start, until};
use crate::dns::answered::AnsweredBy;
use crate::dns::config::Policy;
use crate::dns::record::RecordType;

/// An upstream that answers while `there`.
async fn sometimes(there: &Arc<AtomicBool>) -> Played {
    let there = Arc::clone(there);
    Played::start(move |heard| match there.load(Ordering::SeqCst) {
        true => Act::Say(vec![played::address(&heard.packet, 60, &[1])]),
        false => Act::Nothing,
    })
    .await
}

#[tokio::test]
async fn an_upstream_is_checked_only_after_a_failure_and_until_it_answers() {
    let there = Arc::new(AtomicBool::new(true));
    let upstream = sometimes(&there).await;
    let other = Played::of(60, 2).await;
    let mut config = forward(&[&upstream, &other]);
    config.forward.policy = Policy::Sequential;
    config.forward.read_timeout = Duration::from_millis(100);
    config.forward.health_check = Duration::from_millis(20);
    let upstreams = start(&config);
    let ask = async |name: &str| upstreams.resolve(&query(name, RecordType::A), false).await.by;
    assert_eq!(ask("a.example").await, AnsweredBy::Upstream(upstream.address));
    let checks = || upstream.heard().iter().filter(|heard| heard.kind() == 2).count();
    assert_eq!(checks(), 0);

    there.store(false, Ordering::SeqCst);
    assert_eq!(ask("b.example").await, AnsweredBy::Upstream(other.address));
    until("it is down", || upstreams.status()[0].state == UpstreamState::Down).await;
    assert!(checks() >= 3, "more than `max-fails` checks");
    let check = upstream.heard().into_iter().find(|heard| heard.kind() == 2).unwrap();
    let check = read(&check.packet);
    assert_eq!(check.queries[0].name().to_string(), ".");
    assert!(check.metadata.recursion_desired);
    let asked = |name: &[u8]| upstream.heard().iter().any(|heard| heard.name() == name);
    assert_eq!(ask("c.example").await, AnsweredBy::Upstream(other.address));
    assert!(!asked(b"\x01c\x07example\0"), "it is not asked while it is down");

    there.store(true, Ordering::SeqCst);
    until("it is up", || upstreams.status()[0].state == UpstreamState::Up).await;
    let seen = checks();
    assert_eq!(ask("d.example").await, AnsweredBy::Upstream(upstream.address));
    assert_eq!(checks(), seen, "and checked no more");
}

#[tokio::test]
async fn a_loser_of_a_race_is_checked_when_it_never_answers() {
    let silent = Played::start(|_| Act::Nothing).await;
    let other = Played::of(60, 2).await;
    let mut config = forward(&[&silent, &other]);
    config.forward.policy = Policy::Sequential;
    config.forward.race_after = Duration::from_millis(20);
    config.forward.read_timeout = Duration::from_millis(200);
    config.forward.health_check = Duration::from_millis(20);
    let upstreams = start(&config);
    let resolved = upstreams.resolve(&query("a.example", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(other.address));
    until("it is down", || upstreams.status()[0].state == UpstreamState::Down).await;
}

#[tokio::test]
async fn when_all_are_down_one_is_tried_anyway_unless_it_is_to_fail_fast() {
    for failfast in [false, true] {
        let there = Arc::new(AtomicBool::new(false));
        let upstream = sometimes(&there).await;
        let mut config = forward(&[&upstream]);
        config.forward.read_timeout = Duration::from_millis(100);
        config.forward.timeout = Duration::from_millis(300);
        // Long enough that no check succeeds before the query below.
        config.forward.health_check = Duration::from_secs(3);
        config.forward.max_fails = 1;
        config.forward.failfast_all_unhealthy_upstreams = failfast;
        let upstreams = start(&config);
        let ask = async |name: &str| upstreams.resolve(&query(name, RecordType::A), false).await;
        assert!(ask("a.example").await.error.is_some());
        until("it is down", || upstreams.status()[0].state == UpstreamState::Down).await;
        there.store(true, Ordering::SeqCst);
        let resolved = ask("b.example").await;
        if failfast {
            let code = read(&resolved.message).metadata.response_code;
            assert_eq!(code, ResponseCode::ServFail);
            assert!(resolved.error.unwrap().starts_with("no healthy proxies"));
        } else {
            assert_eq!(resolved.by, AnsweredBy::Upstream(upstream.address));
        }
    }
}

#[tokio::test]
async fn without_max_fails_nobody_is_checked() {
    let nobody = Played::nobody().await;
    let mut config = forward(&[&nobody]);
    config.forward.max_fails = 0;
    let upstreams = start(&config);
    for name in ["a.example", "b.example", "c.example"] {
        let resolved = upstreams.resolve(&query(name, RecordType::A), false).await;
        assert!(resolved.error.unwrap().ends_with("connection refused"));
    }
    assert_eq!(upstreams.status()[0].state, UpstreamState::Up);
}
