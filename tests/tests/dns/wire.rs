// SPDX-License-Identifier: GPL-3.0-or-later
//! A client that says exactly what it is told, byte for byte, from a place of its choice, and reads
//! what comes back with a reader that netlab does not answer with.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use nix::sched::{CloneFlags, setns};

/// How long an answer may take before there is none; only passes when there is none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long is waited where silence is right.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);

/// Types by number.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
}

/// A query, before it is bytes.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) name: String,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// Payload, version and flags of EDNS.
    pub(crate) edns: Option<(u16, u8, u16)>,
}

/// A question for a name, recursion desired.
pub(crate) fn ask(name: &str, kind: u16) -> Ask {
    // Two queries in a row never have the same one.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).wrapping_mul(40503);
    Ask { id, flags: 0x0100, name: name.to_owned(), kind, class: 1, edns: None }
}

impl Ask {
    /// With EDNS and this payload.
    pub(crate) fn payload(self, payload: u16) -> Ask {
        Ask { edns: Some((payload, 0, 0)), ..self }
    }

    /// As bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let additional = u16::from(self.edns.is_some());
        for number in [self.id, self.flags, 1, 0, 0, additional] {
            out.extend(number.to_be_bytes());
        }
        out.extend(self.question());
        if let Some((payload, version, flags)) = self.edns {
            out.extend([0, 0, 41]);
            out.extend(payload.to_be_bytes());
            out.extend([0, version]);
            out.extend(flags.to_be_bytes());
            out.extend([0, 0]);
        }
        out
    }

    /// The question's bytes.
    pub(crate) fn question(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for label in self.name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
            out.push(u8::try_from(label.len()).unwrap());
            out.extend(label.as_bytes());
        }
        out.push(0);
        out.extend(self.kind.to_be_bytes());
        out.extend(self.class.to_be_bytes());
        out
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) message: Message,
}

impl Reply {
    /// Reads it.
    #[track_caller]
    pub(crate) fn read(bytes: &[u8]) -> Reply {
        let message = Message::from_vec(bytes)
            .unwrap_or_else(|error| panic!("an answer cannot be read: {error}: {bytes:02x?}"));
        Reply { bytes: bytes.to_vec(), message }
    }

    /// The response code as dig writes it.
    pub(crate) fn rcode(&self) -> &'static str {
        match self.message.metadata.response_code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::FormErr => "FORMERR",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::NotImp => "NOTIMP",
            ResponseCode::Refused => "REFUSED",
            ResponseCode::BADVERS | ResponseCode::BADSIG => "BADVERS",
            _ => "another code",
        }
    }

    /// Whether it was cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.message.metadata.truncation
    }

    /// The addresses in the answer, sorted.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.message.answers.iter().filter_map(|record| record.data.ip_addr());
        let mut ips: Vec<IpAddr> = ips.collect();
        ips.sort_unstable();
        ips
    }

    /// The TTL of the first record of the answer.
    #[track_caller]
    pub(crate) fn ttl(&self) -> u32 {
        self.message.answers.first().unwrap_or_else(|| panic!("no records: {self:?}")).ttl
    }

    /// The question's name in the case in which it came back.
    pub(crate) fn name(&self) -> String {
        self.message.queries.first().map_or_else(String::new, |query| query.name().to_ascii())
    }
}

/// Runs this on a thread in another network namespace, and returns what it made: sockets stay
/// where they were made.
#[track_caller]
pub(crate) fn within<T: Send>(place: &Path, make: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(place).unwrap_or_else(|error| panic!("{place:?}: {error}"));
    std::thread::scope(|scope| {
        let made = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
            make()
        });
        made.join().expect("it is made there")
    })
}

/// A socket at a place, that speaks with one server.
#[track_caller]
pub(crate) fn udp(place: &Path, server: SocketAddr) -> UdpSocket {
    within(place, || {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("a port is free");
        socket.connect(server).expect("there is a route");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        socket
    })
}

/// A connection from a place.
#[track_caller]
pub(crate) fn tcp(place: &Path, server: SocketAddr) -> Tcp {
    let stream = within(place, || TcpStream::connect_timeout(&server, PATIENCE));
    let stream = stream.unwrap_or_else(|error| panic!("{server} over TCP: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.set_nodelay(true).expect("TCP has it");
    Tcp { stream }
}

/// The answer to these bytes over UDP; `None` when there is none in time.
#[track_caller]
pub(crate) fn exchange(socket: &UdpSocket, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    socket.send(query).expect("it can be sent");
    receive(socket, query.get(..2), patience)
}

/// The next answer with this id.
pub(crate) fn receive(
    socket: &UdpSocket,
    id: Option<&[u8]>,
    patience: Duration,
) -> Option<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut buffer = vec![0; 65536];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("not zero");
        match socket.recv(&mut buffer) {
            // What comes late answers a query of before.
            Ok(length) if id.is_none() || buffer.get(..2) == id => {
                return Some(buffer[..length].to_vec());
            }
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => return None,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The answer to a query over UDP, which must come.
#[track_caller]
pub(crate) fn over_udp(socket: &UdpSocket, query: &Ask) -> Reply {
    let bytes = exchange(socket, &query.bytes(), PATIENCE);
    let bytes = bytes.unwrap_or_else(|| panic!("no answer to {query:?}"));
    Reply::read(&bytes)
}

/// A connection with messages on it.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) stream: TcpStream,
}

impl Tcp {
    /// Writes a message with its length.
    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut framed =
            u16::try_from(message.len()).expect("at most 65535").to_be_bytes().to_vec();
        framed.extend(message);
        self.stream.write_all(&framed)
    }

    /// Reads the next message; an error at the end of the connection.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut message)?;
        Ok(message)
    }

    /// The answer to a query, which must come.
    #[track_caller]
    pub(crate) fn ask(&mut self, query: &Ask) -> Reply {
        self.send(&query.bytes()).expect("it can be sent");
        let reply =
            self.receive().unwrap_or_else(|error| panic!("no answer to {query:?}: {error}"));
        let reply = Reply::read(&reply);
        assert_eq!(reply.message.metadata.id, query.id, "{query:?}");
        reply
    }

    /// Whether the other end closes within this time, without a word.
    #[track_caller]
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("not zero");
        match self.stream.read(&mut [0; 16]) {
            Ok(length) => length == 0,
            Err(error) => !is_timeout(&error),
        }
    }
}
