// SPDX-License-Identifier: GPL-3.0-or-later
//! Name servers outside that do what a test says: late, false or no answers. Each remembers what it
//! was asked, and how it came.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wire::within;

/// A query as a server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Seen {
    /// The name that was asked for, as written.
    pub(crate) fn name(&self) -> String {
        let mut at = 12;
        let mut name = String::new();
        while let Some(&length @ 1..=63) = self.bytes.get(at) {
            let end = at + 1 + usize::from(length);
            name.push_str(&String::from_utf8_lossy(self.bytes.get(at + 1..end).unwrap_or(b"?")));
            name.push('.');
            at = end;
        }
        if name.is_empty() { ".".to_owned() } else { name }
    }

    /// The type that was asked for.
    pub(crate) fn kind(&self) -> u16 {
        let end = question_end(&self.bytes);
        u16::from_be_bytes([self.bytes[end - 4], self.bytes[end - 3]])
    }

    /// An answer with one address, or with none: then there is no such name, for a minute.
    pub(crate) fn answer(&self, address: Option<[u8; 4]>, ttl: u32) -> Vec<u8> {
        let mut answer = self.bytes[..question_end(&self.bytes)].to_vec();
        let is_address = self.kind() == 1 && address.is_some();
        let rcode = if address.is_some() { 0 } else { 3 };
        answer[2] |= 0x80;
        answer[3] = 0x80 | rcode;
        answer[6..12].copy_from_slice(&[0, u8::from(is_address), 0, u8::from(!is_address), 0, 0]);
        answer.extend([0xc0, 12]);
        match address {
            Some(address) if is_address => {
                answer.extend([0, 1, 0, 1]);
                answer.extend(ttl.to_be_bytes());
                answer.extend([0, 4]);
                answer.extend(address);
            }
            _ => {
                answer.extend([0, 6, 0, 1]);
                answer.extend(ttl.to_be_bytes());
                // Names are the root; the numbers are of no matter but the last.
                answer.extend([0, 22, 0, 0]);
                for number in [1_u32, 7200, 1800, 86400, ttl] {
                    answer.extend(number.to_be_bytes());
                }
            }
        }
        answer
    }

    /// An answer with nothing but a code.
    pub(crate) fn fail(&self, rcode: u8) -> Vec<u8> {
        let mut answer = self.bytes[..question_end(&self.bytes)].to_vec();
        answer[2] |= 0x80;
        answer[3] = 0x80 | rcode;
        answer[6..12].copy_from_slice(&[0; 6]);
        answer
    }
}

/// Where the question ends.
fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message.get(at).is_some_and(|length| *length != 0) {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

/// A server that a test made. It ends with it.
#[derive(Debug)]
pub(crate) struct Fake {
    seen: Arc<Mutex<Vec<Seen>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts one at a place. `act` is told of each query, and answers by the socket or not.
    #[track_caller]
    pub(crate) fn start(
        place: &Path,
        address: &str,
        mut act: impl FnMut(&Seen, &UdpSocket) + Send + 'static,
    ) -> Fake {
        let socket = within(place, || UdpSocket::bind(address));
        let socket = socket.unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (seen, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, end) = (seen.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !end.load(Ordering::Relaxed) {
                let Ok((length @ 17.., from)) = socket.recv_from(&mut buffer) else { continue };
                let query = Seen { from, bytes: buffer[..length].to_vec() };
                all.lock().unwrap().push(query.clone());
                act(&query, &socket);
            }
        });
        Fake { seen, ends, thread: Some(thread) }
    }

    /// One that answers every question for an address with this one.
    #[track_caller]
    pub(crate) fn honest(place: &Path, address: &str, says: Ipv4Addr, ttl: u32) -> Fake {
        Fake::start(place, address, move |query, socket| {
            let _ = socket.send_to(&query.answer(Some(says.octets()), ttl), query.from);
        })
    }

    /// What it was asked, without questions for its health and for loops.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        let real = |query: &&Seen| query.name() != "." && query.kind() != crate::wire::kind::HINFO;
        seen.iter().filter(real).cloned().collect()
    }

    /// How often it was asked for this name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.seen().iter().filter(|query| query.name().eq_ignore_ascii_case(name)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
