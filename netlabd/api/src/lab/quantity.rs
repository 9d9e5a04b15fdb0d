// SPDX-License-Identifier: GPL-3.0-or-later
//! Rates, shares and lengths of time of a lab file, written as `tc(8)` has them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Gives a type with `FromStr` and `Display` the form of a text in files and schemas.
macro_rules! text_form {
    ($type:ident, $name:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    };
}
pub(super) use text_form;

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// Units, largest first, as `tc(8)` reads and writes them.
const RATES: [(&str, u64); 4] =
    [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wrong = || format!("`{text}` is no rate: write `10mbit`, `512kbit` or `1gbit`");
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = RATES
            .iter()
            .find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit)))
            .ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let bits = number * unit as f64;
        // Slower than a packet a second is a cable that is pulled.
        if !bits.is_finite() || !(8_000.0..=1e12).contains(&bits) {
            return Err(format!("`{text}` is not between `8kbit` and `1000gbit`"));
        }
        Ok(Rate(bits as u64))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) =
            RATES.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&("bit", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

text_form!(Rate, "Rate");

/// A share of all packets, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let wrong = || format!("`{text}` is no share: write `1%` or `0.5%`, up to `100%`");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
        let number: f64 = number.parse().map_err(|_| wrong())?;
        match (0.0..=100.0).contains(&number) {
            true => Ok(Percent((number * 10_000.0).round() as u32)),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

text_form!(Percent, "Percent");

/// A length of time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

/// Units, largest first.
const SPANS: [(&str, u64); 4] = [("us", 1), ("ms", 1_000), ("m", 60_000_000), ("s", 1_000_000)];

impl Span {
    /// The same as the standard library has it.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || format!("`{text}` is no length of time: write `50ms`, `2s` or `1m`");
        let (number, unit) = SPANS
            .iter()
            .find_map(|(name, unit)| Some((text.trim().strip_suffix(name)?, *unit)))
            .ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let micros = number * unit as f64;
        match (0.0..=3.6e9).contains(&micros) {
            true => Ok(Span(micros.round() as u64)),
            false => Err(format!("`{text}` is not between 0 and one hour")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            micros if micros.is_multiple_of(1_000_000) => write!(f, "{}s", micros / 1_000_000),
            micros if micros.is_multiple_of(1_000) => write!(f, "{}ms", micros / 1_000),
            micros => write!(f, "{micros}us"),
        }
    }
}

text_form!(Span, "Span");
