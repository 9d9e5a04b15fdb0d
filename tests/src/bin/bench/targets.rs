// SPDX-License-Identifier: GPL-3.0-or-later
//! What is good enough. All are upper bounds, on the median, in the unit of the measure.

/// The network of a pod: a hundredth and less of what a CNI plugin takes (13 ms).
pub(crate) const CLAIM_MS: f64 = 0.2;

/// `netlabctl pod run`, the whole process: less than somebody notices, many times over.
pub(crate) const POD_RUN_MS: f64 = 15.0;

/// Many pods, from the command until all are ready.
pub(crate) const CREATE_MANY_S: f64 = 15.0;

/// Many pods, from the command until nothing is left of them.
pub(crate) const DELETE_MANY_S: f64 = 5.0;

/// The daemon's resident memory with many pods.
pub(crate) const RESIDENT_MB: f64 = 40.0;

/// CPU time of an idle daemon, of one processor.
pub(crate) const IDLE_PERCENT: f64 = 0.1;
