// SPDX-License-Identifier: GPL-3.0-or-later
//! Where pages for people and monitors are, as CoreDNS writes it: `:8080`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses that `:8080`, `localhost:9153` or `192.0.2.1:8080` mean; the first that the machine
/// has is listened at. `None`: it is none of these.
pub fn listen_addresses(text: &str) -> Option<Vec<SocketAddr>> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port != 0);
    if let Some(rest) = text.strip_prefix(':') {
        let port = port(rest)?;
        // With both families where the machine has both.
        return Some(vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ]);
    }
    if let Some(rest) = text.strip_prefix("localhost:") {
        let port = port(rest)?;
        return Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0).map(|a| vec![a])
}
