// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules for services in a real kernel: what changes lead to is what a build from nothing is.

#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod by_hand;
mod random;

use std::collections::BTreeMap;
use std::process::Command;

use netlab_api::ProxyMode;
use netlab_nft::{Observed, Socket, Transaction, diff, observe_with_elements};
use netlabd::control::config::ClusterConfig;
use netlabd::node::proxy::desired::{Desired, ServiceName};
use netlabd::node::proxy::port::PortPlan;
use netlabd::node::rules::Rules;
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use random::{Round, rounds};

/// Runs a test on a thread in a network namespace of its own.
fn in_netns<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: are you root?");
        test()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn config() -> ClusterConfig {
    ClusterConfig {
        pod_networks: vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()],
        cluster_dns: Vec::new(),
        domain: "cluster.local".to_owned(),
        services: netlabd::control::config::ServiceConfig::default(),
    }
}

fn observed() -> Observed {
    observe_with_elements(&mut Socket::open().unwrap(), |_| true).unwrap()
}

/// What is missing or too much in the kernel.
fn difference(desired: &Transaction) -> String {
    diff(desired, &observed()).to_string()
}

/// The rules that the last state of each service asks for, from nothing.
fn from_nothing(rules: &Rules, all: &BTreeMap<ServiceName, Vec<PortPlan>>) -> String {
    let mut desired = Desired::new(rules.services().mode(), rules.services().config().clone());
    desired.replace(all.clone());
    let mut both = [desired.whole().to_string(), rules.services().whole().to_string()];
    for text in &mut both {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        *text = lines.join("\n");
    }
    let [anew, grown] = both;
    if anew == grown { String::new() } else { format!("anew:\n{anew}\n\ngrown:\n{grown}") }
}

fn walk(mode: ProxyMode, rounds: Vec<Round>) -> Result<(), TestCaseError> {
    let mut rules = Rules::open(&config()).unwrap();
    rules.set_services(mode, BTreeMap::new()).unwrap();
    let mut all = BTreeMap::new();
    for (number, round) in rounds.into_iter().enumerate() {
        let plans = round.plans();
        all.extend(plans.clone());
        let programmed = rules.change_services(plans);
        let programmed = programmed
            .map_err(|error| TestCaseError::fail(format!("round {number}: {error:?}")))?;
        prop_assert!(!programmed.full, "round {} was not written as a change", number);
        prop_assert_eq!(difference(&rules.desired()), "", "round {}", number);
        prop_assert_eq!(from_nothing(&rules, &all), "", "round {}", number);
    }
    let other = match mode {
        ProxyMode::Nftables => ProxyMode::Iptables,
        ProxyMode::Iptables => ProxyMode::Nftables,
    };
    rules.set_mode(other).unwrap();
    prop_assert_eq!(difference(&rules.desired()), "", "after the switch");
    prop_assert_eq!(rules.ensure().unwrap(), None);
    Ok(())
}

fn walk_randomly(mode: ProxyMode) {
    let mut runner =
        TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let result = runner.run(&rounds(), |rounds| in_netns(move || walk(mode, rounds)));
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn changes_lead_to_what_a_build_from_nothing_is_with_maps() {
    walk_randomly(ProxyMode::Nftables);
}

#[test]
fn changes_lead_to_what_a_build_from_nothing_is_with_chains() {
    walk_randomly(ProxyMode::Iptables);
}

#[test]
fn a_daemon_that_starts_again_touches_nothing_that_is_right() {
    in_netns(|| {
        let services = random::example();
        let mut first = Rules::open(&config()).unwrap();
        first.set_services(ProxyMode::Nftables, services.clone()).unwrap();
        let text = || {
            let output = Command::new("nft").args(["-a", "list", "ruleset"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = text();
        assert!(before.contains("service-counts"), "{before}");
        // Handles tell what was made anew.
        let mut second = Rules::open(&config()).unwrap();
        assert_eq!(second.ensure().unwrap(), None, "before the services are known");
        assert_eq!(text(), before);
        assert_eq!(second.set_services(ProxyMode::Nftables, services).unwrap().0, None);
        assert_eq!(text(), before);
    });
}

#[test]
fn a_set_that_is_full_is_made_anew_and_one_with_room_stays() {
    in_netns(|| {
        let size = || {
            let words = ["list", "set", "ip", "netlab", "reject-services"];
            let output = Command::new("nft").args(words).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let size = text.lines().find_map(|line| line.trim().strip_prefix("size "));
            size.map(|size| size.parse::<u32>().unwrap())
        };
        let mut rules = Rules::open(&config()).unwrap();
        rules.set_services(ProxyMode::Nftables, random::plain(0..10)).unwrap();
        assert_eq!(size(), None);
        rules.set_services(ProxyMode::Nftables, random::plain(0..1000)).unwrap();
        assert_eq!(size(), None, "it grew as needed, and was not made anew");
        rules.teardown().unwrap();
        rules.set_services(ProxyMode::Nftables, random::plain(0..1000)).unwrap();
        assert_eq!(size(), Some(2048));
        let programmed = rules.change_services(random::plain(1000..2048)).unwrap();
        assert!(!programmed.full);
        let programmed = rules.change_services(random::plain(2048..2049)).unwrap();
        assert!(programmed.full);
        assert_eq!((size(), difference(&rules.desired()).as_str()), (Some(4096), ""));
        let mut second = Rules::open(&config()).unwrap();
        second.set_services(ProxyMode::Nftables, random::plain(0..100)).unwrap();
        assert_eq!((size(), difference(&second.desired()).as_str()), (Some(4096), ""));
    });
}

#[test]
fn rules_that_somebody_took_away_are_put_back_by_the_next_change() {
    in_netns(|| {
        let mut services = random::example();
        let mut rules = Rules::open(&config()).unwrap();
        rules.set_services(ProxyMode::Nftables, services.clone()).unwrap();
        let nft = |line: &str| {
            let status = Command::new("nft").args(line.split(' ')).status().unwrap();
            assert!(status.success(), "nft {line}");
        };
        nft("delete table ip netlab");
        let (name, plans) = services.pop_first().unwrap();
        let plans: Vec<PortPlan> =
            plans.into_iter().map(|plan| PortPlan { port: 81, ..plan }).collect();
        let programmed = rules.change_services(BTreeMap::from([(name, plans)])).unwrap();
        assert!(programmed.full);
        assert_eq!(difference(&rules.desired()), "");
        nft("flush map ip netlab endpoints");
        assert!(rules.ensure().unwrap().is_some());
        assert_eq!(difference(&rules.desired()), "");
    });
}
