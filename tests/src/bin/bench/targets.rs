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

/// A small lab, from the command until all is programmed: k3d says of itself 20 s, kind 33 s.
pub(crate) const LAB_UP_S: f64 = 1.5;

/// A small lab, until nothing is left of it.
pub(crate) const LAB_DOWN_S: f64 = 0.5;

/// CPU time of a server with nodes that only say they are alive, of one processor.
pub(crate) const IDLE_SERVER_PERCENT: f64 = 5.0;

/// What a change costs a node that it does not concern: nothing, as far as it can be measured.
pub(crate) const UNINVOLVED_CPU_MS: f64 = 0.05;

/// Bytes to a node that a change does not concern: less than a packet's headers.
pub(crate) const UNINVOLVED_BYTES: f64 = 40.0;

/// Ten thousand services of three endpoints each, from nothing: what a daemon's start takes longer.
pub(crate) const BUILD_S: f64 = 0.25;

/// One change of a service among ten thousand, from the call of the API until the kernel has it.
pub(crate) const CHANGE_MS: f64 = 2.0;

/// The part of it in nf_tables.
pub(crate) const CHANGE_RULES_MS: f64 = 0.1;

/// How many times as long a change may take with more services than that.
pub(crate) const GROWTH: f64 = 1.5;

/// The daemon's resident memory with ten thousand services.
pub(crate) const SERVICES_RESIDENT_MB: f64 = 120.0;

/// A connection through a service, of one straight to its endpoint.
pub(crate) const CONNECT_OF_DIRECT: f64 = 1.2;

/// A connection through a service, of one through kube-proxy's nftables layout.
pub(crate) const CONNECT_OF_KUBE_PROXY: f64 = 1.05;

/// What knot answers a second over UDP, of what netlab does: no more.
pub(crate) const KNOT_OF_NETLAB: f64 = 1.0;

/// CPU time of an answer, of knot's.
pub(crate) const CPU_OF_KNOT: f64 = 1.0;

/// How long the slowest of a hundred answers takes at half load.
pub(crate) const WAIT_P99_MS: f64 = 0.3;

/// The daemon's memory for a hundred thousand records, over what it has without.
pub(crate) const RECORDS_MB: f64 = 40.0;
