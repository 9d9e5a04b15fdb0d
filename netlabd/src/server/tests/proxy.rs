// SPDX-License-Identifier: GPL-3.0-or-later
//! Rules and flows over HTTP, and what `/healthz` says of a node that is behind.

use super::*;

#[tokio::test]
async fn rules_are_asked_of_the_node() {
    let lab = Lab::new().await;
    let reply = lab.get("/v1/proxy/services/shop/web?as=iptables").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        (&reply.json()["service"], &reply.json()["mode"]),
        (&json!("shop/web"), &json!("iptables"))
    );
    assert_eq!(lab.get("/v1/proxy").await.status, 200);
    let ruleset = lab.get("/v1/proxy/ruleset?as=iptables").await.json();
    assert_eq!((&ruleset["node"], &ruleset["mode"]), (&json!("n1"), &json!("iptables")));
    let web = ("shop".to_owned(), "web".to_owned());
    assert_eq!(
        *lab.pods.rules.lock().expect("no panic"),
        [
            RulesRequest { mode: Some(ProxyMode::Iptables), service: Some(web) },
            RulesRequest::default(),
        ]
    );
    lab.get("/v1/proxy?as=ipvs").await.refused(Reason::BadRequest, &["ipvs", "nftables"]);
}

#[tokio::test]
async fn flows_are_asked_of_the_node() {
    let lab = Lab::new().await;
    let reply = lab.get("/v1/flows?service=shop/web&protocol=UDP").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(lab.get("/v1/flows?all=true").await.status, 200);
    let web = ("shop".to_owned(), "web".to_owned());
    assert_eq!(
        *lab.pods.flows.lock().expect("no panic"),
        [
            FlowsRequest { service: Some(web), protocol: Some(17), all: false },
            FlowsRequest { all: true, ..FlowsRequest::default() },
        ]
    );
    for wrong in ["service=web", "service=/web", "service=shop/"] {
        let reply = lab.get(&format!("/v1/flows?{wrong}")).await;
        reply.refused(Reason::BadRequest, &["default/web"]);
    }
    lab.get("/v1/flows?protocol=ipx").await.refused(Reason::BadRequest, &["ipx", "udp"]);
}

#[tokio::test]
async fn a_node_that_is_behind_is_not_healthy_and_lives() {
    let lab = Lab::new().await;
    assert_eq!(lab.get("/healthz").await.status, 200);
    *lab.pods.ailment.lock().expect("no panic") = Some("a change waits".to_owned());
    lab.get("/healthz").await.refused(Reason::ServiceUnavailable, &["a change waits"]);
    assert_eq!(lab.get("/livez").await.status, 200);
    *lab.pods.ailment.lock().expect("no panic") = None;
    assert_eq!(lab.get("/healthz").await.status, 200);
    let text = lab.get("/metrics").await.text();
    for line in [
        "kubeproxy_proxy_healthz_total{code=\"200\"} 2",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
        "kubeproxy_proxy_livez_total{code=\"200\"} 1",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_of_others_keep_their_names() {
    let metrics = Metrics::new("1.2.3");
    let gauge = prometheus_client::metrics::gauge::Gauge::<i64>::default();
    metrics.adopted().register("kubeproxy_played", "Nothing", gauge.clone());
    let response = metrics.encode(crate::store::Revision(1)).expect("text");
    let body = within(response.into_body().collect()).await.expect("a body").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(text.contains("\nkubeproxy_played 0\n"), "{text}");
    assert!(text.contains("\nnetlab_store_revision 1\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1, "{text}");
}
