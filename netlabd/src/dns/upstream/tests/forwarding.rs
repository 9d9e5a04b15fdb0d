// SPDX-License-Identifier: GPL-3.0-or-later

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use super::played::{self, Act, Heard, Played};
use super::{forward, query, read, start, until, with_edns};
use crate::dns::answered::AnsweredBy;
use crate::dns::record::RecordType;

#[tokio::test]
async fn an_answer_has_the_clients_id_case_and_bits() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let upstream = Played::start_at(at, |heard| {
            Act::Say(vec![played::address(&heard.packet, 77, &[1, 2])])
        })
        .await;
        let upstreams = start(&forward(&[&upstream]));
        let mut query = with_edns(query("WwW.ExAmPle.com", RecordType::A), 1400, true);
        query.checking_disabled = true;
        let resolved = upstreams.resolve(&query, false).await;
        assert_eq!(resolved.by, AnsweredBy::Upstream(upstream.address));
        assert_eq!(resolved.error, None);
        let message = read(&resolved.message);
        assert_eq!(message.metadata.id, 0x1234);
        assert!(message.metadata.recursion_desired && message.metadata.recursion_available);
        assert!(message.metadata.checking_disabled && !message.metadata.authoritative);
        assert_eq!(message.queries[0].name().to_string(), "WwW.ExAmPle.com.");
        assert_eq!(message.answers.len(), 2);
        assert_eq!(message.answers[0].name.to_string(), "WwW.ExAmPle.com.");
        assert_eq!(message.answers[0].ttl, 77);
        let edns = message.edns.as_ref().expect("the client speaks EDNS");
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1400, true));

        let heard = &upstream.heard()[0];
        assert_eq!(heard.name(), query.question.name.wire(), "the case is kept");
        let asked = read(&heard.packet);
        assert!(asked.metadata.recursion_desired && asked.metadata.checking_disabled);
        let edns = asked.edns.as_ref().expect("EDNS is passed on");
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1400, true));
    }
}

#[tokio::test]
async fn ids_and_ports_cannot_be_foreseen() {
    let upstream = Played::of(60, 1).await;
    let upstreams = start(&forward(&[&upstream]));
    for host in 0..60 {
        let query = query(&format!("h{host}.example.com"), RecordType::A);
        upstreams.resolve(&query, false).await;
    }
    let heard = upstream.heard();
    assert_eq!(heard.len(), 60);
    let ports: BTreeSet<u16> = heard.iter().map(|heard| heard.from.port()).collect();
    let ids: BTreeSet<&[u8]> = heard.iter().map(|heard| &heard.packet[..2]).collect();
    assert!(ports.len() > 50 && ids.len() > 50, "{} ports, {} ids", ports.len(), ids.len());
    let mut in_turn = ports.iter().zip(ports.iter().skip(1)).filter(|(a, b)| *b - *a == 1);
    assert!(in_turn.by_ref().count() < 10, "ports are not taken in turn");
}

#[tokio::test]
async fn what_is_cut_is_asked_over_tcp_and_cut_for_the_client() {
    let many: Vec<u8> = (1..=100).collect();
    let upstream = Played::start(move |heard| {
        let answer = played::address(&heard.packet, 60, &many);
        let part = played::address(&heard.packet, 60, &many[..3]);
        Act::Say(vec![if heard.tcp { answer } else { played::cut(part) }])
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let query = query("many.example.com", RecordType::A);
    let message = upstreams.resolve(&query, false).await.message;
    assert!(message.len() <= 512, "{}", message.len());
    let message = read(&message);
    assert!(message.metadata.truncation);
    assert_eq!(message.answers.len(), (512 - 12 - 22) / 16);
    // The client comes back over TCP, and the whole is known.
    let mut whole = Vec::new();
    let now = std::time::Instant::now();
    assert_eq!(upstreams.cached(&query, now, 65535, &mut whole), Some(AnsweredBy::Cache));
    let whole = read(&whole);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);
    let tcp: Vec<bool> = upstream.heard().iter().map(|heard| heard.tcp).collect();
    assert_eq!(tcp, [false, true]);
}

#[tokio::test]
async fn without_tcp_a_part_is_better_than_nothing() {
    let upstream = Played::start(|heard| match heard.tcp {
        true => Act::Nothing,
        false => Act::Say(vec![played::cut(played::address(&heard.packet, 60, &[1]))]),
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let query = query("part.example.com", RecordType::A);
    let message = read(&upstreams.resolve(&query, false).await.message);
    assert!(message.metadata.truncation);
    assert_eq!(message.answers.len(), 1);
    let now = std::time::Instant::now();
    assert_eq!(upstreams.cached(&query, now, 512, &mut Vec::new()), None, "not remembered");
}

#[tokio::test]
async fn tcp_is_used_as_the_client_and_the_options_want_and_kept_open() {
    for (force_tcp, prefer_udp, over_tcp, expected) in [
        (false, false, false, false),
        (false, false, true, true),
        (true, false, false, true),
        (false, true, true, false),
    ] {
        let upstream = Played::of(60, 1).await;
        let mut config = forward(&[&upstream]);
        config.forward.force_tcp = force_tcp;
        config.forward.prefer_udp = prefer_udp;
        let upstreams = start(&config);
        for name in ["a.example", "b.example"] {
            let resolved = upstreams.resolve(&query(name, RecordType::A), over_tcp).await;
            assert_eq!(resolved.error, None);
        }
        let heard = upstream.heard();
        let tcp: Vec<bool> = heard.iter().map(|heard| heard.tcp).collect();
        assert_eq!(tcp, [expected, expected], "{force_tcp} {prefer_udp} {over_tcp}");
        assert_eq!(heard[0].from == heard[1].from, expected, "connections are used again");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_failure() {
    let upstream = Played::start({
        let count = std::sync::atomic::AtomicUsize::new(0);
        // Every second query on a connection ends it.
        move |heard| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
            0 => Act::Say(vec![played::address(&heard.packet, 60, &[1])]),
            _ => Act::Nothing,
        }
    })
    .await;
    let mut config = forward(&[&upstream]);
    config.forward.force_tcp = true;
    let upstreams = start(&config);
    for name in ["a.example", "b.example"] {
        let resolved = upstreams.resolve(&query(name, RecordType::A), false).await;
        assert_eq!(resolved.error, None, "{name}");
    }
    assert_eq!(upstream.heard().len(), 3);
}

#[tokio::test]
async fn what_did_not_see_the_query_is_not_believed() {
    let liar = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let upstream = Played::start(move |heard: &Heard| {
        let truth = played::address(&heard.packet, 60, &[1]);
        let lie = played::address(&heard.packet, 60, &[66]);
        // From another port.
        liar.try_send_to(&lie, heard.from).unwrap();
        let mut id = lie.clone();
        id[1] ^= 1;
        let mut kind = lie.clone();
        kind[heard.packet.len() - 3] ^= 1;
        let mut name = lie.clone();
        name[13] = b'x';
        let mut query = lie.clone();
        query[2] &= 0x7f;
        let mut record = lie.clone();
        record.truncate(lie.len() - 1);
        Act::Say(vec![id, kind, name, query, record, vec![0; 3], truth])
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let resolved = upstreams.resolve(&query("bank.example", RecordType::A), false).await;
    assert_eq!(read(&resolved.message).answers[0].data.to_string(), "192.0.2.1");
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_name_in_another_case_is_believed_over_tcp_only() {
    let upstream = Played::start(|heard: &Heard| {
        let mut answer = played::address(&heard.packet, 60, &[if heard.tcp { 1 } else { 66 }]);
        let end = 12 + heard.name().len();
        answer[12..end].make_ascii_lowercase();
        Act::Say(vec![answer])
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let resolved = upstreams.resolve(&query("BaNk.example", RecordType::A), false).await;
    let message = read(&resolved.message);
    assert_eq!(message.answers[0].data.to_string(), "192.0.2.1");
    assert_eq!(message.queries[0].name().to_string(), "BaNk.example.");
}

#[tokio::test]
async fn an_upstream_that_knows_no_edns_is_asked_without() {
    let upstream = Played::start(|heard: &Heard| {
        let plain = heard.packet[11] == 0;
        let answer = played::address(&heard.packet, 60, &[1]);
        // Only a header, as some old ones say it.
        let formerr = played::code(&heard.packet, 1);
        Act::Say(vec![if plain {
            answer
        } else {
            let mut header = formerr[..12].to_vec();
            header[5] = 0;
            header
        }])
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let query = with_edns(query("old.example", RecordType::A), 1232, false);
    let message = read(&upstreams.resolve(&query, false).await.message);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!(message.answers.len(), 1);
    assert!(message.edns.is_some());
    assert_eq!(upstream.heard().len(), 2);
}

#[tokio::test]
async fn a_query_that_is_lost_is_sent_again() {
    let upstream = Played::start({
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |heard| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Act::Nothing,
            _ => Act::Say(vec![played::address(&heard.packet, 60, &[1])]),
        }
    })
    .await;
    let mut config = forward(&[&upstream]);
    config.forward.read_timeout = Duration::from_millis(400);
    let upstreams = start(&config);
    let resolved = upstreams.resolve(&query("lost.example", RecordType::A), false).await;
    assert_eq!(resolved.error, None);
    assert!(resolved.took >= Duration::from_millis(200) && resolved.took < Duration::from_secs(5));
    let heard = upstream.heard();
    assert_eq!(heard[0].packet, heard[1].packet);
    assert_eq!(heard[0].from, heard[1].from);
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_each_client_answered() {
    let upstream = Played::start(|heard| {
        Act::Later(Duration::from_millis(200), played::address(&heard.packet, 60, &[1]))
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let names = ["same.example", "SAME.example", "sAmE.eXample", "same.EXAMPLE"];
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..40u16 {
        let upstreams = Arc::clone(&upstreams);
        clients.spawn(async move {
            let name = names[usize::from(client) % names.len()];
            let mut query = query(name, RecordType::A);
            query.id = client;
            let message = read(&upstreams.resolve(&query, false).await.message);
            assert_eq!(message.metadata.id, client);
            assert_eq!(message.queries[0].name().to_string(), format!("{name}."));
            assert_eq!(message.answers.len(), 1);
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(upstream.heard().len(), 1);
    until("nothing is on its way", || upstreams.flights.is_empty()).await;
}

#[tokio::test]
async fn an_answer_is_remembered_though_the_client_is_gone() {
    let upstream = Played::start(|heard| {
        Act::Later(Duration::from_millis(100), played::address(&heard.packet, 60, &[1]))
    })
    .await;
    let upstreams = start(&forward(&[&upstream]));
    let query = query("gone.example", RecordType::A);
    let short = Duration::from_millis(20);
    assert!(tokio::time::timeout(short, upstreams.resolve(&query, false)).await.is_err());
    until("the answer is remembered", || {
        let now = std::time::Instant::now();
        upstreams.cached(&query, now, 512, &mut Vec::new()) == Some(AnsweredBy::Cache)
    })
    .await;
    assert_eq!(upstream.heard().len(), 1);
}
