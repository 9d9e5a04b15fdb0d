// SPDX-License-Identifier: GPL-3.0-or-later
use std::time::SystemTime;

use prometheus_client::encoding::text::encode;

use super::*;
use crate::dns::record::{Rcode, RecordType};

fn query(peer: &str, kind: RecordType, by: AnsweredBy, took: Duration) -> Query<()> {
    Query {
        time: SystemTime::UNIX_EPOCH,
        peer: peer.parse().unwrap(),
        pod: None,
        id: 1,
        name: (),
        kind,
        class: 1,
        protocol: Protocol::Udp,
        size: 50,
        dnssec_ok: false,
        payload: 1232,
        rcode: Rcode::NOERROR,
        flags: 0x8580,
        empty: false,
        response_size: 511,
        took,
        by,
    }
}

fn text(metrics: &DnsMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry, "1.2.3");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn what_threads_counted_is_summed_also_when_they_are_gone() {
    let metrics = DnsMetrics::new();
    let (one, two) = (metrics.counters(), metrics.counters());
    let zone = query("192.0.2.1:1", RecordType::A, AnsweredBy::Zone, Duration::from_micros(100));
    one.note(&zone);
    two.note(&zone);
    let mut other = query("[::1]:1", RecordType(999), AnsweredBy::Server, Duration::from_secs(9));
    (other.protocol, other.dnssec_ok, other.rcode) = (Protocol::Tcp, true, Rcode::SERVFAIL);
    two.note(&other);
    text(&metrics);
    drop(two);
    let base = "server=\"dns://:53\",zone=\".\",view=\"\"";
    for _ in 0..2 {
        let text = text(&metrics);
        for line in [
            format!("coredns_dns_requests_total{{{base},proto=\"udp\",family=\"1\",type=\"A\"}} 2"),
            format!(
                "coredns_dns_requests_total{{{base},proto=\"tcp\",family=\"2\",type=\"other\"}} 1"
            ),
            format!(
                "coredns_dns_responses_total{{{base},rcode=\"NOERROR\",plugin=\"kubernetes\"}} 2"
            ),
            format!("coredns_dns_responses_total{{{base},rcode=\"SERVFAIL\",plugin=\"\"}} 1"),
            format!("coredns_dns_do_requests_total{{{base}}} 1"),
            format!("coredns_dns_request_duration_seconds_count{{{base}}} 3"),
            format!("coredns_dns_request_duration_seconds_sum{{{base}}} 9.0002"),
            format!("coredns_dns_request_duration_seconds_bucket{{le=\"0.00025\",{base}}} 2"),
            format!("coredns_dns_request_duration_seconds_bucket{{le=\"8.192\",{base}}} 2"),
            format!("coredns_dns_request_duration_seconds_bucket{{le=\"+Inf\",{base}}} 3"),
            format!("coredns_dns_request_size_bytes_sum{{{base},proto=\"udp\"}} 100.0"),
            format!(
                "coredns_dns_response_size_bytes_bucket{{le=\"511.0\",{base},proto=\"udp\"}} 2"
            ),
            format!(
                "coredns_dns_response_size_bytes_bucket{{le=\"400.0\",{base},proto=\"udp\"}} 0"
            ),
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
        }
    }
}

#[test]
fn the_rest_has_coredns_s_names() {
    let metrics = DnsMetrics::new();
    let to = "192.0.2.53:53".parse().unwrap();
    metrics.plugins(["forward", "cache"]);
    metrics.panicked();
    metrics.cache_asked(None);
    metrics.cache_asked(Some(true));
    metrics.cache_entries(false, 7);
    metrics.cache_evicted(true);
    metrics.cache_prefetched();
    metrics.cache_served_stale();
    metrics.cache_dropped();
    metrics.upstream_answered(to, Rcode::NXDOMAIN, Duration::from_millis(3));
    metrics.health_check_failed(to);
    metrics.all_down();
    metrics.too_many();
    metrics.connection(to, true);
    metrics.connection(to, false);
    metrics.health_polled(Duration::from_millis(1), false);
    metrics.reload_failed();
    metrics.configured("aa");
    metrics.configured("bb");
    metrics.autopath_found();
    metrics.hosts_entries(3);
    let text = text(&metrics);
    let cache = "server=\"dns://:53\",zones=\".\",view=\"\"";
    let half = |kind| format!("server=\"dns://:53\",type=\"{kind}\",zones=\".\",view=\"\"");
    let to = "proxy_name=\"forward\",to=\"192.0.2.53:53\"";
    for line in [
        "coredns_build_info{version=\"1.2.3\"} 1".to_owned(),
        "coredns_panics_total 1".to_owned(),
        "coredns_plugin_enabled{server=\"dns://:53\",zone=\".\",view=\"\",name=\"cache\"} 1"
            .to_owned(),
        format!("coredns_cache_requests_total{{{cache}}} 2"),
        format!("coredns_cache_misses_total{{{cache}}} 1"),
        format!("coredns_cache_prefetch_total{{{cache}}} 1"),
        format!("coredns_cache_served_stale_total{{{cache}}} 1"),
        format!("coredns_cache_drops_total{{{cache}}} 1"),
        format!("coredns_cache_hits_total{{{}}} 1", half("denial")),
        format!("coredns_cache_entries{{{}}} 7", half("success")),
        format!("coredns_cache_evictions_total{{{}}} 1", half("denial")),
        format!("coredns_proxy_request_duration_seconds_count{{{to},rcode=\"NXDOMAIN\"}} 1"),
        format!("coredns_proxy_healthcheck_failures_total{{{to}}} 1"),
        format!("coredns_proxy_conn_cache_hits_total{{{to},proto=\"tcp\"}} 1"),
        format!("coredns_proxy_conn_cache_misses_total{{{to},proto=\"tcp\"}} 1"),
        "coredns_forward_healthcheck_broken_total 1".to_owned(),
        "coredns_forward_max_concurrent_rejects_total 1".to_owned(),
        "coredns_health_request_duration_seconds_count 1".to_owned(),
        "coredns_health_request_failures_total 1".to_owned(),
        "coredns_reload_failed_total 1".to_owned(),
        "coredns_reload_version_info{hash=\"sha512\",value=\"bb\"} 1".to_owned(),
        "coredns_autopath_success_total{server=\"dns://:53\"} 1".to_owned(),
        "coredns_hosts_entries 3".to_owned(),
    ] {
        assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
    }
    assert!(!text.contains("value=\"aa\""));
}

#[test]
fn a_time_falls_in_its_bucket() {
    assert_eq!(time_bucket(Duration::ZERO), 0);
    assert_eq!(time_bucket(Duration::from_micros(250)), 0);
    assert_eq!(time_bucket(Duration::from_nanos(250_001)), 1);
    assert_eq!(time_bucket(Duration::from_millis(8192)), 15);
    assert_eq!(time_bucket(Duration::from_secs(10)), TIMES);
}
