// SPDX-License-Identifier: GPL-3.0-or-later
//! A CNI plugin with host-local address management, called as a container runtime calls it: one
//! process for each ADD and DEL, its parameters in the environment, its configuration on stdin
//! (<https://www.cni.dev/docs/spec/>). IPv4 only, which is less than netlab does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::command::run_with;

/// Where Debian's containernetworking-plugins are.
const PLUGINS: &str = "/usr/lib/cni";

/// A configured plugin.
pub(crate) struct Cni {
    plugin: &'static str,
    config: Value,
}

impl Cni {
    /// A bridge on the node, and each pod a port of it.
    pub(crate) fn bridge() -> Cni {
        let config = json!({ "bridge": "cni0", "isGateway": true });
        Cni { plugin: "bridge", config: with_addresses(config, "bridge", "10.98.0.0/16") }
    }

    /// A routed link for each pod, as netlab's.
    pub(crate) fn ptp() -> Cni {
        Cni { plugin: "ptp", config: with_addresses(json!({}), "ptp", "10.99.0.0/16") }
    }

    /// Makes a pod's network. Returns the time and the pod's address.
    ///
    /// # Errors
    /// What the plugin says.
    pub(crate) fn add(&self, pod: &str) -> anyhow::Result<(Duration, String)> {
        let done = self.call("ADD", pod)?;
        let answer: Value = serde_json::from_str(&done.stdout)?;
        let address = answer["ips"][0]["address"].as_str().unwrap_or_default();
        ensure!(!address.is_empty(), "`{}` gave no address: {answer}", self.plugin);
        Ok((done.took, address.split('/').next().unwrap_or_default().to_owned()))
    }

    /// Removes a pod's network.
    ///
    /// # Errors
    /// What the plugin says.
    pub(crate) fn del(&self, pod: &str) -> anyhow::Result<Duration> {
        Ok(self.call("DEL", pod)?.took)
    }

    fn call(&self, what: &str, pod: &str) -> anyhow::Result<crate::command::Done> {
        let mut command = Command::new(Path::new(PLUGINS).join(self.plugin));
        command
            .env("CNI_COMMAND", what)
            .env("CNI_CONTAINERID", pod)
            .env("CNI_NETNS", format!("/run/netns/{pod}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS);
        run_with(&mut command, &self.config.to_string())
    }
}

fn with_addresses(mut config: Value, plugin: &str, subnet: &str) -> Value {
    config["cniVersion"] = json!("1.0.0");
    config["name"] = json!(format!("bench-{plugin}"));
    config["type"] = json!(plugin);
    config["ipam"] = json!({
        "type": "host-local",
        "dataDir": "/run/cni",
        "ranges": [[{ "subnet": subnet }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    config
}
