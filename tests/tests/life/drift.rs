// SPDX-License-Identifier: GPL-3.0-or-later
//! What somebody takes away by hand comes back, and is told.

use std::time::{Duration, Instant};

use netlab_tests::server::{SERVER, ask};
use netlab_tests::{Lab, observe, wait_until};
use serde_json::Value;

/// How long a repair may take; as promised.
const SOON: Duration = Duration::from_secs(1);

/// A pod's link, both sides, without what counts or ages.
fn inside(lab: &Lab, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for args in [
        "-j addr",
        "-j -4 route show table all",
        "-j -6 route show table all",
        "-j neigh show nud permanent",
    ] {
        let words: Vec<_> = ["ip"].into_iter().chain(args.split(' ')).collect();
        let output = lab.pod_exec(name, &words);
        // In between there may be no namespace of this name.
        let found: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        for mut item in observe::items(&found) {
            // A link that is made anew has other numbers.
            for field in ["link_index", "ifindex", "address", "link_netnsid"] {
                item.as_object_mut().map(|item| item.remove(field));
            }
            lines.push(item.to_string());
        }
    }
    lines.retain(|line| !line.contains("fe80::") || line.contains("fe80::1\""));
    lines.sort();
    lines
}

struct Drift<'a> {
    lab: &'a Lab,
    inside: Vec<String>,
    network: Vec<String>,
}

impl Drift<'_> {
    fn of(lab: &Lab) -> Drift<'_> {
        let mut drift = Drift { lab, inside: inside(lab, "web"), network: Vec::new() };
        drift.network = drift.network();
        drift
    }

    /// The node's network without what another link would have anew.
    fn network(&self) -> Vec<String> {
        let mut lines = observe::network(&self.lab.node);
        lines.retain(|line| {
            let volatile = line.starts_with("link")
                || line.starts_with("address")
                || line.starts_with("neighbour");
            !(volatile || line.contains("fe80::") || line.contains("ff00::"))
        });
        lines.iter_mut().for_each(|line| *line = without_handles(line));
        lines.sort();
        lines
    }

    /// Does harm, and waits until it is undone, in time.
    #[track_caller]
    fn mends(&self, what: &str, harm: impl Fn() -> netlab_tests::Output) {
        let since = Instant::now();
        harm().ok();
        wait_until(&format!("{what} is back"), || {
            inside(self.lab, "web") == self.inside && self.network() == self.network
        });
        let took = since.elapsed();
        println!("{what}: back after {took:?}");
        assert!(took < SOON, "{what}: back after {took:?}");
        for ip in self.lab.pod_ips("web") {
            ask(|words| self.lab.node.command(words), &ip);
            // Through the node, which is not the same as from it.
            ask(|words| self.lab.pod_command("peer", words), &ip);
        }
    }

    /// Waits for an event about the pod or the node that names this.
    #[track_caller]
    fn tells(&self, about: &str, text: &str) {
        wait_until(
            &format!("an event that names `{text}`: {:?}", self.lab.events_of(about)),
            || self.lab.events_of(about).iter().any(|event| event.contains(text)),
        );
    }
}

/// nft numbers whatever is made; what is made anew has another number.
fn without_handles(line: &str) -> String {
    let Some(json) = line.strip_prefix("nft ") else { return line.to_owned() };
    let mut value: Value = serde_json::from_str(json).unwrap();
    for item in value.as_object_mut().unwrap().values_mut() {
        if let Some(item) = item.as_object_mut() {
            item.remove("handle");
        }
    }
    format!("nft {value}")
}

fn start(name: &str) -> Lab {
    let lab = Lab::new(name);
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    lab.run("web", &words);
    lab.run("peer", &[]);
    lab
}

fn host_link(lab: &Lab) -> String {
    lab.pod("web")["status"]["network"]["hostLink"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_deleted_on_the_node_is_back_within_a_second_and_told() {
    let lab = start("driftnode");
    let drift = Drift::of(&lab);
    let link = host_link(&lab);
    let node = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        lab.netns_exec(&words)
    };
    drift.mends("the IPv4 route", || node("ip route del 10.42.0.1"));
    drift.tells("web", "10.42.0.1");
    drift.mends("the IPv6 route", || node("ip -6 route del fd42::1"));
    drift.tells("web", "fd42::1");
    drift.mends("the neighbour", || node(&format!("ip neigh del 10.42.0.1 dev {link}")));
    drift.mends("the link's being up", || node(&format!("ip link set {link} down")));
    drift.tells("web", "it was down");
    drift.mends("the link", || node(&format!("ip link del {link}")));
    drift.tells("web", &link);
    let back: Value = observe::ip(&lab.node, &format!("-j link show {}", host_link(&lab)));
    assert_eq!(back[0]["operstate"], "UP");
    let restarts = &lab.pod("web")["status"]["containerStatuses"][0]["restartCount"];
    assert_eq!(*restarts, 0, "the process lived on");
}

#[test]
fn rules_that_are_deleted_are_back_within_a_second_and_told() {
    let lab = start("driftnft");
    let drift = Drift::of(&lab);
    let tables = observe::nft(&lab.node);
    let families: Vec<_> = tables
        .iter()
        .filter_map(|item| Some(item["table"]["family"].as_str()?.to_owned()))
        .collect();
    assert_eq!(families, ["ip", "ip6"], "{tables:?}");
    for family in &families {
        drift.mends(&format!("the table of {family}"), || {
            lab.netns_exec(&["nft", &format!("delete table {family} netlab")])
        });
        let chain = observe::nft(&lab.node).iter().find_map(|item| {
            let rule = item.get("rule").filter(|rule| rule["family"] == **family)?;
            Some((rule["chain"].as_str()?.to_owned(), rule["handle"].as_u64()?))
        });
        let (chain, handle) = chain.unwrap();
        drift.mends(&format!("a rule of {family}"), || {
            lab.netns_exec(&[
                "nft",
                &format!("delete rule {family} netlab {chain} handle {handle}"),
            ])
        });
        drift.mends(&format!("a flushed chain of {family}"), || {
            lab.netns_exec(&["nft", &format!("flush chain {family} netlab {chain}")])
        });
    }
    drift.mends("everything of nft", || lab.netns_exec(&["nft", "flush", "ruleset"]));
    drift.tells("n1", "rules");
}

#[test]
fn what_is_deleted_inside_a_pod_is_back_within_a_second_and_told() {
    let lab = start("driftpod");
    let drift = Drift::of(&lab);
    let pod = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        lab.pod_exec("web", &words)
    };
    drift.mends("the IPv4 default route", || pod("ip route del default"));
    drift.tells("web", "default");
    drift.mends("the IPv6 default route", || pod("ip -6 route del default"));
    drift.mends("the IPv4 address", || pod("ip addr del 10.42.0.1/32 dev eth0"));
    drift.tells("web", "address 10.42.0.1/32 in the pod");
    drift.mends("the IPv6 address", || pod("ip addr del fd42::1/128 dev eth0"));
    drift.mends("the neighbour", || pod("ip neigh del 169.254.1.1 dev eth0"));
    drift.mends("eth0's being up", || pod("ip link set eth0 down"));
    drift.mends("lo's being up", || pod("ip link set lo down"));
    drift.mends("the MTU", || pod("ip link set eth0 mtu 1300"));
    drift.mends("the link", || pod("ip link del eth0"));
}
