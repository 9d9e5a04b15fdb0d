// SPDX-License-Identifier: GPL-3.0-or-later
use std::net::IpAddr;
use std::time::Duration;

use netlab_api::pod::PodIp;
use netlab_api::view::ViewChange;
use netlab_api::{Node, Pod};

use super::index::history::RECENT;
use super::*;
use crate::store::{Options, SledStore, Transaction};

mod names;
mod services;

const DEADLINE: Duration = Duration::from_secs(20);

struct Lab {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SledStore::open(&dir.path().join("store"), Options::default()).unwrap());
        let feed = Feed::start(store.clone()).await.unwrap();
        Lab { store, feed, _dir: dir }
    }

    async fn commit(&self, transaction: Transaction) -> Revision {
        let revision = self.store.commit(transaction).await.unwrap();
        self.feed.caught_up(revision).await;
        revision
    }

    async fn put(&self, pod: &Pod) -> Revision {
        self.commit(Transaction::new().put(key(pod), serde_json::to_vec(pod).unwrap())).await
    }

    async fn remove(&self, pod: &Pod) -> Revision {
        self.commit(Transaction::new().delete(key(pod))).await
    }

    async fn put_node(&self, name: &str, ready: bool) -> Revision {
        let mut node = Node::named(name);
        node.status.conditions.push(netlab_api::pod::Condition {
            kind: "Ready".to_owned(),
            status: match ready {
                true => netlab_api::pod::ConditionStatus::True,
                false => netlab_api::pod::ConditionStatus::False,
            },
            last_transition_time: None,
            reason: None,
            message: None,
        });
        let value = serde_json::to_vec(&node).unwrap();
        self.commit(Transaction::new().put(format!("nodes/{name}"), value)).await
    }
}

fn key(pod: &Pod) -> String {
    format!("pods/{}/{}", pod.metadata.namespace.as_deref().unwrap(), pod.metadata.name)
}

fn pod(namespace: &str, name: &str, node: &str, last_byte: u8) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.name = name.to_owned();
    pod.metadata.uid = format!("uid-of-{name}-{last_byte}");
    pod.spec.node_name = Some(node.to_owned());
    pod.status.pod_ips = vec![PodIp { ip: IpAddr::from([10, 42, 0, last_byte]) }];
    pod
}

/// What came, in a few words each; nothing when nothing came.
async fn heard(view: &mut FeedView) -> Vec<String> {
    let next = tokio::time::timeout(Duration::from_millis(50), view.next()).await;
    match next {
        Ok(event) => words(event.unwrap()),
        Err(_) => Vec::new(),
    }
}

fn words(event: ViewEvent) -> Vec<String> {
    match event {
        ViewEvent::Snapshot(snapshot) => {
            let mut words = vec!["snapshot".to_owned()];
            words.extend(snapshot.pods.iter().map(|pod| format!("pod {}", pod.metadata.name)));
            for names in &snapshot.names {
                words.extend(names.pods.iter().map(|pod| format!("name {}", pod.name)));
            }
            words.extend(snapshot.namespaces.iter().map(|name| format!("namespace {name}")));
            words.extend(snapshot.nodes.iter().map(|node| format!("node {}", node.name)));
            words
        }
        ViewEvent::Changes(changes) => changes.changes.iter().map(change).collect(),
        other => vec![format!("{other:?}")],
    }
}

fn change(change: &ViewChange) -> String {
    match change {
        ViewChange::Pod(pod) => format!("pod {}", pod.metadata.name),
        ViewChange::PodGone { name, uid, .. } => format!("pod {name} ({uid}) gone"),
        ViewChange::Names(names) => {
            let pods: Vec<_> = names.pods.iter().map(|pod| pod.name.as_str()).collect();
            format!("names {}", pods.join(" "))
        }
        ViewChange::Name { pod, .. } => format!("name {}", pod.name),
        ViewChange::NameGone { name, .. } => format!("name {name} gone"),
        ViewChange::Node(node) => format!("node {}", node.name),
        ViewChange::NodeGone { name } => format!("node {name} gone"),
        ViewChange::Routing(routing) => format!("mode {}", routing.route_mode),
        ViewChange::ProxyMode(mode) => format!("proxy mode {mode}"),
        ViewChange::Settings(_) => "settings".to_owned(),
        ViewChange::Dns(dns) => format!("dns, all pods {}", dns.all_pods),
        ViewChange::Namespace { name } => format!("namespace {name}"),
        ViewChange::NamespaceGone { name } => format!("namespace {name} gone"),
        ViewChange::Service(service) => format!("service {}", service.metadata.name),
        ViewChange::ServiceGone { name, .. } => format!("service {name} gone"),
        ViewChange::Slice(slice) => format!("slice {}", slice.metadata.name),
        ViewChange::SliceGone { name, .. } => format!("slice {name} gone"),
    }
}

#[tokio::test]
async fn a_change_reaches_the_nodes_that_it_concerns_and_no_others() {
    let lab = Lab::new().await;
    let mut n1 = lab.feed.view("n1", None);
    let mut n2 = lab.feed.view("n2", None);
    let mut n3 = lab.feed.view("n3", None);
    for view in [&mut n1, &mut n2, &mut n3] {
        assert_eq!(heard(view).await, ["snapshot"]);
    }
    lab.put(&pod("default", "a", "n1", 1)).await;
    assert_eq!(heard(&mut n1).await, ["pod a", "names "]);
    lab.put(&pod("default", "b", "n2", 65)).await;
    // A node that gets its first pod of a namespace hears who else is in it.
    assert_eq!(heard(&mut n2).await, ["pod b", "names a"]);
    assert_eq!(heard(&mut n1).await, ["name b"]);
    lab.put(&pod("shop", "c", "n1", 2)).await;
    assert_eq!(heard(&mut n1).await, ["pod c", "names "]);
    lab.remove(&pod("default", "b", "n2", 65)).await;
    assert_eq!(heard(&mut n2).await, ["pod b (uid-of-b-65) gone"]);
    assert_eq!(heard(&mut n1).await, ["name b gone"]);
    assert_eq!(heard(&mut n2).await, Vec::<String>::new());
    assert_eq!(heard(&mut n3).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_status_concerns_nobody_and_a_wish_the_pods_own_node() {
    let lab = Lab::new().await;
    let mut pod = pod("default", "a", "n1", 1);
    lab.put(&pod).await;
    let mut n1 = lab.feed.view("n1", None);
    heard(&mut n1).await;
    pod.status.reason = Some("it was the node that said so".to_owned());
    lab.put(&pod).await;
    assert_eq!(heard(&mut n1).await, Vec::<String>::new());
    pod.metadata.labels.insert("tier".to_owned(), "front".to_owned());
    lab.put(&pod).await;
    assert_eq!(heard(&mut n1).await, ["pod a"]);
}

#[tokio::test]
async fn who_comes_back_hears_the_difference_and_who_was_away_too_long_everything() {
    let lab = Lab::new().await;
    let first = pod("default", "a", "n1", 1);
    let gone = pod("default", "b", "n1", 2);
    lab.put(&first).await;
    let seen = lab.put(&gone).await;
    lab.put(&pod("default", "c", "n2", 65)).await;
    lab.remove(&gone).await;
    // The name of a pod that is gone, taken by another.
    let mut again = pod("default", "b", "n1", 3);
    again.metadata.uid = "another".to_owned();
    lab.put(&again).await;
    lab.put_node("n2", true).await;
    let mut n1 = lab.feed.view("n1", Some(seen));
    assert_eq!(heard(&mut n1).await, ["pod b (uid-of-b-2) gone", "pod b", "node n2", "names c"]);
    // A revision of another store, or of the future, means nothing here.
    let mut n1 = lab.feed.view("n1", Some(Revision(1_000_000)));
    assert_eq!(heard(&mut n1).await, ["snapshot", "pod a", "pod b", "name c", "node n2"]);
    for number in 0..RECENT {
        lab.put_node(&format!("x{}", number % 2), true).await;
        let node = if number % 2 == 0 { "x1" } else { "x0" };
        lab.commit(Transaction::new().delete(format!("nodes/{node}"))).await;
    }
    let mut n1 = lab.feed.view("n1", Some(seen));
    assert_eq!(heard(&mut n1).await[0], "snapshot");
}

#[tokio::test]
async fn only_nodes_that_have_something_to_do_are_waited_for() {
    let lab = Lab::new().await;
    lab.put_node("n1", true).await;
    lab.put_node("n2", true).await;
    let at = lab.put_node("n3", false).await;
    let (_n1, _n2) = (lab.feed.view("n1", None), lab.feed.view("n2", None));
    let report = |name: &str, revision: Revision| {
        let name = name.to_owned();
        lab.feed.report(NodeRevision { name, revision: revision.0, failures: Vec::new() });
    };
    let lagging = |revision| match lab.feed.standing(revision, &mut Goals::default()) {
        Standing::Done(_) => Vec::new(),
        Standing::Lagging(nodes) => nodes.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
    };
    assert_eq!(lagging(at), ["n1", "n2"]);
    report("n1", at);
    report("n2", at);
    assert!(lagging(at).is_empty());
    let made = lab.put(&pod("default", "a", "n2", 65)).await;
    assert_eq!(lagging(made), ["n2"], "n1 has nothing to do with it");
    report("n2", made);
    assert!(lagging(made).is_empty());
}

#[tokio::test]
async fn what_is_waited_for_does_not_grow_while_one_waits() {
    let lab = Lab::new().await;
    lab.put_node("n1", true).await;
    let _n1 = lab.feed.view("n1", None);
    let mut goals = Goals::default();
    let made = lab.put(&pod("default", "a", "n1", 1)).await;
    assert!(matches!(lab.feed.standing(made, &mut goals), Standing::Lagging(_)));
    lab.put(&pod("default", "b", "n1", 2)).await;
    lab.feed.report(NodeRevision { name: "n1".into(), revision: made.0, failures: Vec::new() });
    assert!(matches!(lab.feed.standing(made, &mut goals), Standing::Done(_)));
}

#[tokio::test]
async fn a_node_is_followed_once_and_one_that_does_not_listen_starts_anew() {
    let lab = Lab::new().await;
    let mut old = lab.feed.view("n1", None);
    heard(&mut old).await;
    let mut new = lab.feed.view("n1", None);
    let error = tokio::time::timeout(DEADLINE, old.next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::Expired);
    drop(old);
    assert_eq!(heard(&mut new).await, ["snapshot"]);
    for number in 0..=QUEUE {
        let mut pod = pod("default", "a", "n1", 1);
        pod.metadata.labels.insert("n".to_owned(), number.to_string());
        lab.put(&pod).await;
    }
    let mut last = new.next().await;
    while last.is_ok() {
        last = tokio::time::timeout(DEADLINE, new.next()).await.unwrap();
    }
    assert_eq!(last.unwrap_err().reason, Reason::Expired);
}

#[tokio::test]
async fn what_a_node_programmed_before_it_started_from_nothing_does_not_count() {
    let lab = Lab::new().await;
    let made = lab.put_node("n1", true).await;
    let _view = lab.feed.view("n1", None);
    let report = NodeRevision { name: "n1".into(), revision: made.0, failures: Vec::new() };
    lab.feed.report(report.clone());
    let standing = |feed: &Feed| feed.standing(made, &mut Goals::default());
    assert_eq!(standing(&lab.feed), Standing::Done(vec![report.clone()]));
    // A connection that broke: the kernel is as it was.
    let _view = lab.feed.view("n1", Some(made));
    assert_eq!(standing(&lab.feed), Standing::Done(vec![report.clone()]));
    // A machine that was started anew has nothing yet.
    let _view = lab.feed.view("n1", None);
    assert_eq!(standing(&lab.feed), Standing::Lagging(vec![("n1".to_owned(), 0)]));
    lab.feed.report(report.clone());
    assert_eq!(standing(&lab.feed), Standing::Done(vec![report]));
}

#[tokio::test]
async fn pods_are_found_by_their_node_and_by_having_none() {
    let lab = Lab::new().await;
    let mut web = pod("shop", "web", "n1", 1);
    web.spec.node_name = None;
    lab.put(&web).await;
    lab.put(&pod("default", "web", "n1", 2)).await;
    lab.put(&pod("default", "other", "n2", 3)).await;
    let named = |namespace: &str, name: &str| vec![(namespace.to_owned(), name.to_owned())];
    assert_eq!(lab.feed.homeless_pods(), named("shop", "web"));
    assert_eq!(lab.feed.pods_on("n1"), named("default", "web"));
    web.spec.node_name = Some("n1".to_owned());
    lab.put(&web).await;
    assert_eq!(lab.feed.homeless_pods(), []);
    assert_eq!(lab.feed.pods_on("n1").len(), 2);
    lab.remove(&web).await;
    assert_eq!(lab.feed.pods_on("n1"), named("default", "web"));
}

#[tokio::test]
async fn a_feed_that_nobody_asks_lets_go_of_the_store() {
    let Lab { store, feed, _dir } = Lab::new().await;
    drop(feed);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while Arc::strong_count(&store) > 1 {
        assert!(tokio::time::Instant::now() < deadline, "the store is still held");
        tokio::task::yield_now().await;
    }
}
