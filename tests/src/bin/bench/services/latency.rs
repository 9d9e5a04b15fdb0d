// SPDX-License-Identifier: GPL-3.0-or-later
//! How long a connection takes to be made, through a service and straight to its endpoint: a
//! client and a server, each in a namespace of its own, with the node in between.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use netlab_link::Netns;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::fleet::{PORT, SERVER, TARGET_PORT};
use crate::{command, ip_tool};

/// Connections of a round, each way.
const CONNECTS: usize = 400;

/// Rounds: one that was disturbed does not decide.
const ROUNDS: usize = 9;

/// Connections before the first that counts.
const WARM_UP: usize = 50;

const CLIENT: &str = "client";
const SERVER_NETNS: &str = "server";

/// The client, the server and the links to them.
pub(super) struct Pair {
    client: Netns,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

/// Medians of the rounds, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Connects {
    pub(super) direct: Vec<f64>,
    pub(super) through: Vec<f64>,
}

impl Connects {
    /// How many times as long it takes through the service, by round.
    pub(super) fn ratios(&self) -> Vec<f64> {
        self.through.iter().zip(&self.direct).map(|(through, direct)| through / direct).collect()
    }
}

impl Pair {
    /// Makes both, and the links.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn make() -> anyhow::Result<Pair> {
        command::run(Command::new("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]))?;
        ip_tool::add_by_steps(CLIENT, Ipv4Addr::new(10, 42, 200, 9))?;
        ip_tool::add_by_steps(SERVER_NETNS, SERVER[0])?;
        for address in &SERVER[1..] {
            let address = format!("{address}/32");
            let to = ["route", "add", &address, "dev", &format!("v{SERVER_NETNS}")];
            command::run(Command::new("ip").args(to))?;
            let at = ["-n", SERVER_NETNS, "address", "add", &address, "dev", "eth0"];
            command::run(Command::new("ip").args(at))?;
        }
        let open = |name: &str| Netns::open(&Path::new("/run/netns").join(name));
        let listener = open(SERVER_NETNS)?
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT)))??;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        // It only takes connections off the queue: the kernel has answered by then.
        let server = thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                // The client ends it: who ends it first remembers it.
                drop(OwnedFd::from(connection));
            }
        });
        Ok(Pair { client: open(CLIENT)?, stop, server: Some(server) })
    }

    /// Connects to a service and to its first endpoint by turns.
    ///
    /// # Errors
    /// When a connection fails.
    pub(super) fn measure(&self, service: Ipv4Addr) -> anyhow::Result<Connects> {
        let direct = SocketAddrV4::new(SERVER[0], TARGET_PORT);
        let through = SocketAddrV4::new(service, PORT);
        let measured = self.client.run(|| -> anyhow::Result<Connects> {
            for _ in 0..WARM_UP {
                connect(direct)?;
                connect(through)?;
            }
            let mut connects = Connects::default();
            for _ in 0..ROUNDS {
                let (mut to_pod, mut to_service) = (Vec::new(), Vec::new());
                for turn in 0..CONNECTS {
                    // Who comes second finds caches warm: each is first as often as the other.
                    if turn % 2 == 0 {
                        to_pod.push(connect(direct)?);
                        to_service.push(connect(through)?);
                    } else {
                        to_service.push(connect(through)?);
                        to_pod.push(connect(direct)?);
                    }
                }
                connects.direct.push(median(&mut to_pod));
                connects.through.push(median(&mut to_service));
            }
            Ok(connects)
        })?;
        measured.with_context(|| format!("the service at {through} cannot be reached"))
    }

    /// Removes both.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub(super) fn remove(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        // One more connection wakes the server up.
        self.client.run(|| connect(SocketAddrV4::new(SERVER[0], TARGET_PORT)))??;
        let server = self.server.take().context("BUG: there was no server")?;
        server.join().map_err(|_| anyhow!("the server panicked"))?;
        ip_tool::del_by_steps(CLIENT)?;
        ip_tool::del_by_steps(SERVER_NETNS)?;
        Ok(())
    }
}

/// The time from the first packet to the answer; the connection is then ended by a reset, which
/// leaves nothing at either end.
fn connect(to: SocketAddrV4) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5))?;
    let took = began.elapsed();
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    ensure!(stream.peer_addr()? == to.into(), "BUG: connected to somebody else");
    Ok(took)
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
