// SPDX-License-Identifier: GPL-3.0-or-later

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use super::super::Upstreams;
use super::played::{self, Act, Played};
use super::{forward, query, read, start, until, with_edns};
use crate::dns::answered::AnsweredBy;
use crate::dns::config::RefreshMode;
use crate::dns::record::RecordType;

/// What is known after `seconds`.
fn after(
    upstreams: &Upstreams,
    query: &crate::dns::message::Query,
    seconds: u64,
) -> Option<(AnsweredBy, hickory_proto::op::Message)> {
    let mut out = Vec::new();
    let now = Instant::now() + Duration::from_secs(seconds);
    let by = upstreams.cached(query, now, 512, &mut out)?;
    Some((by, read(&out)))
}

#[tokio::test]
async fn what_was_asked_once_is_known_and_grows_old() {
    let upstream = Played::of(60, 1).await;
    let upstreams = start(&forward(&[&upstream]));
    let first = query("www.example", RecordType::A);
    assert!(after(&upstreams, &first, 0).is_none());
    upstreams.resolve(&first, false).await;
    let mut second = query("WWW.example", RecordType::A);
    second.id = 7;
    second.recursion_desired = false;
    let (by, message) = after(&upstreams, &second, 20).unwrap();
    assert_eq!(by, AnsweredBy::Cache);
    assert_eq!(message.metadata.id, 7);
    assert!(!message.metadata.recursion_desired && message.metadata.authoritative);
    assert_eq!(message.queries[0].name().to_string(), "WWW.example.");
    assert!(message.edns.is_none());
    assert!((39..=40).contains(&message.answers[0].ttl), "{}", message.answers[0].ttl);
    assert!(after(&upstreams, &second, 61).is_none());
    // `resolve` looks there first, too.
    upstreams.resolve(&first, false).await;
    upstreams.resolve(&first, true).await;
    assert_eq!(upstream.heard().len(), 2, "once more after it was forgotten");
}

#[tokio::test]
async fn answers_with_and_without_dnssec_are_kept_apart() {
    let upstream = Played::of(60, 1).await;
    let upstreams = start(&forward(&[&upstream]));
    let plain = query("www.example", RecordType::A);
    let dnssec = with_edns(plain.clone(), 1232, true);
    let mut unchecked = plain.clone();
    unchecked.checking_disabled = true;
    upstreams.resolve(&with_edns(plain.clone(), 4096, false), false).await;
    assert!(after(&upstreams, &plain, 0).is_some(), "EDNS alone makes no difference");
    assert!(after(&upstreams, &dnssec, 0).is_none());
    assert!(after(&upstreams, &unchecked, 0).is_none());
    assert!(after(&upstreams, &query("www.example", RecordType::AAAA), 0).is_none());
    upstreams.resolve(&dnssec, false).await;
    let (_, message) = after(&upstreams, &dnssec, 0).unwrap();
    assert!(message.edns.unwrap().flags().dnssec_ok);
}

#[tokio::test]
async fn answers_without_recursion_are_not_for_others() {
    let upstream = Played::of(60, 1).await;
    let upstreams = start(&forward(&[&upstream]));
    let mut query = query("www.example", RecordType::A);
    query.recursion_desired = false;
    upstreams.resolve(&query, false).await;
    assert!(after(&upstreams, &query, 0).is_none());
    assert_eq!(upstream.heard()[0].packet[2] & 1, 0);
}

#[tokio::test]
async fn without_cache_all_is_asked_and_nothing_changed() {
    let upstream = Played::of(2, 1).await;
    let mut config = forward(&[&upstream]);
    let query = query("www.example", RecordType::A);
    let message = read(&start(&config).resolve(&query, false).await.message);
    assert_eq!(message.answers[0].ttl, 5, "at least `min-ttl`, also the first time");
    config.cache.enabled = false;
    let upstreams = start(&config);
    for _ in 0..2 {
        let message = read(&upstreams.resolve(&query, false).await.message);
        assert_eq!(message.answers[0].ttl, 2);
    }
    assert_eq!(upstream.heard().len(), 3);
    assert!(after(&upstreams, &query, 0).is_none());
}

#[tokio::test]
async fn what_is_asked_often_is_asked_anew_before_it_is_forgotten() {
    let last = Arc::new(AtomicU8::new(1));
    let upstream = Played::start({
        let last = Arc::clone(&last);
        move |heard| {
            Act::Say(vec![played::address(&heard.packet, 100, &[last.load(Ordering::SeqCst)])])
        }
    })
    .await;
    let mut config = forward(&[&upstream]);
    config.cache.prefetch.amount = 2;
    let upstreams = start(&config);
    let query = query("often.example", RecordType::A);
    upstreams.resolve(&query, false).await;
    last.store(2, Ordering::SeqCst);
    assert!(after(&upstreams, &query, 80).is_some());
    assert!(after(&upstreams, &query, 81).is_some());
    let (_, message) = after(&upstreams, &query, 92).unwrap();
    assert_eq!(message.answers[0].data.to_string(), "192.0.2.1", "the old one meanwhile");
    until("it is asked anew", || {
        let (_, message) = after(&upstreams, &query, 0).unwrap();
        message.answers[0].data.to_string() == "192.0.2.2"
    })
    .await;
    assert_eq!(upstream.heard().len(), 2);
}

#[tokio::test]
async fn an_old_answer_is_given_and_asked_anew_behind_it() {
    let last = Arc::new(AtomicU8::new(1));
    let upstream = Played::start({
        let last = Arc::clone(&last);
        move |heard| {
            Act::Say(vec![match last.load(Ordering::SeqCst) {
                0 => played::code(&heard.packet, 2),
                last => played::address(&heard.packet, 60, &[last]),
            }])
        }
    })
    .await;
    let mut config = forward(&[&upstream]);
    config.cache.serve_stale.enabled = true;
    let upstreams = start(&config);
    let query = query("www.example", RecordType::A);
    upstreams.resolve(&query, false).await;
    last.store(0, Ordering::SeqCst);
    // From a thread that is none of the runtime's, as the server does.
    let (by, message) = std::thread::scope(|scope| {
        scope.spawn(|| after(&upstreams, &query, 100).unwrap()).join().unwrap()
    });
    assert_eq!(by, AnsweredBy::Stale);
    assert_eq!(message.answers[0].ttl, 0);
    until("it is asked anew", || upstream.heard().len() == 2).await;
    until("that ended", || upstreams.flights.is_empty()).await;
    let (by, _) = after(&upstreams, &query, 100).unwrap();
    assert_eq!(by, AnsweredBy::Stale, "SERVFAIL is not better");

    last.store(2, Ordering::SeqCst);
    until("the new answer is known", || {
        let (_, message) = after(&upstreams, &query, 100).unwrap();
        message.answers[0].data.to_string() == "192.0.2.2"
    })
    .await;
    assert!(after(&upstreams, &query, 3661).is_none(), "too old");
}

#[tokio::test]
async fn an_old_answer_is_given_only_after_upstreams_failed_if_it_is_to_be_verified() {
    let last = Arc::new(AtomicU8::new(1));
    let upstream = Played::start({
        let last = Arc::clone(&last);
        move |heard| match last.load(Ordering::SeqCst) {
            0 => Act::Say(vec![played::code(&heard.packet, 2)]),
            255 => Act::Nothing,
            last => Act::Say(vec![played::address(&heard.packet, 1, &[last])]),
        }
    })
    .await;
    let mut config = forward(&[&upstream]);
    config.cache.success.min_ttl = 1;
    config.cache.serve_stale.enabled = true;
    config.cache.serve_stale.refresh = RefreshMode::Verify;
    let upstreams = start(&config);
    let query = query("www.example", RecordType::A);
    upstreams.resolve(&query, false).await;
    for (says, by, last_byte) in [
        (0, AnsweredBy::Stale, 1),
        (255, AnsweredBy::Stale, 1),
        (2, AnsweredBy::Upstream(upstream.address), 2),
    ] {
        // The query before is still tried, and must not get what is said now.
        until("nothing is on its way", || upstreams.flights.is_empty()).await;
        until("it is too old", || after(&upstreams, &query, 0).is_none()).await;
        last.store(says, Ordering::SeqCst);
        let resolved = upstreams.resolve(&query, false).await;
        assert_eq!(resolved.by, by, "upstream says {says}");
        let message = read(&resolved.message);
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert_eq!(message.answers[0].data.to_string(), format!("192.0.2.{last_byte}"));
        assert_eq!(message.answers[0].ttl, u32::from(by != AnsweredBy::Stale));
        assert!(resolved.took < Duration::from_secs(4), "{:?}", resolved.took);
    }
}
