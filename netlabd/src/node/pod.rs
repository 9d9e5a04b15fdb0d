// SPDX-License-Identifier: GPL-3.0-or-later
//! The pod: sandbox, process, probes, logs.
