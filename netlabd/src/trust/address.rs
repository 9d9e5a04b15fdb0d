// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a server is: `https://HOST:PORT`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The port of servers unless another is given.
pub const DEFAULT_PORT: u16 = 7411;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name, or an address (IPv6 without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text does not say where a server is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not say where a server is: write `https://HOST:{DEFAULT_PORT}`")]
pub struct AddressError {
    text: String,
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<ServerAddress, AddressError> {
        let wrong = || AddressError { text: text.to_owned() };
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some(_) => return Err(wrong()),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => {
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(wrong()),
                }
            }
            // More than one colon is an address, which without brackets takes no port.
            None if rest.parse::<std::net::Ipv6Addr>().is_ok() => (rest, None),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None => DEFAULT_PORT,
        };
        Ok(ServerAddress { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServerAddress, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("https://n1:7000", "https://n1:7000"),
            ("https://n1.example.org/", "https://n1.example.org:7411"),
            ("192.0.2.1", "https://192.0.2.1:7411"),
            ("192.0.2.1:80", "https://192.0.2.1:80"),
            ("https://[fd00::1]:80", "https://[fd00::1]:80"),
            ("https://[fd00::1]", "https://[fd00::1]:7411"),
            ("fd00::1", "https://[fd00::1]:7411"),
        ] {
            let address: ServerAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), wanted);
            assert_eq!(wanted.parse(), Ok(address));
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "http://n1", "https://", "n1:x", "n1:0", "n1:99999", "a b", "[n1]:2"] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
