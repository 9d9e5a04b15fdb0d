// SPDX-License-Identifier: GPL-3.0-or-later
//! Ages as kubectl writes them (`HumanDuration` of k8s.io/apimachinery/pkg/util/duration).

use netlab_api::Time;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long ago `then` was: `5s`, `3m20s`, `2d3h`; `<unknown>` without a time.
pub(crate) fn since(then: Option<Time>, now: Time) -> String {
    match then {
        Some(then) => human(now.seconds_since(then).floor() as i64),
        None => "<unknown>".to_owned(),
    }
}

/// A length of time in two units at most.
pub(crate) fn human(seconds: i64) -> String {
    let pair = |a: i64, a_unit: &str, b: i64, b_unit: &str| match b {
        0 => format!("{a}{a_unit}"),
        b => format!("{a}{a_unit}{b}{b_unit}"),
    };
    let (minutes, hours, days) = (seconds / MINUTE, seconds / HOUR, seconds / DAY);
    match seconds {
        // Clocks of two machines differ a little; by more than that the time is wrong.
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// A point in time as `describe` writes it (RFC 1123 with a numeric zone).
pub(crate) fn full(time: Time) -> String {
    time.timestamp().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        let table = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (183_600, "2d3h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
        ];
        for (seconds, expected) in table {
            assert_eq!(human(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn a_time_of_day_is_written_out() {
        let time: Time = serde_json::from_str("\"2026-11-22T10:00:07Z\"").unwrap();
        assert_eq!(full(time), "Sun, 22 Nov 2026 10:00:07 +0000");
    }
}
