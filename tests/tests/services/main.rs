// SPDX-License-Identifier: GPL-3.0-or-later
//! Services, by real packets: what clients on pods, on nodes and on machines outside of a cluster
//! of three nodes see of each row of kube-proxy's behaviour. Both layouts of rules, both families.
//! Needs root.
//!
//! | row | what | where |
//! |---|---|---|
//! | 1 | cluster IPs, spread evenly, the client's address is seen | `cases`, `balance` |
//! | 2, 3 | ports that no service has are refused, addresses are silent | `cases` |
//! | 4 | no endpoint: refused, until there is one | `cases`, `live` |
//! | 5 | node ports, on every node; which are given | `cases`, `allocation` |
//! | 6 | addresses at which node ports are served | `config` |
//! | 7 | no node ports at loopback, `route_localnet` stays off | `cases`, `quiet` |
//! | 8 | external addresses | `cases` |
//! | 9 | load balancers, mode `VIP` and `Proxy`; who has the address | `cases`, `config`, `announced` |
//! | 10 | source ranges | `cases` |
//! | 11 | affinity | `affinity` |
//! | 12, 13, 14 | traffic policies, and the source address with each | `cases`, `metrics` |
//! | 15 | health check ports | `health` |
//! | 16 | endpoints that are ending | `cases`, `live` |
//! | 17 | hints of zones and nodes | `cases` |
//! | 18 | endpoints that are not ready and published | `live` |
//! | 19 | no rules for names alone | `quiet` |
//! | 20 | a pod that reaches itself | `cases` |
//! | 21 | all connections masqueraded | `config` |
//! | 22 | clients outside that have a route | `cases` |
//! | 23 | endpoints of one family | `cases` |
//! | 24 | flows of UDP | `flows`, `metrics` |
//! | 25 | one port, several protocols; SCTP where the kernel has it | `cases` |
//! | 26 | segments that nobody can place | `flows` |
//! | 27 | firewalls of others | `quiet` |
//! | 28 | restarts, and rules that are deleted by hand | `load` |
//! | 29, 30 | health and metrics of a node | `metrics` |
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod affinity;
mod agent;
mod allocation;
mod announced;
mod balance;
mod cases;
mod config;
mod flows;
mod health;
mod live;
mod load;
mod metrics;
mod offer;
mod quiet;
mod stage;
mod table;
