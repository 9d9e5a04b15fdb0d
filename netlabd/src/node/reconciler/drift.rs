// SPDX-License-Identifier: GPL-3.0-or-later
//! What somebody else took away, and how it comes back.

use std::time::Duration;

use netlab_api::event::EventKind;
use netlab_link::monitor::What;
use netlab_link::{Change, Event, IfIndex, Monitor, PodLinkId, mark};
use tokio::time::Instant;

use super::{Input, MachineError, Reconciler};
use crate::error::chain;
use crate::node::forwarding;
use crate::node::network::apply::{Wanted, host_links};
use crate::node::rules::Rules;

/// How long after the first sign of drift it is looked at: who removes one thing often removes
/// more, and a link that is moved is deleted and made.
const PAUSE: Duration = Duration::from_millis(20);

/// Changes of rules are listened to so long after the first services were programmed: what was done
/// in between is looked for, which takes as long again and is not for the start to wait for.
pub(super) const LISTEN_AFTER: Duration = Duration::from_millis(200);

/// Without services they are listened to after so long: a joined node may wait long for its server.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until the first sign of drift is a moment old, however much happens meanwhile.
pub(super) async fn pause(first_sign: Option<Instant>) {
    match first_sign {
        Some(first_sign) => tokio::time::sleep_until(first_sign + PAUSE).await,
        None => std::future::pending().await,
    }
}

/// Waits until nothing has happened for a while.
pub(super) async fn leisure() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

impl Reconciler {
    /// Hears of what goes in the node's namespace and in those of its pods.
    pub(super) fn listen_for_drift(&mut self) -> Result<(), MachineError> {
        let look = |source| MachineError::Look { source };
        let mut links = Monitor::open(&self.machine.netns).map_err(|e| look(e.into()))?;
        let input = self.input.clone();
        tokio::spawn(async move {
            loop {
                match links.next().await {
                    Ok(event) => {
                        if input.send(Input::Drift(event)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "drift of links goes unheard");
                        return;
                    }
                }
            }
        });
        let mut own = Rules::open(&self.machine.config()).map_err(|e| look(e.into()))?;
        own.set_names(&self.machine.names.plan().addresses);
        self.rules = Some(own);
        self.listen_to_rules_after(PATIENCE);
        Ok(())
    }

    /// Listens to changes of rules in a while.
    pub(super) fn listen_to_rules_after(&self, time: Duration) {
        if self.hears_rules {
            return;
        }
        let input = self.input.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // The loop ends only with the daemon.
            let _ = input.send(Input::ListenToRules);
        });
    }

    /// Hears of changes of our rules from here on, and looks at what was changed before.
    ///
    /// Not from the very start: while anybody listens the kernel writes a message for each element,
    /// which is a third of what it costs to write the rules of many services.
    pub(super) async fn listen_to_rules(&mut self) -> Result<(), MachineError> {
        let Some(own) = self.rules.as_ref().filter(|_| !self.hears_rules) else { return Ok(()) };
        self.hears_rules = true;
        // The start left much behind that nobody uses any more.
        self.inputs_since_rest += super::BURST;
        let rules = netlab_nft::Monitor::open(&[own.port()]);
        let mut rules = rules.map_err(|error| MachineError::Look { source: error.into() })?;
        let input = self.input.clone();
        tokio::spawn(async move {
            loop {
                match rules.next().await {
                    Ok(event) => {
                        if input.send(Input::Rules(event)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "drift of rules goes unheard");
                        return;
                    }
                }
            }
        });
        self.ensure_rules(false, None).await
    }

    /// Rules and sysctls as they must be. At the start a failure is the daemon's end: promising
    /// a network that does not work would be worse. `culprit` says who made it necessary.
    pub(super) async fn ensure_rules(
        &mut self,
        at_start: bool,
        culprit: Option<String>,
    ) -> Result<(), MachineError> {
        let machine = self.machine.clone();
        let journal = machine.options.state_dir.join(FORWARDING_JOURNAL);
        let forwarded =
            tokio::task::spawn_blocking(move || forwarding::ensure(&machine.netns, &journal)).await;
        match forwarded {
            Ok(Ok(())) => {}
            Ok(Err(error)) if at_start => return Err(MachineError::Look { source: error.into() }),
            Ok(Err(error)) => tracing::error!(error = %chain(&error), "the node may not forward"),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        let Some(rules) = &mut self.rules else { return Ok(()) };
        match rules.ensure() {
            Ok(None) => {}
            Ok(Some(difference)) if at_start => tracing::debug!("wrote rules:\n{difference}"),
            Ok(Some(difference)) => {
                tracing::warn!("put back rules that somebody else changed:\n{difference}");
                let tables: Vec<_> = ["ip netlab", "ip6 netlab"]
                    .into_iter()
                    .filter(|table| difference.contains(&format!(" {table}")))
                    .collect();
                let mut message = format!("Put back rules of table {}", tables.join(" and "));
                if let Some(culprit) = culprit {
                    message.push_str(&format!(": {culprit}"));
                }
                self.machine.node_event(EventKind::Warning, "RulesRepaired", message);
            }
            Err(error) if at_start => return Err(MachineError::Look { source: error.into() }),
            Err(error) => {
                tracing::error!(error = %chain(&error), "rules could not be put back");
            }
        }
        Ok(())
    }

    pub(super) async fn take_rules(&mut self, event: netlab_nft::Event) {
        match event {
            netlab_nft::Event::Changed(change) => tracing::info!("{change}"),
            netlab_nft::Event::Overflow => {
                tracing::info!("rules changed faster than they were read")
            }
        }
        if let Err(error) = self.ensure_rules(false, None).await {
            tracing::error!(error = %chain(&error), "rules could not be put back");
        }
    }

    pub(super) async fn take_drift(&mut self, event: Event) {
        self.note_drift(event).await;
        if !self.drifted.is_empty() {
            self.drifted_since.get_or_insert_with(Instant::now);
        }
    }

    async fn note_drift(&mut self, event: Event) {
        if self.fabric.as_ref().is_some_and(|fabric| fabric.concerns(&event)) {
            self.doubt_fabric = true;
            self.drifted_since.get_or_insert_with(Instant::now);
        }
        if self.anchor.as_ref().is_some_and(|anchor| anchor.concerns(&event)) {
            self.doubt_anchor = true;
            self.drifted_since.get_or_insert_with(Instant::now);
        }
        match event {
            Event::Overflow => self.drifted.extend(self.entries.keys().map(|uid| uid.to_string())),
            Event::Change(Change { nsid: None, what }) => {
                let uid = match what {
                    What::LinkDeleted { index, .. } => self.by_index.get(&index),
                    What::LinkChanged { index, up, mtu, .. } => {
                        self.by_index.get(&index).filter(|_| !up || mtu != self.mtu)
                    }
                    What::RouteDeleted(route) => route.dev.and_then(|dev| self.by_index.get(&dev)),
                    // The kernel forgets multicast neighbours of every link after a while.
                    What::NeighbourDeleted { dev, address } => self
                        .by_index
                        .get(&dev)
                        .filter(|uid| self.entries.get(&**uid).is_some_and(|e| e.has(address))),
                    What::AddressDeleted(_) | What::FdbDeleted(_) => None,
                };
                self.drifted.extend(uid.map(|uid| uid.to_string()));
            }
            Event::Change(Change { nsid: Some(nsid), what }) => {
                if let What::LinkChanged { name, up: true, mtu, .. } = &what
                    && (name.as_str() != mark::POD_IF_NAME || *mtu == self.mtu)
                {
                    return;
                }
                if let What::NeighbourDeleted { address, .. } = &what
                    && *address != mark::GATEWAY_V4
                    && *address != mark::GATEWAY_V6
                {
                    return;
                }
                if !self.by_nsid.contains_key(&nsid) {
                    self.number_namespaces().await;
                }
                self.drifted.extend(self.by_nsid.get(&nsid).cloned());
            }
        }
    }

    /// Finds out which number each pod's namespace has. Only asked for after a sign of drift
    /// inside one, which is rare.
    async fn number_namespaces(&mut self) {
        let links = self.links();
        self.by_nsid = self
            .machine
            .with_network(move |network| {
                let numbered = links.into_iter().filter_map(|(uid, wanted, id)| {
                    Some((network.nsid(&wanted.pod, id).ok()??, uid))
                });
                numbered.collect()
            })
            .await;
    }

    /// The links of pods that are to stay.
    pub(super) fn links(&self) -> Vec<(String, Wanted, PodLinkId)> {
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.removing)
            .filter_map(|(uid, entry)| Some((uid.to_string(), entry.wanted(), entry.link?.id)))
            .collect()
    }

    /// Looks at the pods whose links may have lost something, inside and out.
    pub(super) async fn mend_drift(&mut self) {
        self.drifted_since = None;
        if std::mem::take(&mut self.doubt_fabric) {
            self.repair_fabric();
        }
        if self.doubt_anchor {
            self.ensure_anchor();
        }
        let drifted = std::mem::take(&mut self.drifted);
        let mut links = self.links();
        links.retain(|(uid, ..)| drifted.contains(uid));
        self.mend(links, true).await;
    }

    /// A full look at the node's side of all links, at rules and at sysctls.
    pub(super) async fn resync(&mut self) {
        // What the kernel has, as it is compared, is as large as what is known of services and pods.
        // And a look goes through much of the program, while the next one is far away.
        let services = self.rules.as_ref().map_or(0, |rules| rules.services().ports().count());
        self.inputs_since_rest += services + self.entries.len();
        if let Err(error) = self.ensure_rules(false, None).await {
            tracing::error!(error = %chain(&error), "rules could not be checked");
        }
        self.repair_fabric();
        self.doubt_anchor = true;
        self.ensure_anchor();
        self.announce(true);
        self.serve_health().await;
        self.mend_names().await;
        self.mend(self.links(), false).await;
        self.stale_hosts.extend(self.hosts.keys().cloned());
        let unsettled = self.entries.iter().filter(|(_, entry)| !entry.is_settled());
        self.touched.extend(unsettled.map(|(uid, _)| uid.to_string()));
    }

    /// Puts back records and pins that somebody removed: nothing tells when they go.
    pub(super) async fn mend_names(&mut self) {
        let links = self.links();
        let machine = self.machine.clone();
        let mended = self.machine.with_network(move |network| {
            let named: Vec<_> =
                links.iter().map(|(_, wanted, id)| (wanted.pod.clone(), *id)).collect();
            let records = network.put_back_records(&named).unwrap_or_else(|error| {
                tracing::error!(error = %chain(&error), "records of links could not be put back");
                Vec::new()
            });
            let mut outcomes = Vec::new();
            for (uid, Wanted { pod, .. }, id) in links {
                if records.contains(&pod) {
                    outcomes.push((uid.clone(), Ok("record of its network namespace")));
                }
                if !network.is_pinned(id) {
                    let alive = machine.runtime.observe(&uid).ok().and_then(|o| o.alive);
                    let pinned = alive.map(|alive| network.pin_again(&pod, id, alive.pid));
                    outcomes.push((
                        uid,
                        match pinned {
                            Some(Ok(())) => Ok("pin of its network namespace"),
                            Some(Err(error)) => Err(Some(error)),
                            None => Err(None),
                        },
                    ));
                }
            }
            outcomes
        });
        for (uid, outcome) in mended.await {
            match outcome {
                Ok(what) => self.tell_mended(&uid, &[what.to_owned()]),
                Err(Some(error)) => self.tell_broken(&uid, chain(&error)),
                // The namespace went with its pin, so the pod gets another.
                Err(None) => {
                    let Some(entry) = self.entries.get_mut(&*uid) else { continue };
                    if let Some(link) = entry.link.take() {
                        self.by_index.remove(&link.host_index);
                    }
                    self.touched.insert(uid);
                }
            }
        }
    }

    async fn mend(&mut self, links: Vec<(String, Wanted, PodLinkId)>, look_inside: bool) {
        if links.is_empty() {
            return;
        }
        let mended = self
            .machine
            .with_network(move |network| {
                let node = network.observe()?;
                let hosts = host_links(&node);
                Ok::<_, crate::node::NetworkError>(
                    links
                        .into_iter()
                        .map(|(uid, wanted, id)| {
                            (uid, network.mend(&wanted, id, &node, &hosts, look_inside))
                        })
                        .collect::<Vec<_>>(),
                )
            })
            .await;
        match mended {
            Ok(mended) => {
                for (uid, result) in mended {
                    match result {
                        Ok((link, missing)) if !missing.is_empty() => {
                            self.by_nsid.clear();
                            self.set_link(&uid, link);
                            self.tell_mended(&uid, &missing);
                        }
                        Ok(_) => {}
                        Err(error) => self.tell_broken(&uid, chain(&error)),
                    }
                }
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "the node's links cannot be seen");
            }
        }
    }

    pub(super) fn tell_broken(&mut self, uid: &str, message: String) {
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.removing {
            return;
        }
        tracing::error!(pod = %entry.pod.full_name(), error = %message, "a pod's link is broken");
        self.machine.pod_event(&entry.pod.identity(), EventKind::Warning, "NetworkBroken", message);
    }

    /// Gives links the alias that tells people whose they are.
    pub(super) async fn name_links(&mut self) {
        let mut nameless = std::mem::take(&mut self.nameless);
        // A link that is gone by now has no index to name, or worse, its index is another's.
        let alive = |index: &IfIndex| self.by_index.contains_key(index);
        nameless.retain(|(index, _)| alive(index));
        let named = self.machine.with_network(move |network| network.name_links(&nameless)).await;
        if let Err(error) = named {
            tracing::debug!(error = %chain(&error), "links have no alias");
        }
    }
}

/// Where the node's former sysctls are kept, in the state folder.
pub(crate) const FORWARDING_JOURNAL: &str = "sysctls.json";
