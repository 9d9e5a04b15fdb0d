// SPDX-License-Identifier: GPL-3.0-or-later
//! Labels, and selectors over them: `app=web,tier!=db,env in (a,b),!old`.

/// Conditions on labels; the default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {}
