// SPDX-License-Identifier: GPL-3.0-or-later
//! Amounts of cpu and memory, as Kubernetes writes them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// An amount as the user wrote it: `500m`, `0.5`, `64Mi`, `1G`, `2`.
///
/// Any text is held; [`Quantity::milli`] and [`Quantity::value`] say whether it means something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// Why a [`Quantity`] has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a quantity: write a number with an optional unit such as `500m`, `2`, `64Mi` or `1G`"
)]
pub struct QuantityError {
    text: String,
}

/// Suffixes of Kubernetes' quantities, each as a power of its base.
const UNITS: [(&str, f64); 14] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("", 1.0),
];

impl Quantity {
    /// The amount in thousandths, rounded up: `500m` is 500, `0.5` is 500, `2` is 2000.
    pub fn milli(&self) -> Result<u64, QuantityError> {
        self.scaled(1000.0)
    }

    /// The amount in whole units, rounded up: `64Mi` is 67108864.
    pub fn value(&self) -> Result<u64, QuantityError> {
        self.scaled(1.0)
    }

    fn scaled(&self, scale: f64) -> Result<u64, QuantityError> {
        let fail = || QuantityError { text: self.0.clone() };
        let text = self.0.trim();
        let (suffix, unit) =
            UNITS.iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or_else(fail)?;
        let number = &text[..text.len() - suffix.len()];
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(fail());
        }
        let number: f64 = number.parse().map_err(|_| fail())?;
        let amount = number * unit * scale;
        // Products such as 0.1 * 1000 land a hair above the whole number they mean.
        let whole = amount.round();
        let rounded = if (amount - whole).abs() < 1e-6 { whole } else { amount.ceil() };
        if !rounded.is_finite() || rounded > u64::MAX as f64 {
            return Err(fail());
        }
        Ok(rounded as u64)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        /// `cpu: 1` in YAML is a number, `cpu: 500m` a text.
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a quantity such as `500m`, `2` or `64Mi`")]
        enum Written {
            Whole(u64),
            Decimal(f64),
            Text(String),
        }
        Ok(Quantity(match Written::deserialize(deserializer)? {
            Written::Whole(number) => number.to_string(),
            Written::Decimal(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "an amount such as 500m, 2, 64Mi or 1G",
            "type": ["string", "number"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, milli: Option<u64>, value: Option<u64>) {
        let quantity = Quantity(text.to_owned());
        assert_eq!(quantity.milli().ok(), milli, "milli of {text}");
        assert_eq!(quantity.value().ok(), value, "value of {text}");
    }

    #[test]
    fn quantities_mean_what_kubernetes_says() {
        check("500m", Some(500), Some(1));
        check("0.1", Some(100), Some(1));
        check("2", Some(2000), Some(2));
        check("64Mi", Some(67_108_864_000), Some(67_108_864));
        check("1.5G", Some(1_500_000_000_000), Some(1_500_000_000));
        check("1k", Some(1_000_000), Some(1000));
    }

    #[test]
    fn nonsense_is_no_quantity() {
        for text in ["", "m", "-1", "1e3", "64MB", "ten", "1 000", "0x10", "99999999999999E"] {
            check(text, None, None);
        }
    }
}
