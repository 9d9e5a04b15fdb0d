// SPDX-License-Identifier: GPL-3.0-or-later

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::played::{self, Act, Played};
use super::{forward, group, query, read, start, until};
use crate::dns::answered::AnsweredBy;
use crate::dns::config::{DnsConfig, Policy};
use crate::dns::record::RecordType;

#[tokio::test]
async fn a_slow_upstream_is_raced_and_its_answer_not_awaited() {
    let slow = Played::start(|heard| {
        Act::Later(Duration::from_millis(1500), played::address(&heard.packet, 60, &[1]))
    })
    .await;
    let quick = Played::of(60, 2).await;
    let mut config = forward(&[&slow, &quick]);
    config.forward.policy = Policy::Sequential;
    config.forward.race_after = Duration::from_millis(100);
    let upstreams = start(&config);
    let resolved = upstreams.resolve(&query("a.example", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(quick.address));
    assert!(resolved.took >= Duration::from_millis(100));
    assert!(resolved.took < Duration::from_millis(1400), "{:?}", resolved.took);

    config.forward.race_after = Duration::ZERO;
    let upstreams = start(&config);
    let resolved = upstreams.resolve(&query("b.example", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(slow.address), "0 is never");
    assert_eq!(quick.heard().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_costs_no_time() {
    let nobody = Played::nobody().await;
    let other = Played::of(60, 2).await;
    let mut config = forward(&[&nobody, &other]);
    config.forward.policy = Policy::Sequential;
    config.forward.race_after = Duration::ZERO;
    let upstreams = start(&config);
    for (name, over_tcp) in [("a.example", false), ("b.example", true)] {
        let resolved = upstreams.resolve(&query(name, RecordType::A), over_tcp).await;
        assert_eq!(resolved.by, AnsweredBy::Upstream(other.address));
        assert!(resolved.took < Duration::from_secs(1), "{:?}", resolved.took);
    }
}

#[tokio::test]
async fn without_any_answer_it_is_servfail_and_said_why() {
    let nobody = Played::nobody().await;
    let upstreams = start(&forward(&[&nobody]));
    let query = query("a.example", RecordType::A);
    let resolved = upstreams.resolve(&query, false).await;
    let message = read(&resolved.message);
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(message.queries[0].name().to_string(), "a.example.");
    assert_eq!(resolved.by, AnsweredBy::Server);
    let error = resolved.error.unwrap();
    assert!(error.starts_with("read udp 127.0.0.1:"), "{error}");
    assert!(error.ends_with(&format!("->{}: connection refused", nobody.address)), "{error}");
    assert!(resolved.took < Duration::from_secs(1), "{:?}", resolved.took);

    let silent = Played::start(|_| Act::Nothing).await;
    let mut config = forward(&[&silent]);
    config.forward.read_timeout = Duration::from_millis(200);
    config.forward.timeout = Duration::from_millis(500);
    let resolved = start(&config).resolve(&query, false).await;
    let error = resolved.error.unwrap();
    assert!(error.ends_with(": i/o timeout"), "{error}");
    assert!(resolved.took >= Duration::from_millis(500), "{:?}", resolved.took);
    assert!(resolved.took < Duration::from_millis(1500), "{:?}", resolved.took);

    let none = DnsConfig {
        forward: crate::dns::config::Forward { to: Some(Vec::new()), ..Default::default() },
        ..DnsConfig::default()
    };
    let error = start(&none).resolve(&query, false).await.error.unwrap();
    assert!(error.contains("`dns.forward.to` names none"), "{error}");
}

#[tokio::test]
async fn too_many_at_a_time_are_refused() {
    let slow = Played::start(|heard| {
        Act::Later(Duration::from_millis(400), played::address(&heard.packet, 60, &[1]))
    })
    .await;
    let mut config = forward(&[&slow]);
    config.forward.max_concurrent = 2;
    let upstreams = start(&config);
    let mut running = tokio::task::JoinSet::new();
    for name in ["a.example", "b.example"] {
        let upstreams = Arc::clone(&upstreams);
        running.spawn(
            async move { upstreams.resolve(&query(name, RecordType::A), false).await.error },
        );
    }
    until("both are asked", || slow.heard().len() == 2).await;
    let resolved = upstreams.resolve(&query("c.example", RecordType::A), false).await;
    assert_eq!(resolved.by, AnsweredBy::Refused);
    assert_eq!(read(&resolved.message).metadata.response_code, ResponseCode::Refused);
    assert_eq!(resolved.error.as_deref(), Some("concurrent queries exceeded maximum 2"));
    while let Some(done) = running.join_next().await {
        assert_eq!(done.unwrap(), None);
    }
    let resolved = upstreams.resolve(&query("d.example", RecordType::A), false).await;
    assert_eq!(resolved.error, None, "there is room again");
}

#[tokio::test]
async fn a_code_of_failover_makes_another_upstream_answer() {
    let bad = Played::start(|heard| Act::Say(vec![played::code(&heard.packet, 5)])).await;
    let good = Played::of(60, 2).await;
    let mut config = forward(&[&bad, &good]);
    config.forward.policy = Policy::Sequential;
    let name = query("a.example", RecordType::A);
    let resolved = start(&config).resolve(&name, false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(bad.address), "only if it is wanted");
    config.forward.failover = vec!["REFUSED".to_owned()];
    let resolved = start(&config).resolve(&name, false).await;
    assert_eq!(resolved.by, AnsweredBy::Upstream(good.address));
    // When all say so, that is the answer.
    config.forward.to.as_mut().unwrap().truncate(1);
    let resolved = start(&config).resolve(&name, false).await;
    assert_eq!(read(&resolved.message).metadata.response_code, ResponseCode::Refused);
    assert_eq!(resolved.by, AnsweredBy::Upstream(bad.address));
}

#[tokio::test]
async fn the_most_specific_stub_has_a_name_and_the_others_follow() {
    let everything = Played::of(60, 1).await;
    let example = Played::of(60, 2).await;
    let inner = Played::start(|heard| {
        let here = heard.name().starts_with(b"\x04here");
        Act::Say(vec![if here {
            played::address(&heard.packet, 60, &[3])
        } else {
            played::no_such_name(&heard.packet, 60, 60)
        }])
    })
    .await;
    let mut config = forward(&[&everything]);
    config.forward.except = vec!["closed.test".to_owned()];
    config.stub.insert("example.com".to_owned(), group(&[&example]));
    let mut stub = group(&[&inner]);
    stub.except = vec!["out.inner.example.com".to_owned()];
    config.stub.insert("Inner.Example.com.".to_owned(), stub);
    let upstreams = start(&config);
    for (name, expected) in [
        ("www.test", &everything),
        ("xexample.com", &everything),
        ("example.com", &example),
        ("a.b.example.COM", &example),
        ("here.inner.example.com", &inner),
        ("there.inner.example.com", &inner),
        ("a.out.inner.example.com", &example),
    ] {
        let resolved = upstreams.resolve(&query(name, RecordType::A), false).await;
        assert_eq!(resolved.by, AnsweredBy::Upstream(expected.address), "{name}");
    }
    let resolved = upstreams.resolve(&query("www.closed.test", RecordType::A), false).await;
    assert_eq!(read(&resolved.message).metadata.response_code, ResponseCode::ServFail);
    assert!(resolved.error.unwrap().starts_with("no next plugin found"));

    let stub = config.stub.get_mut("Inner.Example.com.").unwrap();
    stub.next = vec!["NXDOMAIN".to_owned()];
    let upstreams = start(&config);
    for (name, expected) in
        [("here.inner.example.com", &inner), ("there.inner.example.com", &example)]
    {
        let resolved = upstreams.resolve(&query(name, RecordType::A), false).await;
        assert_eq!(resolved.by, AnsweredBy::Upstream(expected.address), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_changed_is_read_again() {
    let first = Played::start_at("127.0.0.1:0", |_| Act::Nothing).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    let write = |address: &str| std::fs::write(&file, format!("nameserver {address}\n")).unwrap();
    write("192.0.2.1");
    let mut config = forward(&[&first]);
    config.forward.to = Some(vec![file.display().to_string()]);
    let upstreams = start(&config);
    let address = || upstreams.status()[0].address.to_string();
    assert_eq!(address(), "192.0.2.1:53");
    write("192.0.2.2");
    until("the new server is known", || address() == "192.0.2.2:53").await;
    let origin = upstreams.status()[0].origin.to_string();
    assert_eq!(origin, format!("line 1 of `{}` (`dns.forward.to[0]`)", file.display()));
}
