// SPDX-License-Identifier: GPL-3.0-or-later
//! `port-forward`: ports of this machine that lead into a pod, by way of the daemon.
//!
//! ```text
//!   client ──► 127.0.0.1:8080 ──► netlabctl ──► daemon ──► node of the pod ──► port 80 in the pod
//! ```

mod aim;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use netlab_api::client::{ClientError, Io, ObjectRef};
use netlab_api::{Object, Reason};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::aim::{Aim, Pair, Subject};
use crate::context::Context;
use crate::failure::Failure;
use crate::{output, svc};

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// pod/NAME, svc/NAME, or the NAME of a pod
    #[arg(value_name = "TYPE/NAME")]
    subject: String,
    /// `8080:80` is port 8080 here and 80 there, `80` the same on both sides, `:80` any here
    #[arg(value_name = "[LOCAL:]REMOTE", required = true, num_args = 1..)]
    ports: Vec<Pair>,
    /// Addresses of this machine that are listened on
    #[arg(long, value_name = "IP", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
    /// Accepted for kubectl's sake: a pod is waited for by `netlabctl wait`
    #[arg(long, hide = true)]
    pod_running_timeout: Option<String>,
}

/// A port that is listened on, and the port of the pod that it leads to.
struct Door {
    listener: TcpListener,
    local: u16,
    remote: u16,
}

pub(crate) async fn forward(context: &Context, args: ForwardArgs) -> Result<(), Failure> {
    let subject = Subject::read(&args.subject)?;
    let aim = aim(context, &subject, &args.ports).await?;
    let mut doors = Vec::new();
    for (pair, remote) in args.ports.iter().zip(&aim.ports) {
        doors.extend(open(&args.address, pair, *remote).await?);
    }
    // From before anybody can know that it listens: a Ctrl-C that comes while something else is
    // being done is kept until it is asked for.
    let interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    for door in &doors {
        let address = door.listener.local_addr().map_err(Failure::failed)?;
        output::line(&format!("Forwarding from {address} -> {}", door.remote));
    }
    let pod = context.pod(&aim.pod);
    serve(context, &pod, doors, interrupt).await
}

/// The pod that is meant, and its port for each pair.
async fn aim(context: &Context, subject: &Subject, pairs: &[Pair]) -> Result<Aim, Failure> {
    let object = match subject {
        Subject::Pod(name) => context.pod(name),
        Subject::Service(name) => context.object(netlab_api::resource::Kind::Service, name),
    };
    let found = match context.client.get(&object).await {
        Ok(found) => found,
        Err(error) => return Err(context.explain(error, &object).await),
    };
    match found {
        Object::Pod(pod) => aim::at_pod(&pod, pairs),
        Object::Service(service) => {
            let slices = svc::slices(context, &service).await?;
            aim::at_service(&service, &slices, pairs)
        }
        _ => Err(Failure::failed("the server answered with another kind")),
    }
}

/// Listens on one port of each address.
async fn open(addresses: &[String], pair: &Pair, remote: u16) -> Result<Vec<Door>, Failure> {
    let mut doors: Vec<Door> = Vec::new();
    for (ip, is_needed) in ips(addresses)? {
        // All addresses of a pair have the same port, also where any would do.
        let local = doors.first().map_or(pair.local, |door| door.local);
        match TcpListener::bind(SocketAddr::new(ip, local)).await {
            Ok(listener) => {
                let local = listener.local_addr().map_err(Failure::failed)?.port();
                doors.push(Door { listener, local, remote });
            }
            Err(error) if is_needed => {
                let failure =
                    Failure::failed(format!("unable to listen on port {local} of {ip}: {error}"));
                return Err(match error.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        failure.with_hint(format!("`:{remote}` takes any port that is free"))
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        failure.with_hint("ports below 1024 are root's: choose a higher one")
                    }
                    _ => failure,
                });
            }
            // A machine without IPv6 has `localhost` of one family.
            Err(_) => {}
        }
    }
    Ok(doors)
}

/// The addresses that are meant; and whether it is an error when one cannot be had.
fn ips(words: &[String]) -> Result<Vec<(IpAddr, bool)>, Failure> {
    let mut ips = Vec::new();
    for word in words {
        match word.as_str() {
            "localhost" => {
                ips.push((IpAddr::V4(Ipv4Addr::LOCALHOST), true));
                ips.push((IpAddr::V6(Ipv6Addr::LOCALHOST), false));
            }
            word => match word.parse() {
                Ok(ip) => ips.push((ip, true)),
                Err(_) => {
                    return Err(Failure::usage(format!("`{word}` is no address of this machine"))
                        .with_hint("write `localhost`, or an IP address; 0.0.0.0 are all"));
                }
            },
        }
    }
    Ok(ips)
}

/// Takes connections until the pod is gone or the user is.
async fn serve(
    context: &Context,
    pod: &ObjectRef,
    doors: Vec<Door>,
    mut interrupt: Signal,
) -> Result<(), Failure> {
    tokio::select! {
        // However much there is to carry.
        biased;
        _ = interrupt.recv() => Ok(()),
        ended = take(context, pod, doors) => ended,
    }
}

/// Takes connections until the pod is gone.
async fn take(context: &Context, pod: &ObjectRef, doors: Vec<Door>) -> Result<(), Failure> {
    let (taken, mut connections) = mpsc::channel(16);
    let mut listeners = JoinSet::new();
    for Door { listener, local, remote } in doors {
        let taken = taken.clone();
        listeners.spawn(async move {
            loop {
                // Out of descriptors, for example: the next may find one again.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                if taken.send((stream, local, remote)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(taken);
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((stream, local, remote)) = connections.recv() => {
                output::line(&format!("Handling connection for {local}"));
                carried.push(async move {
                    let there = context.client.forward(namespace, &pod.name, remote).await;
                    let there = there.map_err(|error| (error, local, remote))?;
                    carry(stream, there).await;
                    Ok(())
                });
            }
            Some(ended) = carried.next() => {
                if let Err((error, local, remote)) = ended {
                    refuse(context, pod, error, (local, remote)).await?;
                }
            }
        }
    }
}

async fn carry(mut stream: TcpStream, mut there: Box<dyn Io>) {
    let _ = stream.set_nodelay(true);
    let _ = copy_bidirectional(&mut stream, &mut there).await;
}

/// Tells of a connection that the pod did not take; ends it all when there is no such pod.
async fn refuse(
    context: &Context,
    pod: &ObjectRef,
    error: ClientError,
    (local, remote): (u16, u16),
) -> Result<(), Failure> {
    if !error.is(Reason::Conflict) {
        let failure = context.explain(error, pod).await;
        return Err(Failure {
            message: format!("lost connection to pod: {}", failure.message),
            ..failure
        });
    }
    let failure = Failure::from(error);
    output::note(&format!("error: forwarding {local} -> {remote}: {}", failure.message));
    for hint in &failure.hints {
        output::note(&format!("hint: {hint}"));
    }
    Ok(())
}
