// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel has, asked for by `ip -j`, `nft -j`, `sysctl` and `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use crate::machine::Machine;

/// Everything of a machine's network that is configuration, one line each and sorted: links,
/// addresses, permanent neighbours, routes and rules of all tables, nf_tables.
#[track_caller]
pub fn network(machine: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, args) in [
        ("link", "-j -d link"),
        ("address", "-j addr"),
        ("neighbour", "-j neigh show nud permanent"),
        ("route", "-j -4 route show table all"),
        ("route", "-j -6 route show table all"),
        ("rule", "-j -4 rule"),
        ("rule", "-j -6 rule"),
    ] {
        for mut item in items(&ip(machine, args)) {
            let data = item.pointer_mut("/linkinfo/info_data").and_then(Value::as_object_mut);
            if let Some(data) = data {
                // A bridge's timers run.
                data.retain(|name, _| !name.ends_with("_timer"));
            }
            lines.push(format!("{what} {item}"));
        }
    }
    lines.extend(nft(machine).iter().map(|item| format!("nft {item}")));
    lines.sort();
    lines
}

/// `ip ARGS`, read as JSON.
#[track_caller]
pub fn ip(machine: &Machine, args: &str) -> Value {
    let words: Vec<_> = ["ip"].into_iter().chain(args.split_whitespace()).collect();
    machine.exec(&words).json()
}

/// All of nf_tables, without nft's own version.
#[track_caller]
pub fn nft(machine: &Machine) -> Vec<Value> {
    let mut found = items(&machine.exec(&["nft", "-j", "list", "ruleset"]).json()["nftables"]);
    found.retain(|item| item.get("metainfo").is_none());
    found
}

/// The route to exactly this address, as `ip` prints it; nothing when there is none.
#[track_caller]
pub fn route_to(machine: &Machine, address: &str) -> String {
    // Without a family `ip route show` knows IPv4 alone.
    let family = if address.contains(':') { "-6" } else { "-4" };
    machine.ip(&format!("{family} route show {address}"))
}

/// What of a link's name says which pod it is for; none of a link that is no pod's.
pub fn pod_link_id(name: &str) -> Option<&str> {
    let id = name.strip_prefix("nl")?;
    (id.len() == 11 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Names of the machine's links that are pods'.
#[track_caller]
pub fn pod_links(machine: &Machine) -> Vec<String> {
    let links = ip(machine, "-j link");
    let names =
        items(&links).into_iter().filter_map(|link| Some(link["ifname"].as_str()?.to_owned()));
    names.filter(|name| pod_link_id(name).is_some()).collect()
}

/// All network settings of a machine that are not readings: `net.core`, `net.ipv4`, `net.ipv6`.
#[track_caller]
pub fn sysctls(machine: &Machine) -> BTreeMap<String, String> {
    let pattern = r"^net\.(core|ipv4|ipv6)\.";
    // Some settings cannot be read by anyone; the others are what is compared.
    let text = machine.exec(&["sysctl", "-e", "-a", "-r", pattern]).stdout;
    assert!(text.contains("net.ipv4.ip_forward = "), "sysctl told nothing: {text}");
    let settings = text.lines().filter_map(|line| line.split_once(" = "));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Processes that run in a network namespace, named by any path to it.
pub fn pids_in(netns: &Path) -> Vec<u32> {
    let Ok(wanted) = fs::metadata(netns) else { return Vec::new() };
    let is_inside = |pid: &u32| {
        let found = fs::metadata(format!("/proc/{pid}/ns/net"));
        found.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    pids().into_iter().filter(is_inside).collect()
}

/// Processes whose command line, folder, root, program or environment names `path`.
pub fn pids_naming(path: &str) -> Vec<u32> {
    let own = std::process::id();
    let names = |pid: &u32| {
        let folder = format!("/proc/{pid}");
        let read = |file: &str| {
            let bytes = fs::read(format!("{folder}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(path)
        };
        let link = |file: &str| {
            let target = fs::read_link(format!("{folder}/{file}")).unwrap_or_default();
            target.to_string_lossy().contains(path)
        };
        read("cmdline") || read("environ") || link("cwd") || link("root") || link("exe")
    };
    pids().into_iter().filter(|pid| *pid != own && names(pid)).collect()
}

/// A process in a line: what it is, its state and where it stands.
pub fn describe(pid: u32) -> String {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    format!("{} [{}]", String::from_utf8_lossy(&cmdline).replace('\0', " "), stat.trim())
}

/// When a process started, in ticks since boot: with its number, the one name of a process.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; see proc_pid_stat(5).
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Whether a process is there and has not ended; one that nobody waited for yet has.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Folders of cgroups whose name holds `text`.
pub fn cgroups(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new("/sys/fs/cgroup").to_owned()];
    // The root, each controller's, and one level below: netlab's own folders hang there.
    for _ in 0..2 {
        let mut next = Vec::new();
        for entry in folders.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()) {
                if entry.file_name().to_string_lossy().contains(text) {
                    found.push(entry.path().display().to_string());
                }
                next.push(entry.path());
            }
        }
        folders = next;
    }
    found
}

/// Mounts of this process that name `path`.
pub fn mounts(path: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().filter(|line| line.contains(path)).map(str::to_owned).collect()
}

/// The elements of a JSON array; `null` has none.
pub fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
