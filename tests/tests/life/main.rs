// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's life: starting, stopping, repairing and leaving. Needs root.

mod start;
mod watch;
