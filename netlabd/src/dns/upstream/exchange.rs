// SPDX-License-Identifier: GPL-3.0-or-later
//! One query and its answer, over UDP or over a TCP connection.
//!
//! Each query over UDP has a socket of its own, connected to the upstream: the kernel gives it a
//! random port and drops what comes from elsewhere, and an upstream that is not there is known at
//! once. With the random id and the case of the name that is what a liar would have to guess.
//! That costs a few system calls, and a question that is not in the cache is rare enough.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::asked::Asked;
use super::reply::{Mismatch, Reply};

/// The least room for an answer over UDP: upstreams may say more than they are asked for.
const UDP_ROOM: usize = 4096;

/// Why an upstream gave no answer. Reads as CoreDNS's errors do, so that patterns for
/// `[[dns.errors.consolidate]]` fit.
#[derive(Debug, Error)]
#[error("{operation} {protocol} {}{remote}: {}", local_prefix(.local), reason(.cause))]
pub(super) struct ExchangeError {
    operation: &'static str,
    protocol: &'static str,
    local: Option<SocketAddr>,
    remote: SocketAddr,
    #[source]
    cause: io::Error,
}

fn local_prefix(local: &Option<SocketAddr>) -> String {
    local.map(|local| format!("{local}->")).unwrap_or_default()
}

fn reason(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        io::ErrorKind::InvalidData => "answer to another question".to_owned(),
        kind => kind.to_string(),
    }
}

impl ExchangeError {
    /// Whether there was no answer in time: anything else is known earlier.
    pub(super) fn is_timeout(&self) -> bool {
        self.cause.kind() == io::ErrorKind::TimedOut
    }
}

/// Sixteen bits that nobody can foresee.
pub(super) fn random_id() -> u16 {
    u16::from_be_bytes(random())
}

/// Random bytes from the kernel.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes once it runs");
    bytes
}

/// What came over UDP.
#[derive(Debug)]
pub(super) enum Datagram {
    /// The answer, perhaps truncated.
    Reply(Reply),
    /// Something that only TCP can make sure of.
    Doubtful,
}

/// Asks over UDP; the same datagram is sent again after half of the time, as one may get lost.
pub(super) async fn over_udp(
    asked: &Asked,
    remote: SocketAddr,
    wait: Duration,
) -> Result<Datagram, ExchangeError> {
    let error = |operation, local, cause| ExchangeError {
        operation,
        protocol: "udp",
        local,
        remote,
        cause,
    };
    let begun = Instant::now();
    let any: SocketAddr = if remote.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await.map_err(|cause| error("listen", None, cause))?;
    socket.connect(remote).await.map_err(|cause| error("dial", None, cause))?;
    let local = socket.local_addr().ok();
    let id = random_id();
    let packet = asked.write(id);
    socket.send(&packet).await.map_err(|cause| error("write", local, cause))?;
    let payload = asked.edns.map_or(0, |(payload, _)| usize::from(payload));
    let mut answer = vec![0; payload.max(UDP_ROOM)];
    let mut resend = Some(begun + wait / 2);
    loop {
        let until = resend.unwrap_or(begun + wait);
        match timeout_at(until, socket.recv(&mut answer)).await {
            Ok(Ok(length)) => match Reply::read(&answer[..length], asked, id) {
                Ok(reply) => return Ok(Datagram::Reply(reply)),
                Err(Mismatch::Case) => return Ok(Datagram::Doubtful),
                Err(Mismatch::Foreign) if is_cut(&answer[..length], id, answer.len()) => {
                    return Ok(Datagram::Doubtful);
                }
                // Whoever sent this did not see the query. The answer may yet come.
                Err(Mismatch::Foreign) => {}
            },
            Ok(Err(cause)) => return Err(error("read", local, cause)),
            Err(_) if resend.take().is_some() => {
                socket.send(&packet).await.map_err(|cause| error("write", local, cause))?;
            }
            Err(_) => return Err(error("read", local, io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Whether a datagram filled all the room there was, and perhaps had more.
fn is_cut(packet: &[u8], id: u16, room: usize) -> bool {
    packet.len() == room && packet[..2] == id.to_be_bytes()
}

/// Opens a connection.
pub(super) async fn connect(
    remote: SocketAddr,
    wait: Duration,
) -> Result<TcpStream, ExchangeError> {
    let error =
        |cause| ExchangeError { operation: "dial", protocol: "tcp", local: None, remote, cause };
    let stream = timeout_at(Instant::now() + wait, TcpStream::connect(remote))
        .await
        .map_err(|_| error(io::ErrorKind::TimedOut.into()))?
        .map_err(error)?;
    // One small message, then an answer: nothing would be gained by waiting for more.
    stream.set_nodelay(true).map_err(error)?;
    Ok(stream)
}

/// Asks over a connection, one query at a time.
pub(super) async fn over_tcp(
    asked: &Asked,
    stream: &mut TcpStream,
    remote: SocketAddr,
    wait: Duration,
) -> Result<Reply, ExchangeError> {
    let local = stream.local_addr().ok();
    let error =
        |operation, cause| ExchangeError { operation, protocol: "tcp", local, remote, cause };
    let until = Instant::now() + wait;
    let id = random_id();
    let message = asked.write(id);
    let mut packet = Vec::with_capacity(message.len() + 2);
    packet.extend_from_slice(&u16::try_from(message.len()).expect("a short query").to_be_bytes());
    packet.extend_from_slice(&message);
    timeout_at(until, stream.write_all(&packet))
        .await
        .map_err(|_| error("write", io::ErrorKind::TimedOut.into()))?
        .map_err(|cause| error("write", cause))?;
    let answer = timeout_at(until, async {
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    })
    .await
    .map_err(|_| error("read", io::ErrorKind::TimedOut.into()))?
    .map_err(|cause| error("read", cause))?;
    match Reply::read(&answer, asked, id) {
        Ok(reply) => Ok(reply),
        // It came over the connection that was asked: some write names in their own case.
        Err(Mismatch::Case) => Reply::read_in_any_case(answer, asked, id)
            .ok_or_else(|| error("read", io::ErrorKind::InvalidData.into())),
        Err(Mismatch::Foreign) => Err(error("read", io::ErrorKind::InvalidData.into())),
    }
}
