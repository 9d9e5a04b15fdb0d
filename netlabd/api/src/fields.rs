// SPDX-License-Identifier: GPL-3.0-or-later
//! Field selectors: `metadata.name=web,status.phase!=Running`.

/// Conditions on fields of an object; the default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {}
