// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the section `[dns]` can be followed: what its types cannot say. Each problem names the
//! key, the value and the cure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;
use thiserror::Error;

use super::{DnsConfig, Forward, OneOrMany, PodNames, listen_addresses};
use crate::dns::name::Name;
use crate::dns::rcode;
use crate::manifest::{self, Diagnostics, Source};

/// What may be logged.
const CLASSES: [&str; 4] = ["all", "success", "denial", "error"];
/// How bad a failure may be.
const LEVELS: [&str; 4] = ["error", "warning", "info", "debug"];
/// Longest time that records of the cluster may be remembered.
const MAX_TTL: u32 = 3600;
/// Upstreams of a group.
const MAX_UPSTREAMS: usize = 15;
/// Bytes that answers over UDP may be limited to, as in CoreDNS's plugin `bufsize`.
const BUFSIZE: RangeInclusive<u16> = 512..=4096;
/// Seconds for which entries of hosts may be remembered, as in CoreDNS.
const HOSTS_TTL: RangeInclusive<u32> = 1..=65_535;
/// Longest time that SERVFAIL may be remembered.
const MAX_SERVFAIL: Duration = Duration::from_secs(300);
/// What is wrong with a cache in which nothing stays, and what to do.
const KEEPS_NOTHING: &str = "keeps nothing";
const CACHE_CURE: &str = "choose at least 1, or `enabled = false` in `[dns.cache]`";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key} = {value}: {problem}; {cure}")]
pub struct ConfigError {
    /// Where it stands: `dns.forward.to[3]`.
    pub key: String,
    /// What stands there.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub cure: String,
}

/// All that cannot be, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl ConfigErrors {
    /// The same with their places in the file, which has this as its section `[dns]`.
    pub fn in_file(&self, source: &Source) -> Diagnostics {
        let fault = |error: &ConfigError| {
            let ConfigError { key, value, problem, cure } = error;
            (key.clone(), format!("`{key}` cannot be {value}: it {problem}"), cure.clone())
        };
        manifest::diagnose(source, self.0.iter().map(fault))
    }
}

impl DnsConfig {
    /// Whether this can be followed.
    ///
    /// # Errors
    /// All values that cannot be.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut check = Check(Vec::new());
        check.zone(self);
        check.forward("dns.forward", &self.forward);
        for (domain, forward) in &self.stub {
            let key = format!("dns.stub.\"{domain}\"");
            check.name(&key, domain);
            check.forward(&key, forward);
        }
        check.cache(self);
        check.plugins(self);
        check.names(self);
        if check.0.is_empty() { Ok(()) } else { Err(ConfigErrors(check.0)) }
    }
}

struct Check(Vec<ConfigError>);

impl Check {
    fn error(
        &mut self,
        key: impl Into<String>,
        value: impl fmt::Display,
        problem: impl fmt::Display,
        cure: impl Into<String>,
    ) {
        self.0.push(ConfigError {
            key: key.into(),
            value: format!("`{value}`"),
            problem: problem.to_string(),
            cure: cure.into(),
        });
    }

    fn name(&mut self, key: &str, text: &str) {
        if let Err(error) = text.parse::<Name>() {
            let problem = format!("is no domain name: {error}");
            self.error(key, text, problem, "write a domain name such as `example.com`");
        }
    }

    fn word(&mut self, key: &str, text: &str, known: &[&str]) {
        if !known.contains(&text) {
            let problem = format!("is not one of {}", known.join(", "));
            self.error(key, text, problem, "choose one of them");
        }
    }

    fn period(&mut self, key: &str, value: Duration, least: Duration, most: Duration) {
        if value < least || value > most {
            let (least, most) = (short(least), short(most));
            let problem = format!("is not within {least} and {most}");
            self.error(key, short(value), problem, format!("choose {least} to {most}"));
        }
    }

    fn zone(&mut self, config: &DnsConfig) {
        if config.ttl > MAX_TTL {
            self.error("dns.ttl", config.ttl, "is more than 3600 s", "choose 0 to 3600");
        }
        for (at, zone) in config.fallthrough.iter().enumerate() {
            self.name(&format!("dns.fallthrough[{at}]"), zone);
        }
        if let Some(bufsize) = config.bufsize.filter(|bufsize| !BUFSIZE.contains(bufsize)) {
            let cure = "choose 512 to 4096, such as 1232, or leave it out";
            self.error("dns.bufsize", bufsize, "is not within 512 and 4096", cure);
        }
        let hour = Duration::from_secs(3600);
        self.period("dns.startup-timeout", config.startup_timeout, Duration::ZERO, hour);
        for (at, address) in config.listen.iter().enumerate() {
            let key = format!("dns.listen[{at}]");
            if address.port() == 0 {
                self.error(&key, address, "has no port", "write one, such as `192.0.2.1:53`");
            }
            if config.listen[..at].contains(address) {
                self.error(&key, address, "is there twice", "leave one out");
            }
        }
        for (at, to) in config.transfer.to.iter().enumerate() {
            if to != "*" && to.parse::<IpNet>().is_err() && to.parse::<IpAddr>().is_err() {
                let cure = "write a network such as `192.0.2.0/24`, an address, or `*`";
                self.error(format!("dns.transfer.to[{at}]"), to, "is no network", cure);
            }
        }
    }

    fn forward(&mut self, key: &str, forward: &Forward) {
        // A lab may have nobody outside; a domain of which nobody is asked makes no sense, and one
        // that is asked of the same as all others is most likely half written.
        if key != "dns.forward" && forward.to.as_ref().is_none_or(Vec::is_empty) {
            let (value, problem) = match forward.to {
                Some(_) => ("`[]`", "names nobody"),
                None => ("left out", "says who is asked"),
            };
            self.0.push(ConfigError {
                key: format!("{key}.to"),
                value: value.to_owned(),
                problem: problem.to_owned(),
                cure: "name at least one address, or a file such as `/etc/resolv.conf`".to_owned(),
            });
        }
        if forward.servers().len() > MAX_UPSTREAMS {
            let problem = format!("names more than {MAX_UPSTREAMS}");
            let count = format!("[… {} entries]", forward.servers().len());
            self.error(format!("{key}.to"), count, problem, "leave some out");
        }
        for (at, to) in forward.servers().iter().enumerate() {
            if !is_upstream(to) {
                let cure = "write an address such as `192.0.2.53`, `192.0.2.53:5353` or \
                            `[2001:db8::53]:53`, or a file such as `/etc/resolv.conf`";
                let problem = match to.split_once("://") {
                    Some(("tls" | "https" | "quic", _)) => "is encrypted, which is not done here",
                    _ => "is neither an address nor the path of a file",
                };
                self.error(format!("{key}.to[{at}]"), to, problem, cure);
            }
        }
        for (at, name) in forward.except.iter().enumerate() {
            self.name(&format!("{key}.except[{at}]"), name);
        }
        for (list, codes) in [("next", &forward.next), ("failover", &forward.failover)] {
            for (at, code) in codes.iter().enumerate() {
                if rcode::of(code).is_none() {
                    let cure = "write one such as `SERVFAIL`, `NXDOMAIN` or `REFUSED`";
                    self.error(format!("{key}.{list}[{at}]"), code, "is no code", cure);
                }
            }
        }
        let least = Duration::from_millis(1);
        self.period(&format!("{key}.health-check"), forward.health_check, least, DAY);
        self.period(&format!("{key}.expire"), forward.expire, Duration::ZERO, DAY);
        let minute = Duration::from_secs(60);
        self.period(&format!("{key}.read-timeout"), forward.read_timeout, least, minute);
        self.period(&format!("{key}.timeout"), forward.timeout, least, minute);
        self.period(&format!("{key}.race-after"), forward.race_after, Duration::ZERO, minute);
        if forward.force_tcp && forward.prefer_udp {
            let problem = "and `force-tcp` exclude each other";
            self.error(format!("{key}.prefer-udp"), true, problem, "leave one of them out");
        }
    }

    fn cache(&mut self, config: &DnsConfig) {
        let cache = &config.cache;
        if cache.ttl == 0 {
            self.error("dns.cache.ttl", 0, KEEPS_NOTHING, CACHE_CURE);
        }
        for (key, share) in [("success", cache.success), ("denial", cache.denial)] {
            let key = format!("dns.cache.{key}");
            if cache.enabled && share.capacity == 0 {
                self.error(format!("{key}.capacity"), 0, KEEPS_NOTHING, CACHE_CURE);
            }
            if share.ttl == 0 {
                self.error(format!("{key}.ttl"), 0, KEEPS_NOTHING, CACHE_CURE);
                continue;
            }
            if share.min_ttl > share.ttl {
                let problem = format!("is more than the `ttl` of {}", share.ttl);
                self.error(format!("{key}.min-ttl"), share.min_ttl, problem, "choose less");
            }
        }
        let prefetch = &cache.prefetch;
        if !(10..=90).contains(&prefetch.percentage) {
            let key = "dns.cache.prefetch.percentage";
            self.error(key, prefetch.percentage, "is not within 10 and 90", "choose 10 to 90");
        }
        self.period("dns.cache.servfail", cache.servfail, Duration::ZERO, MAX_SERVFAIL);
        let stale = &cache.serve_stale;
        if stale.enabled && stale.duration.is_zero() {
            let cure = "choose more, such as `1h`, or leave `enabled` out";
            self.error("dns.cache.serve-stale.duration", "0s", "serves nothing", cure);
        }
    }

    fn plugins(&mut self, config: &DnsConfig) {
        for (at, rule) in config.errors.consolidate.iter().enumerate() {
            let key = format!("dns.errors.consolidate[{at}].duration");
            self.period(&key, rule.duration, Duration::from_millis(1), DAY);
            if let Err(problem) = regular_expression(&rule.pattern) {
                let key = format!("dns.errors.consolidate[{at}].pattern");
                self.error(key, &rule.pattern, problem, "write one such as `^read udp .*`");
            }
            let key = format!("dns.errors.consolidate[{at}].level");
            self.word(&key, &rule.level, &LEVELS);
        }
        for (at, class) in config.log.class.iter().enumerate() {
            self.word(&format!("dns.log.class[{at}]"), class, &CLASSES);
        }
        for (at, name) in config.log.names.iter().enumerate() {
            self.name(&format!("dns.log.names[{at}]"), name);
        }
        let listens = [
            ("dns.health.listen", &config.health.listen),
            ("dns.ready.listen", &config.ready.listen),
            ("dns.prometheus.listen", &config.prometheus.listen),
        ];
        for (at, (key, listen)) in listens.into_iter().enumerate() {
            let Some(listen) = listen else { continue };
            if listen_addresses(listen).is_none() {
                let cure = "write `:8080`, `localhost:9153` or `192.0.2.1:8080`";
                self.error(key, listen, "is no address with a port", cure);
            }
            if let Some((other, _)) = listens[..at].iter().find(|(_, o)| o.as_ref() == Some(listen))
            {
                let problem = format!("is `{other}` already");
                self.error(key, listen, problem, "choose another port");
            }
        }
        let hour = Duration::from_secs(3600);
        self.period("dns.health.lameduck", config.health.lameduck, Duration::ZERO, hour);
        if !config.reload.interval.is_zero() {
            let (interval, jitter) = (config.reload.interval, config.reload.jitter);
            self.period("dns.reload.interval", interval, Duration::from_secs(2), DAY);
            self.period("dns.reload.jitter", jitter, Duration::from_secs(1), DAY);
        }
        if config.autopath.enabled && config.pods != PodNames::Verified {
            let problem = "needs to know which pod asks";
            let cure = "set `pods = \"verified\"` in `[dns]` as well";
            self.error("dns.autopath.enabled", true, problem, cure);
        }
    }

    fn names(&mut self, config: &DnsConfig) {
        let ttl = config.hosts.ttl;
        if !HOSTS_TTL.contains(&ttl) {
            self.error("dns.hosts.ttl", ttl, "is not within 1 and 65535", "choose 1 to 65535");
        }
        for (address, names) in &config.hosts.entries {
            let key = format!("dns.hosts.\"{address}\"");
            match names {
                OneOrMany::One(name) => self.name(&key, name),
                OneOrMany::Many(names) => {
                    for (at, name) in names.iter().enumerate() {
                        self.name(&format!("{key}[{at}]"), name);
                    }
                }
            }
        }
        for (at, rule) in config.rewrite.iter().enumerate() {
            let Err(error) = rule.check() else { continue };
            let value = if error.key == "to" { &rule.to } else { &rule.from };
            let cure =
                "correct it, or choose another `kind`: exact, prefix, suffix, substring, regex";
            self.error(format!("dns.rewrite[{at}].{}", error.key), value, error.problem, cure);
        }
    }
}

/// Reads a regular expression.
///
/// # Errors
/// Why it is none, in one line.
pub(super) fn regular_expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        // The parser's own message shows the place in lines of their own; its last says what it is.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        format!("is no regular expression: {}", reason.trim_start_matches("error: "))
    })
}

/// `5s`, `500ms`.
fn short(duration: Duration) -> String {
    super::period::go_duration(duration)
}

/// An address with or without a port, perhaps after `dns://`, or the path of a file.
fn is_upstream(text: &str) -> bool {
    if text.starts_with('/') {
        return true;
    }
    let address = text.strip_prefix("dns://").unwrap_or(text);
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<IpAddr>().is_ok()
        || address.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0)
}

#[cfg(test)]
mod tests;
