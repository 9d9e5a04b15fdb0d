// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that join a server and strangers that do not, over real TCP and TLS, each test in a
//! network namespace of its own.

mod lab;
mod members;
mod refusals;
#[path = "../fixture/server.rs"]
mod server;
mod strangers;
