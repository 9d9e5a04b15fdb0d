// SPDX-License-Identifier: GPL-3.0-or-later
//! The layouts that kube-proxy makes, written by its means: `nft -f` and `iptables-restore`, each
//! fed with text as kube-proxy feeds them, of our own making.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Sizes;
use super::fleet::{ENDPOINTS, Fleet, POD_NETWORK, PORT, TARGET_PORT};
use crate::command;

/// Services of one transaction of nf_tables: the kernel goes through all of a transaction for
/// each unnamed map in it, so ten thousand at once would take a minute.
const TOGETHER: u32 = 250;

/// One of kube-proxy's layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A chain for each service and endpoint, and a map of verdicts.
    Nft,
    /// A chain for each service and endpoint, and one chain with a rule for each service.
    Iptables(&'static str),
}

/// The programs of iptables, the faster one first.
const RESTORES: [&str; 2] = ["iptables-legacy-restore", "iptables-nft-restore"];

/// With more services than this, iptables over nf_tables takes a minute and more for a start.
const MOST_FOR_IPTABLES_NFT: u32 = 1000;

/// With more services than this, `nft` takes minutes: each transaction looks at all that is there.
const MOST_FOR_NFT: u32 = 20_000;

/// The layouts that can be measured here with so many services.
pub(super) fn peers(count: u32) -> Vec<Peer> {
    let mut peers = Vec::new();
    if count <= MOST_FOR_NFT {
        peers.push(Peer::Nft);
    }
    for program in RESTORES {
        let there = ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
        let too_slow = program == RESTORES[1] && count > MOST_FOR_IPTABLES_NFT;
        if there && !too_slow {
            peers.push(Peer::Iptables(program));
        }
    }
    peers
}

impl Peer {
    /// What its rows are called.
    pub(super) fn title(self) -> String {
        match self {
            Peer::Nft => "kube-proxy's nftables layout, by `nft -f`".to_owned(),
            Peer::Iptables(program) => format!("kube-proxy's iptables layout, by `{program}`"),
        }
    }

    /// Writes all of a fleet; answers how long the programs took.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn build(self, fleet: Fleet) -> anyhow::Result<Duration> {
        let mut took = Duration::ZERO;
        match self {
            Peer::Nft => {
                took += nft(&nft_base())?;
                for first in (0..fleet.count).step_by(TOGETHER as usize) {
                    let mut text = String::new();
                    for number in first..fleet.count.min(first + TOGETHER) {
                        nft_service(&mut text, number, &fleet.endpoints(number), true);
                    }
                    took += nft(&text)?;
                }
            }
            Peer::Iptables(program) => {
                let (mut chains, mut rules) = iptables_base(fleet.count);
                for number in 0..fleet.count {
                    let endpoints = fleet.endpoints(number);
                    iptables_service(&mut chains, &mut rules, number, &endpoints);
                }
                took += restore(program, &chains, &rules)?;
            }
        }
        Ok(took)
    }

    /// Changes an endpoint of a service, again and again, as kube-proxy does since it leaves out
    /// what did not change: the service's chains and, with iptables, the chain of all services.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn change(self, fleet: Fleet, sizes: &Sizes) -> anyhow::Result<Vec<Duration>> {
        let change = |turn| {
            let number = fleet.pick(turn);
            let endpoints = fleet.changed(number, turn);
            match self {
                Peer::Nft => {
                    let mut text = String::new();
                    nft_service(&mut text, number, &endpoints, false);
                    nft(&text)
                }
                Peer::Iptables(program) => {
                    let (mut chains, mut rules) = iptables_base(fleet.count);
                    iptables_service(&mut chains, &mut rules, number, &endpoints);
                    restore(program, &chains, &rules)
                }
            }
        };
        (0..sizes.peer_rounds).map(change).collect()
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// What the program says.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        match self {
            Peer::Nft => nft("delete table ip kube-proxy\n").map(drop),
            Peer::Iptables(program) => {
                let program = program.trim_end_matches("-restore");
                let run = |args: &[&str]| command::run(Command::new(program).args(args));
                run(&["-w", "-t", "nat", "-F"])?;
                run(&["-w", "-t", "nat", "-X"])?;
                Ok(())
            }
        }
    }
}

fn nft(text: &str) -> anyhow::Result<Duration> {
    Ok(command::run_with(Command::new("nft").args(["-f", "-"]), text)?.took)
}

fn restore(program: &str, chains: &str, rules: &str) -> anyhow::Result<Duration> {
    let text = format!("*nat\n{chains}{rules}COMMIT\n");
    let mut command = Command::new(program);
    Ok(command::run_with(command.args(["-w", "--noflush", "--counters"]), &text)?.took)
}

/// Eight letters that stand for a service or an endpoint, as kube-proxy's hashes do.
fn hash(number: u32, endpoint: u32) -> String {
    format!("{:08X}", number * (ENDPOINTS + 1) + endpoint)
}

fn nft_base() -> String {
    "add table ip kube-proxy
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add chain ip kube-proxy masquerading
add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading mark set mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add chain ip kube-proxy services
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add rule ip kube-proxy nat-prerouting jump services
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add rule ip kube-proxy nat-output jump services
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add rule ip kube-proxy nat-postrouting jump masquerading
"
    .to_owned()
}

/// The chains of a service, emptied first, and its element of the map if it is new.
fn nft_service(text: &mut String, number: u32, endpoints: &[Ipv4Addr], is_new: bool) {
    let ip = Fleet::cluster_ip(number);
    let service = format!("service-{}-default/{}/tcp/", hash(number, 0), Fleet::name(number));
    let endpoint = |at: usize| {
        let of = format!("default/{}/tcp/__e{at}", Fleet::name(number));
        format!("endpoint-{}-{of}", hash(number, at as u32 + 1))
    };
    let table = "ip kube-proxy";
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect("a string takes everything");
        text.push('\n');
    };
    for at in 0..endpoints.len() {
        line(format_args!("add chain {table} {}", endpoint(at)));
        line(format_args!("flush chain {table} {}", endpoint(at)));
    }
    line(format_args!("add chain {table} {service}"));
    line(format_args!("flush chain {table} {service}"));
    let to = format!("ip daddr {ip} tcp dport {PORT}");
    let mark = format!("{to} ip saddr != {POD_NETWORK} jump mark-for-masquerade");
    line(format_args!("add rule {table} {service} {mark}"));
    let goto = |at: usize| format!("{at} : goto {}", endpoint(at));
    let choices: Vec<String> = (0..endpoints.len()).map(goto).collect();
    let choose = format!("numgen random mod {} vmap", endpoints.len());
    line(format_args!("add rule {table} {service} {choose} {{ {} }}", choices.join(", ")));
    for (at, address) in endpoints.iter().enumerate() {
        let chain = endpoint(at);
        line(format_args!("add rule {table} {chain} ip saddr {address} jump mark-for-masquerade"));
        let dnat = format!("meta l4proto tcp dnat to {address}:{TARGET_PORT}");
        line(format_args!("add rule {table} {chain} {dnat}"));
    }
    if is_new {
        let element = format!("{ip} . tcp . {PORT} : goto {service}");
        line(format_args!("add element {table} service-ips {{ {element} }}"));
    }
}

/// The chains that are always written, with a rule for each service.
fn iptables_base(count: u32) -> (String, String) {
    let (mut chains, mut rules) = (String::new(), String::new());
    for chain in ["KUBE-SERVICES", "KUBE-MARK-MASQ", "KUBE-POSTROUTING", "PREROUTING", "OUTPUT"] {
        let policy = if chain.starts_with("KUBE") { "-" } else { "ACCEPT" };
        writeln!(chains, ":{chain} {policy} [0:0]").expect("a string takes everything");
    }
    chains.push_str(":POSTROUTING ACCEPT [0:0]\n");
    rules.push_str(
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
",
    );
    for number in 0..count {
        let (ip, chain) = (Fleet::cluster_ip(number), hash(number, 0));
        let comment = format!("\"default/{} cluster IP\"", Fleet::name(number));
        writeln!(
            rules,
            "-A KUBE-SERVICES -m comment --comment {comment} -m tcp -p tcp -d {ip}/32 \
             --dport {PORT} -j KUBE-SVC-{chain}"
        )
        .expect("a string takes everything");
    }
    (chains, rules)
}

fn iptables_service(chains: &mut String, rules: &mut String, number: u32, endpoints: &[Ipv4Addr]) {
    let (ip, service) = (Fleet::cluster_ip(number), format!("KUBE-SVC-{}", hash(number, 0)));
    let name = format!("default/{}", Fleet::name(number));
    let mut chain = |name: &str| {
        writeln!(chains, ":{name} - [0:0]").expect("a string takes everything");
    };
    let mut rule = |words: std::fmt::Arguments<'_>| {
        rules.write_fmt(words).expect("a string takes everything");
        rules.push('\n');
    };
    chain(&service);
    rule(format_args!(
        "-A {service} -m comment --comment \"{name} cluster IP\" -m tcp -p tcp -d {ip}/32 \
         --dport {PORT} ! -s {POD_NETWORK} -j KUBE-MARK-MASQ"
    ));
    for (at, address) in endpoints.iter().enumerate() {
        let endpoint = format!("KUBE-SEP-{}", hash(number, at as u32 + 1));
        chain(&endpoint);
        let left = endpoints.len() - at;
        let chance = match left {
            1 => String::new(),
            _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
        };
        let comment = format!("\"{name} -> {address}:{TARGET_PORT}\"");
        rule(format_args!("-A {service} -m comment --comment {comment} {chance}-j {endpoint}"));
        let own = format!("-A {endpoint} -m comment --comment {name}");
        rule(format_args!("{own} -s {address}/32 -j KUBE-MARK-MASQ"));
        rule(format_args!("{own} -m tcp -p tcp -j DNAT --to-destination {address}:{TARGET_PORT}"));
    }
}
