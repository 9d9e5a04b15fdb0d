// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon is told: defaults, then `netlabd.toml`, then flags.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use netlab_api::manifest::closest;
use netlab_api::{ProxyMode, RouteMode};
use serde::Deserialize;

use crate::control::NODE_GRACE;
use crate::control::config::ClusterConfig;
use crate::control::ipam::{default_pod_networks, is_large_enough};
use crate::dns::config::DnsConfig;
use crate::node::machine::check_mtu;
use crate::node::pod::config::BackOff;
use crate::trust::JoinOptions;
use crate::trust::address::ServerAddress;
use crate::trust::authority::DEFAULT_LIFETIME;
use names::{cluster_dns, read_source};
use networks::check_set_apart;
use services::{LoadBalancer, Services, service_config};

pub mod names;
mod networks;
pub mod services;

/// Where the configuration is looked for unless `--config` names another place.
pub const DEFAULT_CONFIG: &str = "/etc/netlab/netlabd.toml";

/// The most pod links that are kept ready. Each is a network namespace, which costs the kernel some
/// hundred kilobytes and milliseconds, and none is of use before a pod takes it.
const MAX_POOL_SIZE: usize = 1024;

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
    /// Addresses of the cluster's DNS: those that lie in a network of services are every node's
    /// own. Unless given, the tenth of each network of services, if names are answered at all.
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
    /// Address and TCP port for nodes that join; without it there is no port.
    pub listen: Option<SocketAddr>,
    /// How long the certificates last that this server signs: `90d`, `12h`.
    #[serde(deserialize_with = "duration")]
    pub certificate_lifetime: Duration,
    /// The server whose cluster this machine joins: `https://HOST:7411`.
    pub join: Option<ServerAddress>,
    /// What lets it in, once; `netlabctl node token` on the server prints it.
    pub token: Option<String>,
    /// A file with the token, which then need not stand here.
    pub token_file: Option<PathBuf>,
    /// How blocks of other nodes are reached; a word that is new since the last start is obeyed,
    /// else what `netlabctl network mode` said last. Of the server only.
    pub route_mode: Option<RouteMode>,
    /// Which layout of rules carries services; obeyed as the route mode is. Of the server only.
    pub proxy_mode: Option<ProxyMode>,
    /// What holds for services. Of the server only.
    pub services: Services,
    /// Where services of type `LoadBalancer` get addresses from. Of the server only.
    pub load_balancer: LoadBalancer,
    /// How long a node may be silent before it is not ready. Of the server only.
    #[serde(deserialize_with = "duration")]
    pub node_grace: Duration,
    /// How the cluster's names are answered. Nodes without a section have their server's.
    pub dns: Option<DnsConfig>,
    /// Where all this was read from.
    #[serde(skip)]
    pub source: Source,
}

/// A configuration file as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Where.
    pub path: PathBuf,
    /// What it said; nothing if it was not there.
    pub text: String,
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
            listen: None,
            certificate_lifetime: DEFAULT_LIFETIME,
            join: None,
            token: None,
            token_file: None,
            route_mode: None,
            proxy_mode: None,
            services: Services::default(),
            load_balancer: LoadBalancer::default(),
            node_grace: NODE_GRACE,
            dns: None,
            source: Source::default(),
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
        Config::parse(read_source(path, may_miss)?)
    }

    /// What a file says that was read.
    ///
    /// # Errors
    /// When it says something that has no meaning; with line and column.
    pub fn parse(source: Source) -> anyhow::Result<Config> {
        // The message of the parser shows line, column and the place.
        let config = toml::from_str::<Config>(&source.text);
        let mut config = config.map_err(|error| {
            let place = source.path.display();
            match meant(error.message()) {
                Some(word) => anyhow::anyhow!(
                    "{place}: {}\ndid you mean `{word}`?",
                    error.to_string().trim_end()
                ),
                None => anyhow::anyhow!("{place}: {error}"),
            }
        })?;
        config.source = source;
        Ok(config)
    }

    /// Finds what cannot work before anything is made.
    ///
    /// # Errors
    /// As [`Config::cluster`], and when the node's part is out of its bounds.
    pub fn check(&self) -> anyhow::Result<()> {
        let cluster = self.cluster()?;
        if let Some(mtu) = self.mtu {
            // Which families pods have, a node that joins hears of its server.
            let is_server = self.join.is_none();
            check_mtu(mtu, if is_server { &cluster.pod_networks } else { &[] })?;
        }
        anyhow::ensure!(
            self.pool_size <= MAX_POOL_SIZE,
            "pool-size is {}: give at most {MAX_POOL_SIZE}; each link that is kept ready takes \
             memory and time of the kernel before a pod needs it",
            self.pool_size
        );
        Ok(())
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
            check_set_apart("pod network", network)?;
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
        let services =
            service_config(&self.services, &self.load_balancer, &networks, &self.cluster_dns)?;
        let enabled = self.dns.as_ref().is_none_or(|dns| dns.enabled);
        Ok(ClusterConfig {
            pod_networks: networks,
            cluster_dns: cluster_dns(&self.cluster_dns, &services.networks, enabled),
            domain: self.cluster_domain.clone(),
            services,
        })
    }

    /// What is needed to join, when this machine is to be a node of another's cluster, as `node`.
    ///
    /// # Errors
    /// When the token is none, its file cannot be read, or this machine is told to be a server too.
    pub fn joining(&self, node: &str) -> anyhow::Result<Option<JoinOptions>> {
        let Some(server) = &self.join else {
            anyhow::ensure!(
                self.token.is_none() && self.token_file.is_none(),
                "there is a token and no server to join: give --join https://HOST:7411"
            );
            return Ok(None);
        };
        anyhow::ensure!(
            self.listen.is_none(),
            "--join and --listen do not go together: a node joins the server, other nodes too"
        );
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.parse().context("--token")?),
            (None, Some(file)) => {
                let what = || format!("token file `{}`", file.display());
                // Once joined no token is needed, and its file may be gone.
                match std::fs::read_to_string(file) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    text => Some(text.with_context(what)?.parse().with_context(what)?),
                }
            }
            (None, None) => None,
        };
        Ok(Some(JoinOptions {
            state_dir: self.state_dir.clone(),
            server: server.clone(),
            token,
            node: node.to_owned(),
        }))
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

/// What somebody meant who wrote a key or a word that there is none of. Serde tells which there are
/// in its message alone.
fn meant(message: &str) -> Option<&str> {
    let rest = ["unknown field `", "unknown variant `"].iter();
    let (word, rest) = rest.filter_map(|it| message.strip_prefix(it)).next()?.split_once('`')?;
    closest(word, rest.split('`').skip(1).step_by(2))
}

/// Reads `90d`, `12h 30m`, `45s`; a day has 24 hours.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(deserializer)?;
    let span: jiff::Span = text.parse().map_err(D::Error::custom)?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| D::Error::custom(format!("`{text}` is no length of time: write `90d`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_in_days_hours_and_seconds() {
        let lifetime = |text: &str| parse(text).map(|config| config.certificate_lifetime.as_secs());
        assert_eq!(lifetime("").unwrap(), 90 * 24 * 3600);
        assert_eq!(lifetime("certificate-lifetime = '2d 1h'").unwrap(), 49 * 3600);
        assert_eq!(lifetime("certificate-lifetime = '30s'").unwrap(), 30);
        for wrong in ["'0s'", "'-1d'", "'soon'"] {
            assert!(lifetime(&format!("certificate-lifetime = {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_joining_needs_is_checked_before_anything_is_done() {
        let joining = |text: &str| parse(text).unwrap().joining("n2");
        assert!(joining("").unwrap().is_none());
        let server = "join = 'https://192.0.2.1:7411'\n";
        let options = joining(server).unwrap().unwrap();
        assert_eq!((options.server.port, options.token.is_none()), (7411, true));
        let gone = joining(&format!("{server}token-file = '/nonexistent/token'")).unwrap();
        assert!(gone.unwrap().token.is_none());
        for (text, why) in [
            ("token = 'x'".to_owned(), "no server to join"),
            (format!("{server}token = 'x'"), "--token"),
            (format!("{server}listen = '0.0.0.0:7411'"), "do not go together"),
        ] {
            let error = format!("{:#}", joining(&text).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

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
        let error = parse("pool-size = 4\nnode-nam = 'n1'\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("did you mean `node-name`?"), "{error}");
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
        for (network, kind) in [
            ("127.0.0.0/8", "loopback"),
            ("127.42.0.0/16", "loopback"),
            ("224.0.0.0/8", "multicast"),
            ("169.254.0.0/16", "link-local"),
            ("0.0.0.0/0", "unspecified"),
            ("fe80::/64", "link-local"),
            ("ff02::/16", "multicast"),
            ("::/64", "unspecified"),
        ] {
            refuse(&format!("[{network:?}]"), &format!("has {kind} addresses"));
        }
    }

    #[test]
    fn what_a_node_cannot_do_is_refused_with_key_bounds_and_reason() {
        let check = |text: &str| parse(text).unwrap().check().map_err(|error| error.to_string());
        for fine in ["", "mtu = 1280", "mtu = 65535", "pool-size = 1024"] {
            check(fine).unwrap();
        }
        let ipv4 = "pod-networks = ['10.42.0.0/16']\n";
        check(&format!("{ipv4}mtu = 68")).unwrap();
        // Its server says which families there are.
        check("join = 'https://192.0.2.1:7411'\nmtu = 576").unwrap();
        let refuse = |text: &str, why: &[&str]| {
            let error = check(text).unwrap_err();
            assert!(why.iter().all(|why| error.contains(why)), "{error}");
        };
        refuse("mtu = 1279", &["mtu (--mtu) is 1279", "1280 to 65535", "IPv6", "68"]);
        refuse("mtu = 65536", &["1280 to 65535"]);
        refuse(&format!("{ipv4}mtu = 67"), &["68 to 65535"]);
        refuse("pool-size = 1025", &["pool-size is 1025", "at most 1024"]);
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
