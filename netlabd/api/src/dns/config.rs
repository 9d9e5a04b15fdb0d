// SPDX-License-Identifier: GPL-3.0-or-later
//! The section `[dns]` of netlabd's configuration, and `[lab.dns]` of a lab file. Each table in it is one of CoreDNS's plugins, with its
//! options and its defaults; an option may be written with `-` or, as in a Corefile, with `_`.
//!
//! Joined nodes are sent their server's, unless they have a section of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod address;
mod cache;
pub mod check;
mod forward;
mod hosts;
mod listen;
pub mod period;
mod rewrite;

pub use cache::{Cache, CacheShare, Prefetch, RefreshMode, ServeStale};
pub use forward::{Forward, Policy};
pub use hosts::HostsTable;
pub use listen::listen_addresses;
pub use rewrite::RewriteError;

/// Everything that can be said of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDns")]
pub struct DnsConfig {
    /// Whether this node answers at all. Without, pods ask the servers of the node.
    pub enabled: bool,
    /// Seconds for which records of the cluster may be remembered; up to 3600.
    pub ttl: u32,
    /// Names of pods, such as `10-42-0-5.default.pod.cluster.local`.
    pub pods: PodNames,
    /// Names endpoints without a host name after their pods instead of their addresses.
    #[serde(alias = "endpoint_pod_names")]
    pub endpoint_pod_names: bool,
    /// Does without names of services that have no ready endpoint.
    #[serde(alias = "ignore_empty_service")]
    pub ignore_empty_service: bool,
    /// Zones whose unknown names others are asked for; `"."` means all. Reverse zones fall through
    /// unless an address is ours.
    pub fallthrough: Vec<String>,
    /// Names of headless services' endpoints in one zone: `<zone>.pin._zone.<svc>.<ns>.svc.…`.
    pub zonal: bool,
    /// Bytes of an answer over UDP that clients are taken to have room for at most, 512 to 4096; this
    /// is also what upstreams are asked for. Unless given, what clients say counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bufsize: Option<u16>,
    /// How long after the start questions for unknown names wait, at most, until all names are
    /// known.
    #[serde(alias = "startup_timeout", with = "period")]
    #[schemars(with = "period::Written")]
    pub startup_timeout: Duration,
    /// Networks whose machines are answered, besides pods and nodes.
    #[serde(deserialize_with = "address::networks")]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// More addresses to listen at, besides the cluster's: `192.0.2.1:53`.
    #[serde(deserialize_with = "address::sockets")]
    #[schemars(with = "Vec<String>")]
    pub listen: Vec<SocketAddr>,
    /// Who may have whole zones.
    pub transfer: Transfer,
    /// Who is asked for names that are not ours.
    pub forward: Forward,
    /// Who is asked for names of one domain: `[dns.stub."example.com"]`, options as in `forward`.
    pub stub: BTreeMap<String, Forward>,
    /// What is remembered of them.
    pub cache: Cache,
    /// How failures are logged.
    pub errors: Errors,
    /// Every query in the daemon's log.
    pub log: Log,
    /// `:8080/health`.
    pub health: Health,
    /// `:8181/ready`.
    pub ready: Ready,
    /// `localhost:9153/metrics`.
    pub prometheus: Prometheus,
    /// Looks for queries that come back.
    #[serde(rename = "loop")]
    pub loop_detection: LoopDetection,
    /// Looks for changes of the configuration's file.
    pub reload: Reload,
    /// The order of addresses in answers.
    pub loadbalance: LoadBalance,
    /// One query instead of five for names outside.
    pub autopath: Autopath,
    /// Names with addresses of their own: `"192.0.2.7" = ["db.example.com"]`.
    pub hosts: HostsTable,
    /// Names that are asked for as others, in order; the first that fits counts.
    pub rewrite: Vec<Rewrite>,
}

impl Default for DnsConfig {
    fn default() -> DnsConfig {
        DnsConfig {
            enabled: true,
            ttl: 5,
            pods: PodNames::default(),
            endpoint_pod_names: false,
            ignore_empty_service: false,
            fallthrough: Vec::new(),
            zonal: true,
            bufsize: None,
            startup_timeout: Duration::from_secs(5),
            allow: Vec::new(),
            listen: Vec::new(),
            transfer: Transfer::default(),
            forward: Forward::default(),
            stub: BTreeMap::new(),
            cache: Cache::default(),
            errors: Errors::default(),
            log: Log::default(),
            health: Health::default(),
            ready: Ready::default(),
            prometheus: Prometheus::default(),
            loop_detection: LoopDetection::default(),
            reload: Reload::default(),
            loadbalance: LoadBalance::default(),
            autopath: Autopath::default(),
            hosts: HostsTable::default(),
            rewrite: Vec::new(),
        }
    }
}

/// One string, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "LabDnsOneOrMany")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Which names of pods there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LabDnsPodNames")]
pub enum PodNames {
    /// None.
    #[default]
    Disabled,
    /// Any address in its own name, in namespaces that exist.
    Insecure,
    /// Those of pods that exist, with their address and namespace.
    Verified,
}

/// Who may have whole zones (AXFR, IXFR).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsTransfer")]
pub struct Transfer {
    /// Networks, or `*` for whoever may ask at all.
    pub to: Vec<String>,
}

/// How failures are logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsErrors")]
pub struct Errors {
    /// Failures that are counted instead; the first that fits counts.
    pub consolidate: Vec<Consolidate>,
}

/// Failures that are counted and told from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "LabDnsConsolidate")]
pub struct Consolidate {
    /// How often.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub duration: Duration,
    /// A regular expression for the failure's text.
    pub pattern: String,
    /// At which level: `error`, `warning`, `info`, `debug`.
    #[serde(default = "error_level")]
    pub level: String,
    /// Tells the first at once.
    #[serde(default, alias = "show_first")]
    pub show_first: bool,
}

fn error_level() -> String {
    "error".to_owned()
}

/// Queries in the daemon's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsLog")]
pub struct Log {
    /// Whether there are any.
    pub enabled: bool,
    /// Which: `all`, `success`, `denial`, `error`.
    pub class: Vec<String>,
    /// Names under which they are logged; all when empty.
    pub names: Vec<String>,
}

impl Default for Log {
    fn default() -> Log {
        Log { enabled: false, class: vec!["all".to_owned()], names: Vec::new() }
    }
}

/// HTTP at `/health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsHealth")]
pub struct Health {
    /// Where, `:8080` in CoreDNS; nowhere unless given.
    pub listen: Option<String>,
    /// How long names are still answered after the daemon is told to stop.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub lameduck: Duration,
}

/// HTTP at `/ready`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsReady")]
pub struct Ready {
    /// Where, `:8181` in CoreDNS; nowhere unless given.
    pub listen: Option<String>,
    /// Whether it goes back when something is no longer ready.
    pub monitor: Monitor,
}

/// What `/ready` says once everything was ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LabDnsMonitor")]
pub enum Monitor {
    /// It stays ready.
    #[default]
    UntilReady,
    /// It looks again each time.
    Continuously,
}

/// HTTP at `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsPrometheus")]
pub struct Prometheus {
    /// Where, `localhost:9153` in CoreDNS; unless given, only at the daemon's own `/metrics`.
    pub listen: Option<String>,
}

/// Looks for queries that come back from an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsLoopDetection")]
pub struct LoopDetection {
    /// Whether it does.
    pub enabled: bool,
}

impl Default for LoopDetection {
    fn default() -> LoopDetection {
        LoopDetection { enabled: true }
    }
}

/// Looks for changes of the configuration's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsReload")]
pub struct Reload {
    /// How often, at least 2 s; 0: only at SIGHUP.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub interval: Duration,
    /// By how much that is varied, at least 1 s.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub jitter: Duration,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { interval: Duration::from_secs(30), jitter: Duration::from_secs(15) }
    }
}

/// The order of addresses in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsLoadBalance")]
pub struct LoadBalance {
    /// Shuffles them.
    pub enabled: bool,
    /// Networks whose addresses come first.
    #[serde(deserialize_with = "address::networks")]
    #[schemars(with = "Vec<String>")]
    pub prefer: Vec<IpNet>,
}

impl Default for LoadBalance {
    fn default() -> LoadBalance {
        LoadBalance { enabled: true, prefer: Vec::new() }
    }
}

/// One query instead of five for names outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsAutopath")]
pub struct Autopath {
    /// Whether it is done.
    pub enabled: bool,
}

/// A name that is asked for as another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "LabDnsRewrite")]
pub struct Rewrite {
    /// How `from` is meant.
    #[serde(default)]
    pub kind: RewriteKind,
    /// Which names.
    pub from: String,
    /// What they become; for a regular expression with `{1}` for what a group found.
    pub to: String,
}

/// How the names of a rewrite are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LabDnsRewriteKind")]
pub enum RewriteKind {
    /// Exactly this one.
    #[default]
    Exact,
    /// All that begin so.
    Prefix,
    /// All that end so.
    Suffix,
    /// All in which this stands.
    Substring,
    /// All that this regular expression fits.
    Regex,
}
