// SPDX-License-Identifier: GPL-3.0-or-later
//! `[dns.forward]`, and the like of stub domains.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::period;

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
