// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections to pods from inside: a thread makes the socket in the pod's network namespace and is
//! done, since a socket stays where it was made; connecting is the daemon's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netlab_api::{ApiError, Pod, Reason};
use netlab_link::Netns;
use tokio::net::{TcpSocket, TcpStream};

use crate::control::access::PodStream;
use crate::error::chain;
use crate::node::machine::Machine;

/// How long one address has to answer. Inside of a pod only a rule of its own keeps silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens a connection to `port` of a pod of this machine.
pub(super) async fn open(
    machine: Arc<Machine>,
    pod: &Pod,
    port: u16,
) -> Result<Box<dyn PodStream>, ApiError> {
    let name = &pod.metadata.name;
    let refused = |why: String| {
        ApiError::new(
            Reason::Conflict,
            format!("cannot connect to port {port} of pod \"{name}\": {why}"),
        )
        .with_object(format!("pod/{name}"))
    };
    let uid = pod.metadata.uid.clone();
    let config = tokio::task::spawn_blocking(move || machine.runtime.config(&uid))
        .await
        .map_err(|panic| refused(panic.to_string()))?
        .map_err(|error| refused(chain(&error)))?;
    let Some(config) = config else {
        return Err(refused("it is not running".to_owned())
            .with_hint(format!("look at it: netlabctl describe pod {name}")));
    };
    let netns: Arc<Path> = config.netns.into();
    let mut first = None;
    for address in addresses(pod) {
        let address = SocketAddr::new(address, port);
        let error = match connect(netns.clone(), address).await {
            Ok(stream) => {
                // What is typed is to arrive as it is typed.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) => error,
        };
        first.get_or_insert(format!("{address}: {error}"));
    }
    Err(refused(first.unwrap_or_default())
        .with_hint(format!("does its command listen there? `netlabctl exec {name} -- cat /proc/net/tcp` tells, in hexadecimal")))
}

/// Where a server of a pod may listen, the most common first.
fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    loopback.into_iter().chain(pod.ips())
}

async fn connect(netns: Arc<Path>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = tokio::task::spawn_blocking(move || socket(&netns, address))
        .await
        .map_err(io::Error::other)??;
    match tokio::time::timeout(PATIENCE, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}

/// A socket in the pod's namespace. Blocking.
fn socket(netns: &Path, address: SocketAddr) -> io::Result<TcpSocket> {
    let netns = Netns::open(netns).map_err(|error| io::Error::other(chain(&error)))?;
    let make = || match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    netns.run(make).map_err(|error| io::Error::other(chain(&error)))?
}
