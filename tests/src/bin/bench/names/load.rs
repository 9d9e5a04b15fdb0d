// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions: as many as a server answers, at a pace, and each by itself with its time.

use std::fmt;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use super::catalogue::Catalogue;
use super::server::Server;
use crate::command;

/// Questions on the way at a time: dnsperf's default.
const OUTSTANDING: u32 = 100;

/// Clients, each with a socket of its own.
const CLIENTS: u32 = 8;

/// The share of questions that may go without an answer before a figure counts for nothing.
const MOST_LOST: f64 = 0.001;

/// How questions travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        })
    }
}

/// Questions for one server.
pub(super) struct Load<'a> {
    pub(super) server: &'a Server,
    pub(super) questions: &'a Path,
    pub(super) seconds: u32,
}

impl Load<'_> {
    /// Answers a second when the next question waits for an answer.
    ///
    /// # Errors
    /// When answers are missing or say something else than NOERROR.
    pub(super) fn most(&self, transport: Transport) -> anyhow::Result<f64> {
        let mut command = self.dnsperf();
        command.args(["-l", &self.seconds.to_string()]);
        command.args(["-m", if transport == Transport::Tcp { "tcp" } else { "udp" }]);
        Ok(Outcome::of(&mut command)?.rate)
    }

    /// The same for one pass over all questions.
    ///
    /// # Errors
    /// As [`Load::most`].
    pub(super) fn once(&self) -> anyhow::Result<f64> {
        let mut command = self.dnsperf();
        command.args(["-n", "1"]);
        Ok(Outcome::of(&mut command)?.rate)
    }

    /// How many are answered at a pace.
    ///
    /// # Errors
    /// As [`Load::most`], and when the pace is not held.
    pub(super) fn at(&self, rate: u32) -> anyhow::Result<u64> {
        let mut command = self.dnsperf();
        command.args(["-l", &self.seconds.to_string(), "-Q", &rate.to_string()]);
        Ok(Outcome::of(&mut command)?.completed)
    }

    fn dnsperf(&self) -> Command {
        let address = self.server.address;
        let mut command = Command::new("dnsperf");
        command.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
        command.arg("-d").arg(self.questions);
        command.args(["-q", &OUTSTANDING.to_string(), "-c", &CLIENTS.to_string(), "-T", "1"]);
        command
    }
}

/// What dnsperf said.
#[derive(Debug, PartialEq)]
struct Outcome {
    completed: u64,
    rate: f64,
}

impl Outcome {
    fn of(command: &mut Command) -> anyhow::Result<Outcome> {
        Outcome::read(&command::run(command)?.stdout)
    }

    /// # Errors
    /// When too many answers are missing, or are no answers.
    fn read(text: &str) -> anyhow::Result<Outcome> {
        let field = |name: &str| {
            let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.with_context(|| format!("dnsperf said nothing of `{name}`:\n{text}"))
        };
        let sent: u64 = field("Queries sent:")?.parse()?;
        let completed: u64 = field("Queries completed:")?.parse()?;
        let rate: f64 = field("Queries per second:")?.parse()?;
        let lost = sent.saturating_sub(completed) as f64 / sent.max(1) as f64;
        ensure!(lost <= MOST_LOST, "{sent} questions, {completed} answers:\n{text}");
        let codes = text.lines().find(|line| line.contains("Response codes:")).unwrap_or_default();
        ensure!(codes.contains("NOERROR") && codes.contains("(100.00%)"), "answers are: {codes}");
        Ok(Outcome { completed, rate })
    }
}

/// How long answers took, in milliseconds.
pub(super) struct Waits(Vec<f64>);

impl Waits {
    /// The time below which a share of all were.
    pub(super) fn at(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Asks at a pace for a while: one thread sends, another reads, and each question has its time,
/// from before it is sent until the kernel has its answer. Whether the reader is awake just then is
/// not the server's.
///
/// # Errors
/// When answers are missing.
pub(super) fn waits(
    server: &Server,
    catalogue: &Catalogue,
    rate: u32,
    length: Duration,
) -> anyhow::Result<Waits> {
    let any = if server.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server.address)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    // Answers that the reader is not awake for must not be lost.
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).context("SO_RCVBUFFORCE")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("SO_TIMESTAMPNS")?;
    let asked = catalogue.asked();
    // The number of a question is 16 bits wide; one that comes again has been answered by then.
    let queries: Vec<Vec<u8>> = (0..asked.len().min(usize::from(u16::MAX)))
        .map(|number| query(u16::try_from(number).unwrap_or_default(), &asked[number]))
        .collect::<anyhow::Result<_>>()?;
    let count = usize::try_from(u64::from(rate) * length.as_millis() as u64 / 1000)?;
    let reading = socket.try_clone()?;
    let reader = thread::spawn(move || read_answers(&reading, count));
    // The kernel wakes a sleeper when it is due, and not when that is convenient.
    set_timerslack(1).context("PR_SET_TIMERSLACK")?;
    let gap = Duration::from_secs(1) / rate;
    let began = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let mut sent = Vec::with_capacity(count);
    for turn in 0..count {
        let due = began + TimeSpec::from(gap * u32::try_from(turn)?);
        // Asleep, and not awake in a loop, which would take a processor from who is measured.
        clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due)?;
        sent.push(now()?);
        socket.send(&queries[turn % queries.len()]).context("failed to send a question")?;
    }
    let Ok(seen) = reader.join() else { bail!("BUG: the reader of answers panicked") };
    let mut waits = Vec::with_capacity(count);
    for (number, at) in seen? {
        // The same question is sent again long after it is answered: the last one before counts.
        let turns = (usize::from(number)..sent.len()).step_by(queries.len());
        let began = turns.map(|turn| sent[turn]).take_while(|began| *began <= at).last();
        let Some(began) = began else { bail!("an answer to a question not asked") };
        waits.push((at - began).as_secs_f64() * 1e3);
    }
    let lost = 1.0 - waits.len() as f64 / count as f64;
    ensure!(lost <= MOST_LOST, "{server}: {count} questions, {} answers", waits.len());
    waits.sort_by(f64::total_cmp);
    Ok(Waits(waits))
}

/// The numbers of answers, and when the kernel had each (`SO_TIMESTAMPNS` of socket(7)).
fn read_answers(socket: &UdpSocket, count: usize) -> anyhow::Result<Vec<(u16, Duration)>> {
    let mut seen = Vec::with_capacity(count);
    let mut answer = [0; 1500];
    let mut control = nix::cmsg_space!(nix::libc::timespec);
    while seen.len() < count {
        let mut parts = [IoSliceMut::new(&mut answer)];
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        // Silence means that the rest is lost.
        let Ok(message) = recvmsg::<()>(fd, &mut parts, Some(&mut control), flags) else { break };
        let stamp = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        let stamp = stamp.context("the kernel says not when an answer came")?;
        if message.bytes >= 2 {
            seen.push((u16::from_be_bytes([answer[0], answer[1]]), Duration::from(stamp)));
        }
    }
    Ok(seen)
}

/// The time by the clock that stamps datagrams.
fn now() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME)?.into())
}

/// A question for the IPv4 address of a name.
///
/// # Errors
/// When a label is too long.
pub(super) fn query(id: u16, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut query = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    Ok(query)
}

/// Whether a response is NOERROR and has records that answer.
pub(super) fn has_answer(response: &[u8]) -> bool {
    response.len() > 12
        && response[2] & 0x80 != 0
        && response[3] & 0x0f == 0
        && response[6..8] != [0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Statistics:\n\n  Queries sent:         1000\n  Queries completed:    1000 \
                        (100.00%)\n  Queries lost:         0 (0.00%)\n\n  Response codes:       \
                        NOERROR 1000 (100.00%)\n  Queries per second:   12345.678\n";

    #[test]
    fn what_dnsperf_says_is_read() {
        let outcome = Outcome::read(SAID).unwrap();
        assert_eq!(outcome, Outcome { completed: 1000, rate: 12345.678 });
    }

    #[test]
    fn a_server_that_loses_questions_or_refuses_them_has_no_figure() {
        let lossy = SAID.replace("completed:    1000", "completed:    900");
        assert!(Outcome::read(&lossy).is_err());
        let refusing = SAID.replace("NOERROR 1000", "REFUSED 1000");
        assert!(Outcome::read(&refusing).is_err());
    }

    #[test]
    fn shares_are_times_that_were_seen() {
        let waits = Waits((1..=100).map(f64::from).collect());
        assert_eq!((waits.at(0.5), waits.at(0.99)), (50.0, 99.0));
    }

    #[test]
    fn a_question_has_the_wire_form_of_rfc_1035() {
        let query = query(0x1234, "a.bc.").unwrap();
        assert_eq!(query, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
        assert!(!has_answer(&query));
    }
}
