// SPDX-License-Identifier: GPL-3.0-or-later
//! An upstream that does what a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// A query that an upstream got.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) packet: Vec<u8>,
    pub(crate) tcp: bool,
    pub(crate) from: SocketAddr,
}

impl Heard {
    /// The type that is asked for.
    pub(crate) fn kind(&self) -> u16 {
        let end = self.question_end();
        u16::from_be_bytes([self.packet[end - 4], self.packet[end - 3]])
    }

    /// The name in wire form.
    pub(crate) fn name(&self) -> &[u8] {
        &self.packet[12..self.question_end() - 4]
    }

    fn question_end(&self) -> usize {
        question_end(&self.packet)
    }
}

fn question_end(packet: &[u8]) -> usize {
    12 + crate::dns::name::name_length(&packet[12..]).unwrap() + 4
}

/// What it does then.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Sends these, one after the other.
    Say(Vec<Vec<u8>>),
    /// Sends this later.
    Later(Duration, Vec<u8>),
    /// Sends nothing; over TCP it closes the connection.
    Nothing,
}

/// One upstream, over UDP and TCP at one port.
pub(crate) struct Played {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Played {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Played {
    /// One on 127.0.0.1.
    pub(crate) async fn start(play: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Played {
        Played::start_at("127.0.0.1:0", play).await
    }

    pub(crate) async fn start_at(
        at: &str,
        play: impl Fn(&Heard) -> Act + Send + Sync + 'static,
    ) -> Played {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(at).await.unwrap();
            // Another program may have the same port for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let play: Arc<dyn Fn(&Heard) -> Act + Send + Sync> = Arc::new(play);
        let tasks = vec![
            tokio::spawn(serve_udp(Arc::new(udp), Arc::clone(&heard), Arc::clone(&play))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&heard), play)),
        ];
        Played { address, heard, tasks }
    }

    /// One that always says the same of A: TTL and last byte of 192.0.2.x.
    pub(crate) async fn of(ttl: u32, last: u8) -> Played {
        Played::start(move |heard| Act::Say(vec![address(&heard.packet, ttl, &[last])])).await
    }

    /// A port at which nobody is.
    pub(crate) async fn nobody() -> Played {
        let mut played = Played::start(|_| Act::Nothing).await;
        for task in played.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        played
    }

    /// All queries so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

type Play = Arc<dyn Fn(&Heard) -> Act + Send + Sync>;

async fn serve_udp(socket: Arc<UdpSocket>, heard: Arc<Mutex<Vec<Heard>>>, play: Play) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let query = Heard { packet: buffer[..length].to_vec(), tcp: false, from };
        heard.lock().unwrap().push(query.clone());
        match play(&query) {
            Act::Say(all) => {
                for answer in all {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Act::Later(pause, answer) => {
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = socket.send_to(&answer, from).await;
                });
            }
            Act::Nothing => {}
        }
    }
}

async fn serve_tcp(listener: TcpListener, heard: Arc<Mutex<Vec<Heard>>>, play: Play) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut stream, from) = listener.accept().await.unwrap();
        let (heard, play) = (Arc::clone(&heard), Arc::clone(&play));
        connections.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut packet = vec![0; usize::from(length)];
                if stream.read_exact(&mut packet).await.is_err() {
                    return;
                }
                let query = Heard { packet, tcp: true, from };
                heard.lock().unwrap().push(query.clone());
                let answers = match play(&query) {
                    Act::Say(all) => all,
                    Act::Later(pause, answer) => {
                        tokio::time::sleep(pause).await;
                        vec![answer]
                    }
                    Act::Nothing => return,
                };
                for answer in answers {
                    let length = u16::try_from(answer.len()).unwrap();
                    let mut framed = length.to_be_bytes().to_vec();
                    framed.extend_from_slice(&answer);
                    if stream.write_all(&framed).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// A response with this code and no records.
pub(crate) fn code(packet: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = packet[..question_end(packet)].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | rcode;
    answer[6..12].fill(0);
    answer
}

/// A response with an A record for each of `last`: 192.0.2.x.
pub(crate) fn address(packet: &[u8], ttl: u32, last: &[u8]) -> Vec<u8> {
    let mut answer = code(packet, 0);
    answer[6..8].copy_from_slice(&u16::try_from(last.len()).unwrap().to_be_bytes());
    for last in last {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        answer.extend_from_slice(&ttl.to_be_bytes());
        answer.extend_from_slice(&[0, 4, 192, 0, 2, *last]);
    }
    answer
}

/// NXDOMAIN with an SOA of the root.
pub(crate) fn no_such_name(packet: &[u8], ttl: u32, minimum: u32) -> Vec<u8> {
    let mut answer = code(packet, 3);
    answer[9] = 1;
    answer.extend_from_slice(&[0, 0, 6, 0, 1]);
    answer.extend_from_slice(&ttl.to_be_bytes());
    answer.extend_from_slice(&[0, 22, 0, 0]);
    for value in [1, 7200, 1800, 86400, minimum] {
        answer.extend_from_slice(&u32::to_be_bytes(value));
    }
    answer
}

/// The same with TC.
pub(crate) fn cut(mut answer: Vec<u8>) -> Vec<u8> {
    answer[2] |= 0x02;
    answer
}

/// Appends an OPT record.
pub(crate) fn opt(mut answer: Vec<u8>, extended: u8) -> Vec<u8> {
    answer[11] += 1;
    answer.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, extended, 0, 0, 0, 0, 0]);
    answer
}
