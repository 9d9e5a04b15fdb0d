// SPDX-License-Identifier: GPL-3.0-or-later
//! One question to one address, asked by this program from within a network namespace: no tool is
//! needed there, and what comes of it is told apart exactly.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netlab_api::lab::{Expectation, ProbeTarget};
use netlab_link::Netns;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, recv,
    send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// What is sent in a datagram; whoever answers anything answers.
const DATAGRAM: &[u8] = b"netlab\n";
/// What an echo request carries, to know its reply by.
const ECHO: &[u8] = b"netlab lab test";
/// What is read of an answer before its status must be there.
const MOST_HEAD: usize = 16 * 1024;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) found: Expectation,
    /// What it was in words, where `found` does not say it all.
    pub(crate) detail: String,
}

impl Outcome {
    pub(crate) fn new(found: Expectation, detail: impl Into<String>) -> Outcome {
        Outcome { found, detail: detail.into() }
    }
}

/// Asks from within a namespace.
pub(crate) fn ask(
    netns: &Netns,
    target: &ProbeTarget,
    address: IpAddr,
    timeout: Duration,
) -> Result<Outcome, String> {
    let asked = netns.run(|| match target {
        ProbeTarget::Http { host, port, path } => {
            http(SocketAddr::new(address, *port), host, path, timeout)
        }
        ProbeTarget::Tcp { port, .. } => {
            TcpStream::connect_timeout(&SocketAddr::new(address, *port), timeout)
                .map(|_| Outcome::new(Expectation::Ok, "connected"))
        }
        ProbeTarget::Udp { port, .. } => udp(SocketAddr::new(address, *port), timeout),
        ProbeTarget::Icmp { .. } => icmp(address, timeout),
    });
    match asked.map_err(|error| crate::failure::chain(&error))? {
        Ok(outcome) => Ok(outcome),
        Err(error) => outcome_of(&error).ok_or_else(|| error.to_string()),
    }
}

/// What an error says about the network; none when it is about something else.
fn outcome_of(error: &std::io::Error) -> Option<Outcome> {
    let found = match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Expectation::Timeout,
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Expectation::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Expectation::Unreachable,
        _ => match error.raw_os_error().map(Errno::from_raw)? {
            // `prohibit` and `blackhole` routes, and packets that a firewall rejects.
            Errno::EACCES | Errno::EINVAL | Errno::EPERM => Expectation::Unreachable,
            _ => return None,
        },
    };
    let detail = match found {
        // EAGAIN of a socket with a timeout reads as if one should try again.
        Expectation::Timeout => "no answer".to_owned(),
        _ => error.to_string(),
    };
    Some(Outcome::new(found, detail))
}

fn http(to: SocketAddr, host: &str, path: &str, timeout: Duration) -> std::io::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    stream.set_write_timeout(Some(timeout))?;
    let port = to.port();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: netlabctl\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.contains(&b'\n') && head.len() < MOST_HEAD {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    // RFC 9112 section 4: HTTP-version SP status-code SP reason-phrase.
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|status| status.parse::<u16>().ok());
    Ok(match status.filter(|_| version.starts_with("HTTP/")) {
        Some(status) => Outcome::new(Expectation::Status(status), line.trim()),
        None => Outcome::new(Expectation::Refused, "the answer is no HTTP"),
    })
}

fn udp(to: SocketAddr, timeout: Duration) -> std::io::Result<Outcome> {
    let any: SocketAddr = if to.is_ipv4() {
        SocketAddr::from(([0u8; 4], 0))
    } else {
        SocketAddr::from(([0u16; 8], 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(to)?;
    socket.send(DATAGRAM)?;
    let read = socket.recv(&mut [0; 2048])?;
    Ok(Outcome::new(Expectation::Ok, format!("{read} bytes came back")))
}

/// Echo request and reply: RFC 792, RFC 4443 section 4.
fn icmp(to: IpAddr, timeout: Duration) -> std::io::Result<Outcome> {
    let deadline = Instant::now() + timeout;
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8u8, 0u8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0)))?;
    // Every raw socket hears every reply: this one's are known by a number of their own.
    let id = std::process::id().to_be_bytes();
    let mut packet = vec![request, 0, 0, 0, id[2], id[3], 0, 1];
    packet.extend_from_slice(ECHO);
    if to.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    send(socket.as_raw_fd(), &packet, MsgFlags::empty())?;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        let time = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
        setsockopt(&socket, sockopt::ReceiveTimeout, &time)?;
        let read = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut answer = &buffer[..read];
        if to.is_ipv4() {
            // A raw IPv4 socket gives the header too (raw(7)).
            let header = usize::from(answer.first().copied().unwrap_or(0) & 0x0f) * 4;
            answer = answer.get(header..).unwrap_or_default();
        }
        let is_ours = answer.first() == Some(&reply)
            && answer.get(4..6) == Some(&id[2..])
            && answer.get(8..) == Some(ECHO);
        if is_ours {
            return Ok(Outcome::new(Expectation::Ok, "echo reply"));
        }
    }
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
