// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether anybody listens where a service leads: read from `/proc/net/tcp` of its pods.
//!
//! Nothing is connected to, so no server sees a client that hangs up. Where the files cannot be
//! read nothing is said.

use std::time::Duration;

use netlab_api::pod::Protocol;
use netlab_api::{Pod, Service};
use tokio::time::{Instant, sleep};

use super::target_port;
use crate::context::Context;
use crate::exec;

/// Pods that are asked.
const ASKED: usize = 3;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// A command that has just started gets this long until it listens.
const START: Duration = Duration::from_secs(1);
/// How often it is looked meanwhile.
const REST: Duration = Duration::from_millis(100);
/// State `TCP_LISTEN` of a line (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// What speaks against the pods of a service, as far as it can be seen.
pub(crate) async fn warnings(context: &Context, service: &Service, ready: &[&Pod]) -> Vec<String> {
    let asked = async {
        let mut found = Vec::new();
        for pod in ready.iter().take(ASKED) {
            found.extend(of_pod(context, service, pod).await);
        }
        found
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_default()
}

async fn of_pod(context: &Context, service: &Service, pod: &Pod) -> Vec<String> {
    let ports: Vec<u16> = service
        .spec
        .ports
        .iter()
        .filter(|port| port.protocol == Protocol::Tcp)
        .filter_map(|port| target_port(port, pod))
        .collect();
    let started = Instant::now();
    loop {
        let command = ["cat", "/proc/net/tcp", "/proc/net/tcp6"];
        let said = exec::quiet(context, &context.pod(&pod.metadata.name), &command).await;
        // Without IPv6 the second file is not there, and `cat` complains of it alone.
        let Ok((_, said)) = said else { return Vec::new() };
        let Some(listeners) = listeners(&String::from_utf8_lossy(&said)) else {
            return Vec::new();
        };
        let missing: Vec<String> = ports
            .iter()
            .filter_map(|port| {
                Some(format!("{} of pod/{}", missing(&listeners, *port)?, pod.metadata.name))
            })
            .collect();
        if missing.is_empty() || started.elapsed() >= START {
            return missing;
        }
        sleep(REST).await;
    }
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    port: u16,
    is_loopback: bool,
}

/// What is wrong with `port`, if anything.
fn missing(listeners: &[Listener], port: u16) -> Option<String> {
    let own: Vec<_> = listeners.iter().filter(|listener| listener.port == port).collect();
    if own.is_empty() {
        return Some(format!("nobody listens on TCP port {port}"));
    }
    own.iter().all(|listener| listener.is_loopback).then(|| {
        format!(
            "whoever listens on TCP port {port} does so on loopback, which others do not reach,"
        )
    })
}

/// The listening sockets of `/proc/net/tcp` and `tcp6` (proc_net_tcp.txt); `None` when it is not
/// their text.
fn listeners(text: &str) -> Option<Vec<Listener>> {
    if !text.trim_start().starts_with("sl ") {
        return None;
    }
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (_, local, _, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (address, port) = local.split_once(':')?;
        if state != LISTEN {
            return None;
        }
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Listener { port, is_loopback: is_loopback(address) })
    });
    Some(lines.collect())
}

/// Whether an address, words of 32 bits in the machine's order, is a loopback address.
fn is_loopback(address: &str) -> bool {
    let words: Vec<u32> = address
        .as_bytes()
        .chunks(8)
        .filter_map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .map(|word| u32::from_be_bytes(word.to_ne_bytes()))
        .collect();
    match words[..] {
        [v4] => v4 >> 24 == 127,
        [0, 0, 0, 1] => true,
        [0, 0, 0xffff, v4] => v4 >> 24 == 127,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:0051 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000
   1: 00000000000000000000000000000000:1F92 00000000000000000000000000000000:0000 0A 00000000
";

    #[test]
    fn listeners_are_told_from_connections_and_loopback_from_the_rest() {
        let found = listeners(TEXT).unwrap();
        let listener = |port, is_loopback| Listener { port, is_loopback };
        assert_eq!(
            found,
            [
                listener(8080, true),
                listener(80, false),
                listener(8081, true),
                listener(8082, false)
            ]
        );
        assert_eq!(missing(&found, 80), None);
        assert_eq!(missing(&found, 8082), None);
        assert_eq!(missing(&found, 81).unwrap(), "nobody listens on TCP port 81");
        assert!(missing(&found, 8080).unwrap().contains("loopback"));
    }

    #[test]
    fn a_text_that_is_not_the_kernels_says_nothing() {
        assert_eq!(listeners("cat: not found"), None);
        assert_eq!(listeners(""), None);
    }
}
