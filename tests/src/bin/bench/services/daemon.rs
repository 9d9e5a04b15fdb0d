// SPDX-License-Identifier: GPL-3.0-or-later
//! Services through the whole daemon: from a call of its API until the kernel has it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use netlab_api::Object;
use nix::sys::signal::Signal;
use serde_json::json;

use super::Sizes;
use super::fleet::{Fleet, service, slice};
use crate::api::{Api, revision};
use crate::cluster::Cluster;
use crate::process;
use crate::sandbox::RUN_DIR;

/// Services of one request: some MiB are the most that the daemon takes.
const TOGETHER: u32 = 500;

/// How often the daemon is started.
const STARTS: usize = 5;

/// After so long at rest the daemon has given back what it used for a while.
const REST: Duration = Duration::from_secs(3);

/// What the daemon took.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// All of them applied, until the kernel has them.
    pub(super) applied: Duration,
    pub(super) changed: Vec<Duration>,
    pub(super) added: Vec<Duration>,
    pub(super) removed: Vec<Duration>,
    /// A write that no kernel is concerned with, until it is said to be programmed.
    pub(super) unconcerned: Vec<Duration>,
    /// A request that writes nothing.
    pub(super) asked: Vec<Duration>,
    /// Memory once all changes were made.
    pub(super) resident: u64,
    pub(super) proportional: u64,
    /// The same of a daemon that was just started.
    pub(super) resident_of_new: u64,
    /// Starts with an empty kernel.
    pub(super) starts: Vec<Duration>,
}

/// Measures a daemon with a fleet; `cluster` has no services.
///
/// # Errors
/// When the daemon refuses, or does not get there.
pub(super) fn measure(
    cluster: &mut Cluster,
    fleet: Fleet,
    sizes: &Sizes,
) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    let mut api = Api::connect(&Path::new(RUN_DIR).join("netlabd.sock"))?;
    let began = Instant::now();
    for first in (0..fleet.count).step_by(TOGETHER as usize) {
        let numbers = first..fleet.count.min(first + TOGETHER);
        let objects = numbers.flat_map(|number| {
            let slice = slice(number, &fleet.endpoints(number));
            [Object::from(service(number)), Object::from(slice)]
        });
        let body = json!({ "items": objects.collect::<Vec<_>>() }).to_string();
        let answer = api.json("POST", "/v1/apply", &body)?;
        api.programmed(revision(&answer)?)?;
    }
    measured.applied = began.elapsed();
    change(&mut api, fleet, sizes, &mut measured).context("failed to change a service")?;
    add_and_remove(&mut api, fleet, sizes, &mut measured).context("failed to add a service")?;
    compare(&mut api, sizes, &mut measured)?;
    thread::sleep(REST);
    measured.resident = process::resident(cluster.pid()?)?;
    measured.proportional = process::proportional(cluster.pid()?)?;
    drop(api);
    for _ in 0..STARTS {
        measured.starts.push(cluster.restart_from_nothing(Signal::SIGTERM)?);
    }
    thread::sleep(REST);
    measured.resident_of_new = process::resident(cluster.pid()?)?;
    Ok(measured)
}

/// Starts of a daemon without services, with an empty kernel.
///
/// # Errors
/// When it does not get ready.
pub(super) fn starts_without(cluster: &mut Cluster) -> anyhow::Result<Vec<Duration>> {
    (0..STARTS).map(|_| cluster.restart_from_nothing(Signal::SIGTERM)).collect()
}

fn change(
    api: &mut Api,
    fleet: Fleet,
    sizes: &Sizes,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    for turn in 0..sizes.rounds {
        let number = fleet.pick(turn);
        let body = serde_json::to_string(&slice(number, &fleet.changed(number, turn)))?;
        let path = format!("/v1/namespaces/default/endpointslices/{}", Fleet::name(number));
        let began = Instant::now();
        let answer = api.json("PUT", &path, &body)?;
        api.programmed(revision(&answer)?)?;
        measured.changed.push(began.elapsed());
    }
    Ok(())
}

fn add_and_remove(
    api: &mut Api,
    fleet: Fleet,
    sizes: &Sizes,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    for turn in 0..sizes.rounds {
        let number = fleet.count + turn;
        let endpoints = slice(number, &fleet.changed(number, turn));
        let objects = [Object::from(service(number)), Object::from(endpoints)];
        let body = json!({ "items": objects }).to_string();
        let began = Instant::now();
        let answer = api.json("POST", "/v1/apply", &body)?;
        api.programmed(revision(&answer)?)?;
        measured.added.push(began.elapsed());

        let path = |kind: &str| format!("/v1/namespaces/default/{kind}/{}", Fleet::name(number));
        let before = Instant::now();
        let answer = api.json("DELETE", &path("services"), "")?;
        // A service may have been gone at once, or be there until its slices are.
        let gone = revision(&answer)?;
        api.programmed(gone)?;
        measured.removed.push(before.elapsed());
        // Outside of the measured time: what the user wrote is the user's to delete.
        let _ = api.ask("DELETE", &path("endpointslices"), "");
    }
    Ok(())
}

/// What of a change is neither rules nor services.
fn compare(api: &mut Api, sizes: &Sizes, measured: &mut Measured) -> anyhow::Result<()> {
    for turn in 0..sizes.rounds {
        let began = Instant::now();
        api.ask("GET", "/healthz", "")?;
        measured.asked.push(began.elapsed());
        let namespace = json!({
            "metadata": { "name": "default", "labels": { "turn": turn.to_string() } },
        });
        let body = json!({ "items": [{
            "apiVersion": "v1", "kind": "Namespace", "metadata": namespace["metadata"],
        }] });
        let began = Instant::now();
        let answer = api.json("POST", "/v1/apply", &body.to_string())?;
        api.programmed(revision(&answer)?)?;
        measured.unconcerned.push(began.elapsed());
    }
    Ok(())
}
