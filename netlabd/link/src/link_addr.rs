// SPDX-License-Identifier: GPL-3.0-or-later
//! Link-layer (MAC) addresses.

use std::{fmt, str::FromStr};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddr([u8; 6]);

impl LinkAddr {
    /// The address with these six bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The address in a netlink attribute; none when it is not six bytes long (tunnels).
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The six bytes, first on the wire first.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six pairs of hexadecimal digits joined by colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: write six bytes as in `02:00:5e:10:00:01`")]
pub struct ParseLinkAddrError(String);

impl FromStr for LinkAddr {
    type Err = ParseLinkAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseLinkAddrError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            // `from_str_radix` takes a sign, which no MAC address has.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_printed_as_it_is_read() {
        let text = "02:00:5e:10:00:ff";
        assert_eq!(text.parse::<LinkAddr>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_not_six_hex_bytes_is_refused() {
        for text in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:ff:00", "2:0:5e:10:0:f", "+1:00:00:00:00:00"]
        {
            assert!(text.parse::<LinkAddr>().is_err(), "`{text}` was accepted");
        }
    }
}
