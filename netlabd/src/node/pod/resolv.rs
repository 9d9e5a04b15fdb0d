// SPDX-License-Identifier: GPL-3.0-or-later
//! `/etc/resolv.conf` of a pod, as kubelet makes it. Pure.

use std::net::IpAddr;

use netlab_api::pod::{DnsConfig, DnsPolicy, PodSpec};

/// Search domains that glibc reads (since 2.26 it reads more, musl does not).
const MAX_SEARCHES: usize = 32;

/// Nameservers that resolvers read: `MAXNS` of resolv.h.
const MAX_NAMESERVERS: usize = 3;

/// A `resolv.conf`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// Domains that short names are tried in.
    pub searches: Vec<String>,
    /// Options, as `ndots:5`.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the lines that resolvers read (resolv.conf(5)); the last `search` line counts.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next() else { continue };
            match keyword {
                "nameserver" => {
                    conf.nameservers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok()));
                }
                // `search .`, as systemd-resolved writes it, is none.
                "search" | "domain" => {
                    conf.searches = words.filter(|it| *it != ".").map(str::to_owned).collect();
                }
                "options" => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }

    /// The same with the servers that are asked by a stub on this machine in its place, as they
    /// stand in its own file: a stub is nobody in a pod's network.
    pub fn behind(mut self, stubs: &[IpAddr], file: &ResolvConf) -> ResolvConf {
        let Some(at) = self.nameservers.iter().position(|server| stubs.contains(server)) else {
            return self;
        };
        self.nameservers.retain(|server| !stubs.contains(server));
        let asked = file.nameservers.iter().filter(|server| !stubs.contains(server));
        self.nameservers.splice(at..at, asked.copied());
        self
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// What a pod's file says. `cluster_dns` may be empty: then, as kubelet does without a cluster
/// DNS, `ClusterFirst` falls back to the node's servers.
pub fn plan_resolv_conf(
    spec: &PodSpec,
    namespace: &str,
    cluster_dns: &[IpAddr],
    domain: &str,
    node: &ResolvConf,
) -> ResolvConf {
    // A stub on the node's loopback is nobody in the pod's namespace.
    let reachable = |server: &&IpAddr| !server.is_loopback();
    let of_node = || ResolvConf {
        nameservers: node.nameservers.iter().filter(reachable).copied().collect(),
        ..node.clone()
    };
    let mut conf = match spec.dns_policy {
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet if cluster_dns.is_empty() => {
            of_node()
        }
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet => {
            let own =
                [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            ResolvConf {
                nameservers: cluster_dns.to_vec(),
                searches: own.into_iter().chain(node.searches.iter().cloned()).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
        DnsPolicy::Default => of_node(),
        DnsPolicy::None => ResolvConf::default(),
    };
    if let Some(config) = &spec.dns_config {
        merge(&mut conf, config);
    }
    dedup(&mut conf.nameservers);
    dedup(&mut conf.searches);
    conf.nameservers.truncate(MAX_NAMESERVERS);
    conf.searches.truncate(MAX_SEARCHES);
    conf
}

fn merge(conf: &mut ResolvConf, config: &DnsConfig) {
    conf.nameservers.extend(&config.nameservers);
    conf.searches.extend(config.searches.iter().cloned());
    for option in &config.options {
        conf.options.retain(|o| o.split(':').next() != Some(option.name.as_str()));
        conf.options.push(match &option.value {
            Some(value) => format!("{}:{value}", option.name),
            None => option.name.clone(),
        });
    }
}

fn dedup<T: PartialEq>(items: &mut Vec<T>) {
    let mut place = 0;
    while place < items.len() {
        if items[..place].contains(&items[place]) {
            items.remove(place);
        } else {
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use netlab_api::pod::DnsOption;

    use super::*;

    const NODE: &str = "# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch lan example.org\noptions edns0\n";

    #[track_caller]
    fn check(policy: DnsPolicy, config: Option<DnsConfig>, cluster_dns: &[&str], expected: Expect) {
        let spec = PodSpec { dns_policy: policy, dns_config: config, ..PodSpec::default() };
        let servers: Vec<IpAddr> = cluster_dns.iter().map(|s| s.parse().unwrap()).collect();
        let node = ResolvConf::parse(NODE);
        let conf = plan_resolv_conf(&spec, "shop", &servers, "cluster.local", &node);
        expected.assert_eq(&conf.render());
    }

    #[test]
    fn cluster_first_asks_the_cluster_and_searches_it_first() {
        check(
            DnsPolicy::ClusterFirst,
            None,
            &["10.43.0.10"],
            expect![[r#"
            search shop.svc.cluster.local svc.cluster.local cluster.local lan example.org
            nameserver 10.43.0.10
            options ndots:5
        "#]],
        );
    }

    #[test]
    fn without_a_cluster_dns_pods_ask_whom_the_node_asks() {
        check(
            DnsPolicy::ClusterFirst,
            None,
            &[],
            expect![[r#"
            search lan example.org
            nameserver 192.0.2.1
            options edns0
        "#]],
        );
    }

    #[test]
    fn a_stub_is_looked_through_to_those_it_asks() {
        let stubs = ["127.0.0.53".parse().unwrap(), "127.0.0.54".parse().unwrap()];
        let file = ResolvConf::parse("nameserver 192.0.2.8\nnameserver 2001:db8::8\nsearch .\n");
        let servers = |text: &str| {
            let conf = ResolvConf::parse(text).behind(&stubs, &file);
            conf.nameservers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(servers(NODE), "192.0.2.8 2001:db8::8 192.0.2.1");
        assert_eq!(servers("nameserver 192.0.2.1\n"), "192.0.2.1");
        assert_eq!(file.searches, [""; 0]);
    }

    #[test]
    fn none_is_what_dns_config_says_and_an_option_replaces_its_namesake() {
        let config = DnsConfig {
            nameservers: vec!["192.0.2.7".parse().unwrap(), "192.0.2.7".parse().unwrap()],
            searches: vec!["a.test".to_owned()],
            options: vec![
                DnsOption { name: "ndots".to_owned(), value: Some("2".to_owned()) },
                DnsOption { name: "rotate".to_owned(), value: None },
            ],
        };
        check(
            DnsPolicy::None,
            Some(config.clone()),
            &["10.43.0.10"],
            expect![[r#"
            search a.test
            nameserver 192.0.2.7
            options ndots:2 rotate
        "#]],
        );
        check(
            DnsPolicy::ClusterFirst,
            Some(config),
            &["10.43.0.10"],
            expect![[r#"
            search shop.svc.cluster.local svc.cluster.local cluster.local lan example.org a.test
            nameserver 10.43.0.10
            nameserver 192.0.2.7
            options ndots:2 rotate
        "#]],
        );
    }
}
