// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether this node has the addresses of the cluster's DNS, and answers there.
//!
//! It asks as any client would, over a socket of the node; the name is one that every cluster has.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use netlab_api::wire::DoctorCheck;
use netlab_link::{RouteSocket, mark};

use super::{check, failed};
use crate::dns::name::Name;
use crate::dns::record::{Rcode, RecordType};
use crate::error::chain;
use crate::node::machine::Machine;

const NAME: &str = "names";

/// How long an answer may take; it is asked twice.
const PATIENCE: Duration = Duration::from_secs(1);

/// The port of DNS.
const PORT: u16 = 53;

/// Compares the node's addresses with the plan, and asks at each. Nothing where this node does not
/// answer for names.
pub(super) async fn examine(machine: &Arc<Machine>) -> Option<DoctorCheck> {
    let plan = machine.names.plan();
    if !machine.names.has_zone() || plan.addresses.is_empty() {
        return None;
    }
    let worker = machine.clone();
    let addresses = plan.addresses.clone();
    let found = tokio::task::spawn_blocking(move || look(&worker, &addresses)).await;
    let listed: Vec<String> = plan.addresses.iter().map(ToString::to_string).collect();
    let good = format!("answered at {}", listed.join(" and "));
    let fix = "`netlabctl events` and netlabd's log say who has port 53, or why nobody answers; \
        an address that is missing comes back within a second";
    Some(match found {
        Ok(Ok(findings)) => check(NAME, findings, good, fix),
        Ok(Err(error)) => failed(NAME, chain(&error), None),
        Err(error) => failed(NAME, error.to_string(), None),
    })
}

fn look(machine: &Machine, wanted: &[IpAddr]) -> Result<Vec<String>, netlab_link::SocketError> {
    let mut socket = RouteSocket::open_in(&machine.netns)?;
    let present = socket.list_addresses()?;
    let domain = &machine.options.cluster.domain;
    let mut findings = Vec::new();
    for address in wanted {
        let is_there = |it: &netlab_link::Address| it.address.addr() == *address;
        if !present.iter().any(is_there) {
            findings.push(format!("{address} is not on {}", mark::SERVICE_NAME));
        } else if let Err(error) = ask(*address, domain) {
            findings.push(format!("no answer from {address}: {error}"));
        } else if let Err(error) = ask_over_tcp(*address, domain) {
            findings.push(format!("no answer from {address} over TCP: {error}"));
        }
    }
    Ok(findings)
}

/// Asks for the version of the names' specification, which every cluster tells.
fn ask(server: IpAddr, domain: &str) -> io::Result<()> {
    let name: Name = format!("dns-version.{domain}").parse().map_err(io::Error::other)?;
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(SocketAddr::new(server, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let id = uuid::Uuid::new_v4().as_bytes()[..2].try_into().expect("two bytes");
    let query = question(id, &name, RecordType::TXT);
    let mut answer = [0; 512];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..2 {
        socket.send(&query)?;
        match socket.recv(&mut answer) {
            Ok(length) => return judge(id, &answer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same over a connection, where another server may sit.
fn ask_over_tcp(server: IpAddr, domain: &str) -> io::Result<()> {
    let name: Name = format!("dns-version.{domain}").parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let id = uuid::Uuid::new_v4().as_bytes()[..2].try_into().expect("two bytes");
    let query = question(id, &name, RecordType::TXT);
    // A message has its length before it (RFC 1035 section 4.2.2).
    let length = u16::try_from(query.len()).expect("a name has 255 bytes at most");
    stream.write_all(&[&length.to_be_bytes(), &query[..]].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    judge(id, &answer)
}

/// A question as it is sent (RFC 1035 section 4.1).
fn question(id: [u8; 2], name: &Name, kind: RecordType) -> Vec<u8> {
    let mut query = id.to_vec();
    query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend(name.wire());
    query.extend(kind.0.to_be_bytes());
    query.extend(1_u16.to_be_bytes());
    query
}

fn judge(id: [u8; 2], answer: &[u8]) -> io::Result<()> {
    let wrong = |why: String| Err(io::Error::other(why));
    let Some(header) = answer.first_chunk::<12>() else {
        return wrong(format!("{} bytes, which is no answer", answer.len()));
    };
    if header[..2] != id || header[2] & 0x80 == 0 {
        return wrong("what came answers something else".to_owned());
    }
    match (Rcode(u16::from(header[3] & 0xf)), header[7]) {
        (Rcode::NOERROR, 1..) => Ok(()),
        (Rcode::NOERROR, 0) => wrong("it has no version of the cluster's names".to_owned()),
        (rcode, _) => wrong(format!("it says {rcode}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_to_this_question_and_has_a_record() {
        let name = "dns-version.cluster.local".parse().unwrap();
        let query = question([7, 9], &name, RecordType::TXT);
        assert_eq!(query.len(), 12 + name.wire().len() + 4);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut answer = query.clone();
            (answer[2], answer[7]) = (0x84, 1);
            change(&mut answer);
            judge([7, 9], &answer).map_err(|error| error.to_string())
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert!(with(&|it| it[3] = 2).unwrap_err().contains("SERVFAIL"));
        assert!(with(&|it| it[7] = 0).unwrap_err().contains("no version"));
        assert!(with(&|it| it[2] = 0).unwrap_err().contains("something else"));
        assert!(with(&|it| it[0] = 8).unwrap_err().contains("something else"));
        assert!(with(&|it| it.truncate(5)).unwrap_err().contains("5 bytes"));
    }
}
