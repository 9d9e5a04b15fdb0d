// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine: turns decisions into kernel state.

pub mod network;
pub mod pod;
