// SPDX-License-Identifier: GPL-3.0-or-later
//! Times at which what is looked at now and then is looked at together.
//!
//! ```text
//!   every 5 s   │     │     │     │     │     │     │
//!   every 15 s  │                 │                 │     wakes nobody who does not wake anyway
//! ```
//!
//! To wake an idle daemon costs more than a look, and the runtime wakes up to three times on the
//! way to a time that is seconds away. So tasks that need no time of their own share theirs.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// The shortest period that anything at rest has. Others are multiples of it.
pub(crate) const SHORTEST: Duration = Duration::from_secs(5);

/// The tick from which all others are counted.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Waits until the next tick of those that are `period` apart: all of that time at most.
pub(crate) async fn next(period: Duration) {
    let now = Instant::now();
    let first = *FIRST.get_or_init(|| now);
    tokio::time::sleep(until_next(now.saturating_duration_since(first), period)).await;
}

/// How long it is until the next tick, so long after the first.
fn until_next(since_first: Duration, period: Duration) -> Duration {
    let period = period.max(Duration::from_millis(1));
    let into = since_first.as_nanos() % period.as_nanos();
    // Less than a period, which fits.
    period - Duration::from_nanos(into.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_multiple_coincide_with_others_and_none_is_now() {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        assert_eq!(until_next(Duration::ZERO, seconds(5)), seconds(5));
        assert_eq!(until_next(millis(4999), seconds(5)), millis(1));
        assert_eq!(until_next(seconds(5), seconds(5)), seconds(5));
        for since_first in (0..40_000).step_by(77).map(millis) {
            let next = |period| since_first + until_next(since_first, seconds(period));
            let (often, rarely) = (next(5), next(15));
            assert!(often > since_first && often <= since_first + seconds(5));
            assert!(rarely >= often);
            assert_eq!(rarely.as_nanos() % seconds(5).as_nanos(), 0, "another wakes there too");
        }
    }
}
