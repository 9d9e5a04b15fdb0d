// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengths of time in the configuration: `5s`, `500ms`, `1m 30s`, or a number of seconds. Zero is
//! one of them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
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
    let span: Option<jiff::Span> = text.parse().ok();
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
    serializer.serialize_str(&format!("{}ms", duration.as_millis()))
}
