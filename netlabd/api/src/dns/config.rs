// SPDX-License-Identifier: GPL-3.0-or-later
//! The section `[dns]` of netlabd's configuration, and `[lab.dns]` of a lab file. Each table in it is one of CoreDNS's plugins, with its
//! options and its defaults; an option may be written with `-` or, as in a Corefile, with `_`.
//!
//! Joined nodes are sent their server's, unless they have a section of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub mod address;
pub mod check;
mod listen;
pub mod period;
mod rewrite;

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

/// Names with addresses of their own, and how they are told.
// How it is read stands in `address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
#[schemars(rename = "LabDnsHosts")]
pub struct HostsTable {
    /// Seconds for which they may be remembered, 1 to 65535.
    #[serde(skip_serializing_if = "is_usual_ttl")]
    pub ttl: u32,
    /// Leaves the way back from the addresses to others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_reverse: bool,
    /// The names of each address.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, OneOrMany>")]
    pub entries: BTreeMap<IpAddr, OneOrMany>,
}

impl HostsTable {
    /// What may stand there besides addresses.
    pub const OPTIONS: [&str; 2] = ["ttl", "no-reverse"];
}

impl Default for HostsTable {
    fn default() -> HostsTable {
        HostsTable { ttl: HOSTS_TTL, no_reverse: false, entries: BTreeMap::new() }
    }
}

/// Seconds for which entries of hosts may be remembered unless said, as in CoreDNS.
const HOSTS_TTL: u32 = 3600;

/// What need not be said: a node that does not know the option reads the rest.
fn is_usual_ttl(ttl: &u32) -> bool {
    *ttl == HOSTS_TTL
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

/// How upstreams are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Any that is healthy.
    #[default]
    Random,
    /// One after the other.
    #[serde(alias = "round-robin")]
    RoundRobin,
    /// The first that is healthy.
    Sequential,
}

impl JsonSchema for Policy {
    fn schema_name() -> Cow<'static, str> {
        "LabDnsPolicy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["random", "round_robin", "round-robin", "sequential"] })
    }
}

/// Who is asked for names that are not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsForward")]
pub struct Forward {
    /// Up to 15 addresses, with a port if it is not 53, or files like `/etc/resolv.conf`, which is the
    /// default of `[dns.forward]`. Stub domains need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// Domains that are not asked for here.
    pub except: Vec<String>,
    /// How one is chosen.
    pub policy: Policy,
    /// Failures of health checks in a row after which an upstream is down; 0 never.
    #[serde(alias = "max_fails")]
    pub max_fails: u32,
    /// How often an upstream that failed is checked.
    #[serde(alias = "health_check", with = "period")]
    #[schemars(with = "period::Written")]
    pub health_check: Duration,
    /// How long a connection is kept for the next query.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub expire: Duration,
    /// Queries at a time; more are refused. 0: no bound.
    #[serde(alias = "max_concurrent")]
    pub max_concurrent: u32,
    /// Asks over TCP always.
    #[serde(alias = "force_tcp")]
    pub force_tcp: bool,
    /// Asks over UDP also what came over TCP.
    #[serde(alias = "prefer_udp")]
    pub prefer_udp: bool,
    /// Codes after which the stub or upstream group that comes next is asked: `NXDOMAIN`.
    pub next: Vec<String>,
    /// Codes after which another upstream of the same group is asked: `SERVFAIL`.
    pub failover: Vec<String>,
    /// SERVFAIL at once when all are down, instead of trying one anyway.
    #[serde(alias = "failfast_all_unhealthy_upstreams")]
    pub failfast_all_unhealthy_upstreams: bool,
    /// How long one upstream may take.
    #[serde(alias = "read_timeout", with = "period")]
    #[schemars(with = "period::Written")]
    pub read_timeout: Duration,
    /// How long all of them together may take.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub timeout: Duration,
    /// After how long without an answer a second upstream is asked as well; 0: never.
    #[serde(alias = "race_after", with = "period")]
    #[schemars(with = "period::Written")]
    pub race_after: Duration,
}

impl Default for Forward {
    fn default() -> Forward {
        Forward {
            to: None,
            except: Vec::new(),
            policy: Policy::default(),
            max_fails: 2,
            health_check: Duration::from_millis(500),
            expire: Duration::from_secs(10),
            max_concurrent: 0,
            force_tcp: false,
            prefer_udp: false,
            next: Vec::new(),
            failover: Vec::new(),
            failfast_all_unhealthy_upstreams: false,
            read_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            race_after: Duration::from_millis(300),
        }
    }
}

impl Forward {
    /// Who is asked: addresses and files, as written.
    pub fn servers(&self) -> &[String] {
        static NODE: LazyLock<[String; 1]> = LazyLock::new(|| ["/etc/resolv.conf".to_owned()]);
        self.to.as_deref().unwrap_or(&*NODE)
    }
}

/// What is remembered of others' answers. Names of the cluster never are: they are at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsCache")]
pub struct Cache {
    /// Whether anything is.
    pub enabled: bool,
    /// Most seconds that answers are kept.
    pub ttl: u32,
    /// Answers with records.
    pub success: CacheShare,
    /// Answers that there is no such name or no data.
    pub denial: CacheShare,
    /// Asks anew for what is asked often, before it is forgotten.
    pub prefetch: Prefetch,
    /// Answers with what is too old while upstreams fail.
    #[serde(alias = "serve_stale")]
    pub serve_stale: ServeStale,
    /// How long SERVFAIL is remembered; up to 5 minutes, 0 not at all.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub servfail: Duration,
    /// Answers with the time that an answer had at first.
    pub keepttl: bool,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            enabled: true,
            ttl: 3600,
            success: CacheShare { capacity: 9984, ttl: 3600, min_ttl: 5 },
            denial: CacheShare { capacity: 9984, ttl: 1800, min_ttl: 5 },
            prefetch: Prefetch::default(),
            serve_stale: ServeStale::default(),
            servfail: Duration::from_secs(5),
            keepttl: false,
        }
    }
}

/// One half of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsCacheShare")]
pub struct CacheShare {
    /// Answers at most.
    pub capacity: usize,
    /// Most seconds.
    pub ttl: u32,
    /// Fewest seconds.
    #[serde(alias = "min_ttl")]
    pub min_ttl: u32,
}

impl Default for CacheShare {
    fn default() -> CacheShare {
        CacheShare { capacity: 9984, ttl: 3600, min_ttl: 5 }
    }
}

/// When something is asked anew before it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsPrefetch")]
pub struct Prefetch {
    /// After so many queries; 0: never.
    pub amount: u32,
    /// … without a longer pause than this between them.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub duration: Duration,
    /// When less than this part of its time is left, in percent.
    pub percentage: u8,
}

impl Default for Prefetch {
    fn default() -> Prefetch {
        Prefetch { amount: 0, duration: Duration::from_secs(60), percentage: 10 }
    }
}

/// When an answer that is too old is better than none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(rename = "LabDnsServeStale")]
pub struct ServeStale {
    /// Whether at all.
    pub enabled: bool,
    /// How much too old.
    #[serde(with = "period")]
    #[schemars(with = "period::Written")]
    pub duration: Duration,
    /// Whether upstreams are asked first.
    pub refresh: RefreshMode,
}

impl Default for ServeStale {
    fn default() -> ServeStale {
        ServeStale {
            enabled: false,
            duration: Duration::from_secs(3600),
            refresh: RefreshMode::Immediate,
        }
    }
}

/// What is done before an old answer is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LabDnsRefreshMode")]
pub enum RefreshMode {
    /// It is given at once, and asked anew behind it.
    #[default]
    Immediate,
    /// Upstreams are asked, and it is given if they fail.
    Verify,
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
