// SPDX-License-Identifier: GPL-3.0-or-later
use std::sync::Mutex;

use super::*;

/// A port that is free now.
fn free() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, body) = get(address, path).await.unwrap();
    (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn addresses_are_written_as_for_coredns() {
    let of = |text| listen_addresses(text).map(|list| list[0].to_string());
    assert_eq!(of(":8080").as_deref(), Some("[::]:8080"));
    assert_eq!(of("localhost:9153").as_deref(), Some("127.0.0.1:9153"));
    assert_eq!(of("192.0.2.1:80").as_deref(), Some("192.0.2.1:80"));
    for text in ["8080", "", ":", ":0", "localhost", "example.com:80", "[::1]", ":99999"] {
        assert_eq!(of(text), None, "{text}");
    }
}

#[tokio::test]
async fn pages_are_served_until_the_end() {
    let mut config = DnsConfig::default();
    for listen in
        [&mut config.health.listen, &mut config.ready.listen, &mut config.prometheus.listen]
    {
        *listen = Some(format!("localhost:{}", free()));
    }
    let missing = Arc::new(Mutex::new(vec!["kubernetes".to_owned(), "forward".to_owned()]));
    let not_ready = missing.clone();
    let metrics = Arc::new(DnsMetrics::new());
    let pages = Pages::start(
        &config,
        Arc::new(move || not_ready.lock().unwrap().clone()),
        Arc::new(|| "# EOF\n".to_owned()),
        metrics.clone(),
    )
    .await
    .unwrap();
    let at = |key: &str| pages.addresses().iter().find(|(k, _)| *k == key).unwrap().1;
    let (health, ready) = (at("dns.health.listen"), at("dns.ready.listen"));
    let prometheus = at("dns.prometheus.listen");

    assert_eq!(page(health, "/health").await, (200, "OK".into()));
    assert_eq!(page(health, "/ready").await.0, 404);
    assert_eq!(page(ready, "/ready").await, (503, "kubernetes,forward".into()));
    missing.lock().unwrap().clear();
    assert_eq!(page(ready, "/ready").await, (200, "OK".into()));
    missing.lock().unwrap().push("forward".into());
    assert_eq!(page(ready, "/ready").await, (200, "OK".into()), "it stays ready");
    assert_eq!(page(prometheus, "/metrics").await, (200, "# EOF\n".into()));

    let taken = Pages::start(&config, Arc::new(Vec::new), Arc::new(String::new), metrics.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(taken.contains("dns.health.listen") && taken.contains("ss -ltnp"), "{taken}");

    pages.lameduck();
    assert_eq!(page(ready, "/ready").await, (503, "Shutting down".into()));
    assert_eq!(page(health, "/health").await, (200, "OK".into()));
    pages.stop().await;
    assert!(get(health, "/health").await.is_err());
}

#[test]
fn readiness_goes_back_when_it_is_monitored() {
    let ready = Arc::new(AtomicBool::new(true));
    let looked = ready.clone();
    let not_ready: NotReady =
        Arc::new(move || if looked.load(Ordering::Relaxed) { vec![] } else { vec!["x".into()] });
    let readiness = Readiness::new(Monitor::Continuously, not_ready);
    assert_eq!(readiness.page().0, StatusCode::OK);
    ready.store(false, Ordering::Relaxed);
    assert_eq!(readiness.page(), (StatusCode::SERVICE_UNAVAILABLE, "x".into()));
}
