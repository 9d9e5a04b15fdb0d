// SPDX-License-Identifier: GPL-3.0-or-later
use crate::dns::config::DnsConfig;

fn problems(text: &str) -> Vec<(String, String)> {
    let config: DnsConfig = toml::from_str(text).expect("what the types can say");
    let errors = config.check().err().map(|errors| errors.0).unwrap_or_default();
    for error in &errors {
        assert!(!error.cure.is_empty() && !error.problem.is_empty(), "{error}");
    }
    errors.into_iter().map(|error| (error.key, error.value)).collect()
}

#[test]
fn the_default_and_a_full_section_can_be_followed() {
    assert_eq!(DnsConfig::default().check(), Ok(()));
    let full = r#"
        ttl = 30
        bufsize = 1232
        pods = "verified"
        fallthrough = ["."]
        allow = ["192.0.2.0/24"]
        listen = ["192.0.2.1:53"]
        [transfer]
        to = ["*", "192.0.2.0/24", "2001:db8::1"]
        [forward]
        to = ["192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53", "2001:db8::53", "/etc/resolv.conf"]
        next = ["NXDOMAIN"]
        [stub."example.com"]
        to = ["dns://192.0.2.54"]
        [cache]
        servfail = "5m"
        [errors]
        consolidate = [{ duration = "30s", pattern = "^read .*$", level = "warning" }]
        [log]
        enabled = true
        class = ["denial"]
        [health]
        listen = ":8080"
        lameduck = "5s"
        [ready]
        listen = "[::1]:8181"
        [prometheus]
        listen = "localhost:9153"
        [reload]
        interval = 0
        [autopath]
        enabled = true
        [hosts]
        ttl = 60
        no_reverse = true
        "192.0.2.7" = ["db.example.com", "db"]
        [[rewrite]]
        kind = "regex"
        from = '(.*)\.old\.'
        to = "{1}.new"
    "#;
    assert_eq!(problems(full), []);
}

#[test]
fn each_problem_names_its_key_and_value() {
    for (text, key, value) in [
        ("ttl = 3601", "dns.ttl", "`3601`"),
        ("fallthrough = ['.', 'a..b']", "dns.fallthrough[1]", "`a..b`"),
        ("bufsize = 511", "dns.bufsize", "`511`"),
        ("bufsize = 4097", "dns.bufsize", "`4097`"),
        ("startup-timeout = '2h'", "dns.startup-timeout", "`2h0m0s`"),
        ("listen = ['192.0.2.1:0']", "dns.listen[0]", "`192.0.2.1:0`"),
        ("listen = ['192.0.2.1:53', '192.0.2.1:53']", "dns.listen[1]", "`192.0.2.1:53`"),
        ("transfer.to = ['*', 'all']", "dns.transfer.to[1]", "`all`"),
        ("stub.'example.com'.to = []", "dns.stub.\"example.com\".to", "`[]`"),
        ("stub.'example.com'.policy = 'random'", "dns.stub.\"example.com\".to", "left out"),
        ("forward.to = ['192.0.2.1', 'one.example']", "dns.forward.to[1]", "`one.example`"),
        ("forward.to = ['tls://192.0.2.1']", "dns.forward.to[0]", "`tls://192.0.2.1`"),
        ("forward.to = ['192.0.2.1:0']", "dns.forward.to[0]", "`192.0.2.1:0`"),
        ("forward.except = ['a..b']", "dns.forward.except[0]", "`a..b`"),
        ("forward.next = ['NODOMAIN']", "dns.forward.next[0]", "`NODOMAIN`"),
        ("forward.failover = ['SERVFAIL', 'x']", "dns.forward.failover[1]", "`x`"),
        ("forward.read-timeout = 0", "dns.forward.read-timeout", "`0s`"),
        ("forward.health_check = 0", "dns.forward.health-check", "`0s`"),
        ("forward = { force-tcp = true, prefer-udp = true }", "dns.forward.prefer-udp", "`true`"),
        ("stub.'example.com'.to = ['x']", "dns.stub.\"example.com\".to[0]", "`x`"),
        ("stub.'a..b'.to = ['192.0.2.1']", "dns.stub.\"a..b\"", "`a..b`"),
        ("cache.success.capacity = 0", "dns.cache.success.capacity", "`0`"),
        ("cache.ttl = 0", "dns.cache.ttl", "`0`"),
        ("cache.denial.ttl = 0", "dns.cache.denial.ttl", "`0`"),
        ("cache.denial = { ttl = 3, min-ttl = 5 }", "dns.cache.denial.min-ttl", "`5`"),
        ("cache.prefetch.percentage = 95", "dns.cache.prefetch.percentage", "`95`"),
        ("cache.servfail = '6m'", "dns.cache.servfail", "`6m0s`"),
        (
            "cache.serve-stale = { enabled = true, duration = 0 }",
            "dns.cache.serve-stale.duration",
            "`0s`",
        ),
        (
            "errors.consolidate = [{ duration = 30, pattern = '(' }]",
            "dns.errors.consolidate[0].pattern",
            "`(`",
        ),
        (
            "errors.consolidate = [{ duration = 30, pattern = 'a', level = 'loud' }]",
            "dns.errors.consolidate[0].level",
            "`loud`",
        ),
        (
            "errors.consolidate = [{ duration = 0, pattern = 'a' }]",
            "dns.errors.consolidate[0].duration",
            "`0s`",
        ),
        ("log.class = ['some']", "dns.log.class[0]", "`some`"),
        ("log.names = ['a..b']", "dns.log.names[0]", "`a..b`"),
        ("health.listen = '8080'", "dns.health.listen", "`8080`"),
        ("health.lameduck = '2h'", "dns.health.lameduck", "`2h0m0s`"),
        ("reload.interval = 1", "dns.reload.interval", "`1s`"),
        ("reload.jitter = '500ms'", "dns.reload.jitter", "`500ms`"),
        ("autopath.enabled = true", "dns.autopath.enabled", "`true`"),
        ("hosts.'192.0.2.7' = ['a', 'a..b']", "dns.hosts.\"192.0.2.7\"[1]", "`a..b`"),
        ("hosts.ttl = 0", "dns.hosts.ttl", "`0`"),
        ("hosts.ttl = 65536", "dns.hosts.ttl", "`65536`"),
        ("rewrite = [{ kind = 'regex', from = '(', to = 'a' }]", "dns.rewrite[0].from", "`(`"),
        ("rewrite = [{ kind = 'regex', from = '(a)', to = '{2}' }]", "dns.rewrite[0].to", "`{2}`"),
        ("rewrite = [{ from = 'a..b', to = 'a' }]", "dns.rewrite[0].from", "`a..b`"),
    ] {
        assert_eq!(problems(text), [(key.to_owned(), value.to_owned())], "{text}");
    }
    let many: Vec<String> = (0..16).map(|at| format!("'192.0.2.{at}'")).collect();
    let text = format!("forward.to = [{}]", many.join(","));
    assert_eq!(problems(&text)[0].0, "dns.forward.to");
    let text = "health.listen = ':8080'\nready.listen = ':8080'";
    assert_eq!(problems(text)[0].0, "dns.ready.listen");
}

#[test]
fn all_problems_are_told_at_once() {
    let config: DnsConfig = toml::from_str("ttl = 9999\nforward.to = ['x']").unwrap();
    let text = config.check().unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "dns.ttl = `9999`: is more than 3600 s; choose 0 to 3600");
    assert!(lines[1].starts_with("dns.forward.to[0] = `x`: "), "{text}");
}
