// SPDX-License-Identifier: GPL-3.0-or-later
//! `[dns.cache]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::period;

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
