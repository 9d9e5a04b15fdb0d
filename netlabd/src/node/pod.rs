// SPDX-License-Identifier: GPL-3.0-or-later
//! The pod: its sandbox, its processes, their logs.
//!
//! ```text
//!   daemon ── Runtime::start ──► netlabd pod-init DIR          (intermediate: lock, cgroups,
//!     ▲                            │ fork                       namespaces; gone in milliseconds)
//!     │ pidfd, status/<uid>.json   ▼
//!     └───────────────────────── PID 1 of the pod ──fork──► the command
//!                                  └─► log files, restarts, exit status
//! ```
//!
//! PID 1 owes the daemon nothing: it outlives it, and a daemon that comes back finds every pod by
//! its lock, its pid file and its status file. The daemon itself never forks: it spawns its own
//! binary, which does the work that must be single-threaded.

pub mod cgroup;
pub mod config;
pub mod exec;
pub mod init;
pub mod log;
pub mod mounts;
pub mod paths;
pub mod probe;
pub mod report;
pub mod resolv;
pub mod resolv_file;
pub mod runtime;
pub mod status;
pub mod watcher;

mod command;
mod lock;
mod restart;
mod root;
mod supervisor;
mod sys;

pub use config::InitConfig;
pub use runtime::{Observed, PodProcess, Runtime, RuntimeError};
pub use status::{ContainerState, RuntimeStatus};
