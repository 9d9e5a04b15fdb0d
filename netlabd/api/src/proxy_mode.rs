// SPDX-License-Identifier: GPL-3.0-or-later
//! Which layout of rules carries services.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the packets of services are led to endpoints. One mode holds for the whole cluster; what a
/// client sees is the same in each.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// A few rules that look addresses up in maps: a packet and a change cost the same however
    /// many services there are.
    #[default]
    Nftables,
    /// The chains that kube-proxy makes with iptables, one after the other, under their names: to
    /// learn from and to compare with.
    Iptables,
}

impl ProxyMode {
    /// All modes.
    pub const ALL: [ProxyMode; 2] = [ProxyMode::Nftables, ProxyMode::Iptables];

    /// `nftables`.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables => "iptables",
        }
    }
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no proxy mode: choose nftables or iptables")]
pub struct UnknownProxyMode(pub String);

impl FromStr for ProxyMode {
    type Err = UnknownProxyMode;

    fn from_str(word: &str) -> Result<ProxyMode, UnknownProxyMode> {
        let word = word.to_ascii_lowercase();
        let known = ProxyMode::ALL.into_iter().find(|mode| mode.as_str() == word);
        known.ok_or(UnknownProxyMode(word))
    }
}
