// SPDX-License-Identifier: GPL-3.0-or-later
//! Authority and membership over a real store and real files; connections are tried in
//! `tests/joining`, in network namespaces of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netlab_api::token::TokenRequest;
use netlab_api::{Reason, Time};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::authority::{AuthorityError, DEFAULT_LIFETIME, ServerNames};
use super::certificate::{earlier, later};
use super::membership::Refusal;
use super::renewal;
use super::token::{RANDOM_BYTES, Token};
use super::wire::{JoinRequest, RenewalRequest};
use super::*;
use crate::control::Control;
use crate::control::cluster::{Cluster, ObjectKey};
use crate::control::config::ClusterConfig;
use crate::store::{Options, SledStore};
use netlab_api::resource::Kind;

const HOUR: Duration = Duration::from_secs(3600);

/// A time without a fraction, as certificates have them.
fn noon() -> Time {
    "2026-11-25T12:00:00Z".parse::<jiff::Timestamp>().unwrap().into()
}

fn names(addresses: &[&str]) -> ServerNames {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
    ServerNames { node: "n1".to_owned(), addresses }
}

fn request_of(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

#[test]
fn an_authority_is_the_same_after_a_restart_and_names_the_server() {
    let state = tempfile::tempdir().unwrap();
    let now = Time::now();
    let open = |addresses: &[&str], now| {
        Authority::open(state.path(), DEFAULT_LIFETIME, &names(addresses), now).unwrap()
    };
    let first = open(&["192.0.2.1", "fd00::1"], now);
    let shown = first.server().facts();
    assert_eq!(shown.names, ["192.0.2.1", "fd00::1", "localhost", "n1", "server.netlab"]);
    assert_eq!(shown.node, None);
    let again = open(&["192.0.2.1", "fd00::1"], later(now, HOUR));
    assert_eq!(again.hash(), first.hash());
    assert_eq!(again.server().facts(), shown);
    // Another address, and an age of two thirds, make another certificate of the same key.
    assert!(!again.refresh(&names(&["192.0.2.1", "fd00::1"]), later(now, HOUR)).unwrap());
    assert!(again.refresh(&names(&["192.0.2.9"]), later(now, HOUR)).unwrap());
    assert_eq!(again.server().facts().key, shown.key);
    assert!(!again.refresh(&names(&["192.0.2.9"]), later(now, 59 * 24 * HOUR)).unwrap());
    assert!(again.refresh(&names(&["192.0.2.9"]), later(now, 61 * 24 * HOUR)).unwrap());
}

#[test]
fn a_node_that_joined_does_not_become_a_server() {
    let state = tempfile::tempdir().unwrap();
    let open =
        || Authority::open(state.path(), DEFAULT_LIFETIME, &ServerNames::default(), Time::now());
    open().unwrap();
    std::fs::remove_file(state.path().join("pki/ca.key")).unwrap();
    let error = open().err().expect("refused");
    assert!(matches!(error, AuthorityError::Joined { .. }), "{error}");
}

#[test]
fn of_a_request_only_the_key_is_taken() {
    let state = tempfile::tempdir().unwrap();
    let now = noon();
    let authority = Authority::open(state.path(), HOUR, &names(&[]), now).unwrap();
    let key = KeyPair::generate().unwrap();
    // Somebody who would like to be the server.
    let forged = CertificateParams::new(["server.netlab".to_owned()]).unwrap();
    let request = forged.serialize_request(&key).unwrap().pem().unwrap();
    let facts = authority.sign(&request, "n2", now).unwrap().facts;
    assert_eq!((facts.node.as_deref(), facts.names.len()), (Some("n2"), 1));
    assert_eq!(facts.not_after.seconds_since(now).round(), 3600.0);
    assert!(matches!(authority.sign("no request", "n2", now), Err(AuthorityError::Request { .. })));
}

#[test]
fn certificates_are_renewed_at_two_thirds_of_their_life_and_often_after_failures() {
    let state = tempfile::tempdir().unwrap();
    let now = noon();
    let authority = Authority::open(state.path(), HOUR * 30, &names(&[]), now).unwrap();
    let request = request_of(&KeyPair::generate().unwrap());
    let facts = authority.sign(&request, "n2", now).unwrap().facts;
    assert_eq!(facts.renewal().seconds_since(now).round(), 20.0 * 3600.0);
    let wait = |failed, passed| renewal::wait(&facts, failed, later(now, passed));
    assert_eq!(wait(false, HOUR), Some(HOUR));
    let last = wait(false, HOUR * 20 - Duration::from_secs(60)).unwrap();
    assert!(last > Duration::from_secs(50) && last <= Duration::from_secs(60), "{last:?}");
    assert_eq!(wait(false, HOUR * 21), None);
    let again = wait(true, HOUR * 20 + HOUR).unwrap();
    assert!(again < HOUR / 2, "{again:?}");
    assert_eq!(wait(true, HOUR * 31), Some(Duration::from_millis(200)));
}

struct Cluster1 {
    _folder: TempDir,
    control: Arc<Control>,
    membership: Membership,
    now: Time,
}

impl Cluster1 {
    async fn new() -> Cluster1 {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(&folder.path().join("store"), Options::default()).unwrap();
        let config = ClusterConfig {
            pod_networks: vec!["10.42.0.0/16".parse().unwrap()],
            cluster_dns: Vec::new(),
            domain: "cluster.local".to_owned(),
            services: Default::default(),
        };
        let control = Arc::new(Control::open(Arc::new(store), config).await.unwrap());
        let now = Time::now();
        let authority = Authority::open(folder.path(), DEFAULT_LIFETIME, &names(&[]), now).unwrap();
        let membership = Membership::new(control.clone(), Arc::new(authority), "n1".to_owned());
        Cluster1 { _folder: folder, control, membership, now }
    }

    async fn token(&self, seed: u8, ttl: u64) -> Token {
        let wish = TokenRequest { ttl_seconds: Some(ttl), description: "racks".to_owned() };
        let random = [seed; RANDOM_BYTES];
        self.membership.issue_token(&wish, random, self.now).await.unwrap().0
    }

    fn wish(&self, token: &Token, node: &str, key: &KeyPair) -> JoinRequest {
        JoinRequest {
            token: token.to_string(),
            node: node.to_owned(),
            request: request_of(key),
            clock: self.now,
        }
    }

    async fn refused(&self, wish: &JoinRequest, now: Time) -> String {
        self.membership.join(wish, now).await.expect_err("refused").error().to_string()
    }
}

#[tokio::test]
async fn a_token_lets_machines_in_until_it_ends_or_is_revoked() {
    let cluster = Cluster1::new().await;
    let token = cluster.token(3, 60).await;
    let key = KeyPair::generate().unwrap();
    let wish = cluster.wish(&token, "n2", &key);
    let answer = cluster.membership.join(&wish, cluster.now).await.unwrap();
    assert_eq!((answer.server.as_str(), &answer.cluster), ("n1", cluster.control.config()));
    let entries = cluster.control.tokens().await.unwrap();
    assert!(!format!("{entries:?}").contains(&token.to_string()[80..]), "{entries:?}");
    // The secret is checked before its end is told.
    let mut other = cluster.wish(&cluster.token(4, 60).await, "n3", &key);
    other.token = format!("{}zz", &other.token[..other.token.len() - 2]);
    assert!(cluster.refused(&other, cluster.now).await.contains("secret part differs"));
    let late = later(cluster.now, Duration::from_secs(61));
    let error = cluster.refused(&JoinRequest { clock: late, ..wish.clone() }, late).await;
    assert!(error.contains("ended at") && error.contains("netlabctl node token"), "{error}");
    cluster.control.remove_token(token.id()).await.unwrap();
    assert!(cluster.refused(&wish, cluster.now).await.contains("revoked"));
    assert!(cluster.control.remove_token(token.id()).await.unwrap_err().is_not_found());
    // A day after its end nothing is left of it.
    let next_day = later(cluster.now, HOUR * 25);
    assert_eq!(cluster.control.prune_tokens(next_day).await.unwrap(), 1);
    assert!(cluster.control.tokens().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_of_another_cluster_is_told_by_its_hash() {
    let (one, other) = (Cluster1::new().await, Cluster1::new().await);
    let wish = one.wish(&other.token(3, 60).await, "n2", &KeyPair::generate().unwrap());
    let refusal = one.membership.join(&wish, one.now).await.unwrap_err();
    let text = refusal.error().to_string();
    assert!(matches!(refusal, Refusal::Stranger(_)));
    for cluster in [&one, &other] {
        assert!(text.contains(&cluster.membership.authority().hash().to_string()), "{text}");
    }
}

#[tokio::test]
async fn clocks_that_differ_are_both_told() {
    let cluster = Cluster1::new().await;
    let token = cluster.token(3, 60).await;
    let key = KeyPair::generate().unwrap();
    let mut wish = cluster.wish(&token, "n2", &key);
    for clock in [earlier(cluster.now, HOUR), later(cluster.now, HOUR)] {
        wish.clock = clock;
        let text = cluster.refused(&wish, cluster.now).await;
        assert!(text.contains(&clock.to_string()), "{text}");
        assert!(text.contains(&cluster.now.to_string()) && text.contains("3600 s"), "{text}");
    }
    wish.clock = later(cluster.now, Duration::from_secs(299));
    cluster.membership.join(&wish, cluster.now).await.unwrap();
}

#[tokio::test]
async fn a_name_belongs_to_the_key_that_joined_with_it_until_the_node_is_deleted() {
    let cluster = Cluster1::new().await;
    let token = cluster.token(3, 60).await;
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let wish = cluster.wish(&token, "n2", &key);
    cluster.membership.join(&wish, cluster.now).await.unwrap();
    cluster.membership.join(&wish, cluster.now).await.expect("the same key comes again");
    let text = cluster.refused(&cluster.wish(&token, "n2", &other), cluster.now).await;
    assert!(text.contains("netlabctl delete node n2") && text.contains("--node-name"), "{text}");
    assert!(
        cluster.refused(&cluster.wish(&token, "n1", &other), cluster.now).await.contains("own")
    );
    let text = cluster.refused(&cluster.wish(&token, "N_2", &other), cluster.now).await;
    assert!(text.contains("cannot be a node's name"), "{text}");
    // It shows up at once, and is not ready.
    let node = ObjectKey { kind: Kind::Node, namespace: None, name: "n2".to_owned() };
    let netlab_api::Object::Node(object) = cluster.control.get(&node).await.unwrap() else {
        panic!("no node")
    };
    assert!(!object.is_ready());
    let renewal = RenewalRequest { request: request_of(&key) };
    cluster.membership.renew("n2", &renewal, cluster.now).await.unwrap();
    let stolen = RenewalRequest { request: request_of(&other) };
    let refused = cluster.membership.renew("n2", &stolen, cluster.now).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Forbidden);
    cluster.control.expel("n2").await.unwrap();
    let refused = cluster.membership.renew("n2", &renewal, cluster.now).await.unwrap_err();
    assert!(refused.to_string().contains("deleted"), "{refused}");
    // As long as the object is there its blocks are, so the name is not free.
    let text = cluster.refused(&wish, cluster.now).await;
    assert!(text.contains("netlabctl delete node n2"), "{text}");
}

#[tokio::test]
async fn tokens_live_for_a_week_at_most() {
    let cluster = Cluster1::new().await;
    for (ttl, is_good) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
        let wish = TokenRequest { ttl_seconds: Some(ttl), description: String::new() };
        let random = [ttl as u8; RANDOM_BYTES];
        let issued = cluster.membership.issue_token(&wish, random, cluster.now).await;
        assert_eq!(issued.is_ok(), is_good, "{ttl}");
    }
}
