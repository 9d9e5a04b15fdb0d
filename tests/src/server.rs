// SPDX-License-Identifier: GPL-3.0-or-later
//! A server that tells each client its address, and the client for it.

use std::net::IpAddr;
use std::process::Command;

use crate::command::run;

/// The port that [`SERVER`] listens on.
pub const PORT: u16 = 8080;

/// Answers every HTTP request, of both families, with the address it came from.
pub const SERVER: [&str; 3] = [
    "socat",
    "TCP6-LISTEN:8080,ipv6only=0,fork,reuseaddr",
    "SYSTEM:read request; echo HTTP/1.0 200 OK; echo; echo $SOCAT_PEERADDR",
];

/// The words of `curl` for a server of this name or address.
pub fn curl(host: &str) -> [String; 6] {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("http://{host}:{PORT}/");
    ["curl", "-sS", "--max-time", "5", "-f", &url].map(str::to_owned)
}

/// Asks a server, from the place that the command line starts in: the address that the server
/// saw.
#[track_caller]
pub fn ask(place: impl Fn(&[&str]) -> Command, host: &str) -> IpAddr {
    let words = curl(host);
    address(&run(&mut place(&words.each_ref().map(String::as_str))).ok())
}

/// Reads an address as socat writes it: IPv6 in brackets, IPv4 mapped into IPv6.
#[track_caller]
fn address(text: &str) -> IpAddr {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"));
    address.to_canonical()
}
