// SPDX-License-Identifier: GPL-3.0-or-later
//! Labs of virtual nodes, as `netlabctl lab up` builds them. Needs root.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod checks;
mod eject;
mod examples;
mod halfway;
mod life;
mod links;
mod uplink;

/// One node, a machine outside, a server and a client.
const SMALL: &str = r#"
[[node]]
name = "n1"

[[host]]
name = "laptop"

[[pod]]
name = "web"
command = ["python3", "-m", "http.server", "8080", "--bind", "::", "--directory", "/tmp"]
readinessProbe = { httpGet = { port = 8080 } }
terminationGracePeriodSeconds = 1

[[pod]]
name = "client"
"#;
