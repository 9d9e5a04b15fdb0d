// SPDX-License-Identifier: GPL-3.0-or-later

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use hickory_proto::op::ResponseCode;

use super::super::{UpstreamState, Upstreams};
use super::played::{self, Act, Played};
use super::{forward, group, query, read, start, until};
use crate::dns::answered::AnsweredBy;
use crate::dns::name::{Name, name_length};
use crate::dns::record::{Question, RecordType};

/// An upstream that asks us what it is asked while `looping`, as the server would hear it.
async fn looping(looping: &Arc<AtomicBool>, us: &Arc<OnceLock<Weak<Upstreams>>>) -> Played {
    let (looping, us) = (Arc::clone(looping), Arc::clone(us));
    Played::start(move |heard| {
        let name = &heard.packet[12..12 + name_length(&heard.packet[12..]).unwrap()];
        let question =
            Question { name: Name::from_wire(name).unwrap(), kind: RecordType(heard.kind()) };
        let back = looping.load(Ordering::SeqCst)
            && us.get().and_then(Weak::upgrade).is_some_and(|us| us.saw_loop_probe(&question));
        Act::Say(vec![if back {
            played::code(&heard.packet, 2)
        } else {
            played::address(&heard.packet, 60, &[9])
        }])
    })
    .await
}

#[tokio::test]
async fn an_upstream_that_asks_us_is_left_out_and_the_others_go_on() {
    let yes = Arc::new(AtomicBool::new(true));
    let us = Arc::new(OnceLock::new());
    let looped = looping(&yes, &us).await;
    let stub_looped = looping(&yes, &us).await;
    let good = Played::start(|heard| Act::Say(vec![played::code(&heard.packet, 3)])).await;
    let mut config = forward(&[&looped, &good]);
    config.loop_detection.enabled = true;
    config.stub.insert("example.com".to_owned(), group(&[&stub_looped]));
    let upstreams = start(&config);
    us.set(Arc::downgrade(&upstreams)).unwrap();
    let states =
        || -> Vec<UpstreamState> { upstreams.status().iter().map(|status| status.state).collect() };
    let expected = [UpstreamState::Looping, UpstreamState::Looping, UpstreamState::Up];
    until("both are found", || states() == expected).await;
    let probe = stub_looped.heard().into_iter().find(|heard| heard.kind() == 13).unwrap();
    assert!(probe.name().ends_with(b"\x07example\x03com\0"));

    let resolved = upstreams.resolve(&query("www.example.com", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Server);
    assert_eq!(read(&resolved.message).metadata.response_code, ResponseCode::ServFail);
    let error = resolved.error.unwrap();
    assert!(error.starts_with("Loop detected for zone \"example.com.\""), "{error}");
    assert!(error.contains("`dns.stub.\"example.com\".to[0]`"), "{error}");
    for host in 0..8 {
        let name = format!("h{host}.test");
        let resolved = upstreams.resolve(&query(&name, RecordType::A), false).await;
        assert_eq!(resolved.by, AnsweredBy::Upstream(good.address));
    }
}

#[tokio::test]
async fn an_upstream_that_answers_is_probed_once() {
    let no = Arc::new(AtomicBool::new(false));
    let upstream = looping(&no, &Arc::default()).await;
    let mut config = forward(&[&upstream]);
    config.loop_detection.enabled = true;
    let upstreams = start(&config);
    until("it is probed", || !upstream.heard().is_empty()).await;
    let resolved = upstreams.resolve(&query("a.example", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(upstream.address));
    let heard = upstream.heard();
    let kinds: Vec<u16> = heard.iter().map(super::played::Heard::kind).collect();
    assert_eq!(kinds, [13, 1]);
    assert!(read(&heard[0].packet).metadata.recursion_desired);
}

#[tokio::test]
async fn other_questions_for_hinfo_are_none_of_ours() {
    let upstream = Played::of(60, 1).await;
    let upstreams = start(&forward(&[&upstream]));
    let question = query("1.2.example.com", RecordType(13)).question;
    assert!(!upstreams.saw_loop_probe(&question));
}
