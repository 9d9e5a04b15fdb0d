// SPDX-License-Identifier: GPL-3.0-or-later
//! How packets get from the pods of one node to those of another.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the address blocks of other nodes are reached. One mode holds for the whole cluster.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RouteMode {
    /// By the other node's address, which must be in a subnet of this node's (flannel's and
    /// Calico's `host-gw`): no header, the uplink's whole MTU.
    #[default]
    HostGw,
    /// In VXLAN packets (RFC 7348) to the other node's address, whatever is between the nodes.
    Vxlan,
    /// Directly to nodes of the same subnet, in VXLAN packets to all others (Calico's
    /// `CrossSubnet`). As every pod may talk across, all pods have the MTU of `vxlan`.
    Auto,
}

impl RouteMode {
    /// All modes.
    pub const ALL: [RouteMode; 3] = [RouteMode::HostGw, RouteMode::Vxlan, RouteMode::Auto];

    /// `host-gw`.
    pub fn as_str(self) -> &'static str {
        match self {
            RouteMode::HostGw => "host-gw",
            RouteMode::Vxlan => "vxlan",
            RouteMode::Auto => "auto",
        }
    }

    /// Whether packets may travel in VXLAN packets, so that pods need a smaller MTU.
    pub fn may_encapsulate(self) -> bool {
        self != RouteMode::HostGw
    }
}

impl fmt::Display for RouteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route mode: choose host-gw, vxlan or auto")]
pub struct UnknownRouteMode(pub String);

impl FromStr for RouteMode {
    type Err = UnknownRouteMode;

    fn from_str(word: &str) -> Result<RouteMode, UnknownRouteMode> {
        let found = RouteMode::ALL.into_iter().find(|mode| mode.as_str() == word);
        found.ok_or_else(|| UnknownRouteMode(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in RouteMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            let json = serde_json::to_value(mode).expect("a word");
            assert_eq!(json, mode.as_str());
        }
        let error = "hostgw".parse::<RouteMode>().unwrap_err().to_string();
        assert!(error.contains("`hostgw`") && error.contains("host-gw"), "{error}");
    }
}
