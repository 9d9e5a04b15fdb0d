// SPDX-License-Identifier: GPL-3.0-or-later
//! Before the zone is told all that there is. An hour never passes in a test, so what waits for one
//! waits until it is told.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use super::*;

const LONG: &str = "startup-timeout = \"1h\"";
const LATE: &str = "late.default.svc.cluster.local";

fn code(message: &Message) -> Rcode {
    Rcode(message.metadata.response_code.into())
}

/// Looks at an answer once: it must not be there yet.
async fn still_waits(answer: &mut (impl Future<Output = (Message, bool)> + Unpin)) {
    let poll = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *answer).poll(context)));
    assert!(poll.await.is_pending(), "there is an answer already");
}

fn put_late(chain: &Chain) {
    let service = json!({
        "metadata": { "name": "late", "namespace": "default" },
        "spec": { "clusterIP": "10.43.0.81", "clusterIPs": ["10.43.0.81"],
                  "ports": [{ "port": 80 }] },
    });
    let mut zone = chain.zone.write().unwrap();
    zone.put_service(&serde_json::from_value(service).unwrap());
}

#[tokio::test]
async fn what_is_not_known_yet_waits_until_all_is_known() {
    let chain = unsynced(LONG);
    let mut late = Box::pin(ask(&chain, LATE, 1));
    let mut never = Box::pin(ask(&chain, "never.default.svc.cluster.local", 1));
    still_waits(&mut late).await;
    still_waits(&mut never).await;
    put_late(&chain);
    chain.zone.write().unwrap().set_synced();
    let (message, waited) = late.await;
    assert!(waited);
    assert_eq!(answers(&message), [format!("{LATE}. 10.43.0.81")]);
    let (message, waited) = never.await;
    assert!(waited);
    assert_eq!(code(&message), Rcode::NXDOMAIN);
    // Now nobody waits.
    let (message, waited) = ask(&chain, "never.default.svc.cluster.local", 1).await;
    assert_eq!((code(&message), waited), (Rcode::NXDOMAIN, false));
}

#[tokio::test]
async fn what_is_known_and_what_is_not_ours_does_not_wait() {
    let chain = unsynced(&format!("{LONG}\n[hosts]\n\"192.0.2.7\" = [\"db.example\"]"));
    for (name, address) in [(WEB, "10.43.0.80"), ("db.example", "192.0.2.7")] {
        let (message, waited) = ask(&chain, name, 1).await;
        assert!(!waited);
        assert_eq!(answers(&message), [format!("{name}. {address}")]);
    }
    // Refused by the upstream's machine at once.
    assert_eq!(code(&ask(&chain, "www.example", 1).await.0), Rcode::SERVFAIL);
}

#[tokio::test]
async fn other_names_for_what_is_not_known_yet_wait_too() {
    let config = format!(
        "{LONG}\n[autopath]\nenabled = true\n[hosts]\n\"192.0.2.7\" = \"db.example\"\n\
         [[rewrite]]\nfrom = \"shop.example\"\nto = \"{LATE}\""
    );
    let chain = unsynced(&config);
    let searched = "db.example.default.svc.cluster.local";
    let mut renamed = Box::pin(ask(&chain, "shop.example", 1));
    let mut path = Box::pin(ask(&chain, searched, 1));
    still_waits(&mut renamed).await;
    still_waits(&mut path).await;
    put_late(&chain);
    chain.zone.write().unwrap().set_synced();
    assert_eq!(answers(&renamed.await.0), ["shop.example. 10.43.0.81"]);
    let found = [format!("{searched}. db.example."), "db.example. 192.0.2.7".into()];
    assert_eq!(answers(&path.await.0), found);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_timeout() {
    let chain = unsynced("startup-timeout = \"100ms\"");
    let (message, _) = ask(&chain, LATE, 1).await;
    assert!(chain.startup.is_over(), "an answer before the time");
    assert_eq!(code(&message), Rcode::SERVFAIL);
    let noted = chain.notes.log.last(1).pop().unwrap();
    assert_eq!((noted.by, noted.rcode), (AnsweredBy::Zone, Rcode::SERVFAIL));
    // From then on it is said at once.
    let (message, waited) = ask(&chain, LATE, 1).await;
    assert_eq!((code(&message), waited), (Rcode::SERVFAIL, false));
    let (_, waited) = ask(&unsynced("startup-timeout = \"0s\""), LATE, 1).await;
    assert!(!waited);
}

#[tokio::test]
async fn one_too_many_that_waits_is_told_so() {
    let chain = unsynced(LONG);
    let mut out = Vec::new();
    let peer = SocketAddr::new(POD.parse().unwrap(), 4000);
    let packet = question(LATE, 1);
    let Step::Later(pending) = chain.now(&packet, peer, Protocol::Udp, Instant::now(), &mut out)
    else {
        panic!("it does not wait")
    };
    chain.overloaded(&pending, &mut out);
    assert_eq!(code(&Message::from_vec(&out).unwrap()), Rcode::SERVFAIL);
    assert_eq!(out.len(), packet.len(), "one response");
}
