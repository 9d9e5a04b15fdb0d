// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::{EndpointSlice, ProxyMode, Service};

use super::*;

fn service(name: &str) -> (String, Vec<u8>) {
    let mut service = Service::default();
    service.metadata.namespace = Some("shop".to_owned());
    service.metadata.name = name.to_owned();
    (format!("services/shop/{name}"), serde_json::to_vec(&service).unwrap())
}

fn slice(name: &str) -> (String, Vec<u8>) {
    let mut slice = EndpointSlice::default();
    slice.metadata.namespace = Some("shop".to_owned());
    slice.metadata.name = name.to_owned();
    (format!("endpointslices/shop/{name}"), serde_json::to_vec(&slice).unwrap())
}

impl Lab {
    async fn write(&self, (key, value): (String, Vec<u8>)) -> Revision {
        self.commit(Transaction::new().put(key, value)).await
    }

    async fn erase(&self, (key, _): (String, Vec<u8>)) -> Revision {
        self.commit(Transaction::new().delete(key)).await
    }
}

#[tokio::test]
async fn services_and_slices_are_told_to_everybody() {
    let lab = Lab::new().await;
    let (mut one, mut two) = (lab.feed.view("n1", None), lab.feed.view("n2", None));
    assert_eq!((heard(&mut one).await, heard(&mut two).await).0, ["snapshot"]);
    lab.write(service("web")).await;
    lab.write(slice("web-ipv4-1")).await;
    lab.erase(slice("web-ipv4-1")).await;
    lab.erase(service("web")).await;
    let expected = ["service web", "slice web-ipv4-1", "slice web-ipv4-1 gone", "service web gone"];
    for view in [&mut one, &mut two] {
        for change in expected {
            assert_eq!(heard(view).await, [change]);
        }
    }
}

#[tokio::test]
async fn who_comes_back_hears_of_services_as_they_are_now() {
    let lab = Lab::new().await;
    lab.write(service("old")).await;
    let from = lab.write(service("web")).await;
    lab.write(slice("web-ipv4-1")).await;
    lab.write(service("db")).await;
    lab.write(slice("web-ipv4-1")).await;
    lab.erase(service("web")).await;
    lab.erase(service("db")).await;
    let mut back = lab.feed.view("n1", Some(from));
    let expected = ["slice web-ipv4-1", "service db gone", "service web gone"];
    assert_eq!(heard(&mut back).await, expected);
}

#[tokio::test]
async fn a_snapshot_has_services_slices_and_the_proxy_mode() {
    let lab = Lab::new().await;
    lab.write(service("web")).await;
    lab.write(slice("web-ipv4-1")).await;
    let iptables = br#"{"routeMode":"auto","proxyMode":"iptables"}"#.to_vec();
    lab.write(("settings/network".to_owned(), iptables)).await;
    let ViewEvent::Snapshot(snapshot) = lab.feed.view("n1", None).next().await.unwrap() else {
        panic!("the first is a snapshot")
    };
    assert_eq!(snapshot.services[0].metadata.name, "web");
    assert_eq!(snapshot.slices[0].metadata.name, "web-ipv4-1");
    assert_eq!(snapshot.proxy_mode, ProxyMode::Iptables);
}

#[tokio::test]
async fn another_proxy_mode_is_told_alone() {
    let lab = Lab::new().await;
    let mut view = lab.feed.view("n1", None);
    assert_eq!(heard(&mut view).await, ["snapshot"]);
    let from = lab.feed.lock().revision;
    let iptables = br#"{"proxyMode":"iptables"}"#.to_vec();
    lab.write(("settings/network".to_owned(), iptables.clone())).await;
    assert_eq!(heard(&mut view).await, ["proxy mode iptables"]);
    lab.write(("settings/network".to_owned(), iptables)).await;
    assert!(heard(&mut view).await.is_empty());
    let mut back = lab.feed.view("n1", Some(from));
    assert_eq!(heard(&mut back).await, ["proxy mode iptables"]);
}

#[tokio::test]
async fn another_configuration_is_told_alone_and_is_in_snapshots() {
    let lab = Lab::new().await;
    let mut view = lab.feed.view("n1", None);
    assert_eq!(heard(&mut view).await, ["snapshot"]);
    let from = lab.feed.lock().revision;
    let settings = br#"{"settings":{"services":{"masqueradeAll":true}}}"#.to_vec();
    lab.write(("settings/network".to_owned(), settings.clone())).await;
    assert_eq!(heard(&mut view).await, ["settings"]);
    lab.write(("settings/network".to_owned(), settings)).await;
    assert!(heard(&mut view).await.is_empty());
    let mut back = lab.feed.view("n1", Some(from));
    assert_eq!(heard(&mut back).await, ["settings"]);
    let ViewEvent::Snapshot(snapshot) = lab.feed.view("n2", None).next().await.unwrap() else {
        panic!("the first is a snapshot")
    };
    assert!(snapshot.settings.services.unwrap().masquerade_all);
}

#[tokio::test]
async fn everybody_hears_when_a_node_is_not_ready_or_in_another_zone() {
    let lab = Lab::new().await;
    lab.put_node("n1", true).await;
    let mut view = lab.feed.view("n2", None);
    assert_eq!(heard(&mut view).await, ["snapshot", "node n1"]);
    lab.put_node("n1", false).await;
    assert_eq!(heard(&mut view).await, ["node n1"]);
    let mut node = Node::named("n1");
    let zone = netlab_api::endpoint_slice::ZONE_LABEL.to_owned();
    node.metadata.labels.insert(zone, "a".to_owned());
    lab.write(("nodes/n1".to_owned(), serde_json::to_vec(&node).unwrap())).await;
    assert_eq!(heard(&mut view).await, ["node n1"]);
}
