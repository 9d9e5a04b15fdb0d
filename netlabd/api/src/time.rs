// SPDX-License-Identifier: GPL-3.0-or-later
//! Points in time as the API writes them: RFC 3339, UTC.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time with microsecond precision, written as Kubernetes' `MicroTime`:
/// `2026-11-22T10:00:00.123456Z`. Whole seconds are written without a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// The present, cut to microseconds.
    pub fn now() -> Time {
        Time::from(Timestamp::now())
    }

    /// Seconds from `earlier` to this point; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Time) -> f64 {
        self.0.duration_since(earlier.0).as_secs_f64()
    }

    /// The same point as a [`Timestamp`].
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for Time {
    fn from(timestamp: Timestamp) -> Time {
        let micros = timestamp.as_microsecond();
        Time(Timestamp::from_microsecond(micros).expect("a timestamp cut down stays in range"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanosecond() == 0 {
            write!(f, "{:.0}", self.0)
        } else {
            write!(f, "{:.6}", self.0)
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let timestamp: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Time::from(timestamp))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
