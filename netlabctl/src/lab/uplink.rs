// SPDX-License-Identifier: GPL-3.0-or-later
//! The uplink of a lab: the one thing that touches the machine's own network, and only with
//! `uplink = true`. IPv4 alone.
//!
//! ```text
//!   n1 ── router ── uplink 172.29.x.2 ═══ 172.29.x.1 nlu…  machine  eth0 ── …
//!            └ masquerades the lab's networks    └ masquerades 172.29.x.0/30
//! ```
//!
//! On the machine there are then a veth, a table of nf_tables with one rule, and forwarding
//! switched on for that veth and for the interface of the default route. What that was before is
//! written down first, and put back by `lab down`.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use netlab_link::{
    Address, Batch, IfIndex, IfName, LinkAddr, LinkChange, LinkRef, Netns, Request, Route,
    RouteSocket, Veth, VethEnd, observe_uplink, sysctl,
};
use netlab_nft::{
    Base, Chain, ChainType, Comment, Expression, Family, Hook, Operator, Policy, Rule, Side,
    Step as NftStep, Table, TableName, Transaction,
};
use serde::{Deserialize, Serialize};

use super::failed;
use super::folder::{self, Folder};
use super::kernel::Opened;
use super::plan::{Plan, ROUTER, if_name};
use super::state::State;
use crate::failure::Failure;

/// The router's end.
const DEV: &str = "uplink";
/// Where the /30 of each lab's uplink is taken from.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 29, 0, 0), 16);
/// `RTPROT_STATIC`.
const STATIC: u8 = 4;

/// An uplink: how it is, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Uplink {
    /// The machine's end of the link.
    link: String,
    /// The network of the two ends.
    network: Ipv4Net,
    /// Settings of the machine that were changed, with what they were.
    before: Vec<(String, String)>,
}

impl Uplink {
    fn machine(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()) + 1)
    }

    fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()) + 2)
    }
}

/// Makes the uplink, or removes it, as the plan has it.
pub(crate) fn apply(folder: &Folder, state: &mut State, opened: &Opened) -> Result<(), Failure> {
    if !state.plan.uplink {
        return remove(folder, state);
    }
    let Some(router) = opened.get(ROUTER) else { return Ok(()) };
    let machine = Netns::current().map_err(failed)?;
    let mut socket = RouteSocket::open_in(&machine).map_err(failed)?;
    let uplink = match &state.uplink {
        Some(uplink) => uplink.clone(),
        None => {
            let uplink = choose(&state.plan, &mut socket)?;
            state.uplink = Some(uplink.clone());
            folder.save(state)?;
            uplink
        }
    };
    let links = socket.list_links().map_err(failed)?;
    if !links.iter().any(|link| link.name.as_str() == uplink.link) {
        join(&uplink, &mut socket, router)?;
    }
    let networks = state.plan.networks.iter().flat_map(|network| &network.router);
    let networks: Vec<IpNet> =
        networks.filter(|own| own.addr().is_ipv4()).map(IpNet::trunc).collect();
    let inside = masquerade(&table(DEV), &networks);
    let outside = masquerade(&table(&folder.name), &[uplink.network.into()]);
    for (netns, transaction) in [(&**router, inside), (&machine, outside)] {
        let commit = || netlab_nft::Socket::open()?.commit(&transaction);
        netns.run(commit).map_err(failed)?.map_err(failed)?;
    }
    forward(folder, state, &machine, &mut socket)
}

/// Names, and a network that nothing of the machine's is in.
fn choose(plan: &Plan, socket: &mut RouteSocket) -> Result<Uplink, Failure> {
    let taken = socket.list_addresses().map_err(failed)?;
    let is_free = |network: &Ipv4Net| {
        let all = IpNet::V4(*network);
        !taken
            .iter()
            .any(|other| other.address.contains(&all) || all.contains(&other.address.addr()))
    };
    let mut subnets = POOL.subnets(30).map_err(|error| Failure::failed(format!("BUG: {error}")))?;
    let network = subnets
        .find(is_free)
        .ok_or_else(|| Failure::failed(format!("no network of {POOL} is free for the uplink")))?;
    Ok(Uplink { link: if_name("nlu-", &plan.lab), network, before: Vec::new() })
}

/// The link, its addresses, and the router's default route.
fn join(
    uplink: &Uplink,
    socket: &mut RouteSocket,
    router: &std::sync::Arc<Netns>,
) -> Result<(), Failure> {
    let named = |name: &str| IfName::new(name).map_err(failed);
    let [.., high, low] = u32::from(uplink.network.network()).to_be_bytes();
    // The kernel chooses the numbers: it takes one for the far end only beside one for the near end.
    let end = |name, last| VethEnd {
        name,
        index: None,
        mac: LinkAddr::new([0x02, 0x6e, 0x6c, high, low, last]),
        group: 0,
    };
    let name = named(&uplink.link)?;
    socket
        .request(Request::AddVeth(Veth {
            near: end(name.clone(), 1),
            far: end(named(DEV)?, 2),
            far_netns: Some(std::sync::Arc::clone(router)),
            mtu: 1500,
        }))
        .map_err(failed)?;
    let own = index_of(socket, &uplink.link)?;
    let prefix = |address| IpNet::V4(Ipv4Net::new_assert(address, 30));
    let mut batch = Batch::new();
    batch.set_address(Address { dev: own, address: prefix(uplink.machine()) });
    batch.set_link(LinkChange { up: Some(true), ..LinkChange::of(own) });
    socket.send_all(&batch).map_err(failed)?;
    let mut socket = RouteSocket::open_in(router).map_err(failed)?;
    let dev = index_of(&mut socket, DEV)?;
    let mut batch = Batch::new();
    batch.set_address(Address { dev, address: prefix(uplink.router()) });
    batch.set_link(LinkChange { up: Some(true), ..LinkChange::of(dev) });
    let all = Route::new(Ipv4Net::default().into(), dev).via(uplink.machine().into());
    batch.set_route(Route { protocol: STATIC, ..all });
    socket.send_all(&batch).map_err(failed)
}

fn index_of(socket: &mut RouteSocket, name: &str) -> Result<IfIndex, Failure> {
    let links = socket.list_links().map_err(failed)?;
    let found = links.iter().find(|link| link.name.as_str() == name).map(|link| link.index);
    found.ok_or_else(|| Failure::failed(format!("link `{name}` is gone already")))
}

fn table(name: &str) -> TableName {
    TableName { family: Family::Ip, name: format!("netlab-lab-{name}") }
}

/// A table, made anew: what leaves these networks leaves with this machine's address.
fn masquerade(table: &TableName, networks: &[IpNet]) -> Transaction {
    let chain = table.chain("postrouting");
    let mut steps = vec![
        NftStep::AddTable(Table {
            name: table.clone(),
            comment: Comment::new("uplink of a lab: `netlabctl lab down` removes it"),
        }),
        NftStep::AddChain(Chain {
            name: chain.clone(),
            base: Some(Base {
                kind: ChainType::Nat,
                hook: Hook::Postrouting,
                priority: Base::SRCNAT,
                policy: Policy::Accept,
            }),
            comment: Comment::new("source addresses of packets that leave the lab"),
        }),
        NftStep::FlushChain(chain.clone()),
    ];
    for source in networks {
        let address = |side, operator, network| Expression::Address { side, operator, network };
        let mut expressions = vec![address(Side::Source, Operator::Is, *source)];
        let others = networks.iter().copied();
        expressions.extend(others.map(|other| address(Side::Destination, Operator::IsNot, other)));
        expressions.push(Expression::Masquerade { fully_random: true });
        let comment = Comment::new("no route outside leads back into a lab");
        steps.push(NftStep::AddRule(Rule { chain: chain.clone(), expressions, comment }));
    }
    Transaction { steps }
}

/// Lets the machine forward between the lab and its own default route.
fn forward(
    folder: &Folder,
    state: &mut State,
    machine: &Netns,
    socket: &mut RouteSocket,
) -> Result<(), Failure> {
    let Some(uplink) = &mut state.uplink else { return Ok(()) };
    let own = format!("net/ipv4/conf/{}/forwarding", uplink.link);
    let out = observe_uplink(socket).map_err(failed)?;
    let out = out.map(|found| format!("net/ipv4/conf/{}/forwarding", found.link.name));
    if let Some(name) = &out {
        let now = sysctl::read(machine, name).map_err(failed)?;
        if now != "1" && !uplink.before.iter().any(|(noted, _)| noted == name) {
            uplink.before.push((name.clone(), now));
            folder.save(state)?;
        }
    }
    for name in [Some(own), out].into_iter().flatten() {
        sysctl::ensure(machine, &name, "1").map_err(failed)?;
    }
    Ok(())
}

/// Removes the uplink, and puts back what was changed for it.
pub(crate) fn remove(folder: &Folder, state: &mut State) -> Result<(), Failure> {
    let Some(uplink) = &state.uplink else { return Ok(()) };
    let machine = Netns::current().map_err(failed)?;
    let mut socket = RouteSocket::open_in(&machine).map_err(failed)?;
    let link = LinkRef::Name(IfName::new(uplink.link.as_str()).map_err(failed)?);
    match socket.request(Request::DelLink(link)) {
        Err(error) if !error.kernel_error().is_some_and(|error| error.is_not_found()) => {
            return Err(failed(error));
        }
        _ => {}
    }
    let steps = vec![NftStep::DeleteTable(table(&folder.name))];
    let commit = || netlab_nft::Socket::open()?.commit(&Transaction { steps });
    match machine.run(commit).map_err(failed)? {
        Err(error) if !error.is_not_found() => return Err(failed(error)),
        _ => {}
    }
    // What another lab needs stays, and becomes that lab's to put back.
    let mut heirs = folder::list().into_iter().filter(|other| other.name != folder.name);
    let heir = heirs.find_map(|other| {
        let state = other.state().ok().flatten()?;
        state.uplink.is_some().then_some((other, state))
    });
    match heir {
        Some((other, mut theirs)) => {
            let Some(their) = &mut theirs.uplink else { return Ok(()) };
            their.before.extend(uplink.before.iter().cloned());
            other.save(&theirs)?;
        }
        None => {
            for (name, value) in &uplink.before {
                match sysctl::ensure(&machine, name, value) {
                    Err(error) if !error.is_not_found() => return Err(failed(error)),
                    _ => {}
                }
            }
        }
    }
    state.uplink = None;
    Ok(())
}
