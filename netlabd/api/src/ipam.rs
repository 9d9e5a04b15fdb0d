// SPDX-License-Identifier: GPL-3.0-or-later
//! `IpamBlock`: a piece of the pod network that one node owns.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;

/// A /26 (IPv4) or /122 (IPv6) of the pod network, owned by one node. Made and changed by the
/// server alone; read it to see who holds which address.
///
/// Its name is the prefix with every `.`, `:` and `/` written as `-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpamBlock {
    /// Name.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the block is and who holds what.
    pub spec: IpamBlockSpec,
}

/// What a block is and who holds what of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpamBlockSpec {
    /// The block's prefix.
    #[schemars(with = "String")]
    pub cidr: IpNet,
    /// Name of the owning node.
    pub node: String,
    /// Address to holder. A pod holds its addresses until its network is gone.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, AddressHolder>")]
    pub allocated: BTreeMap<IpAddr, AddressHolder>,
    /// Offsets from the prefix that are free to take, the next one first. A freed one goes to the
    /// end, so that what was freed last is reused last.
    #[serde(default)]
    pub free: Vec<u8>,
}

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressHolder {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
}
