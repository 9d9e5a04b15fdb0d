// SPDX-License-Identifier: GPL-3.0-or-later
//! Which packets of a ping that runs beside a test were lost.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::Background;

/// What a ping says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The numbers of packets that have no answer, though a later one has.
    pub lost: Vec<u32>,
    /// The number of the last packet that has one.
    pub last: u32,
}

/// Ends a ping, which must not be quiet. What is on its way when the signal comes is not lost: ping
/// counts it so, and on a busy machine an answer may wait for it to be read.
///
/// # Panics
/// When no packet was answered.
#[track_caller]
pub fn end_ping(ping: Background) -> Answers {
    ping.signal(Signal::SIGINT);
    let (_, output) = ping.wait();
    answers(&output).unwrap_or_else(|| panic!("no packet was answered:\n{output}"))
}

fn answers(output: &str) -> Option<Answers> {
    let number = |line: &str| -> Option<u32> {
        line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok()
    };
    let answers = output.lines().filter(|line| line.contains(" bytes from "));
    let answered: BTreeSet<u32> = answers.filter_map(number).collect();
    let last = answered.last().copied()?;
    Some(Answers { lost: (1..=last).filter(|it| !answered.contains(it)).collect(), last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_lost_and_what_is_on_its_way_is_not() {
        let output = "PING 10.42.0.1 (10.42.0.1) 56(84) bytes of data.\n\
            64 bytes from 10.42.0.1: icmp_seq=1 ttl=63 time=0.1 ms\n\
            64 bytes from 10.42.0.1: icmp_seq=2 ttl=63 time=0.1 ms\n\
            From 192.0.2.1 icmp_seq=3 Destination Host Unreachable\n\
            64 bytes from 10.42.0.1: icmp_seq=5 ttl=63 time=0.1 ms\n\
            --- 10.42.0.1 ping statistics ---\n\
            6 packets transmitted, 3 received, +1 errors, 50% packet loss, time 100ms\n";
        assert_eq!(answers(output), Some(Answers { lost: vec![3, 4], last: 5 }));
        assert_eq!(answers("PING 10.42.0.1 (10.42.0.1) 56(84) bytes of data.\n"), None);
    }
}
