// SPDX-License-Identifier: GPL-3.0-or-later
//! The lines that `--explain` prints for services, carried out by `sh` and `nft`.

use std::io::Write as _;
use std::process::Stdio;

use netlabd::node::proxy::script::{fed_to_nft, in_order, script};
use netlabd::node::rules::{base_config, plan_fixed};

use super::*;

fn sh(lines: &str) {
    let mut child = Command::new("sh").arg("-e").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{lines}");
}

/// All rules with these services, as the daemon wants them.
fn rules_with(mode: ProxyMode, services: &BTreeMap<ServiceName, Vec<PortPlan>>) -> Transaction {
    let config = config();
    let mut rules = plan_fixed(&config.pod_networks, &[]);
    rules.append(Desired::of(mode, base_config(&config), services.clone()).whole());
    rules
}

/// The elements that are missing or too much in the kernel.
fn elements_that_differ(desired: &Transaction) -> Vec<String> {
    let difference = difference(desired);
    let is_element = |line: &&str| line.contains(" element ");
    difference.lines().filter(is_element).map(str::to_owned).collect()
}

/// Each service is taken away and made again while the others are there.
fn remove_and_make(mode: ProxyMode) {
    let services = random::example();
    assert!(!services.is_empty());
    let mut daemon = Rules::open(&config()).unwrap();
    daemon.set_services(mode, services.clone()).unwrap();
    let all = rules_with(mode, &services);
    assert_eq!(difference(&all), "");
    for name in services.keys() {
        let lines = script(mode, base_config(&config()), services.clone(), name);
        let mut others = services.clone();
        others.remove(name);
        sh(&lines.remove);
        // What many share may stay, and nothing else does.
        let left = elements_that_differ(&rules_with(mode, &others));
        let shared = |line: &String| line.contains(" balance {");
        assert!(left.iter().all(shared), "{name:?} was removed: {left:?}");
        assert_ne!(difference(&all), "", "{name:?} was not removed");
        sh(&lines.make);
        assert_eq!(elements_that_differ(&all), [""; 0], "{name:?} was made: {}", lines.make);
    }
}

#[test]
fn nft_takes_all_rules_at_once_in_either_layout() {
    for mode in [ProxyMode::Nftables, ProxyMode::Iptables] {
        in_netns(move || {
            let all = rules_with(mode, &random::example());
            sh(&fed_to_nft(&in_order(all.clone())));
            assert_eq!(elements_that_differ(&all), [""; 0], "{mode}");
        });
    }
}

#[test]
fn the_scripts_of_services_make_and_remove_what_the_daemon_would_with_maps() {
    in_netns(|| remove_and_make(ProxyMode::Nftables));
}

#[test]
fn the_scripts_of_services_make_and_remove_what_the_daemon_would_with_chains() {
    in_netns(|| remove_and_make(ProxyMode::Iptables));
}
