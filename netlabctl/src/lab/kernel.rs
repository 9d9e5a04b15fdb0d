// SPDX-License-Identifier: GPL-3.0-or-later
//! Carries steps out, and looks at what there is. Makes no choice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlab_link::{
    Address, Batch, Bridge, IfIndex, IfName, LinkAddr, LinkChange, LinkRef, Netns, Request, Route,
    RouteFilter, RouteSocket, Veth, VethEnd, mark, sysctl,
};

use super::difference::{Observed, ObservedMachine};
use super::folder::Folder;
use super::plan::ROUTER;
use super::process::Namespaces;
use super::step::{NO_DETECTION, Step, What};
use super::{cgroup, failed};
use crate::failure::Failure;

/// `RTPROT_STATIC`: routes of machines are not those that a node's daemon keeps.
const STATIC: u8 = 4;

/// Whether a machine forwards is told by this.
const FORWARDING: &str = "net/ipv4/conf/all/forwarding";

/// Namespaces of a lab, opened.
pub(crate) type Opened = BTreeMap<String, Arc<Netns>>;

/// What there is of a lab.
pub(crate) fn observe(folder: &Folder) -> Result<Observed, Failure> {
    let names = netlab_link::netns::list_pins(&folder.pins()).map_err(super::failed)?;
    let names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    let found = side_by_side(&names, |name| {
        // A file that lost its mount, or never got one, is no namespace.
        let Ok(netns) = Netns::open(&folder.pin(name)) else { return Ok(None) };
        observe_machine(&netns, name == ROUTER).map(|machine| Some((name.clone(), machine)))
    })?;
    let daemons = Namespaces::of(folder, None).daemons();
    Ok(Observed {
        machines: found.into_iter().flatten().collect(),
        daemons: daemons.into_keys().collect(),
    })
}

fn observe_machine(netns: &Netns, is_router: bool) -> Result<ObservedMachine, Failure> {
    let mut socket = RouteSocket::open_in(netns).map_err(failed)?;
    let links = socket.list_links().map_err(failed)?;
    let names: BTreeMap<IfIndex, String> =
        links.iter().map(|link| (link.index, link.name.to_string())).collect();
    let addresses = socket.list_addresses().map_err(failed)?;
    let routes = socket
        .list_routes(RouteFilter { protocol: Some(STATIC), ..RouteFilter::default() })
        .map_err(failed)?;
    Ok(ObservedMachine {
        links: links.iter().map(|link| (link.name.to_string(), link.up)).collect(),
        addresses: addresses
            .iter()
            .filter_map(|address| Some((names.get(&address.dev)?.clone(), address.address)))
            .collect(),
        gateways: routes.iter().filter(|r| r.is_default()).filter_map(|r| r.via).collect(),
        forwards: is_router && sysctl::read(netns, FORWARDING).is_ok_and(|value| value == "1"),
    })
}

/// Carries steps out, but for those that start daemons; gives all namespaces of the lab.
pub(crate) fn apply(folder: &Folder, steps: &[Step]) -> Result<Opened, Failure> {
    for step in steps.iter().filter(|step| step.what == What::Remove) {
        remove_machine(folder, &step.machine)?;
    }
    let new: Vec<&str> = steps
        .iter()
        .filter(|step| step.what == What::AddNetns)
        .map(|step| step.machine.as_str())
        .collect();
    let made = side_by_side(&new, |name| add_netns(folder, name))?;
    let mut opened: Opened = made.into_iter().collect();
    let names = netlab_link::netns::list_pins(&folder.pins()).map_err(super::failed)?;
    for name in names.into_iter().filter_map(|name| name.into_string().ok()) {
        if let Entry::Vacant(missing) = opened.entry(name) {
            let netns = Netns::open(&folder.pin(missing.key())).map_err(failed)?;
            missing.insert(Arc::new(netns));
        }
    }
    // Cables end in the machines, so the router's part comes first, and as one batch.
    let of_router: Vec<&Step> = steps.iter().filter(|step| step.is_router()).collect();
    carry_out(&opened, ROUTER, &of_router)?;
    let mut of_machines: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps.iter().filter(|step| !step.is_router()) {
        of_machines.entry(&step.machine).or_default().push(step);
    }
    let of_machines: Vec<_> = of_machines.into_iter().collect();
    side_by_side(&of_machines, |(name, steps)| carry_out(&opened, name, steps))?;
    Ok(opened)
}

fn add_netns(folder: &Folder, name: &str) -> Result<(String, Arc<Netns>), Failure> {
    // A pin without a namespace, from a command that was killed.
    netlab_link::netns::unpin(&folder.pin(name)).map_err(failed)?;
    let netns = Netns::create().map_err(failed)?;
    let mut socket = RouteSocket::open_in(&netns).map_err(failed)?;
    let up = LinkChange { up: Some(true), ..LinkChange::of(mark::LOOPBACK_INDEX) };
    socket.request(Request::SetLink(up)).map_err(failed)?;
    match sysctl::ensure(&netns, &format!("net/{NO_DETECTION}"), "0") {
        // A kernel without IPv6 has none of its settings.
        Err(error) if error.is_not_found() => {}
        done => drop(done.map_err(failed)?),
    }
    netns.pin(&folder.pin(name)).map_err(failed)?;
    Ok((name.to_owned(), Arc::new(netns)))
}

/// Ends what is in a machine, and removes it with all that belongs to it.
fn remove_machine(folder: &Folder, name: &str) -> Result<(), Failure> {
    Namespaces::of(folder, Some(name)).kill()?;
    let run_dir = folder.run_dir(name);
    let pins = run_dir.join("pins");
    while nix::mount::umount2(&pins, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    cgroup::remove(&run_dir)?;
    for dir in [run_dir, folder.node(name)] {
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("failed to remove `{}`: {error}", dir.display());
                return Err(Failure::failed(text));
            }
            _ => {}
        }
    }
    netlab_link::netns::unpin(&folder.pin(name)).map_err(failed)
}

/// Carries out the steps of one machine: one batch, and then its settings.
fn carry_out(opened: &Opened, machine: &str, steps: &[&Step]) -> Result<(), Failure> {
    let Some(netns) = opened.get(machine) else { return Ok(()) };
    let mut batch = Batch::new();
    for step in steps {
        requests(opened, &step.what, &mut batch)?;
    }
    if !batch.is_empty() {
        let mut socket = RouteSocket::open_in(netns).map_err(failed)?;
        let outcome = socket.send(&batch).map_err(failed)?;
        // A link that is to go may have gone with its namespace.
        let gone = |error: &netlab_link::KernelError| {
            error.is_not_found() && error.request().contains(" del ")
        };
        outcome.ignore(gone).check().map_err(|error| {
            Failure::failed(format!("failed to build machine `{machine}`: {error}"))
        })?;
    }
    for step in steps {
        if let What::SetSysctl { name, value } = &step.what {
            match sysctl::ensure(netns, name, value) {
                // A kernel without IPv6 has none of its settings.
                Err(error) if error.is_not_found() => {}
                done => drop(done.map_err(failed)?),
            }
        }
    }
    Ok(())
}

/// What a step asks of the kernel.
fn requests(opened: &Opened, what: &What, batch: &mut Batch) -> Result<(), Failure> {
    match what {
        What::Remove | What::AddNetns | What::SetSysctl { .. } | What::StartDaemon { .. } => {}
        What::DelLink { dev } => batch.del_link(LinkRef::Name(named(dev)?)),
        What::AddBridge { bridge, index, mtu } => {
            let (name, index) = (named(bridge)?, IfIndex::new(*index));
            batch.push(Request::AddBridge(Bridge { name, index }));
            let (mtu, up) = (Some(*mtu), Some(true));
            batch.set_link(LinkChange { mtu, up, ..LinkChange::of(index) });
        }
        What::AddCable { peer, peer_index, bridge_index, to, dev, index, mac, mtu, .. } => {
            let far: LinkAddr = mac.parse().map_err(failed)?;
            let netns = opened
                .get(to)
                .ok_or_else(|| Failure::failed(format!("BUG: machine `{to}` has no namespace")))?;
            let name = named(peer)?;
            batch.add_veth(Veth {
                near: VethEnd {
                    name: name.clone(),
                    index: Some(IfIndex::new(*peer_index)),
                    mac: port_mac(far),
                    group: 0,
                },
                far: VethEnd {
                    name: named(dev)?,
                    index: Some(IfIndex::new(*index)),
                    mac: far,
                    group: 0,
                },
                far_netns: Some(Arc::clone(netns)),
                mtu: *mtu,
            });
            batch.set_link(LinkChange {
                bridge: Some(IfIndex::new(*bridge_index)),
                up: Some(true),
                ..LinkChange::of(name)
            });
        }
        What::SetAddress { index, address, .. } => {
            batch.set_address(Address { dev: IfIndex::new(*index), address: *address });
        }
        What::DelAddress { index, address, .. } => {
            batch.del_address(Address { dev: IfIndex::new(*index), address: *address });
        }
        What::SetUp { index, .. } => {
            let dev = IfIndex::new(*index);
            batch.set_link(LinkChange { up: Some(true), ..LinkChange::of(dev) });
        }
        What::SetDefaultRoute { index, via, .. } => {
            let all: IpNet = match via.is_ipv4() {
                true => Ipv4Net::default().into(),
                false => Ipv6Net::default().into(),
            };
            let route = Route::new(all, IfIndex::new(*index)).via(*via);
            batch.set_route(Route { protocol: STATIC, ..route });
        }
    }
    Ok(())
}

/// MAC of the bridge's end of a cable: that of the machine with another first byte. The bridge
/// itself takes the lowest one of its ports.
fn port_mac(mac: LinkAddr) -> LinkAddr {
    let mut bytes = mac.octets();
    bytes[0] |= 0x04;
    LinkAddr::new(bytes)
}

fn named(name: &str) -> Result<IfName, Failure> {
    IfName::new(name).map_err(failed)
}

/// Does something for each of many, a few at a time, and gives the results in order. The first
/// failure is the result.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    all: &[T],
    each: impl Fn(&T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get());
    let share = all.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let each = &each;
        let work: Vec<_> = all
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(each).collect::<Result<Vec<R>, _>>()))
            .collect();
        let mut results = Vec::with_capacity(all.len());
        for thread in work {
            match thread.join() {
                Ok(part) => results.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
}
