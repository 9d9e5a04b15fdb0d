// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengths of time in the configuration: `5s`, `500ms`, `1m 30s`, or a number of seconds. Zero is
//! one of them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// What may stand there.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "LabDnsTime")]
pub(super) enum Written {
    Seconds(u64),
    Text(String),
}

/// Reads one.
///
/// # Errors
/// When it is none, or negative.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = match Written::deserialize(deserializer)? {
        Written::Seconds(seconds) => return Ok(Duration::from_secs(seconds)),
        Written::Text(text) => text,
    };
    let span = text.parse::<jiff::Span>().ok();
    span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| {
            let cure = match text.parse::<u64>() {
                Ok(seconds) => format!("`{seconds}s`"),
                Err(_) => "`5s`, `500ms` or `1m 30s`".to_owned(),
            };
            D::Error::custom(format!("`{text}` is no length of time: write {cure}"))
        })
}

/// Writes one so that it is read as the same, to the millisecond.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    match duration.subsec_millis() {
        0 => serializer.serialize_str(&format!("{}s", duration.as_secs())),
        _ => serializer.serialize_str(&format!("{}ms", duration.as_millis())),
    }
}

/// A length of time as Go writes it, which is what CoreDNS's lines have: `30s`, `1m0s`, `500ms`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        let nanos = duration.as_nanos();
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
            _ => format!("{}ms", decimal(nanos, 1_000_000)),
        };
    }
    let nanos = u128::from(seconds % 60) * 1_000_000_000 + u128::from(duration.subsec_nanos());
    let rest = decimal(nanos, 1_000_000_000);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `value / unit` with as many digits as are needed; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_go_does() {
        for (millis, text) in [
            (30_000, "30s"),
            (60_000, "1m0s"),
            (90_500, "1m30.5s"),
            (500, "500ms"),
            (3_600_000, "1h0m0s"),
            (3_723_000, "1h2m3s"),
            (0, "0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
    }
}
