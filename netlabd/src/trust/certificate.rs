// SPDX-License-Identifier: GPL-3.0-or-later
//! What a certificate says: whose it is, of which key, from when to when. Pure.
//!
//! A node's name stands in the certificate as the DNS name `<node>.node.netlab`; the server's has
//! `server.netlab`, which no node's has. So a node cannot pose as the server, and nobody needs to
//! know by which address the server is reached.

use std::time::Duration;

use jiff::Timestamp;
use netlab_api::Time;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::token::Hash;

/// Name of the server in its certificate.
pub const SERVER_NAME: &str = "server.netlab";
/// What follows a node's name in its certificate.
const NODE_SUFFIX: &str = ".node.netlab";
/// Certificates begin this long before they are made: twice of what clocks may differ.
pub(super) const BACKDATE: Duration = Duration::from_secs(600);

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The node whose it is; `None` for the server's and the authority's.
    pub node: Option<String>,
    /// All its names: DNS names and addresses as text, in order.
    pub names: Vec<String>,
    /// SHA-256 of its public key (SPKI). A renewed certificate of the same key has the same.
    pub key: Hash,
    /// When it begins to be valid.
    pub not_before: Time,
    /// When it ends.
    pub not_after: Time,
}

/// Why a certificate says nothing.
#[derive(Debug, thiserror::Error)]
#[error("failed to read a certificate: {why}")]
pub struct CertificateError {
    why: String,
}

impl Facts {
    /// Reads a certificate (DER). Whether it can be trusted is TLS' matter.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(der: &[u8]) -> Result<Facts, CertificateError> {
        let error = |why: String| CertificateError { why };
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|wrong| error(wrong.to_string()))?;
        let alternatives =
            certificate.subject_alternative_name().map_err(|wrong| error(wrong.to_string()))?;
        let mut names = Vec::new();
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
        names.sort();
        let is_server = names.iter().any(|name| name == SERVER_NAME);
        let mut nodes = names.iter().filter_map(|name| name.strip_suffix(NODE_SUFFIX));
        let node = match (nodes.next(), nodes.next()) {
            (Some(node), None) if !is_server => Some(node.to_owned()),
            _ => None,
        };
        let validity = certificate.validity();
        let time = |seconds: i64| {
            let time = Timestamp::from_second(seconds).map_err(|wrong| error(wrong.to_string()))?;
            Ok(Time::from(time))
        };
        Ok(Facts {
            node,
            names,
            key: Hash::of(certificate.public_key().raw),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }

    /// When to replace it: once two thirds of its life are over.
    pub fn renewal(&self) -> Time {
        let made = later(self.not_before, BACKDATE);
        let life = self.not_after.seconds_since(made).max(0.0);
        later(made, Duration::from_secs_f64(life * 2.0 / 3.0))
    }

    /// Whether it is valid at a time.
    pub fn is_valid(&self, now: Time) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Name of a node in its certificate.
pub(super) fn node_name(node: &str) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// `time` and a while; the end of time when there is none so late.
pub(super) fn later(time: Time, by: Duration) -> Time {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    Time::from(time.timestamp().checked_add(by).unwrap_or(Timestamp::MAX))
}

/// `time` less a while.
pub(super) fn earlier(time: Time, by: Duration) -> Time {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    Time::from(time.timestamp().checked_sub(by).unwrap_or(Timestamp::MIN))
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(bytes).to_string())
}
