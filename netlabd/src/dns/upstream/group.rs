// SPDX-License-Identifier: GPL-3.0-or-later
//! Upstreams that are asked for the same names: `[dns.forward]`, or one of `[dns.stub]`.
//!
//! ```text
//!  order by policy ─► first that is not down ─► answer ─► code in `failover`? ─► the next one
//!                        │ silent for `race-after`
//!                        └─► the next one as well; the first answer counts
//! ```

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use super::asked::Asked;
use super::exchange::{self, ExchangeError};
use super::member::{Member, Shared};
use super::reply::Reply;
use super::source::Sources;
use crate::dns::config::{Forward, Policy};
use crate::dns::name::Name;

/// How often files that name upstreams are looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The pause before all are tried a second time, when none was there: one may just be restarting.
const SECOND_TRY: Duration = Duration::from_millis(100);

/// Why a group gave no answer. The first two read as in CoreDNS.
#[derive(Debug, Error)]
pub(super) enum GroupError {
    /// More queries at a time than `max-concurrent`.
    #[error("concurrent queries exceeded maximum {maximum}")]
    TooMany { maximum: u32 },
    /// All are down, and none is to be tried.
    #[error("no healthy proxies: all upstreams of `{key}` are down")]
    AllDown { key: String },
    /// There are none.
    #[error("no upstream: `{key}.to` names none: write addresses such as `192.0.2.1` there")]
    NoUpstream { key: String },
    /// All send queries back.
    #[error(
        "Loop detected for zone \"{zone}\": upstream {first} asks this node again: write other \
         servers there"
    )]
    Looping { zone: Name, first: String },
    /// The last that was asked failed.
    #[error("{0}")]
    Exchange(ExchangeError),
    /// There was no time left.
    #[error("no answer from upstreams of `{key}`: i/o timeout")]
    Timeout { key: String },
}

/// Upstreams for the same names.
pub(super) struct Group {
    /// Whose names: the root for all.
    pub(super) zone: Name,
    /// The table in the configuration.
    pub(super) key: String,
    except: Vec<Name>,
    /// Codes after which the next group is asked.
    pub(super) next: Vec<u16>,
    failover: Vec<u16>,
    settings: Forward,
    shared: Shared,
    members: Mutex<Members>,
    turn: AtomicUsize,
    running: AtomicU32,
}

struct Members {
    sources: Sources,
    list: Arc<[Arc<Member>]>,
    looked: std::time::Instant,
}

/// A query that counts for `max-concurrent`.
pub(super) struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Group {
    pub(super) fn new(
        zone: Name,
        key: String,
        settings: &Forward,
        own: &[std::net::IpAddr],
        shared: &Shared,
    ) -> Group {
        let members = Members {
            sources: Sources::new(&key, settings.servers(), own),
            list: Arc::new([]),
            looked: std::time::Instant::now(),
        };
        let group = Group {
            zone,
            except: settings.except.iter().filter_map(|name| name.parse().ok()).collect(),
            next: settings.next.iter().filter_map(|code| read_code(code)).collect(),
            failover: settings.failover.iter().filter_map(|code| read_code(code)).collect(),
            settings: settings.clone(),
            shared: shared.clone(),
            members: Mutex::new(members),
            turn: AtomicUsize::new(0),
            running: AtomicU32::new(0),
            key,
        };
        group.read_members(&mut group.members.lock().unwrap_or_else(PoisonError::into_inner));
        group
    }

    /// Whether `name` is asked for here.
    pub(super) fn serves(&self, name: &Name) -> bool {
        name.is_within(&self.zone) && !self.except.iter().any(|except| name.is_within(except))
    }

    /// Its upstreams; those of files that were changed are read again.
    pub(super) fn members(&self) -> Arc<[Arc<Member>]> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.looked.elapsed() >= LOOK_AGAIN {
            members.looked = std::time::Instant::now();
            if members.sources.changed() {
                self.read_members(&mut members);
            }
        }
        Arc::clone(&members.list)
    }

    fn read_members(&self, members: &mut Members) {
        let (written, problems) = members.sources.read();
        for problem in problems {
            tracing::error!("{problem}");
        }
        if written.is_empty() {
            // Said here, and not for each query that fails for it.
            tracing::error!(
                "`{}.to` names no upstream, so names below `{}` are answered SERVFAIL: write \
                 addresses such as `192.0.2.1` there",
                self.key,
                self.zone
            );
        }
        let old = Arc::clone(&members.list);
        members.list = written
            .into_iter()
            .map(|written| {
                let known = old.iter().find(|member| {
                    member.address == written.address && member.origin == written.origin
                });
                known.map_or_else(
                    || {
                        Arc::new(Member::new(
                            written.address,
                            written.origin,
                            &self.settings,
                            &self.shared,
                        ))
                    },
                    Arc::clone,
                )
            })
            .collect();
    }

    /// Counts a query as long as what this returns lives.
    pub(super) fn enter(&self) -> Result<Running<'_>, GroupError> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(&self.running);
        let maximum = self.settings.max_concurrent;
        if maximum != 0 && before >= maximum {
            self.shared.meter.too_many();
            return Err(GroupError::TooMany { maximum });
        }
        Ok(running)
    }

    /// Asks them, one after the other or several at a time, until one answers.
    pub(super) async fn ask(&self, asked: &Asked) -> Result<Answered, GroupError> {
        let deadline = Instant::now() + self.settings.timeout;
        let mut trial = Trial { asked: Arc::new(asked.clone()), deadline, part: None, last: None };
        let mut quick = 0;
        loop {
            let (candidates, last_resort) = self.candidates()?;
            if let Some(answered) = self.try_each(&mut trial, candidates).await {
                return Ok(answered);
            }
            let silent = trial.last.as_ref().is_none_or(ExchangeError::is_timeout);
            quick += u32::from(!silent);
            // CoreDNS asks without a pause until a check says that all are down.
            if last_resort || quick == 2 || Instant::now() >= deadline {
                return Err(trial.last.map_or_else(
                    || GroupError::Timeout { key: self.key.clone() },
                    GroupError::Exchange,
                ));
            }
            if !silent {
                sleep(SECOND_TRY).await;
            }
        }
    }

    /// Whom to ask, in order, and whether that is only because all are down.
    fn candidates(&self) -> Result<(Vec<Arc<Member>>, bool), GroupError> {
        let members = self.members();
        let Some(first) = members.first() else {
            return Err(GroupError::NoUpstream { key: self.key.clone() });
        };
        let mut usable: Vec<Arc<Member>> =
            members.iter().filter(|member| !member.is_looping()).map(Arc::clone).collect();
        if usable.is_empty() {
            return Err(GroupError::Looping {
                zone: self.zone.clone(),
                first: format!("{} from {}", first.address, first.origin),
            });
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        order(&mut usable, self.settings.policy, turn, || u64::from_be_bytes(exchange::random()));
        let healthy: Vec<Arc<Member>> =
            usable.iter().filter(|member| !member.is_down()).map(Arc::clone).collect();
        if !healthy.is_empty() {
            return Ok((healthy, false));
        }
        self.shared.meter.all_down();
        if self.settings.failfast_all_unhealthy_upstreams {
            return Err(GroupError::AllDown { key: self.key.clone() });
        }
        // Perhaps only the checks fail: any of them, once.
        order(&mut usable, Policy::Random, 0, || u64::from_be_bytes(exchange::random()));
        usable.truncate(1);
        Ok((usable, true))
    }

    /// Asks each once. None: all failed, or time is up.
    async fn try_each(&self, trial: &mut Trial, candidates: Vec<Arc<Member>>) -> Option<Answered> {
        let over_tcp =
            self.settings.force_tcp || (trial.asked.over_tcp && !self.settings.prefer_udp);
        let race_after = self.settings.race_after;
        let ask = |member: Arc<Member>| {
            let asked = Arc::clone(&trial.asked);
            async move {
                let answer = member.ask(&asked, over_tcp).await;
                if answer.is_err() {
                    member.note_failure();
                }
                (member, answer)
            }
        };
        let mut waiting = candidates.into_iter();
        let mut running = FuturesUnordered::new();
        let answered = loop {
            if running.is_empty() {
                match waiting.next() {
                    Some(member) => running.push(ask(member)),
                    None => break trial.part.take(),
                }
            }
            let until = if race_after.is_zero() || waiting.len() == 0 {
                trial.deadline
            } else {
                trial.deadline.min(Instant::now() + race_after)
            };
            let Ok(answer) = timeout_at(until, running.next()).await else {
                if Instant::now() >= trial.deadline {
                    break trial.part.take();
                }
                running.extend(waiting.next().map(&ask));
                continue;
            };
            match answer.expect("one is running") {
                (_, Err(error)) => trial.last = Some(error),
                (member, Ok(reply)) if self.failover.contains(&reply.rcode()) => {
                    // If the others do not know better, this was the answer.
                    trial.part.get_or_insert(Answered { reply, member });
                }
                (member, Ok(reply)) => break Some(Answered { reply, member }),
            }
        };
        if !running.is_empty() {
            // Those that were too slow are awaited all the same: that they fail must be known.
            self.shared.runtime.spawn(async move { while running.next().await.is_some() {} });
        }
        answered
    }
}

/// An answer and whose it is.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) member: Arc<Member>,
}

/// A query on its way.
struct Trial {
    asked: Arc<Asked>,
    deadline: Instant,
    /// An answer that is only taken if there is no better one.
    part: Option<Answered>,
    last: Option<ExchangeError>,
}

/// Puts upstreams into the order in which they are asked. `turn` counts queries.
fn order<T>(list: &mut [T], policy: Policy, turn: usize, mut random: impl FnMut() -> u64) {
    match policy {
        Policy::Sequential => {}
        Policy::RoundRobin => list.rotate_left(turn % list.len().max(1)),
        Policy::Random => {
            for end in (1..list.len()).rev() {
                let other = random() % (end as u64 + 1);
                list.swap(end, usize::try_from(other).unwrap_or(0));
            }
        }
    }
}

/// A response code as it is written in `next` and `failover`.
fn read_code(text: &str) -> Option<u16> {
    let text = text.to_ascii_uppercase();
    Some(match text.as_str() {
        "NOERROR" | "SUCCESS" => 0,
        "FORMERR" => 1,
        "SERVFAIL" => 2,
        "NXDOMAIN" => 3,
        "NOTIMP" => 4,
        "REFUSED" => 5,
        "YXDOMAIN" => 6,
        "YXRRSET" => 7,
        "NXRRSET" => 8,
        "NOTAUTH" => 9,
        "NOTZONE" => 10,
        other => other.strip_prefix("RCODE").unwrap_or(other).parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_its_order() {
        let ordered = |policy, turn| {
            let mut list = [1, 2, 3];
            order(&mut list, policy, turn, || 0);
            list
        };
        assert_eq!(ordered(Policy::Sequential, 7), [1, 2, 3]);
        assert_eq!(ordered(Policy::RoundRobin, 0), [1, 2, 3]);
        assert_eq!(ordered(Policy::RoundRobin, 1), [2, 3, 1]);
        assert_eq!(ordered(Policy::RoundRobin, 5), [3, 1, 2]);
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut list = [1, 2, 3];
            order(&mut list, Policy::Random, 0, || u64::from_be_bytes(exchange::random()));
            firsts.insert(list[0]);
            list.sort_unstable();
            assert_eq!(list, [1, 2, 3]);
        }
        assert_eq!(firsts.len(), 3, "each comes first at some time");
    }

    #[test]
    fn codes_are_read_by_name_and_number() {
        assert_eq!(read_code("nxdomain"), Some(3));
        assert_eq!(read_code("SERVFAIL"), Some(2));
        assert_eq!(read_code("RCODE11"), Some(11));
        assert_eq!(read_code("5"), Some(5));
        assert_eq!(read_code("MAYBE"), None);
    }
}
