// SPDX-License-Identifier: GPL-3.0-or-later
//! Names, asked for by real clients: what pods, nodes and machines outside are told. Needs root.
//!
//! | what | where |
//! |---|---|
//! | every kind of name, as sets with TTLs, over UDP and TCP, in each family | `table`, `cases/` |
//! | messages: sizes, cut answers, hidden bits, what is no question, who may ask | `protocol` |
//! | glibc, musl, python, dig; what stands in pods' files; host names; search paths | `resolvers` |
//! | a name comes and goes with the command, on each node; restarts | `promise` |
//! | dnsmasq or systemd-resolved on the same node | `beside` |
//! | servers outside: slow, lossy, dead, looping, lying; domains of their own | `upstream` |
//! | what is remembered of them | `cache` |
//! | the configuration changes, and the daemon ends, under load | `reload` |
//! | endpoints that change 500 times a second | `churn` |
//! | what people are shown | `shown` |
//! | a million packets that are no queries, or nearly | `flood` |
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod beside;
mod cache;
mod churn;
mod dig;
mod fake;
mod fixtures;
mod flood;
mod outside;
mod promise;
mod protocol;
mod reload;
mod resolvers;
mod sheet;
mod shown;
mod stage;
mod table;
mod upstream;
mod wire;
