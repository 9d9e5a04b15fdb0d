// SPDX-License-Identifier: GPL-3.0-or-later
//! What names there are, and what they say: from services, endpoints, pods and the configuration. Pure.
//!
//! Records are not kept: a name is taken apart and answered from the objects, so a change costs what changed.
