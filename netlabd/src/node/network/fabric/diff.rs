// SPDX-License-Identifier: GPL-3.0-or-later
//! What leads from one state to another without a packet being lost on the way. Pure.
//!
//! What packets need comes before what sends them there, and goes after it:
//!
//! ```text
//!   devices ─► their addresses, neighbours, entries ─► routes, each replaced in one step
//!                                                  ─► routes that go ─► entries that go
//! ```
//!
//! Devices that are no longer wanted are named and not deleted: other nodes may still send to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use netlab_link::{Batch, IfIndex, IfName, LinkChange, LinkRef, Request};

use super::plan::{Device, State};

/// What to do, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// Devices that cannot become what they must be: to be deleted first.
    pub unfit: Vec<IfName>,
    /// Devices to be made.
    pub made: Vec<Device>,
    /// Devices, made just now or before, whose checksums are not to be left to the uplink.
    pub offloads: Vec<IfName>,
    /// The rest.
    pub batch: Batch,
    /// Devices that nobody needs any more.
    pub retired: Vec<IfName>,
    /// What was missing or wrong, for people. What is only too much is not named.
    pub missing: Vec<String>,
}

impl Difference {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { unfit, made, offloads, batch, retired, missing: _ } = self;
        unfit.is_empty()
            && made.is_empty()
            && offloads.is_empty()
            && batch.is_empty()
            && retired.is_empty()
    }

    /// What is asked before the devices' offloads can be set.
    pub fn plan_devices(&self) -> Batch {
        let unfit = self.unfit.iter().cloned().map(|name| Request::DelLink(LinkRef::Name(name)));
        let made = self.made.iter().map(|device| Request::AddVxlan(device.vxlan.clone()));
        unfit.chain(made).collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan_devices().fmt(f)?;
        self.offloads.iter().try_for_each(|name| writeln!(f, "ethtool -K {name} tx off"))?;
        self.batch.fmt(f)?;
        self.retired.iter().try_for_each(|name| writeln!(f, "# later: ip link del dev {name}"))
    }
}

/// Compares two states. What `from` has on a device that is to go is left to go with it.
pub fn diff(from: &State, to: &State) -> Difference {
    let mut difference = Difference::default();
    for (name, wanted) in &to.devices {
        match from.devices.get(name) {
            Some(now) if now.can_become(wanted) => difference.change(now, wanted),
            now => difference.make(now, wanted),
        }
    }
    difference.retired =
        from.devices.keys().filter(|name| !to.devices.contains_key(*name)).cloned().collect();
    // What is on these is as good as not there, and goes by itself.
    let gone: BTreeSet<IfIndex> = from
        .devices
        .iter()
        .filter(|(name, _)| difference.unfit.contains(name) || !to.devices.contains_key(*name))
        .map(|(_, device)| device.vxlan.index)
        .collect();

    for address in wanted(&from.addresses, &to.addresses, |it| gone.contains(&it.dev)) {
        difference.lack(Request::SetAddress(*address), format!("address {}", address.address));
    }
    for it in wanted(&from.neighbours, &to.neighbours, |it| gone.contains(&it.dev)) {
        difference.lack(Request::SetNeighbour(*it), format!("neighbour {}", it.address));
    }
    for entry in wanted(&from.fdb, &to.fdb, |it| gone.contains(&it.dev)) {
        let what = format!("forwarding entry {} to {}", entry.mac, entry.remote);
        difference.lack(Request::SetFdb(*entry), what);
    }
    let unfit: BTreeSet<IfIndex> =
        difference.unfit.iter().map(|name| from.devices[name].vxlan.index).collect();
    for (block, route) in &to.routes {
        let request = match from.routes.get(block) {
            Some(now) if now == route && !over(now.dev, &unfit) => continue,
            // It goes with its device, before the others are looked at.
            Some(now) if over(now.dev, &unfit) => Request::AddRoute(route.clone()),
            Some(_) => Request::SetRoute(route.clone()),
            // Not in place of whatever is there: that would be another's.
            None => Request::AddRoute(route.clone()),
        };
        difference.lack(request, format!("route {block}"));
    }

    for route in unwanted(&from.routes, &to.routes, |it| over(it.dev, &unfit)) {
        difference.batch.del_route(route.clone());
    }
    for entry in unwanted(&from.fdb, &to.fdb, |it| gone.contains(&it.dev)) {
        difference.batch.del_fdb(*entry);
    }
    for neighbour in unwanted(&from.neighbours, &to.neighbours, |it| gone.contains(&it.dev)) {
        difference.batch.del_neighbour(*neighbour);
    }
    for address in unwanted(&from.addresses, &to.addresses, |it| gone.contains(&it.dev)) {
        difference.batch.del_address(*address);
    }
    difference
}

fn over(dev: Option<IfIndex>, devices: &BTreeSet<IfIndex>) -> bool {
    dev.is_some_and(|dev| devices.contains(&dev))
}

/// What must be written: it is not there, is another, or goes with its device.
fn wanted<'a, K: Ord, V: PartialEq>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
    gone: impl Fn(&V) -> bool + 'a,
) -> impl Iterator<Item = &'a V> {
    to.iter()
        .filter(move |(key, value)| from.get(key).is_none_or(|now| now != *value || gone(now)))
        .map(|(_, value)| value)
}

/// What must be deleted: it is not wanted, and does not go with its device.
fn unwanted<'a, K: Ord, V>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
    gone: impl Fn(&V) -> bool + 'a,
) -> impl Iterator<Item = &'a V> {
    from.iter()
        .filter(move |(key, value)| !to.contains_key(key) && !gone(value))
        .map(|(_, value)| value)
}

impl Device {
    /// Whether what differs can be changed on a device that is there.
    fn can_become(&self, wanted: &Self) -> bool {
        let (now, wanted) = (&self.vxlan, &wanted.vxlan);
        let family = |it: &netlab_link::Vxlan| it.local.map(|local| local.is_ipv6());
        now.index == wanted.index
            && now.vni == wanted.vni
            && now.port == wanted.port
            && now.learning == wanted.learning
            && family(now) == family(wanted)
    }
}

impl Difference {
    fn lack(&mut self, request: Request, what: String) {
        self.batch.push(request);
        self.missing.push(what);
    }

    fn make(&mut self, now: Option<&Device>, wanted: &Device) {
        let name = &wanted.vxlan.name;
        if now.is_some() {
            self.unfit.push(name.clone());
        }
        self.made.push(wanted.clone());
        self.offloads.push(name.clone());
        self.batch.extend(wanted.plan_up());
        self.missing.push(format!("link {name}"));
    }

    fn change(&mut self, now: &Device, wanted: &Device) {
        let (there, vxlan) = (&now.vxlan, &wanted.vxlan);
        let name = &vxlan.name;
        if now.checksum_offload {
            self.offloads.push(name.clone());
            self.missing.push(format!("checksums of link {name} (they were left to the device)"));
        }
        if there.local != vxlan.local {
            let what = format!("local address of link {name}");
            self.lack(Request::SetVxlanLocal(vxlan.clone()), what);
        }
        let mut change = LinkChange::of(vxlan.index);
        if there.mtu != vxlan.mtu {
            change.mtu = Some(vxlan.mtu);
            self.missing.push(format!("mtu {} of link {name}", vxlan.mtu));
        }
        if there.mac != vxlan.mac {
            change.mac = Some(vxlan.mac);
            self.missing.push(format!("address {} of link {name}", vxlan.mac));
        }
        if change != LinkChange::of(vxlan.index) {
            self.batch.set_link(change);
        }
        if !now.up {
            self.batch.extend(wanted.plan_up());
            self.missing.push(format!("link {name} (it was down)"));
        }
    }
}
