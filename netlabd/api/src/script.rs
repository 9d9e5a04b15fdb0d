// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person would type on a node to have by hand what netlab made there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `/v1/explain/…`: lines for `sh`, run by root on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// The node whose kernel they are for.
    pub node: String,
    /// The lines that make it; those that begin with `#` are comments.
    pub make: String,
    /// The lines that take it away again.
    pub remove: String,
}
