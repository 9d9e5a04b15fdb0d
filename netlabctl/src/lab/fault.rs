// SPDX-License-Identifier: GPL-3.0-or-later
//! Faults of links and between machines: what is wanted of each, and how the kernel is told.
//!
//! A link is made worse at both of its ends, so each direction is. Two machines are parted by a
//! permanent neighbour entry, in each of them, that leads to a MAC address nobody has: whatever
//! goes there is lost in silence, as on a network that is cut, and so is all that is routed by way
//! of it or wrapped into packets for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use netlab_api::lab::{Faults, Percent, Rate, Span};
use netlab_link::{
    Batch, IfIndex, LinkAddr, LinkChange, Neighbour, Netem, Netns, Qdisc, QdiscKind, Request,
    Route, RouteSocket, mark,
};
use nix::errno::Errno;

use super::failed;
use super::folder::Folder;
use super::kernel::Opened;
use super::plan::{self, Machine, Pair, Plan, Port, ROUTER};
use super::state::State;
use crate::failure::Failure;

/// Where packets for a machine go that is parted from this one. Locally administered.
const NOBODY: LinkAddr = LinkAddr::new([0x02, 0x6e, 0x6c, 0xff, 0xff, 0xff]);

/// `RTPROT_STATIC`.
const STATIC: u8 = 4;

/// `n1/lan`.
pub(crate) fn key(machine: &str, network: &str) -> String {
    format!("{machine}/{network}")
}

/// Forgets what was to last until now.
pub(crate) fn expire(state: &mut State, now: u64) {
    state.links.retain(|wish| wish.until.is_none_or(|until| until > now));
    state.pairs.retain(|wish| wish.until.is_none_or(|until| until > now));
}

/// When the next thing ends that was to last for a time.
pub(crate) fn next_end(state: &State) -> Option<u64> {
    let links = state.links.iter().filter_map(|wish| wish.until);
    links.chain(state.pairs.iter().filter_map(|wish| wish.until)).min()
}

/// What is wanted of each link that has something wrong with it: what the command line said, or
/// else the file.
pub(crate) fn wanted_links(state: &State) -> BTreeMap<String, Faults> {
    let mut wanted = BTreeMap::new();
    for machine in &state.plan.machines {
        for port in &machine.ports {
            let said = state
                .links
                .iter()
                .rev()
                .find(|wish| wish.machine == machine.name && wish.network == port.network);
            let faults = said.map_or(&port.faults, |wish| &wish.faults);
            if !faults.is_none() {
                wanted.insert(key(&machine.name, &port.network), faults.clone());
            }
        }
    }
    wanted
}

/// Pairs that are to be parted.
pub(crate) fn wanted_pairs(state: &State) -> BTreeSet<Pair> {
    let mut wanted = plan::partitions(&state.lab);
    for wish in &state.pairs {
        match wish.is_parted {
            true => wanted.insert(wish.pair.clone()),
            false => wanted.remove(&wish.pair),
        };
    }
    let is_there = |name: &str| state.plan.machine(name).is_some();
    wanted.retain(|(one, other)| is_there(one) && is_there(other));
    wanted
}

/// Makes links and pairs as they are wanted. What is done is written down before and after, so a
/// command that is killed in between leaves nothing unknown.
pub(crate) fn apply(folder: &Folder, state: &mut State, opened: &Opened) -> Result<(), Failure> {
    let (links, pairs) = (wanted_links(state), wanted_pairs(state));
    if links == state.done_links && pairs == state.done_pairs {
        return Ok(());
    }
    let (before_links, before_pairs) = (state.done_links.clone(), state.done_pairs.clone());
    // Both the old and the new may be there until this is done.
    state.done_pairs.extend(pairs.iter().cloned());
    for key in before_links.keys().chain(links.keys()) {
        state.done_links.insert(key.clone(), Faults { down: true, ..Faults::default() });
    }
    folder.save(state)?;
    let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
    for machine in &state.plan.machines {
        for port in &machine.ports {
            let key = key(&machine.name, &port.network);
            let none = Faults::default();
            let (old, new) = (before_links.get(&key), links.get(&key));
            if old != new {
                change_link(machine, port, new.unwrap_or(&none), &mut batches);
            }
        }
    }
    for gone in before_pairs.difference(&pairs) {
        change_pair(&state.plan, gone, false, &mut batches);
    }
    for new in pairs.difference(&before_pairs) {
        change_pair(&state.plan, new, true, &mut batches);
    }
    for (machine, batch) in &batches {
        send(opened, machine, batch)?;
    }
    (state.done_links, state.done_pairs) = (links, pairs);
    folder.save(state)
}

/// Heals all pairs that one of these machines is in: they are about to go.
pub(crate) fn heal(state: &mut State, machines: &BTreeSet<&str>, opened: &Opened) {
    let is_meant =
        |(one, other): &Pair| machines.contains(one.as_str()) || machines.contains(other.as_str());
    let mut batches = BTreeMap::new();
    for pair in state.done_pairs.iter().filter(|pair| is_meant(pair)) {
        change_pair(&state.plan, pair, false, &mut batches);
    }
    for (machine, batch) in &batches {
        // What cannot be healed goes with its namespace.
        send(opened, machine, batch).ok();
    }
    state.done_pairs.retain(|pair| !is_meant(pair));
    state.done_links.retain(|key, _| {
        key.split_once('/').is_none_or(|(machine, _)| !machines.contains(machine))
    });
}

fn send(opened: &Opened, machine: &str, batch: &Batch) -> Result<(), Failure> {
    let Some(netns) = opened.get(machine) else { return Ok(()) };
    let mut socket = RouteSocket::open_in(netns).map_err(failed)?;
    let outcome = socket.send(batch).map_err(failed)?;
    // What is to go may be gone: a link without a qdisc of its own answers EINVAL or ENOENT.
    let gone = |error: &netlab_link::KernelError| {
        let is_removal = error.request().contains(" del ");
        is_removal && (error.is_not_found() || error.errno() == Errno::EINVAL)
    };
    outcome.ignore(gone).check().map_err(|error| {
        Failure::failed(format!("failed to change the links of `{machine}`: {error}"))
    })
}

fn change_link(
    machine: &Machine,
    port: &Port,
    faults: &Faults,
    batches: &mut BTreeMap<String, Batch>,
) {
    let peer = IfIndex::new(port.peer_index);
    let ends = [(ROUTER, peer), (machine.name.as_str(), port.index())];
    for (machine, dev) in ends {
        let batch = batches.entry(machine.to_owned()).or_default();
        batch.push(match qdisc(faults) {
            Some(kind) => Request::SetQdisc(Qdisc { dev, kind }),
            None => Request::DelQdisc(dev),
        });
    }
    // At the router's end, so that the machine sees a cable without a carrier.
    let change = LinkChange { up: Some(!faults.down), ..LinkChange::of(peer) };
    batches.entry(ROUTER.to_owned()).or_default().set_link(change);
}

fn qdisc(faults: &Faults) -> Option<QdiscKind> {
    let Faults { rate, delay, jitter, loss, duplicate, reorder, .. } = faults;
    let share = |share: &Option<Percent>| share.map_or(0, |Percent(millionths)| millionths);
    let time = |time: &Option<Span>| time.map_or(Duration::ZERO, Span::duration);
    let rate = rate.map_or(0, |Rate(rate)| rate);
    if faults.needs_netem() {
        return Some(QdiscKind::Netem(Netem {
            delay: time(delay),
            jitter: time(jitter),
            loss: share(loss),
            duplicate: share(duplicate),
            reorder: share(reorder),
            rate,
        }));
    }
    (rate > 0).then_some(QdiscKind::Tbf { rate })
}

/// Parts two machines, or lets them hear of each other again.
fn change_pair(
    plan: &Plan,
    (one, other): &Pair,
    is_parted: bool,
    batches: &mut BTreeMap<String, Batch>,
) {
    let (Some(one), Some(other)) = (plan.machine(one), plan.machine(other)) else { return };
    for (from, to) in [(one, other), (other, one)] {
        let batch = batches.entry(from.name.clone()).or_default();
        for port in &to.ports {
            for address in port.addresses.iter().map(ipnet::IpNet::addr) {
                lose(from, &port.network, address, is_parted, batch);
            }
        }
    }
}

fn lose(from: &Machine, network: &str, address: IpAddr, is_parted: bool, batch: &mut Batch) {
    let beside = from.port(Some(network));
    let Some(port) = beside.or_else(|| from.port(None)) else { return };
    let neighbour = Neighbour { dev: port.index(), address, mac: NOBODY };
    // Behind the router it is made a neighbour first, whose MAC is then nobody's.
    let route = Route { protocol: STATIC, ..Route::host(address, port.index()) };
    match (is_parted, beside.is_some()) {
        (true, true) => batch.set_neighbour(neighbour),
        (true, false) => {
            batch.set_neighbour(neighbour);
            batch.set_route(route);
        }
        (false, true) => batch.del_neighbour(neighbour),
        (false, false) => {
            batch.del_route(route);
            batch.del_neighbour(neighbour);
        }
    }
}

/// Whether the kernel can do what is wanted, tried in a namespace that is gone right after.
pub(crate) fn check<'a>(all: impl IntoIterator<Item = &'a Faults>) -> Result<(), Failure> {
    let kinds: BTreeSet<QdiscKind> = all.into_iter().filter_map(qdisc).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    let netns = Netns::create().map_err(failed)?;
    let mut socket = RouteSocket::open_in(&netns).map_err(failed)?;
    for kind in kinds {
        let module = match &kind {
            QdiscKind::Tbf { .. } => "sch_tbf",
            QdiscKind::Netem(_) => "sch_netem",
        };
        let qdisc = Qdisc { dev: mark::LOOPBACK_INDEX, kind };
        match socket.request(Request::SetQdisc(qdisc)) {
            Ok(()) => {}
            Err(error) if error.kernel_error().is_some_and(|error| error.is_not_found()) => {
                let what = match module {
                    "sch_tbf" => "a rate",
                    _ => "delay, jitter, loss, duplicates and reordering",
                };
                return Err(Failure::failed(format!(
                    "this kernel has no `{module}`, which {what} need{}",
                    if module == "sch_tbf" { "s" } else { "" }
                ))
                .with_hint(format!(
                    "`modprobe {module}`, or a kernel with it: Debian has it in linux-image-amd64"
                )));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
