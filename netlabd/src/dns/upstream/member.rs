// SPDX-License-Identifier: GPL-3.0-or-later
//! One upstream: how it is asked, whether it is there, and its connections.
//!
//! Nobody is checked while it answers. After a failure it is asked for the root's name servers
//! until any answer comes; it is down once more than `max-fails` of these checks failed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::asked::Asked;
use super::exchange::{self, Datagram, ExchangeError};
use super::meter::Meter;
use super::reply::Reply;
use super::source::Origin;
use crate::dns::config::Forward;
use crate::dns::name::Name;
use crate::dns::record::{Rcode, RecordType};

/// Checks that fail at the interval that is configured.
const STEADY_CHECKS: u32 = 10;

/// The longest pause between checks, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a health check waits, as in CoreDNS.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Most connections that are kept for later queries to one upstream.
const IDLE_CONNECTIONS: usize = 32;

/// What all upstreams share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) meter: Arc<dyn Meter>,
    /// One for each socket that may be open at a time; more queries wait for their turn.
    pub(super) sockets: Arc<Semaphore>,
    pub(super) runtime: tokio::runtime::Handle,
}

/// One upstream.
pub(super) struct Member {
    pub(super) address: SocketAddr,
    pub(super) origin: Origin,
    shared: Shared,
    read_timeout: Duration,
    expire: Duration,
    check_interval: Duration,
    max_fails: u32,
    force_tcp: bool,
    /// Health checks that failed in a row.
    fails: AtomicU32,
    checking: AtomicBool,
    /// Whether queries that it is sent come back to us.
    looping: AtomicBool,
    idle: Mutex<Vec<(TcpStream, Instant)>>,
}

impl Member {
    pub(super) fn new(
        address: SocketAddr,
        origin: Origin,
        settings: &Forward,
        shared: &Shared,
    ) -> Member {
        Member {
            address,
            origin,
            shared: shared.clone(),
            read_timeout: settings.read_timeout,
            expire: settings.expire,
            check_interval: settings.health_check,
            max_fails: settings.max_fails,
            force_tcp: settings.force_tcp,
            fails: AtomicU32::new(0),
            checking: AtomicBool::new(false),
            looping: AtomicBool::new(false),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Whether so many checks failed that it is not worth asking.
    pub(super) fn is_down(&self) -> bool {
        self.max_fails != 0 && self.fails.load(Ordering::Relaxed) > self.max_fails
    }

    /// Whether it sends our queries back to us.
    pub(super) fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// Notes whether it does; says what was noted before.
    pub(super) fn set_looping(&self, looping: bool) -> bool {
        self.looping.swap(looping, Ordering::Relaxed)
    }

    /// Whether it is always asked over TCP.
    pub(super) fn uses_tcp(&self) -> bool {
        self.force_tcp
    }

    /// Asks it. What is truncated or doubtful over UDP is asked again over TCP.
    pub(super) async fn ask(&self, asked: &Asked, over_tcp: bool) -> Result<Reply, ExchangeError> {
        let begun = Instant::now();
        let mut answer = self.ask_once(asked, over_tcp).await;
        if let Ok(reply) = &answer
            && asked.edns.is_some()
            && matches!(reply.rcode(), 1 | 4 | 16)
        {
            // FORMERR, NOTIMP, BADVERS: it may be one that knows no EDNS (RFC 6891 section 7).
            answer = self.ask_once(&asked.without_edns(), over_tcp).await.or(answer);
        }
        if let Ok(reply) = &answer {
            self.shared.meter.upstream_answered(
                self.address,
                Rcode(reply.rcode()),
                begun.elapsed(),
            );
        }
        answer
    }

    async fn ask_once(&self, asked: &Asked, over_tcp: bool) -> Result<Reply, ExchangeError> {
        let _turn = self.shared.sockets.acquire().await.expect("it is never closed");
        if over_tcp {
            return self.ask_over_tcp(asked).await;
        }
        match exchange::over_udp(asked, self.address, self.read_timeout).await? {
            Datagram::Reply(reply) if !reply.truncated() => Ok(reply),
            // Without TCP, a part of the answer is better than none.
            Datagram::Reply(part) => Ok(self.ask_over_tcp(asked).await.unwrap_or(part)),
            Datagram::Doubtful => self.ask_over_tcp(asked).await,
        }
    }

    async fn ask_over_tcp(&self, asked: &Asked) -> Result<Reply, ExchangeError> {
        while let Some(mut stream) = self.take_idle() {
            self.shared.meter.connection(self.address, true);
            match exchange::over_tcp(asked, &mut stream, self.address, self.read_timeout).await {
                Ok(reply) => {
                    self.keep(stream);
                    return Ok(reply);
                }
                Err(error) if error.is_timeout() => return Err(error),
                // The upstream closed it meanwhile: that says nothing about the upstream.
                Err(_) => {}
            }
        }
        self.shared.meter.connection(self.address, false);
        let mut stream = exchange::connect(self.address, self.read_timeout).await?;
        let reply = exchange::over_tcp(asked, &mut stream, self.address, self.read_timeout).await?;
        self.keep(stream);
        Ok(reply)
    }

    fn take_idle(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((stream, since)) = idle.pop() {
            if since.elapsed() < self.expire {
                return Some(stream);
            }
        }
        None
    }

    fn keep(&self, stream: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push((stream, Instant::now()));
        }
    }

    /// Closes connections that nobody needed for a while.
    pub(super) fn close_expired(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < self.expire);
    }

    /// Begins to check whether it is there, unless that is done already.
    pub(super) fn note_failure(self: &Arc<Member>) {
        if self.max_fails == 0 || self.checking.swap(true, Ordering::AcqRel) {
            return;
        }
        let member = Arc::downgrade(self);
        self.shared.runtime.spawn(async move {
            let mut missed = 0;
            while let Some(member) = member.upgrade() {
                if member.check().await {
                    member.fails.store(0, Ordering::Relaxed);
                    member.checking.store(false, Ordering::Release);
                    return;
                }
                member.fails.fetch_add(1, Ordering::Relaxed);
                member.shared.meter.health_check_failed(member.address);
                missed += 1;
                let pause = pause_after(missed, member.check_interval);
                drop(member);
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Whether it answers anything at all to a question that every server understands.
    async fn check(&self) -> bool {
        let asked = Asked::own(Name::root(), RecordType::NS);
        let answer = async {
            if self.force_tcp {
                let mut stream = exchange::connect(self.address, CHECK_TIMEOUT).await?;
                exchange::over_tcp(&asked, &mut stream, self.address, CHECK_TIMEOUT).await?;
            } else {
                exchange::over_udp(&asked, self.address, CHECK_TIMEOUT).await?;
            }
            Ok::<_, ExchangeError>(())
        };
        answer.await.is_ok()
    }
}

/// How long to wait after so many checks that failed, one after the other: the interval at first,
/// as in CoreDNS, and twice as long each time once it has been away for a while. A node without a
/// way to the outside would send checks for ever, and hear from its router of each.
fn pause_after(missed: u32, interval: Duration) -> Duration {
    let doubled = missed.saturating_sub(STEADY_CHECKS).min(16);
    let pause = interval.max(Duration::from_millis(1));
    (pause * (1 << doubled)).min(LONGEST_PAUSE.max(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_away_for_long_is_checked_more_seldom() {
        let half = Duration::from_millis(500);
        let pauses = [1, 10, 11, 12, 40].map(|missed| pause_after(missed, half).as_millis());
        assert_eq!(pauses, [500, 500, 1_000, 2_000, 10_000]);
        assert_eq!(pause_after(40, Duration::from_secs(30)), Duration::from_secs(30));
        assert_eq!(pause_after(1, Duration::ZERO), Duration::from_millis(1));
    }
}
