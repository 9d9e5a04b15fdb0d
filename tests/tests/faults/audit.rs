// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares what the API says with everything that exists on the machine, by other tools than our
//! own: not one address, process, link, route, mount or file more or less.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::process::Command;

use netlab_tests::observe::pod_link_id;
use serde_json::Value;

use crate::daemon::{Lab, mounts, processes, wait_for};

/// Links that the daemon keeps ready, and one that it may be making.
const POOL: usize = 5;

impl Lab {
    /// Waits until all pods are settled and nothing is missing, doubled or left over; answers the
    /// pods.
    pub(crate) fn audit(&self) -> BTreeMap<String, Value> {
        wait_for("everything is as the API says", || self.try_audit())
    }

    fn try_audit(&self) -> Result<BTreeMap<String, Value>, String> {
        let pods = self.pods();
        let uids: BTreeSet<String> = pods.values().map(uid).collect();
        if let Some(going) =
            pods.values().find(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
        {
            return Err(format!("{} is being deleted", going["metadata"]["name"]));
        }
        self.audit_addresses(&pods)?;
        self.audit_files(&pods, &uids)?;
        self.audit_processes(&uids)?;
        self.audit_network(&pods)?;
        Ok(pods)
    }

    fn audit_addresses(&self, pods: &BTreeMap<String, Value>) -> Result<(), String> {
        let mut held: BTreeMap<String, String> = BTreeMap::new();
        for pod in pods.values() {
            for ip in ips(pod) {
                if let Some(other) = held.insert(ip.clone(), uid(pod)) {
                    return Err(format!("{ip} is held by {other} and {}", uid(pod)));
                }
            }
        }
        let blocks = self.client().get("/v1/ipamblocks").map_err(|e| e.to_string())?.ok();
        let mut allocated = BTreeMap::new();
        for block in blocks["items"].as_array().unwrap() {
            let spec = &block["spec"];
            let taken = spec["allocated"].as_object().unwrap();
            let free: BTreeSet<u64> =
                spec["free"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            equal("free offsets twice", free.len(), spec["free"].as_array().unwrap().len())?;
            // The first address is the node's, and the network's very last is nobody's.
            let total = taken.len() + free.len();
            if !(62..=63).contains(&total) {
                return Err(format!("{total} addresses in block {}", block["metadata"]["name"]));
            }
            for (ip, holder) in taken {
                allocated.insert(ip.clone(), holder["uid"].as_str().unwrap().to_owned());
            }
        }
        equal("addresses of pods and of blocks", held, allocated)
    }

    fn audit_files(
        &self,
        pods: &BTreeMap<String, Value>,
        uids: &BTreeSet<String>,
    ) -> Result<(), String> {
        let run = self.run_dir();
        equal("folders of pods", &names(&run.join("pods")), uids)?;
        let statuses = uids.iter().map(|uid| format!("{uid}.json")).collect();
        equal("status files", names(&run.join("status")), statuses)?;
        let records = pods.keys().map(|name| name.replace('/', "_")).collect();
        equal("records", names(&run.join("netns")), records)?;
        let namespaces: BTreeSet<String> =
            pods.keys().map(|name| name.split('/').next().unwrap().to_owned()).collect();
        equal("hosts folders", names(&run.join("hosts")), namespaces)?;
        let logs =
            pods.iter().map(|(name, pod)| format!("{}_{}", name.replace('/', "_"), uid(pod)));
        equal("logs", names(&self.state_dir().join("logs")), logs.collect())?;
        for cgroup in self.cgroups() {
            let found: BTreeSet<String> =
                names(&cgroup).into_iter().filter(|name| cgroup.join(name).is_dir()).collect();
            if !found.is_empty() || !uids.is_empty() {
                equal("cgroups", &found, uids)?;
            }
        }
        Ok(())
    }

    fn audit_processes(&self, uids: &BTreeSet<String>) -> Result<(), String> {
        let pods_dir = self.run_dir().join("pods");
        let folder = format!(" pod-init {}/", pods_dir.display());
        let mut found = Vec::new();
        for (pid, line) in processes(pods_dir.to_str().unwrap()) {
            let Some((_, uid)) = line.trim().split_once(&folder) else {
                return Err(format!("process {pid} `{line}`"));
            };
            found.push(uid.to_owned());
        }
        found.sort();
        equal("PID 1s", found, uids.iter().cloned().collect())
    }

    fn audit_network(&self, pods: &BTreeMap<String, Value>) -> Result<(), String> {
        let run = self.run_dir();
        let mut recorded: BTreeMap<String, &Value> = BTreeMap::new();
        for (name, pod) in pods {
            let record = run.join("netns").join(name.replace('/', "_"));
            let target = fs::read_link(&record).map_err(|error| format!("{name}: {error}"))?;
            let id = target.file_name().unwrap().to_str().unwrap().to_owned();
            equal(
                "a pod's link",
                &pod["status"]["network"]["hostLink"],
                &format!("nl{id}").into(),
            )?;
            if recorded.insert(id.clone(), pod).is_some() {
                return Err(format!("link {id} is recorded twice"));
            }
        }
        let pins = names(&run.join("pins"));
        let mounted: BTreeSet<String> = mounts(&format!("{}/pins/", run.display()))
            .iter()
            .map(|path| path.rsplit('/').next().unwrap().to_owned())
            .collect();
        equal("pins and their mounts", &pins, &mounted)?;
        let links: BTreeSet<String> = self
            .ip(&["-j", "link"])?
            .iter()
            .filter_map(|link| Some(pod_link_id(link["ifname"].as_str()?)?.to_owned()))
            .collect();
        equal("links and pins", &links, &pins)?;
        let spare = pins.iter().filter(|id| !recorded.contains_key(*id)).count();
        if spare > POOL || spare + recorded.len() != pins.len() {
            return Err(format!("{} links for {} pods", pins.len(), pods.len()));
        }
        let mut wanted = BTreeSet::new();
        for (id, pod) in &recorded {
            wanted.extend(ips(pod).into_iter().map(|ip| (ip, format!("nl{id}"))));
        }
        let mut routes = BTreeSet::new();
        for family in ["-4", "-6"] {
            for route in self.ip(&["-j", family, "route"])? {
                let dst = route["dst"].as_str().unwrap_or_default();
                if dst.starts_with("10.42.") || dst.starts_with("fd42:") {
                    let dev = route["dev"].as_str().unwrap_or_default();
                    routes.insert((dst.to_owned(), dev.to_owned()));
                }
            }
        }
        // Addresses of the node's own blocks that no pod has lead nowhere.
        let blocks = self.client().get("/v1/ipamblocks").map_err(|e| e.to_string())?.ok();
        let mut nowhere = BTreeSet::new();
        for block in blocks["items"].as_array().unwrap() {
            nowhere.insert(block["spec"]["cidr"].as_str().unwrap().to_owned());
        }
        let (blackholes, routes): (BTreeSet<_>, BTreeSet<_>) =
            routes.into_iter().partition(|(to, _)| to.contains('/'));
        equal("blackholes", blackholes.into_iter().map(|(to, _)| to).collect(), nowhere)?;
        equal("routes", routes, wanted)
    }

    fn ip(&self, args: &[&str]) -> Result<Vec<Value>, String> {
        let mut command: Command = self.inside("ip");
        command.args(args);
        let output = Lab::output(command);
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        // Links that come and go meanwhile make `ip` stop half way now and then.
        serde_json::from_slice(&output.stdout).map_err(|error| format!("ip {args:?}: {error}"))
    }
}

pub(crate) fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

pub(crate) fn ips(pod: &Value) -> Vec<String> {
    let ips = pod["status"]["podIPs"].as_array();
    ips.into_iter().flatten().map(|ip| ip["ip"].as_str().unwrap().to_owned()).collect()
}

/// Names in a folder; none when there is no such folder.
pub(crate) fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn equal<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
}
