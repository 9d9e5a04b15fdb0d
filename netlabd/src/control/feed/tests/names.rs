// SPDX-License-Identifier: GPL-3.0-or-later
//! What nodes hear that answer for the cluster's names.

use netlab_api::pod::PodPhase;
use netlab_api::{DnsSettings, Namespace};

use super::*;
use crate::control::network::{NETWORK_KEY, StoredNetwork};

impl Lab {
    async fn put_namespace(&self, name: &str, label: &str) -> Revision {
        let mut namespace = Namespace::default();
        namespace.metadata.name = name.to_owned();
        namespace.metadata.labels.insert("is".to_owned(), label.to_owned());
        let value = serde_json::to_vec(&namespace).unwrap();
        self.commit(Transaction::new().put(format!("namespaces/{name}"), value)).await
    }

    async fn set_all_pods(&self, all_pods: bool) -> Revision {
        let dns = Some(DnsSettings { all_pods, ..DnsSettings::default() });
        let stored = StoredNetwork { dns, ..StoredNetwork::default() };
        let value = serde_json::to_vec(&stored).unwrap();
        self.commit(Transaction::new().put(NETWORK_KEY.to_owned(), value)).await
    }
}

#[tokio::test]
async fn everybody_hears_which_namespaces_there_are_and_nothing_else_of_them() {
    let lab = Lab::new().await;
    let from = lab.put_namespace("shop", "new").await;
    let mut view = lab.feed.view("n1", None);
    assert_eq!(heard(&mut view).await, ["snapshot", "namespace shop"]);
    lab.put_namespace("shop", "old").await;
    assert_eq!(heard(&mut view).await, Vec::<String>::new());
    lab.put_namespace("bank", "new").await;
    assert_eq!(heard(&mut view).await, ["namespace bank"]);
    lab.commit(Transaction::new().delete("namespaces/shop".to_owned())).await;
    assert_eq!(heard(&mut view).await, ["namespace shop gone"]);
    let mut back = lab.feed.view("n1", Some(from));
    assert_eq!(heard(&mut back).await, ["namespace bank", "namespace shop gone"]);
}

#[tokio::test]
async fn nodes_know_the_pods_of_all_namespaces_only_when_names_need_it() {
    let lab = Lab::new().await;
    let web = pod("shop", "web", "n1", 1);
    lab.put(&web).await;
    let from = lab.set_all_pods(false).await;
    let mut n2 = lab.feed.view("n2", None);
    assert_eq!(heard(&mut n2).await, ["snapshot"]);
    let db = pod("shop", "db", "n1", 2);
    lab.put(&db).await;
    assert_eq!(heard(&mut n2).await, Vec::<String>::new());
    lab.set_all_pods(true).await;
    assert_eq!(heard(&mut n2).await, ["dns, all pods true", "names db web"]);
    lab.remove(&db).await;
    assert_eq!(heard(&mut n2).await, ["name db gone"]);
    lab.put(&db).await;
    assert_eq!(heard(&mut n2).await, ["name db"]);
    lab.put(&pod("shop", "own", "n2", 3)).await;
    // For its hosts file, which it did not keep before.
    assert_eq!(heard(&mut n2).await, ["pod own", "names db web"]);
    let mut back = lab.feed.view("n3", Some(from));
    assert_eq!(heard(&mut back).await, ["dns, all pods true", "names db own web"]);
    let mut anew = lab.feed.view("n3", None);
    assert_eq!(heard(&mut anew).await, ["snapshot", "name db", "name own", "name web"]);
    lab.set_all_pods(false).await;
    assert_eq!(heard(&mut anew).await, ["dns, all pods false"]);
    lab.remove(&web).await;
    assert_eq!(heard(&mut anew).await, Vec::<String>::new());
}

#[tokio::test]
async fn whoever_has_finished_is_no_longer_found() {
    let lab = Lab::new().await;
    let mut job = pod("shop", "job", "n1", 1);
    lab.put(&job).await;
    let from = lab.set_all_pods(true).await;
    let mut n2 = lab.feed.view("n2", None);
    assert_eq!(heard(&mut n2).await, ["snapshot", "name job"]);
    let mut n1 = lab.feed.view("n1", None);
    assert_eq!(heard(&mut n1).await, ["snapshot", "pod job"]);
    job.status.phase = PodPhase::Running;
    lab.put(&job).await;
    assert_eq!(heard(&mut n2).await, Vec::<String>::new());
    job.status.phase = PodPhase::Succeeded;
    lab.put(&job).await;
    assert_eq!(heard(&mut n2).await, ["name job gone"]);
    // Its own node hears it as well: it said so, and the name is there until all know.
    assert_eq!(heard(&mut n1).await, ["pod job"]);
    let mut back = lab.feed.view("n2", Some(from));
    assert_eq!(heard(&mut back).await, ["names "]);
    let mut anew = lab.feed.view("n3", None);
    assert_eq!(heard(&mut anew).await, ["snapshot"]);
    lab.remove(&job).await;
    assert_eq!(heard(&mut n1).await, ["pod job (uid-of-job-1) gone"]);
}
