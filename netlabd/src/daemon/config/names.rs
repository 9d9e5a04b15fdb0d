// SPDX-License-Identifier: GPL-3.0-or-later
//! Which addresses the cluster's DNS has, and the configuration file when it is read again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Context;
use ipnet::IpNet;

use super::Source;

/// Which address of a network of services is the cluster's DNS, as everywhere.
const TENTH: u8 = 10;

/// The addresses of the cluster's DNS, IPv4 first.
pub(super) fn cluster_dns(
    configured: &[IpAddr],
    service_networks: &[IpNet],
    enabled: bool,
) -> Vec<IpAddr> {
    if !configured.is_empty() || !enabled {
        return configured.to_vec();
    }
    service_networks.iter().map(|network| tenth(*network)).collect()
}

fn tenth(network: IpNet) -> IpAddr {
    match network {
        IpNet::V4(network) => {
            IpAddr::V4(Ipv4Addr::from_bits(network.network().to_bits() + u32::from(TENTH)))
        }
        IpNet::V6(network) => {
            IpAddr::V6(Ipv6Addr::from_bits(network.network().to_bits() + u128::from(TENTH)))
        }
    }
}

/// Reads a file; if it `may_miss`, one that is not there says nothing.
pub(crate) fn read_source(path: &Path, may_miss: bool) -> anyhow::Result<Source> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if may_miss && error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("failed to read `{}`", path.display()))?,
    };
    Ok(Source { path: path.to_owned(), text })
}

/// Keys in which two files differ that only a start of the daemon takes over. Both were read
/// without an error.
pub(crate) fn need_restart(before: &Source, now: &Source) -> Vec<String> {
    let table = |source: &Source| source.text.parse::<toml::Table>().unwrap_or_default();
    let (before, now) = (table(before), table(now));
    let mut keys: Vec<String> = before
        .iter()
        .chain(&now)
        .map(|(key, _)| key)
        .filter(|key| *key != "dns" && before.get(*key) != now.get(*key))
        .cloned()
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(Source { path: "netlabd.toml".into(), text: text.to_owned() })
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let config = parse(text).unwrap().cluster().unwrap();
        let addresses: Vec<String> = config.cluster_dns.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, expected);
    }

    #[test]
    fn unless_configured_the_clusters_dns_is_the_tenth_address_of_each_network() {
        check("", &["10.43.0.10", "fd43::a"]);
        check("pod-networks = ['fd42::/48']", &["fd43::a"]);
        check("pod-networks = ['10.42.0.0/16']", &["10.43.0.10"]);
        check("services.networks = ['10.96.0.0/28', 'fd96::10/124']", &["10.96.0.10", "fd96::1a"]);
        check("cluster-dns = ['10.43.0.53']", &["10.43.0.53"]);
        check("cluster-dns = ['192.0.2.1']\ndns.enabled = false", &["192.0.2.1"]);
        check("dns.enabled = false", &[]);
    }

    #[test]
    fn what_is_wrong_with_names_is_told_with_its_place() {
        let error = parse("pool-size = 1\n[dns]\nttl = 5\ncach = {}\n").unwrap_err().to_string();
        assert!(error.contains("line 4, column 1") && error.contains("cache"), "{error}");
    }

    #[test]
    fn only_names_are_taken_over_without_a_restart() {
        let source = |text: &str| parse(text).unwrap().source;
        let before = source("pool-size = 4\nlisten = '192.0.2.1:7411'\n[dns]\nttl = 5\n");
        let now = source("mtu = 1400\npool-size = 4\n[dns]\nttl = 9\n[services]\n");
        assert_eq!(need_restart(&before, &now), ["listen", "mtu", "services"]);
        assert!(need_restart(&before, &before).is_empty());
    }
}
