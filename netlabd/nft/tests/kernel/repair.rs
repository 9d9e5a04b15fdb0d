// SPDX-License-Identifier: GPL-3.0-or-later
//! Others change netlab's tables; the monitor tells, and `diff` puts them back.

use std::time::Duration;

use netlab_nft::{Event, Monitor, diff, observe};
use tokio::runtime::Runtime;

use crate::namespace::Namespace;
use crate::{masquerade_plan, node_plan, socket};

/// Generous, because it only bounds a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// What people and programs do to rules.
const SABOTAGE: &[&str] = &[
    "flush ruleset",
    "delete table ip netlab",
    "flush table ip6 netlab",
    "flush chain ip netlab postrouting; delete chain ip netlab postrouting",
    "insert rule ip netlab postrouting accept",
    "add rule ip netlab postrouting counter",
    "add rule ip netlab postrouting ip saddr 10.42.0.0/16 masquerade fully-random",
    "flush chain ip netlab postrouting; add rule ip netlab postrouting ip saddr 10.42.0.0/16 \
     ip daddr != 10.42.0.0/16 ip daddr != 224.0.0.0/4 masquerade comment \"pods of 10.42.0.0/16 \
     leave the cluster as their node: no route leads back to a pod\"",
    "flush chain ip netlab postrouting; add rule ip netlab postrouting ip saddr 10.43.0.0/16 \
     ip daddr != 10.42.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment \"pods of \
     10.42.0.0/16 leave the cluster as their node: no route leads back to a pod\"",
    "flush chain ip netlab postrouting; add rule ip netlab postrouting ip saddr 10.42.0.0/16 \
     ip daddr != 10.42.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
    "flush chain ip netlab antispoof",
    "flush chain ip6 netlab antispoof; delete chain ip6 netlab antispoof",
    "flush chain ip netlab antispoof; add rule ip netlab antispoof iifgroup 78 \
     fib saddr . iif oif missing counter drop comment \"forged source: not an address of the pod \
     that it comes from\"",
    "flush chain ip netlab antispoof; add rule ip netlab antispoof iifgroup 77 \
     fib saddr oif missing counter drop comment \"forged source: not an address of the pod \
     that it comes from\"",
    "flush chain ip netlab antispoof; add rule ip netlab antispoof iifgroup 77 \
     fib saddr . iif oif missing counter accept comment \"forged source: not an address of the \
     pod that it comes from\"",
    "add chain ip netlab extra { type filter hook forward priority 0; policy drop; }",
    "add chain ip netlab extra; add rule ip netlab postrouting jump extra",
    "add table ip netlab { flags dormant; }",
    "flush chain ip netlab postrouting; delete chain ip netlab postrouting; add chain ip netlab \
     postrouting { type nat hook postrouting priority 99; }",
    "add chain ip netlab postrouting { type nat hook postrouting priority srcnat; policy drop; }",
    "delete table ip netlab; add table ip netlab { comment \"netlabd keeps this table as it needs it\"; }; add chain ip netlab postrouting",
];

/// Our tables, and their chains, in one order: `nft` shows what was made first first.
fn tables(namespace: &Namespace) -> Vec<String> {
    ["ip", "ip6"]
        .into_iter()
        .flat_map(|family| {
            let text = namespace.sh(&format!("nft list table {family} netlab 2>&1 || true"));
            // Between the chains of a table is an empty line; what is before the first is the
            // table's, and after the last comes its end.
            let text = text.trim_end().trim_end_matches('}').trim_end().to_owned();
            let (head, chains) = text.split_once("\tchain").unwrap_or((&text, ""));
            let mut chains: Vec<_> = chains.split("\n\n\tchain").map(str::to_owned).collect();
            chains.sort();
            chains.insert(0, head.to_owned());
            chains
        })
        .collect()
}

#[test]
fn whatever_is_done_to_our_tables_is_undone() {
    for sabotage in SABOTAGE {
        let namespace = Namespace::new();
        let mut socket = socket(&namespace);
        let desired = node_plan();
        socket.commit(&desired).unwrap();
        let good = tables(&namespace);
        namespace.sh_with("nft -f -", sabotage);
        assert_ne!(tables(&namespace), good, "{sabotage}");

        let repair = diff(&desired, &observe(&mut socket).unwrap());
        assert!(!repair.is_empty(), "{sabotage}");
        namespace.sh_with("nft -c -f -", &repair.to_string());
        socket.commit(&repair).unwrap_or_else(|error| panic!("{sabotage}: {error}\n{repair}"));
        assert_eq!(tables(&namespace), good, "{sabotage}\n{repair}");
        let rest = diff(&desired, &observe(&mut socket).unwrap());
        assert!(rest.is_empty(), "{sabotage}\n{rest}");
    }
}

#[test]
fn a_table_that_is_no_longer_desired_is_deleted() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    socket.commit(&masquerade_plan()).unwrap();
    let v6_only = netlab_nft::masquerade::plan(&["fd42::/48".parse().unwrap()]);
    let change = diff(&v6_only, &observe(&mut socket).unwrap());
    assert_eq!(change.to_string(), "delete table ip netlab\n");
    socket.commit(&change).unwrap();
    assert_eq!(namespace.sh("nft list tables"), "table ip6 netlab\n");
}

#[test]
fn a_rule_deleted_by_nft_is_told_and_put_back() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let desired = masquerade_plan();
    let runtime = Runtime::new().unwrap();
    let mut monitor = namespace.within(|| {
        let _inside = runtime.enter();
        Monitor::open(&[socket.port()]).unwrap()
    });
    let mut next = || {
        runtime
            .block_on(async { tokio::time::timeout(DEADLINE, monitor.next()).await })
            .expect("no event came")
            .unwrap()
    };

    socket.commit(&desired).unwrap();
    let good = namespace.sh("nft list ruleset");
    // Of other tables nothing is told, so the first event is about ours.
    namespace.sh("nft add table ip other; nft delete table ip other");
    namespace.sh("nft flush chain ip netlab postrouting");
    let Event::Changed(change) = next() else { panic!("overflow") };
    assert_eq!(change.process, "nft");
    assert_eq!(change.tables.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ip netlab"]);
    let told = change.to_string();
    assert!(told.starts_with("nft changed `ip netlab` (process "), "{told}");

    let repair = diff(&desired, &observe(&mut socket).unwrap());
    socket.commit(&repair).unwrap();
    assert_eq!(namespace.sh("nft list ruleset"), good);

    // Our own repair is not told: what comes next is the next thing that nft does.
    namespace.sh("nft delete table ip netlab; nft delete table ip6 netlab");
    for table in ["ip netlab", "ip6 netlab"] {
        let Event::Changed(change) = next() else { panic!("overflow") };
        assert_eq!(change.tables.iter().map(ToString::to_string).collect::<Vec<_>>(), [table]);
        assert_eq!(change.process, "nft");
    }
}
