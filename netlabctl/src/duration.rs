// SPDX-License-Identifier: GPL-3.0-or-later
//! Lengths of time as people write them on a command line: `60s`, `1m30s`, `500ms`, `90`.

use std::time::Duration;

/// Longest wait that can be asked for; `--timeout=0` of kubectl's `wait` means "look once", and a
/// negative one means a week there.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads a length of time, a week at most. A number alone is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') && parse(&text[1..]).is_ok() {
        return Ok(WEEK);
    }
    exact(text).map(|duration| duration.min(WEEK))
}

/// Reads a length of time, however long. A number alone is seconds.
pub(crate) fn exact(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: write `60s`, `1m30s`, `500ms` or `2h`");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::try_from_secs_f64(total).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_kubectl_reads_them() {
        let read = |text| parse(text).map(|d| d.as_millis());
        assert_eq!(read("60s"), Ok(60_000));
        assert_eq!(read("1m30s"), Ok(90_000));
        assert_eq!(read("1.5h"), Ok(5_400_000));
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("90"), Ok(90_000));
        assert_eq!(read("-1s"), Ok(WEEK.as_millis()));
        assert_eq!(read("8d"), Ok(WEEK.as_millis()));
        assert_eq!(exact("8d"), Ok(WEEK * 8 / 7));
        assert!(exact("-1s").is_err());
    }

    #[test]
    fn nonsense_is_refused_with_examples() {
        for text in ["", "s", "10x", "ten", "1m30", "-"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("1m30s"), "{error}");
        }
    }
}
