// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of chains and sets: kube-proxy's, so that what people know from its rules is found here.

use std::net::SocketAddr;

use netlab_nft::Protocol;
use ring::digest::{SHA256, digest};

use super::port::PortId;

/// RFC 4648 §6.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Longest name that is not cut. The kernel takes 255 bytes, of which words around it need some.
const MOST: usize = 230;

/// The first `count` digits of the base32 text of a SHA-256 sum.
fn hash(text: &str, count: usize) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let bits = digest.as_ref().iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let bits: Vec<u8> = bits.take(count * 5).collect();
    let number = |five: &[u8]| five.iter().fold(0_usize, |sum, bit| sum << 1 | usize::from(*bit));
    bits.chunks(5).map(|five| char::from(ALPHABET[number(five)])).collect()
}

/// `ULMVA6XW-ns1/svc1/tcp/p80`: what kube-proxy's nftables mode appends to `service-` and such.
pub fn readable(id: &PortId) -> String {
    let PortId { namespace, service, port, protocol, .. } = id;
    cut(format!("{namespace}/{service}/{protocol}/{port}"))
}

/// The same for one endpoint of a port: `5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80`.
pub fn readable_endpoint(id: &PortId, endpoint: SocketAddr) -> String {
    let PortId { namespace, service, port, protocol, .. } = id;
    let address = endpoint.ip().to_string().replace(':', ".");
    cut(format!("{namespace}/{service}/{protocol}/{port}__{address}/{}", endpoint.port()))
}

fn cut(name: String) -> String {
    let mut name = format!("{}-{name}", hash(&name, 8));
    if name.len() > MOST {
        name.truncate(MOST - 3);
        name.push_str("...");
    }
    name
}

/// Chains of one port of a service in kube-proxy's iptables mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classic {
    /// `KUBE-SVC-`: any endpoint.
    Service,
    /// `KUBE-SVL-`: endpoints of this node.
    Local,
    /// `KUBE-EXT-`: clients outside.
    External,
    /// `KUBE-FW-`: source ranges.
    Firewall,
}

impl Classic {
    fn prefix(self) -> &'static str {
        match self {
            Classic::Service => "KUBE-SVC-",
            Classic::Local => "KUBE-SVL-",
            Classic::External => "KUBE-EXT-",
            Classic::Firewall => "KUBE-FW-",
        }
    }
}

/// `KUBE-SVC-XPGD46QRK7WJZT7O`.
pub fn classic(kind: Classic, id: &PortId) -> String {
    format!("{}{}", kind.prefix(), hash(&format!("{id}{}", word(id.protocol)), 16))
}

/// `KUBE-SEP-SXIVWICOYRO3J4NJ`.
pub fn classic_endpoint(id: &PortId, endpoint: SocketAddr) -> String {
    format!("KUBE-SEP-{}", hash(&format!("{id}{}{endpoint}", word(id.protocol)), 16))
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

#[cfg(test)]
mod tests {
    use netlab_nft::Family;

    use super::*;

    fn id(namespace: &str, service: &str, port: &str) -> PortId {
        PortId {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port.to_owned(),
            protocol: Protocol::Tcp,
            family: Family::Ip,
        }
    }

    #[test]
    fn names_are_those_that_kube_proxy_gives() {
        let endpoint = SocketAddr::from(([10, 180, 0, 1], 80));
        let svc1 = id("ns1", "svc1", "p80");
        assert_eq!(readable(&svc1), "ULMVA6XW-ns1/svc1/tcp/p80");
        assert_eq!(readable_endpoint(&svc1, endpoint), "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80");
        assert_eq!(readable(&id("ns2", "svc2", "p80")), "42NFTM6N-ns2/svc2/tcp/p80");
        assert_eq!(classic(Classic::Service, &svc1), "KUBE-SVC-XPGD46QRK7WJZT7O");
        assert_eq!(classic_endpoint(&svc1, endpoint), "KUBE-SEP-SXIVWICOYRO3J4NJ");
        let unnamed = id("ns1", "svc1", "");
        assert_eq!(classic(Classic::External, &unnamed), "KUBE-EXT-AQI2S6QIMU7PVVRP");
    }

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let long = |end: &str| readable(&id(&"n".repeat(63), &"s".repeat(200), end));
        assert_eq!(long("a").len(), MOST);
        assert_ne!(long("a"), long("b"));
    }
}
