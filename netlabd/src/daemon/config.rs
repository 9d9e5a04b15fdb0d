// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon is told: defaults, then `netlabd.toml`, then flags.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ipnet::IpNet;
use serde::Deserialize;

use crate::control::config::ClusterConfig;
use crate::control::ipam::{default_pod_networks, is_large_enough};
use crate::node::pod::config::BackOff;

/// Where the configuration is looked for unless `--config` names another place.
pub const DEFAULT_CONFIG: &str = "/etc/netlab/netlabd.toml";

/// Everything that can be configured. Field names are those of the file, with `-` for `_`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// State that lasts: the store, and logs.
    pub state_dir: PathBuf,
    /// Runtime state: the socket, network namespaces.
    pub run_dir: PathBuf,
    /// Name of this node; the host name unless given.
    pub node_name: Option<String>,
    /// Group whose members may use the socket, besides root.
    pub socket_group: String,
    /// Networks of pods: one of each family at most. One family alone is fine.
    pub pod_networks: Vec<IpNet>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Addresses of the cluster's DNS. Empty: pods ask the node's servers.
    pub cluster_dns: Vec<IpAddr>,
    /// Pod links that are kept ready.
    pub pool_size: usize,
    /// MTU of pod links; the uplink's unless given.
    pub mtu: Option<u32>,
    /// Bytes after which a pod's log is rotated.
    pub log_max_bytes: u64,
    /// Files of a pod's log that are kept.
    pub log_max_files: u32,
    /// Milliseconds before the second restart of a failing command; doubled from then on.
    pub restart_delay_ms: u64,
    /// Milliseconds that the delay grows to.
    pub restart_delay_max_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        let back_off = BackOff::default();
        Config {
            state_dir: "/var/lib/netlab".into(),
            run_dir: "/run/netlab".into(),
            node_name: None,
            socket_group: "netlab".to_owned(),
            pod_networks: default_pod_networks().to_vec(),
            cluster_domain: "cluster.local".to_owned(),
            cluster_dns: Vec::new(),
            pool_size: 16,
            mtu: None,
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            restart_delay_ms: back_off.initial_millis,
            restart_delay_max_ms: back_off.max_millis,
        }
    }
}

impl Config {
    /// Reads a file. `None` looks for the default one, which may be missing.
    ///
    /// # Errors
    /// When it cannot be read, or says something that has no meaning; with line and column.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Config> {
        let (path, may_miss) = match path {
            Some(path) => (path, false),
            None => (Path::new(DEFAULT_CONFIG), true),
        };
        let text = match std::fs::read_to_string(path) {
            Err(error) if may_miss && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::default());
            }
            text => text.with_context(|| format!("failed to read `{}`", path.display()))?,
        };
        // The message of the parser shows line, column and the place.
        toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    /// The cluster's part.
    ///
    /// # Errors
    /// When networks are too small, of the same family, or not on a boundary.
    pub fn cluster(&self) -> anyhow::Result<ClusterConfig> {
        let mut networks = self.pod_networks.clone();
        networks.sort_by_key(|network| network.addr().is_ipv6());
        anyhow::ensure!(
            !networks.is_empty(),
            "pod-networks is empty: pods need a network, such as 10.42.0.0/16"
        );
        for network in &networks {
            anyhow::ensure!(
                network.trunc() == *network,
                "pod network `{network}` has host bits: write `{}`",
                network.trunc()
            );
            anyhow::ensure!(
                is_large_enough(*network),
                "pod network `{network}` is too small: a /26 (IPv4) or /122 (IPv6) is one block, \
                 give it at least that"
            );
        }
        for pair in networks.windows(2) {
            anyhow::ensure!(
                pair[0].addr().is_ipv4() != pair[1].addr().is_ipv4(),
                "pod networks `{}` and `{}` are of the same family: give one of each",
                pair[0],
                pair[1]
            );
        }
        Ok(ClusterConfig {
            pod_networks: networks,
            cluster_dns: self.cluster_dns.clone(),
            domain: self.cluster_domain.clone(),
        })
    }

    /// Delays between restarts of commands.
    pub fn back_off(&self) -> BackOff {
        BackOff {
            initial_millis: self.restart_delay_ms,
            max_millis: self.restart_delay_max_ms,
            ..BackOff::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(Some(file.path()))
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let error = parse("pool-size = 4\npod-network = []\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(error.contains("pod-network") && error.contains("pod-networks"), "{error}");
    }

    #[track_caller]
    fn refuse(networks: &str, why: &str) {
        let error = parse(&format!("pod-networks = {networks}")).unwrap().cluster().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn networks_that_cannot_work_are_refused_with_the_reason() {
        refuse("[]", "is empty");
        refuse(r#"["10.42.0.0/27"]"#, "too small");
        refuse(r#"["10.42.0.1/16"]"#, "write `10.42.0.0/16`");
        refuse(r#"["10.42.0.0/16", "10.44.0.0/16"]"#, "same family");
    }

    #[test]
    fn one_family_is_enough_and_ipv4_comes_first() {
        let one = parse(r#"pod-networks = ["fd42::/48"]"#).unwrap().cluster().unwrap();
        assert_eq!(one.pod_networks.len(), 1);
        let text = r#"pod-networks = ["fd42::/48", "10.42.0.0/16"]"#;
        let both = parse(text).unwrap().cluster().unwrap();
        assert!(both.pod_networks[0].addr().is_ipv4());
    }

    #[test]
    fn a_missing_file_that_was_asked_for_is_an_error() {
        assert!(Config::read(Some(Path::new("/nonexistent/netlabd.toml"))).is_err());
    }
}
